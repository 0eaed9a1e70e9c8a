"""Fleet and engines: what each replica does, by our count, by vLLM's and by the GPU's (DCGM)."""

from grafana_foundation_sdk.models.dashboard import Dashboard

from observability.panels import Panel, Query, Row, chart, choice, quantile, rate
from observability.panels import board as build

REPLICA = '{replica=~"$replica"}'


def top(metric: str, legend: str = "{{replica}}") -> Query:
    """A replica's value; the largest, where several gateways have read it."""
    return Query(f"max by (replica) ({metric}{REPLICA})", legend)


def gained(metric: str) -> str:
    """What a counter of an engine gained a second."""
    return f"max by (replica) (rate({metric}{REPLICA}[$__rate_interval]))"


def mean(metric: str) -> Query:
    """Seconds per request that an engine ended."""
    return Query(f"{gained(metric)} / {gained('headrace_engine_requests_total')}", "{{replica}}")


def board() -> Dashboard:
    """The dashboard."""
    return build(
        "fleet",
        "Fleet and engines",
        "Replicas by the gateway's count, by vLLM's own metrics, and the GPUs below them.",
        [
            Row("Replicas", _replicas()),
            Row("Engines", _engines()),
            Row("vLLM's own metrics", _vllm()),
            Row("GPUs (DCGM)", _gpus()),
        ],
        [choice("replica", "Replica", "label_values(headrace_replica_state, replica)")],
    )


def _replicas() -> list[Panel]:
    return [
        chart(
            "States", "short",
            Query("count by (state) (max by (replica, state) (headrace_replica_state) == 1)",
                  "{{state}}"),
            text="Replicas by state; ready and degraded ones get requests.", stack=True,
        ),
        chart(
            "Requests in flight", "short",
            Query(f"sum by (replica) (headrace_replica_inflight_requests{REPLICA})", "{{replica}}"),
            text="What gateways have sent and not finished.",
        ),
        chart(
            "Tokens in flight", "short",
            Query(f"sum by (replica) (headrace_replica_inflight_tokens{REPLICA})", "{{replica}}"),
            text="The same in estimated tokens: what routing balances.",
        ),
        chart(
            "Time to first token, p99", "s",
            Query(quantile(0.99, "headrace_replica_time_to_first_token_seconds", "replica", REPLICA),
                  "{{replica}}"),
            text="From a request's place at the replica. One line above the others: a slow replica.",
        ),
        chart(
            "Between tokens, p50", "s",
            Query(quantile(0.5, "headrace_replica_inter_token_latency_seconds", "replica", REPLICA),
                  "{{replica}}"),
            text="Median pauses; they grow with the batch.",
        ),
        chart(
            "Failures", "reqps",
            Query(rate("headrace_replica_failures_total", "replica", REPLICA), "{{replica}}"),
            text="Requests that failed by a replica's fault.",
        ),
        chart(
            "Ejections", "short",
            Query(f"sum by (cause) (increase(headrace_replica_ejections_total{REPLICA}[$__rate_interval]))",
                  "{{cause}}"),
            text="How often replicas were set aside, by cause.", stack=True,
        ),
        chart(
            "Probes", "s", top("headrace_health_check_seconds"),
            text="What the latest good health check took: the network, and a busy front end.",
        ),
        chart(
            "Silence", "s", top("headrace_replica_silent_seconds"),
            text="For how long a replica with requests has shown no progress: stuck, if it grows.",
        ),
    ]  # fmt: skip


def _engines() -> list[Panel]:
    return [
        chart("Running", "short", top("headrace_engine_running_requests"),
              text="Requests in the engine's batch."),
        chart("Waiting in the engine", "short", top("headrace_engine_waiting_requests"),
              text="The engine's own queue; what waits here, routing can no longer move."),
        chart("KV cache", "percentunit", top("headrace_engine_kv_usage_ratio"),
              text="Share in use; near 1 requests are put back and computed twice."),
        chart("Tokens made", "short",
              Query(f"replica:headrace_engine_generation_tokens:rate1m{REPLICA}", "{{replica}}"),
              text="Tokens a second."),
        chart("Preemptions", "short",
              Query(gained("headrace_engine_preemptions_total"), "{{replica}}"),
              text="Requests put back a second, for want of KV cache."),
        chart("Prefix cache hits", "percentunit",
              Query(f"replica:headrace_engine_prefix_hits:ratio_rate5m{REPLICA}", "{{replica}}"),
              text="Share of prompt tokens that were in the cache."),
        chart("Queue in the engine", "s", mean("headrace_engine_queue_seconds_total"),
              text="Mean time of a request in the engine's queue."),
        chart("Prefill", "s", mean("headrace_engine_prefill_seconds_total"),
              text="Mean time from the queue to the first token."),
        chart("Decode", "s", mean("headrace_engine_decode_seconds_total"),
              text="Mean time from the first token to the last."),
    ]  # fmt: skip


def _vllm() -> list[Panel]:
    return [
        chart("Prefill, p95", "s",
              Query(quantile(0.95, "vllm:request_prefill_time_seconds", "replica", REPLICA),
                    "{{replica}}"),
              text="vLLM's own histogram."),
        chart("Queue, p95", "s",
              Query(quantile(0.95, "vllm:request_queue_time_seconds", "replica", REPLICA),
                    "{{replica}}"),
              text="vLLM's own histogram."),
        chart("Ends", "reqps",
              Query(rate("vllm:request_success_total", "finished_reason", REPLICA),
                    "{{finished_reason}}"),
              text="How requests ended in the engine; abort is a client that left.", stack=True),
        chart("Tokens in a step", "short",
              Query(f"{rate('vllm:iteration_tokens_total_sum', 'replica', REPLICA)}"
                    f" / {rate('vllm:iteration_tokens_total_count', 'replica', REPLICA)}",
                    "{{replica}}"),
              text="Mean size of a step: how well the batch is filled."),
        chart("Prompt tokens by source", "short",
              Query(rate("vllm:prompt_tokens_by_source_total", "source", REPLICA), "{{source}}"),
              text="Computed here, found in the cache, or fetched from elsewhere.", stack=True),
        chart("Waiting by reason", "short",
              Query(f"sum by (reason) (vllm:num_requests_waiting_by_reason{REPLICA})",
                    "{{reason}}"),
              text="capacity: no room in the batch or the cache.", stack=True),
    ]  # fmt: skip


def _gpus() -> list[Panel]:
    energy = f"sum by (replica) (rate(DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION{REPLICA}[$__rate_interval])) / 1000"
    return [
        chart("Busy", "percent",
              Query(f"avg by (replica) (DCGM_FI_DEV_GPU_UTIL{REPLICA})", "{{replica}}"),
              text="Share of time with a kernel. High without tokens: stuck. High with them: work."),
        chart("Tensor cores", "percentunit",
              Query(f"avg by (replica) (DCGM_FI_PROF_PIPE_TENSOR_ACTIVE{REPLICA})", "{{replica}}"),
              text="Prefill keeps these busy."),
        chart("Memory bandwidth", "percentunit",
              Query(f"avg by (replica) (DCGM_FI_PROF_DRAM_ACTIVE{REPLICA})", "{{replica}}"),
              text="Decode keeps this busy; near its limit more requests cost each other speed."),
        chart("Memory", "percentunit",
              Query(f"sum by (replica) (DCGM_FI_DEV_FB_USED{REPLICA}) / (sum by (replica)"
                    f" (DCGM_FI_DEV_FB_USED{REPLICA}) + sum by (replica) (DCGM_FI_DEV_FB_FREE{REPLICA}))",
                    "{{replica}}"),
              text="Engines take their share at the start, so this says little about the load."),
        chart("Power", "watt",
              Query(f"sum by (replica) (DCGM_FI_DEV_POWER_USAGE{REPLICA})", "{{replica}}"),
              text="Below the usual at full load: the GPU is throttled, or starved."),
        chart("Temperature", "celsius",
              Query(f"max by (replica) (DCGM_FI_DEV_GPU_TEMP{REPLICA})", "{{replica}}"),
              text="The hottest GPU of each replica."),
        chart("Energy for a token", "joule",
              Query(f"{energy} / on (replica)"
                    f" (replica:headrace_engine_generation_tokens:rate1m{REPLICA} > 0)",
                    "{{replica}}"),
              text="GPU energy by generated token, joined by the replica's name."),
        chart("XID errors", "none",
              Query(f"max by (replica, gpu) (DCGM_FI_DEV_XID_ERRORS{REPLICA})",
                    "{{replica}} {{gpu}}"),
              text="The latest error of each GPU; 0 is none."),
        chart("Clock", "hertz",
              Query(f"avg by (replica) (DCGM_FI_DEV_SM_CLOCK{REPLICA}) * 1e6", "{{replica}}"),
              text="Falls when a GPU is too hot or short of power."),
    ]  # fmt: skip
