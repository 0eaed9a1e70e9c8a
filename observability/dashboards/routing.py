"""Routing quality: are predictions right, is the cache used, are retries and rules as they should be?"""

from grafana_foundation_sdk.models.dashboard import Dashboard

from observability.panels import Panel, Query, Row, chart, choice, rate
from observability.panels import board as build

MODEL = '{model=~"$model"}'


def board() -> Dashboard:
    """The dashboard."""
    return build(
        "routing",
        "Routing quality",
        "Predictions and what came, use of prefix caches, KV events, other gateways, retries, rules"
        " and experiments.",
        [
            Row("Placement", _placement()),
            Row("Exact caches (KV events)", _events()),
            Row("Gateways among themselves", _peers()),
            Row("Retries", _retries()),
            Row("Rules and experiments", _rules()),
        ],
        [choice("model", "Model", "label_values(headrace_requests_total, model)")],
    )


def _of_input(metric: str, where: str) -> str:
    prompts = rate("headrace_tokens_total", "model", '{model=~"$model", kind="input"}')
    return f"{rate(metric, 'model', where)} / {prompts}"


def _placement() -> list[Panel]:
    spread = "(sum by (replica) (headrace_replica_inflight_tokens))"
    return [
        chart("Cached tokens, predicted and actual", "percentunit",
              Query(_of_input("headrace_predicted_cached_tokens_total", MODEL),
                    "{{model}} predicted"),
              Query(_of_input("headrace_tokens_total", '{model=~"$model", kind="cached"}'),
                    "{{model}} actual"),
              text="Shares of prompt tokens. Far apart: the index is wrong about caches.",
              width=12),
        chart("Prefix cache hits by replica", "percentunit",
              Query("replica:headrace_engine_prefix_hits:ratio_rate5m", "{{replica}}"),
              text="By the engines themselves.", width=12),
        chart("Time of a decision", "s",
              Query(f"{rate('headrace_decision_seconds_total', 'model', MODEL)}"
                    f" / {rate('headrace_decisions_total', 'model', MODEL)}", "{{model}}"),
              text="Mean time that routing takes to look for a place."),
        chart("Imbalance", "none",
              Query(f"max{spread} / clamp_min(avg{spread}, 1)", "max / mean"),
              text="Tokens in flight at the fullest replica, by the mean; affinity has its price."),
        chart("Index", "short",
              Query("sum by (replica) (headrace_index_blocks)", "{{replica}}"),
              text="Blocks of prompts that a replica is believed to have cached."),
        chart("Sessions", "short", Query(f"sum by (model) (headrace_sessions{MODEL})", "{{model}}"),
              text="Conversations whose replica is remembered."),
        chart("Sessions that moved", "short",
              Query(rate("headrace_session_moves_total", "model", MODEL), "{{model}} moved"),
              Query(rate("headrace_session_repins_total", "model", MODEL), "{{model}} replica gone"),
              text="Each pays for its prompt once more."),
        chart("Requests by replica", "reqps",
              Query(rate("headrace_replica_requests_total", "replica"), "{{replica}}"),
              text="Where requests were sent.", stack=True),
    ]  # fmt: skip


def _events() -> list[Panel]:
    return [
        chart("Lag of KV events", "s",
              Query("max by (replica) (headrace_kv_events_lag_seconds)", "{{replica}}"),
              text="From an engine's batch of events to its being applied. Above the time between"
              " two tokens, placements go by what a cache held before."),
        chart("Caches known exactly", "short",
              Query("min by (replica) (headrace_kv_events_exact)", "{{replica}}"),
              text="1: routing knows what the cache holds; 0: it believes, as for engines without"
              " events."),
        chart("Silence", "s",
              Query("max by (replica) (headrace_kv_events_age_seconds)", "{{replica}}"),
              text="Since the latest batch; long while the replica has requests: its publisher is"
              " stuck, or the network between."),
        chart("KV events", "ops",
              Query(rate("headrace_kv_events_total", "replica"), "{{replica}}"),
              text="Events that were applied.", width=12),
        chart("Lost events", "ops",
              Query(rate("headrace_kv_events_lost_total", "replica, cause"),
                    "{{replica}} {{cause}}"),
              text="Each makes a cache inexact until it is read anew. gap: the gateway or the"
              " network is too slow; memory: more came than is kept.", width=12),
    ]  # fmt: skip


def _peers() -> list[Panel]:
    return [
        chart("Other gateways", "short",
              Query("sum by (instance) (headrace_peers)", "{{instance}} hears"),
              text="One less than there are gateways, for each; fewer: some do not hear each other."
              " 0: it is alone.", width=6),
        chart("Age of reports", "s",
              Query("max by (instance) (headrace_peer_report_age_seconds)", "{{instance}}"),
              text="The oldest of the last reports; above state.share_s it routes by old news.",
              width=6),
        chart("Reports", "ops",
              Query(rate("headrace_peer_reports_total", "result"), "{{result}}"),
              text="told and heard go on evenly; lost: the shared state did not take one; bad: one"
              " that could not be read.", width=6),
        chart("Untold", "ops",
              Query(rate("headrace_peer_untold_total", "instance"), "{{instance}}"),
              text="Prompts and sessions that did not fit into a report: other gateways guess.",
              width=6),
    ]  # fmt: skip


def _retries() -> list[Panel]:
    return [
        chart("Attempts for a request", "none",
              Query(f"{rate('headrace_attempts_total', 'model', MODEL)}"
                    f" / {rate('headrace_decisions_total', 'model', MODEL)}", "{{model}} by decision"),
              Query(f"{rate('headrace_attempts_total', 'model', MODEL)}"
                    f" / {rate('headrace_requests_total', 'model', MODEL)}", "{{model}} by request"),
              text="1 is without retries."),
        chart("Retry budget", "short", Query("min by (instance) (headrace_retry_budget)", "{{instance}}"),
              text="Retries that may be made in a row now; at 0 failures reach clients."),
        chart("Retries refused", "reqps",
              Query(rate("headrace_retries_refused_total", "instance"), "{{instance}}"),
              text="More than a few: everything fails, and retries would make it worse."),
    ]  # fmt: skip


def _rules() -> list[Panel]:
    return [
        chart("Rules", "reqps", Query(rate("headrace_rule_requests_total", "rule"), "{{rule}}"),
              text="Requests by the rule that decided.", stack=True),
        chart("Fallbacks", "reqps",
              Query(rate("headrace_rule_fallbacks_total", "rule"), "{{rule}}"),
              text="Requests sent to another than a rule's first target."),
        chart("Shadow copies", "reqps",
              Query(rate("headrace_shadow_requests_total", "rule, outcome"), "{{rule}} {{outcome}}"),
              text="Copies by how they ended.", stack=True),
        chart("Arms: share", "percentunit",
              Query("max by (experiment, arm) (headrace_experiment_share)", "{{experiment}} {{arm}}"),
              text="What each arm of an experiment gets.", stack=True),
        chart("Arms: time to first token", "s",
              Query('max by (experiment, arm) (headrace_experiment_ttft_seconds{quantile="0.95"})',
                    "{{experiment}} {{arm}} p95"),
              text="A candidate above its control is slower."),
        chart("Arms: results", "reqps",
              Query(rate("headrace_experiment_requests_total", "experiment, arm, result"),
                    "{{experiment}} {{arm}} {{result}}"),
              text="Requests of each arm, good and failed.", stack=True),
    ]  # fmt: skip
