"""tracing.py: which requests are told, how many may wait, and what becomes of an export."""

from collections.abc import Sequence
from enum import Enum
from typing import Any

import pytest

from headrace.config.tracing import Tracing as Config
from headrace.telemetry.tracing import Sent, Tracing
from tests.telemetry.test_decisions import Kept


class Result(Enum):
    SUCCESS = 0
    FAILURE = 1


class Exporter:
    """Takes spans, or refuses them."""

    def __init__(self, result: Result = Result.SUCCESS) -> None:
        self.result = result
        self.batches: list[Sequence[Any]] = []

    def export(self, spans: Sequence[Any]) -> Result:
        self.batches.append(spans)
        return self.result

    def shutdown(self) -> None: ...


class Desk:
    """Traces with a clock and an exporter of ours; a span is a request's id."""

    def __init__(self, **config: Any) -> None:
        self.now = 100.0
        self.told: list[str] = []
        self.exporter = Exporter()
        tree = {"endpoint": "http://127.0.0.1:9", **config}
        self.tracing = Tracing(
            Config.model_validate(tree), lambda name, **_: self.told.append(name), lambda: self.now
        )
        self.tracing._exporter = self.exporter
        self.tracing._spans = lambda story: [story.request_id]

    def offer(self, name: str, why: str = "", *, sampled: bool = False) -> None:
        kept = Kept(name)
        kept.sampled = sampled
        self.tracing.offer(kept, why)

    def sent(self) -> list[str]:
        self.tracing._rounds.once()
        return [span for batch in self.exporter.batches for span in batch]


def test_sampled_and_notable_ones_are_told() -> None:
    """What the head of the trace chose, and what went wrong or was slow; nothing else."""
    desk = Desk()
    desk.offer("usual")
    desk.offer("sampled", sampled=True)
    desk.offer("failed", "error")
    desk.offer("both", "slow", sampled=True)

    assert ["sampled", "failed", "both"] == desk.sent()
    assert Sent(exported=3) == desk.tracing.seen()


def test_notable_ones_are_limited() -> None:
    """When everything fails at once, so many a second are told, and the rest is counted."""
    desk = Desk(notable_per_s=2)
    for number in range(5):
        desk.offer(f"first {number}", "error")
    desk.now += 0.5
    for number in range(5):
        desk.offer(f"second {number}", "error")
    desk.now += 60
    for number in range(5):
        desk.offer(f"third {number}", "error")

    assert ["first 0", "first 1", "second 0", "third 0", "third 1"] == desk.sent()
    assert 10 == desk.tracing.seen().limit
    off = Desk(notable_per_s=0)
    off.offer("failed", "error")
    assert [] == off.sent()


def test_the_queue_is_bounded() -> None:
    """Behind a collector that hangs memory does not grow; what is dropped is counted."""
    desk = Desk(queue=16)
    for number in range(20):
        desk.offer(str(number), sampled=True)

    assert [str(number) for number in range(16)] == desk.sent()
    assert Sent(exported=16, queue=4) == desk.tracing.seen()


def test_exports_are_batches() -> None:
    """No export is larger than a collector likes."""
    desk = Desk()
    for number in range(300):
        desk.offer(str(number), sampled=True)
    desk.sent()

    assert [128, 128, 44] == [len(batch) for batch in desk.exporter.batches]


def test_a_lost_collector() -> None:
    """Its loss and its return are each told once."""
    desk = Desk()
    desk.exporter.result = Result.FAILURE
    for _ in range(2):
        desk.offer("lost", sampled=True)
        desk.sent()
    desk.exporter.result = Result.SUCCESS
    for _ in range(2):
        desk.offer("sent", sampled=True)
        desk.sent()

    assert ["traces_lost", "traces_back"] == desk.told
    assert Sent(exported=2, failed=2) == desk.tracing.seen()


def test_a_fault_does_not_end_the_thread() -> None:
    """A record that cannot be told is passed over, and the log says where."""
    desk = Desk()

    def broken(_: object) -> list[Any]:
        raise ZeroDivisionError

    good, desk.tracing._spans = desk.tracing._spans, broken
    desk.offer("bad", sampled=True)
    desk.sent()
    desk.tracing._spans = good
    desk.offer("good", sampled=True)

    assert ["good"] == desk.sent()
    assert ["tracing_fault"] == desk.told


@pytest.mark.timeout(120)
def test_stops_before_it_has_started() -> None:
    """A gateway whose start failed can be stopped."""
    tracing = Tracing(Config(), lambda *_, **__: None)
    tracing.start()
    tracing.stop()

    assert Sent() == tracing.seen()
