"""decisions.py: the ring of decision records."""

from datetime import UTC, datetime, timedelta

from headrace.telemetry.decisions import Facts, Ring, Story, summary
from headrace.telemetry.records import Record

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def record(request_id: str = "r", after_s: float = 0.0) -> Record:
    return Record(
        time=NOON + timedelta(seconds=after_s),
        request_id=request_id,
        endpoint="/v1/chat/completions",
        outcome="completed",
        status=200,
        attempts=1,
        stream=True,
        total_ms=12.5,
        tokens_in=3,
        tokens_out=4,
        tokens_cached=0,
        bytes_in=5,
        bytes_out=6,
        model="alias",
        served="m",
        replica="gpu-1",
        ttft_ms=2.5,
    )


class Kept:
    """A record that says how large it is."""

    def __init__(self, request_id: str, size: int = 100, after_s: float = 0.0) -> None:
        self.record = record(request_id, after_s)
        self.size = size
        self.sampled = False

    def tell(self) -> Story:
        facts = Facts("/v1/chat/completions", "m", stream=True, prompt_tokens=3)
        return Story(self.record.request_id, NOON, NOON, "completed", 200, 12.5, facts, ())


def names(ring: Ring) -> list[str]:
    return [kept.record.request_id for kept in ring.all()]


def test_keeps_the_latest() -> None:
    """So many requests are kept, the latest first; `since` says from when on none is missing."""
    ring = Ring(3, 10_000, 0)
    assert ring.since() is None
    for number in range(5):
        ring.add(Kept(f"r{number}", after_s=number), notable=False)

    assert ["r4", "r3", "r2"] == names(ring)
    assert NOON + timedelta(seconds=2) == ring.since()
    assert (3, 300) == (len(ring), ring.bytes)


def test_is_bounded_by_bytes() -> None:
    """Whatever their number, records do not take more memory than allowed."""
    ring = Ring(100, 250, 0)
    for number in range(5):
        ring.add(Kept(f"r{number}"), notable=False)
    assert ["r4", "r3"] == names(ring)

    ring.add(Kept("large", size=1000), notable=False)

    assert ([], 0) == (names(ring), ring.bytes)


def test_keeps_notable_ones_longer() -> None:
    """What failed or was slow is still there when the usual requests after it have gone."""
    ring = Ring(2, 10_000, 2)
    for number in range(6):
        ring.add(Kept(f"r{number}"), notable=number < 3)

    assert ["r5", "r4", "r2", "r1"] == names(ring)
    ring.add(Kept("r6"), notable=True)
    assert ["r6", "r5", "r2"] == names(ring)


def test_strangers_displace_only_each_other() -> None:
    """However many requests without a known caller are refused, those of callers stay."""
    ring = Ring(20, 10_000, 0)
    ring.add(Kept("ours"), notable=False)
    for number in range(50):
        ring.add_stranger(Kept(f"s{number}", after_s=number + 1))
    ring.add(Kept("later", after_s=100), notable=False)

    assert ["later", "s49", "s48", "ours"] == names(ring)
    assert (2, NOON) == (len(ring), ring.since())
    ring.clear()
    assert [] == names(ring)


def test_finds_the_latest_of_an_id() -> None:
    """Clients may repeat their ids; an unknown one is nobody's."""
    ring = Ring(10, 10_000, 5)
    kept = [Kept("twice"), Kept("once"), Kept("twice")]
    for each in kept:
        ring.add(each, notable=True)

    assert kept[2] is ring.find("twice")
    assert ring.find("never") is None
    ring.clear()
    assert ([], 0) == (names(ring), ring.bytes)


def test_summary() -> None:
    """One line of a list has the declared model, not the client's name for it."""
    found = summary(record("r-1"))

    assert ("r-1", "m", "gpu-1", 12.5, 2.5) == (
        found.request_id, found.model, found.replica, found.total_ms, found.ttft_ms
    )  # fmt: skip
