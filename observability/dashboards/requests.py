"""Request explorer: single requests in log lines (Loki) and traces (Tempo), with links between them."""

from grafana_foundation_sdk.models.dashboard import Dashboard

from observability.panels import (
    Panel,
    Query,
    Row,
    chart,
    counted,
    lines,
    quantile,
    traces,
    typed,
)  # fmt: skip
from observability.panels import (
    board as build,
)

LOG = '{service_name="headrace"} | json'
REQUEST = f'{LOG} | event="request"'
CHOSEN = f'{REQUEST} | request_id=~"$request_id.*" | tenant=~"$tenant.*" | served=~"$model.*"'
SPAN = 'resource.service.name="headrace"'


def board() -> Dashboard:
    """The dashboard."""
    return build(
        "requests",
        "Request explorer",
        "Find a request by its id, tenant, model or slowness; go from its line to its trace.",
        [Row("Find", _find()), Row("Slow and failed", _bad()), Row("Events", _events())],
        [
            typed("request_id", "Request id"),
            typed("tenant", "Tenant"),
            typed("model", "Model"),
            typed("slow_ms", "Slow is (ms)", "2000"),
        ],
    )


def _find() -> list[Panel]:
    return [
        chart("Time to first token", "s",
              Query(quantile(0.99, "headrace_time_to_first_token_seconds", ""), "p99", exemplar=True),
              text="Each dot is a request: click it for its trace.", width=24),
        lines("Requests", CHOSEN,
              text="One line for each finished request; its details have the link to its trace."),
        traces("Traces", f'{{{SPAN} && span.headrace.request_id=~"$request_id.*"'
                         ' && span.headrace.tenant=~"$tenant.*"}',
               text="The kept traces of these requests.", width=24),
    ]  # fmt: skip


def _bad() -> list[Panel]:
    return [
        lines("Slow requests", f"{CHOSEN} | total_ms > $slow_ms",
              text="Requests that took longer than the number above.", width=12),
        lines("Failed requests", f'{CHOSEN} | outcome!~"completed|client_gone"',
              text="Requests that were refused or failed; `error` is what the client got.", width=12),
        traces("Slow traces", f"{{{SPAN} && duration > ${{slow_ms}}ms}}",
               text="Errors and slow requests are kept, whatever the sampling."),
        traces("Failed traces", f"{{{SPAN} && status = error}}", text="Traces with an error."),
        counted("Outcomes", "short", f"sum by (outcome) (count_over_time({REQUEST} [$__auto]))",
                "{{outcome}}", text="Counted from the log."),
        counted("Time to first token by replica, p95", "ms",
                f'quantile_over_time(0.95, {REQUEST} | ttft_ms != "" | unwrap ttft_ms [$__auto])'
                " by (replica)",
                "{{replica}}", text="From the log, so for any selection of requests."),
    ]  # fmt: skip


def _events() -> list[Panel]:
    return [
        lines("Events", f'{LOG} | event!="request" | event!=""',
              text="The gateway's life: replicas that change their state, engines, reloads, faults."),
    ]  # fmt: skip
