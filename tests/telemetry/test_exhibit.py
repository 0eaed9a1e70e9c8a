"""exhibit.py: the very bytes of the metrics library's own writers."""

from datetime import UTC, datetime

import pytest
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics_latest

from headrace.config.schema import Config
from headrace.gateway.app import Gateway
from headrace.telemetry.exhibit import openmetrics, plain
from tests.telemetry.test_metrics import record


def full() -> CollectorRegistry:
    """A gateway's registry in which something has happened, exemplars included."""
    backends = [{"url": "http://a:1", "serves": ["m"]}]
    gateway = Gateway(Config.model_validate({"backends": backends}))
    done = record(
        ttft_ms=41.5,
        itl_p50_ms=4.25,
        queue_ms=0.3,
        replica="a:1",
        tenant="t",
        time=datetime.now(UTC),
    )
    gateway.metrics.observe([done] * 3)
    return gateway.metrics.registry


def odd() -> CollectorRegistry:
    """Values, labels and help that need care."""
    disable_created_metrics()  # type: ignore[no-untyped-call] # as a gateway's metrics do, for all
    registry = CollectorRegistry()
    gauge = Gauge("g", 'Help with "quotes", a \\ and\na line.', ["a", "b"], registry=registry)
    for number, value in enumerate((float("inf"), float("-inf"), float("nan"), 1e9, -0.5, 1e-7)):
        gauge.labels(f'x"\n\\{number}', "ü").set(value)
    Counter("c", "Plain.", registry=registry).inc(1234567.0)
    return registry


def steady(text: bytes) -> list[bytes]:
    """Lines without those of the process, which change from one reading to the next."""
    return [line for line in text.splitlines() if b"process_" not in line]


@pytest.mark.parametrize("made", [full, odd])
def test_prometheus_text(made: object) -> None:
    """The text is that of the library."""
    assert callable(made)
    registry = made()

    assert steady(generate_latest(registry)) == steady(plain(registry))


@pytest.mark.parametrize("made", [full, odd])
def test_openmetrics(made: object) -> None:
    """So is OpenMetrics, exemplars and end."""
    assert callable(made)
    registry = made()

    theirs = openmetrics_latest(registry)  # type: ignore[no-untyped-call]
    assert steady(theirs) == steady(openmetrics(registry))
    assert openmetrics(registry).endswith(b"# EOF\n")
