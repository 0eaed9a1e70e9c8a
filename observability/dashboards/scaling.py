"""Autoscaling: is there room, who waits for it, and how long does more take to come?"""

from grafana_foundation_sdk.models.dashboard import Dashboard

from observability.panels import Panel, Query, Row, chart, choice, quantile, rate
from observability.panels import board as build

MODEL = '{model=~"$model"}'


def board() -> Dashboard:
    """The dashboard."""
    return build(
        "scaling",
        "Autoscaling",
        "Room, who waits for it, and how long more of it takes to come.",
        [Row("Demand", _demand()), Row("Supply", _supply()), Row("Coming and going", _moves())],
        [choice("model", "Model", "label_values(headrace_model_replicas, model)")],
    )


def _demand() -> list[Panel]:
    return [
        chart("Waiting for room", "short",
              Query(f"sum by (model) (headrace_waiting_requests{MODEL})", "{{model}}"),
              text="Requests that no replica has room for. Always above 0: add replicas."),
        chart("Waiting for a first replica", "short",
              Query(f"sum by (model) (headrace_held_requests{MODEL})", "{{model}}"),
              text="Requests for a model at zero; the signal that wakes it."),
        chart("Wait, p95", "s",
              Query(quantile(0.95, "headrace_queue_wait_seconds", "model", MODEL), "{{model}}"),
              text="From the request to its place at a replica."),
        chart("Too late", "percentunit",
              Query('sum by (model) (rate(headrace_requests_total{model=~"$model",'
                    ' outcome=~"timed_out_queue|evicted_.+|rejected_(overloaded|queue_full|deadline|shed)"}[$__rate_interval]))'
                    f" / {rate('headrace_requests_total', 'model', MODEL)}"
                    f" or 0 * {rate('headrace_requests_total', 'model', MODEL)}", "{{model}}"),
              text="Share of requests that waited in vain or were turned away."),
        chart(
            "Waiting by class",
            "short",
            Query(f"sum by (class) (headrace_class_waiting_requests{MODEL})", "{{class}}"),
            text="Who waits: interactive goes first, background last.",
            stack=True,
        ),
        chart(
            "Turned away by class",
            "reqps",
            Query(rate("headrace_queue_shed_total", "class, reason"), "{{class}} {{reason}}"),
            text="Requests that were not let in, or had to leave, by class and why.",
            stack=True,
        ),
    ]  # fmt: skip


def _supply() -> list[Panel]:
    return [
        chart("Replicas of a model", "short",
              Query(f"max by (model) (headrace_model_replicas{MODEL})", "{{model}}"),
              text="Replicas that can answer now."),
        chart("Fleet that can be used", "percentunit",
              Query("fleet:headrace_replicas_ready:ratio", "ready or degraded"),
              text="Of the replicas that are neither asleep nor on their way out."),
        chart("Tokens in flight by replica", "short",
              Query("sum(headrace_replica_inflight_tokens)"
                    ' / clamp_min(count(max by (replica) (headrace_replica_state{state=~"ready|degraded"})'
                    " == 1), 1)", "mean"),
              text="The mean load; what scaling by load would look at."),
        chart("KV cache of the fleet", "percentunit",
              Query("avg(max by (replica) (headrace_engine_kv_usage_ratio))", "mean"),
              Query("max(headrace_engine_kv_usage_ratio)", "fullest"),
              text="When the mean nears 0.9 more requests do not fit."),
    ]  # fmt: skip


def _of_all(share: float) -> str:
    """Cold starts are too few for a rate, which does not see the first of them."""
    buckets = f"sum by (model, kind, le) (headrace_cold_start_seconds_bucket{MODEL})"
    return f"histogram_quantile({share:g}, {buckets})"


def _moves() -> list[Panel]:
    return [
        chart("Away", "short",
              Query("sum by (state) (max by (replica, state) (headrace_replica_away))", "{{state}}"),
              text="Supervised replicas that are not in the fleet, and why.", stack=True),
        chart("Cold start",
            "s",
            Query(_of_all(0.5), "{{model}} {{kind}} p50"),
            Query(_of_all(0.95), "{{model}} {{kind}} p95"),
            text="From the request that wanted a replica to its being ready, since the gateway began.",
        ),
        chart(
            "Cold starts", "short",
              Query(f"sum by (model, kind) (increase(headrace_cold_start_seconds_count{MODEL}[$__rate_interval]))",
                    "{{model}} {{kind}}"),
              text="start is a process, wake a sleeping one.", stack=True),
        chart("Starts and steps", "short",
              Query("sum by (state) (increase(headrace_replica_transitions_total[$__rate_interval]))",
                    "{{state}}"),
              text="Steps of replicas into each state.", stack=True),
        chart("Idle stops", "short",
              Query(f"sum by (model, kind) (increase(headrace_idle_stops_total{MODEL}[$__rate_interval]))",
                    "{{model}} {{kind}}"),
              text="Replicas that were stopped or put to sleep since nobody called.", stack=True),
    ]  # fmt: skip
