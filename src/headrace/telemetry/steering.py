"""The metrics of rules, shadow copies and experiments, read where they are kept when scraped."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector


class ArmSeen(NamedTuple):
    """One arm of an experiment now. Times are seconds, NaN for none yet."""

    experiment: str
    arm: str
    weight: float
    ok: int
    failed: int
    tokens_in: int
    tokens_out: int
    ttft_p50_s: float
    ttft_p95_s: float
    rollbacks: int


class Steered(NamedTuple):
    """What rules have done so far; ``version`` is empty while there are none."""

    version: str
    matches: Mapping[str, int]
    fallbacks: Mapping[str, int]
    reloads: Mapping[str, int]
    shadows: Mapping[tuple[str, ...], int]
    arms: tuple[ArmSeen, ...]


class SteeringMetrics(Collector):
    """Shows a ``Steered`` at every scrape."""

    def __init__(self, registry: CollectorRegistry, steered: Callable[[], Steered]) -> None:
        self._steered = steered
        registry.register(self)

    def collect(self) -> list[Metric]:
        seen = self._steered()
        return [
            _info(seen.version),
            _counter(
                "headrace_rule_requests_total", "Requests by the rule that decided.",
                ["rule"], {(rule,): count for rule, count in seen.matches.items()},
            ),
            _counter(
                "headrace_rule_fallbacks_total", "Requests sent to another than a first target.",
                ["rule"], {(rule,): count for rule, count in seen.fallbacks.items()},
            ),
            _counter(
                "headrace_rules_reloads_total", "Changes of the rules' file, taken or refused.",
                ["result"], {(result,): count for result, count in seen.reloads.items()},
            ),
            _counter(
                "headrace_shadow_requests_total", "Shadow copies by how they ended.",
                ["rule", "outcome"], seen.shadows,
            ),
            *_of_arms(seen.arms),
        ]  # fmt: skip


def _info(version: str) -> Metric:
    family = GaugeMetricFamily(
        "headrace_rules_info",
        "Always 1; the version of the rules in force is in the label.",
        labels=["version"],
    )
    if version:
        family.add_metric([version], 1.0)
    return family


def _counter(
    name: str, text: str, labels: list[str], values: Mapping[tuple[str, ...], int]
) -> Metric:
    family = CounterMetricFamily(name, text, labels=labels)
    for key, count in [*values.items()]:
        family.add_metric(list(key), count)
    return family


def _of_arms(arms: tuple[ArmSeen, ...]) -> list[Metric]:
    labels = ["experiment", "arm"]
    weight = GaugeMetricFamily(
        "headrace_experiment_share", "Share of an experiment's requests that an arm gets, 0 to 1.",
        labels=labels,
    )  # fmt: skip
    ttft = GaugeMetricFamily(
        "headrace_experiment_ttft_seconds", "Time to the first byte of an arm's streams.",
        labels=[*labels, "quantile"],
    )  # fmt: skip
    requests: dict[tuple[str, ...], int] = {}
    tokens: dict[tuple[str, ...], int] = {}
    rollbacks: dict[tuple[str, ...], int] = {}
    for each in arms:
        key = (each.experiment, each.arm)
        weight.add_metric(list(key), each.weight)
        ttft.add_metric([*key, "0.5"], each.ttft_p50_s)
        ttft.add_metric([*key, "0.95"], each.ttft_p95_s)
        requests |= {(*key, "ok"): each.ok, (*key, "failed"): each.failed}
        tokens |= {(*key, "input"): each.tokens_in, (*key, "output"): each.tokens_out}
        rollbacks[key] = each.rollbacks
    return [
        weight,
        ttft,
        _counter(
            "headrace_experiment_requests_total", "Requests of an arm by result: ok, failed.",
            [*labels, "result"], requests,
        ),
        _counter(
            "headrace_experiment_tokens_total", "Tokens of an arm by kind: input, output.",
            [*labels, "kind"], tokens,
        ),
        _counter(
            "headrace_experiment_rollbacks_total", "How often the guard took an arm out.",
            labels, rollbacks,
        ),
    ]  # fmt: skip
