"""metrics.py: every record is counted once, and no client can add a series."""

from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from headrace.telemetry.exhibit import plain
from headrace.telemetry.metrics import UNKNOWN, Metrics
from headrace.telemetry.records import Record

CHAT = "/v1/chat/completions"


def record(**fields: Any) -> Record:
    usual: dict[str, Any] = {
        "time": datetime.now(UTC), "request_id": "r", "endpoint": CHAT, "outcome": "completed",
        "status": 200, "attempts": 1, "stream": True, "total_ms": 1500.0, "tokens_in": 5,
        "tokens_out": 7, "tokens_cached": 2, "bytes_in": 1, "bytes_out": 1, "served": "m",
    }  # fmt: skip
    return Record(**{**usual, **fields})


def samples(metrics: Metrics) -> dict[tuple[str, ...], float]:
    """Each sample by its name and its label values, in the order of the labels' names."""
    families = text_string_to_metric_families(plain(metrics.registry).decode())
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(["m", "n"], [CHAT])


class TestObserve:
    def test_a_record(self, metrics: Metrics) -> None:
        """One request: its outcome, attempts, tokens of each kind and times."""
        metrics.observe([record(ttft_ms=40.0, itl_p50_ms=4.0, attempts=3)])

        found = samples(metrics)
        assert 1 == found["headrace_requests_total", CHAT, "m", "completed"]
        assert 3 == found["headrace_attempts_total", "m"]
        assert [5, 7, 2] == [
            found["headrace_tokens_total", kind, "m"] for kind in ("input", "output", "cached")
        ]
        for name, seconds in (
            ("time_to_first_token", 0.04), ("inter_token_latency", 0.004), ("request_duration", 1.5)
        ):  # fmt: skip
            assert 1 == found[f"headrace_{name}_seconds_count", "m"]
            assert seconds == pytest.approx(found[f"headrace_{name}_seconds_sum", "m"])

    def test_a_request_that_reached_no_replica(self, metrics: Metrics) -> None:
        """It is counted and timed, but its tokens were never paid for."""
        metrics.observe([record(attempts=0, outcome="rejected_model")])

        found = samples(metrics)
        assert 1 == found["headrace_requests_total", CHAT, "m", "rejected_model"]
        assert 1 == found["headrace_request_duration_seconds_count", "m"]
        assert not any(
            key[0] in {"headrace_tokens_total", "headrace_attempts_total"} for key in found
        )
        assert 0 == found["headrace_time_to_first_token_seconds_count", "m"]

    @settings(max_examples=50)
    @given(
        st.lists(
            st.tuples(
                st.sampled_from(["m", "n", "x", ""]),
                st.sampled_from([CHAT, "/nope", ""]),
                st.sampled_from(["completed", "client_gone"]),
            )
        ),
        st.integers(0, 20),
    )
    def test_batches_do_not_matter(self, made: list[tuple[str, str, str]], cut: int) -> None:
        """In one batch or several, each record counts once; unknown names share one series."""
        metrics = Metrics(["m", "n"], [CHAT])
        records = [record(served=m, endpoint=e, outcome=o) for m, e, o in made]
        metrics.observe(records[:cut])
        metrics.observe(records[cut:])

        expected = Counter(
            (e if e == CHAT else UNKNOWN, m if m in {"m", "n"} else UNKNOWN, o) for m, e, o in made
        )
        assert expected == {
            key[1:]: value
            for key, value in samples(metrics).items()
            if key[0] == "headrace_requests_total"
        }


def test_versions_and_drops(metrics: Metrics) -> None:
    """The version is a label; lost log lines are counted."""
    metrics.version("1.2.3")
    metrics.dropped(4)
    metrics.dropped(1)

    found = samples(metrics)
    assert 1 == found["headrace_build_info", "1.2.3"]
    assert 5 == found["headrace_log_lines_dropped_total",]


def test_two_gateways_do_not_meet() -> None:
    """Each has its own registry."""
    one, two = Metrics(["m"], [CHAT]), Metrics(["m"], [CHAT])
    one.observe([record()])

    assert ("headrace_requests_total", CHAT, "m", "completed") not in samples(two)
