"""series.py: the table names metrics that exist, and its queries are those of its sums."""

import pytest

from headrace.config.schema import Config
from headrace.diagnose.series import METRICS, ROUTABLE, TABLE, Series, uses
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


def test_uses_of_a_metric() -> None:
    """A metric counts for each series that reads it, by the labels and conditions of that one."""
    found = uses("headrace_replica_state", ("state", "replica"))

    assert ("r_ready", (1,), ((0, ROUTABLE),)) == found[0]
    assert METRICS["headrace_replica_state"] == tuple(use.name for use in found)
    assert (("slow", (), ()),) == uses("headrace_slow_clients", ())
    assert () == uses("headrace_replica_state", ("state",))
    assert () == uses("headrace_unknown", ())
