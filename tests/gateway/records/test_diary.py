"""diary.py: who hears how requests went, and what is kept of them."""

import sys
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from headrace.gateway.records.diary import notable
from headrace.gateway.records.story import Entry
from headrace.telemetry.decisions import Kept
from headrace.telemetry.records import Record
from tests.edge.rig import Rig, ask, eventually, streamed

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"

USUAL = Record(
    time=datetime(2026, 11, 21, tzinfo=UTC), request_id="r", endpoint="/v1/chat/completions",
    outcome="completed", status=200, attempts=1, stream=True, total_ms=60_000.0, tokens_in=1,
    tokens_out=1, tokens_cached=0, bytes_in=1, bytes_out=1, ttft_ms=900.0,
)  # fmt: skip


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({}, ""),
        ({"ttft_ms": 1001.0}, "slow"),
        ({"stream": False, "ttft_ms": None}, "slow"),
        ({"stream": False, "ttft_ms": None, "total_ms": 999.0}, ""),
        ({"attempts": 2}, "retried"),
        ({"status": 503, "outcome": "rejected_overloaded"}, "error"),
        ({"outcome": "upstream_failed_midstream"}, "error"),
        ({"outcome": "timed_out_chunk"}, "error"),
        ({"outcome": "client_gone"}, ""),
        ({"outcome": "rejected_bad_request", "status": 400, "ttft_ms": None}, ""),
    ],
)
def test_notable(more: dict[str, object], why: str) -> None:
    """What failed here, was retried or slow; not what clients did wrong, nor long answers."""
    assert why == notable(msgspec.structs.replace(USUAL, **more), 1000.0)


async def test_trace_ids_without_traces(rig: Rig) -> None:
    """A caller's context passes as it is, and its trace id is in the record and the story."""
    engine = await rig.engine()
    gateway = await rig.gateway()
    await rig.post(ask(), traceparent=PARENT)
    await rig.post(ask(), traceparent="nonsense")
    await rig.idle()
    with_one, without = gateway.records

    assert (TRACE, "") == (with_one.trace_id, with_one.span_id)
    assert ("", "") == (without.trace_id, without.span_id)
    assert [PARENT, "nonsense"] == [seen.header("traceparent") for seen in engine.exchanges]
    assert gateway.diary.ring is not None
    assert [TRACE, ""] == [kept.tell().trace_id for kept in gateway.diary.ring.latest]


async def test_takers_get_everything(rig: Rig) -> None:
    """Whoever carries records away is told of each, with why it is notable."""
    await rig.engine()
    gateway = await rig.gateway(decisions={"requests": 0})
    taken: list[tuple[str, str]] = []

    class Taker:
        def offer(self, kept: Kept, why: str) -> None:
            taken.append((kept.record.outcome, why))

    gateway.diary.takers = (Taker(),)
    await rig.post(ask())
    async with rig.client() as client:
        await client.post("/v1/nothing", {})
    await rig.engines[0].stop()
    await rig.post(ask())

    assert gateway.diary.ring is None
    assert ("completed", "") == taken[0]
    assert "error" == taken[1][1]


async def test_strangers_leave_little_behind(rig: Rig, tmp_path: Path) -> None:
    """Refused before anybody knew the caller: `explain` has it for a while, the archive has not."""
    await rig.engine()
    url = f"sqlite:{tmp_path}/archive.db"
    gateway = await rig.gateway(decisions={"requests": 20, "archive": {"url": url}})
    done = await rig.post(ask())
    async with rig.client() as client:
        for _ in range(30):
            await client.post("/v1/nothing", {})
    archive = gateway.diary.archive
    assert archive is not None
    await eventually(lambda: archive.seen().written > 0 == archive.seen().waiting, timeout_s=20)

    assert gateway.diary.ring is not None
    kept = [each.record.outcome for each in gateway.diary.ring.all()]
    assert ["rejected_not_found"] * 2 + ["completed"] == kept
    assert gateway.diary.ring.find(done.header("x-request-id") or "") is not None
    assert 1 == archive.seen().written


async def test_sizes_are_honest(rig: Rig) -> None:
    """What the ring counts for a request is what its parts take, a third more or less."""
    for _ in range(8):
        await rig.engine()
    gateway = await rig.gateway()
    await rig.post(streamed())
    assert gateway.diary.ring is not None
    [kept] = gateway.diary.ring.latest
    assert isinstance(kept, Entry)

    assert deep_size(kept) == pytest.approx(kept.size, rel=0.33)


SHARED = (str, bytes, bool, int, type(None))  # with other requests, nearly always
OF_THE_FLEET = {"names", "seeds"}


def deep_size(thing: object) -> int:
    """Bytes of an object with all that it alone refers to."""
    if isinstance(thing, SHARED):
        return 0
    size = sys.getsizeof(thing)
    if isinstance(thing, msgspec.Struct):
        own = (name for name in thing.__struct_fields__ if name not in OF_THE_FLEET)
        return size + sum(deep_size(getattr(thing, name)) for name in own)
    if isinstance(thing, tuple | list):
        return size + sum(deep_size(each) for each in thing)
    return size


@pytest.mark.parametrize(
    ("decisions", "believed"),
    [({}, False), ({"trust_request_start": True}, True), ({"trust_request_start": False}, False)],
)
async def test_request_start(rig: Rig, decisions: dict[str, bool], believed: bool) -> None:
    """A client cannot say when its request began, unless what stands before us lets none say it."""
    await rig.engine()
    gateway = await rig.gateway(decisions=decisions)
    start = datetime.now(UTC).timestamp() - 1
    await rig.post(ask(), x_request_start=f"t={start:.6f}")
    assert gateway.diary.ring is not None
    told = gateway.diary.ring.latest[0].tell()

    assert believed is ("edge" == told.phases[0].what)


async def test_limits_are_told(rig: Rig) -> None:
    """What was held of limits for a request is in its record, with their names."""
    await rig.engine()
    gateway = await rig.gateway(
        limits={"tenant": {"requests_per_minute": 100, "tokens_per_minute": 10_000}}
    )
    await rig.post(ask(max_tokens=20))
    assert gateway.diary.ring is not None
    [told] = gateway.diary.ring.latest[0].tell().told

    assert ("limits", "held") == (told.who, told.outcome)
    assert "requests_per_minute" in told.detail
    assert "tokens_per_minute" in told.detail


async def test_faults_of_ours_have_ids(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """An event that is about a request names it, and its trace."""
    await rig.engine()
    gateway = await rig.gateway()
    told: list[dict[str, object]] = []

    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(gateway.log, "event", lambda name, **fields: told.append(fields))
    monkeypatch.setattr(gateway.pipeline, "_read", broken)
    answer = await rig.post(ask(), traceparent=PARENT, x_request_id="r-1")

    assert 500 == answer.status
    assert [("r-1", TRACE)] == [(each["request_id"], each["trace_id"]) for each in told]
