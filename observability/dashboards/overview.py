"""Service overview: are the objectives met, what do clients get, is the gateway itself well?"""

from grafana_foundation_sdk.models.dashboard import Dashboard

from observability.panels import (
    Panel,
    Query,
    Row,
    chart,
    choice,
    number,
    quantile,
    rate,
)
from observability.panels import (
    board as build,
)

MODEL = '{model=~"$model"}'
TTFT = "headrace_time_to_first_token_seconds"
BUDGET = "(1 - headrace:slo_objective:ratio)"


def errors(window: str, slo: str) -> str:
    """The share of requests that missed an objective."""
    return f'model:headrace_slo_errors:ratio_rate{window}{{slo="{slo}", model=~"$model"}}'


def board() -> Dashboard:
    """The dashboard."""
    return build(
        "overview",
        "Service overview",
        "Objectives, what clients get, and the gateway itself.",
        [Row("Objectives", _objectives()), Row("Requests", _requests()), Row("Gateway", _own())],
        [choice("model", "Model", "label_values(headrace_requests_total, model)")],
    )


def _objectives() -> list[Panel]:
    return [
        number(
            "Available", "percentunit", Query(f"1 - {errors('1h', 'availability')}", "{{model}}"),
            text="Requests of the last hour that were answered, of those that we had to answer.",
            limits=(0.999, 0.99),
        ),
        number(
            "First token in 2 s", "percentunit", Query(f"1 - {errors('1h', 'ttft')}", "{{model}}"),
            text="Streams of the last hour whose first byte came within 2 s.", limits=(0.95, 0.9),
        ),
        number(
            "Budget left, 3 days", "percentunit",
            Query(
                f"1 - {errors('3d', 'availability')} / on (slo) group_left () {BUDGET}", "{{model}}"
            ),
            text="Of the availability's error budget at three days' pace; below 0 it is overdrawn.",
            limits=(0.5, 0.1),
        ),
        chart(
            "Burn rate", "none",
            Query(
                f"{errors('1h', 'availability')} / on (slo) group_left () {BUDGET}",
                "{{model}} availability",
            ),
            Query(f"{errors('1h', 'ttft')} / on (slo) group_left () {BUDGET}", "{{model}} TTFT"),
            text="1 uses the budget up exactly; from 14.4 on somebody is paged.", width=12,
        ),
    ]  # fmt: skip


def _requests() -> list[Panel]:
    return [
        chart(
            "Requests by outcome", "reqps",
            Query(rate("headrace_requests_total", "outcome", MODEL), "{{outcome}}"),
            text="How requests ended. The API's page says what each outcome means.", stack=True,
        ),
        chart(
            "Time to first token", "s",
            *(Query(quantile(q, TTFT, "", MODEL), f"p{q * 100:g}", exemplar=True)
              for q in (0.5, 0.95, 0.99)),
            text="From the request to the first byte of a stream. Dots are single requests.",
        ),
        chart(
            "Between tokens", "s",
            *(Query(quantile(q, "headrace_inter_token_latency_seconds", "", MODEL), f"p{q * 100:g}")
              for q in (0.5, 0.99)),
            text="The median pause between the chunks of a stream, over streams.",
        ),
        chart(
            "Whole requests", "s",
            *(Query(quantile(q, "headrace_request_duration_seconds", "", MODEL), f"p{q * 100:g}",
                    exemplar=True)
              for q in (0.5, 0.99)),
            text="From the request to the end of its answer. Dots are requests with a trace.",
        ),
        chart(
            "Waiting for a place", "s",
            Query(quantile(0.95, "headrace_queue_wait_seconds", "model", MODEL), "{{model}} p95"),
            text="From the request to its place at a replica; long waits mean too few replicas.",
        ),
        chart(
            "Requests by phase", "short",
            Query(f"sum by (phase) (headrace_active_requests{MODEL})", "{{phase}}"),
            text="Where running requests are: waiting, before the first byte, streaming.",
            stack=True,
        ),
        chart(
            "Tokens", "short", Query(rate("headrace_tokens_total", "kind", MODEL), "{{kind}}"),
            text="Tokens a second; cached ones are a part of the input.",
        ),
        chart(
            "Length of prompts and answers", "short",
            Query(quantile(0.5, "headrace_request_input_tokens", "", MODEL), "prompt p50"),
            Query(quantile(0.95, "headrace_request_input_tokens", "", MODEL), "prompt p95"),
            Query(quantile(0.5, "headrace_request_output_tokens", "", MODEL), "answer p50"),
            Query(quantile(0.95, "headrace_request_output_tokens", "", MODEL), "answer p95"),
            text="A shift here explains slower first tokens (prompts) or fuller replicas (answers).",
        ),
    ]  # fmt: skip


def _own() -> list[Panel]:
    return [
        chart(
            "Event loop", "s",
            Query(quantile(0.99, "headrace_event_loop_delay_seconds", "instance"), "{{instance}}"),
            text="How late the loop comes to a timer (p99); above 50 ms every stream feels it.",
        ),
        chart(
            "Connections", "short",
            Query("sum by (instance) (headrace_client_connections)", "{{instance}}"),
            Query("sum by (instance) (headrace_slow_clients)", "{{instance}} slow"),
            text="Open client connections, and clients that do not read what they asked for.",
        ),
        chart(
            "Bytes held", "bytes",
            Query("sum by (instance) (headrace_inflight_bytes)", "{{instance}}"),
            text="Request bodies in memory.",
        ),
        chart(
            "Usage that waits", "s",
            Query("max by (instance) (headrace_ledger_lag_seconds)", "{{instance}}"),
            text="Since the oldest request that is not in the ledger yet.",
        ),
        chart(
            "Spans",
            "short",
            Query(rate("headrace_trace_spans_total", "result"), "{{result}}"),
            text="Spans for the collector a second; none where tracing is off.",
            stack=True,
        ),
        chart(
            "Log lines lost", "short",
            Query("sum by (instance) (increase(headrace_log_lines_dropped_total[$__rate_interval]))",
                  "{{instance}}"),
            text="Lines that could not be written in time.",
        ),
        chart(
            "Bodies", "Bps", Query(rate("headrace_body_bytes_total", "direction"), "{{direction}}"),
            text="Bytes of requests (in) and answers (out).",
        ),
    ]  # fmt: skip
