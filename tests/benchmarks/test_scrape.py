"""The benchmark of scrapes: a small gateway has what it says."""

from benchmarks.scrape.__main__ import OPENMETRICS, gateway, table
from benchmarks.scrape.history import figures
from headrace.telemetry.exhibit import openmetrics
from tests.telemetry.exposed import exposed


def test_everything_is_there() -> None:
    """Every replica and every tenant has series of its own, requests are exemplars."""
    made = gateway(3, 4)
    text = openmetrics(made.metrics.registry).decode()

    assert {f"gpu-{n}:8000" for n in range(3)} <= {
        labels["replica"] for _, labels, _ in exposed(made.metrics) if "replica" in labels
    }
    assert all(f'tenant="tenant-{n}"' in text for n in range(4))
    assert 'request_id="req_' in text


def test_the_table() -> None:
    """One row for each format."""
    text = table(2, 2, 1)

    assert text.startswith("| 2 replicas, 2 tenants |")
    assert 4 == len(text.splitlines())
    assert OPENMETRICS.startswith("application/openmetrics-text")


def test_the_history() -> None:
    """It says what it is of, and what memory and CPU that takes."""
    size, memory, cpu = figures(3, 2, steps=40).splitlines()

    assert size.startswith("3 replicas, 2 tenants: ")
    assert "MB for a day" in memory
    assert "for a look at 15 minutes" in cpu
