"""A trace through real Envoy: its spans and the gateway's are one tree, and tell the same time."""

import time
from collections.abc import Iterator

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from headrace.conformance.fake import FakeEngine
from tests.edge.envoy.front import GOOD, front, send, statuses
from tests.edge.envoy.receiver import Receiver
from tests.edge.envoy.test_http import PARENT, with_lines
from tests.edge.rig import Rig, eventually
from tests.telemetry.collector import SERVER, Collector, values


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as each:
        yield each


@pytest.mark.timeout(300)
async def test_one_tree(rig: Rig, collector: Collector) -> None:
    """Client, edge, gateway, engine: each span's parent is the one before it."""
    engine = await rig.engine()
    tracing = {"endpoint": collector.url, "interval_s": 0.02, "share": 1.0}
    async with (
        Receiver(collector.take) as receiver,
        front(rig, edge={"otlp": receiver.url}, tracing=tracing) as both,
    ):
        answer = await send(both.edge, with_lines(f"traceparent: {PARENT}"), close=True)
        await eventually(lambda: len(of_engine(collector, engine)) == 4, timeout_s=60)
    spans = of_engine(collector, engine)

    assert [200] == statuses(answer)
    assert PARENT[36:52] == spans[-1].parent_span_id.hex()
    assert {PARENT[3:35]} == {span.trace_id.hex() for span in spans}
    assert values(spans[1].attributes)["headrace.outcome"] == "completed"
    assert SERVER == spans[1].kind == spans[3].kind


def of_engine(collector: Collector, engine: FakeEngine) -> list[Span]:
    """From the span that the engine was told to continue, up to the first."""
    found: list[Span] = []
    wanted = (engine.exchanges[0].header("traceparent") or "")[36:52] if engine.exchanges else ""
    known = {span.span_id.hex(): span for span in [*collector.spans]}
    while wanted in known:
        found.append(known[wanted])
        wanted = found[-1].parent_span_id.hex()
    return found


async def test_the_time_at_the_edge(rig: Rig) -> None:
    """The gateway knows when Envoy had the request, and no client can say so in its place."""
    await rig.engine()
    async with front(rig, decisions={"trust_request_start": True}) as both:
        began = time.time()
        lie = with_lines("x-request-start: t=1000000000.0", "X-Request-Start: t=1.0")
        await send(both.edge, lie, close=True)
        took_ms = (time.time() - began) * 1000
    await rig.idle()
    ring = rig.gateway_now.diary.ring
    assert ring is not None
    told = ring.latest[-1].tell()

    assert "edge" == told.phases[0].what
    assert 0 < told.phases[0].end_ms < took_ms + 1
    assert began <= told.began.timestamp() + 0.001


async def test_a_share_at_the_edge(rig: Rig) -> None:
    """Who comes first decides: beyond the share nobody is sampled, even if a client asks for it."""
    engine = await rig.engine()
    tracing = {"endpoint": "http://127.0.0.1:9", "share": 0.0}
    async with front(rig, edge={"otlp": "http://127.0.0.1:9"}, tracing=tracing) as both:
        await send(both.edge, GOOD, close=True)
        await send(both.edge, with_lines(f"traceparent: {PARENT}"), close=True)
    seen = [each.header("traceparent") or "" for each in engine.exchanges]

    assert ["00", "00"] == [each[-2:] for each in seen]
    assert PARENT[:35] == seen[1][:35]
