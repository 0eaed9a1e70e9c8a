"""series.py: the table names metrics that exist, and its queries are those of its sums."""

import pytest

from headrace.config.schema import Config
from headrace.diagnose.series import METRICS, TABLE, Series, keys
from headrace.gateway.app import Gateway

BACKEND = {"url": "http://a:1", "serves": ["m"]}
# The suffixes that a family's samples have in the text.
SUFFIXES = ("", "_total", "_sum", "_count")


def test_every_metric_exists() -> None:
    """Each row reads a metric that the gateway exports."""
    tree = {"backends": [BACKEND], "state": {"url": "redis://localhost"}}
    gateway = Gateway(Config.model_validate(tree))
    exported = {f"{f.name}{end}" for f in gateway.metrics.registry.collect() for end in SUFFIXES}

    assert [] == sorted(METRICS.keys() - exported)


@pytest.mark.parametrize(
    ("series", "labels", "expected"),
    [
        (TABLE["ended"], {"outcome": "completed"},
         'sum by (model, outcome) (rate(headrace_requests_total{outcome="completed"}[1m]))'),
        (TABLE["slow"], {}, "sum (headrace_slow_clients)"),
        (TABLE["r_ready"], {"replica": "a"},
         'sum by (replica) (headrace_replica_state{state=~"ready|degraded",replica="a"})'),
    ],
)  # fmt: skip
def test_queries(series: Series, labels: dict[str, str], expected: str) -> None:
    """Gauges are summed, counters are rates; conditions stand in braces."""
    assert expected == series.promql(**labels)


def test_a_selector_is_in_every_query() -> None:
    """What tells one installation from another is added as it is."""
    expected = 'sum (headrace_slow_clients{namespace="prod"})'

    assert expected == TABLE["slow"].promql(selector='namespace="prod"')


def test_keys_of_samples() -> None:
    """A sample counts for every series whose conditions it meets, by the labels that are kept."""
    ready = {"replica": "a", "state": "ready"}
    gone = {"replica": "a", "state": "gone"}

    assert [("r_ready", ("a",))] == keys("headrace_replica_state", ready)
    assert [] == keys("headrace_replica_state", gone)
    assert [] == keys("headrace_unknown", {})
