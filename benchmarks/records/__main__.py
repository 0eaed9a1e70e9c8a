"""
What decision records and traces cost, in microseconds for each request, measured in one process:
on the event loop (what a request pays), and beside it (for those that are told).

    uv run python -m benchmarks.records [--requests 20000] [--replicas 8]
"""

import argparse
import asyncio
import contextlib
import json
import time
from collections.abc import Callable
from typing import Any

import msgspec
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans

from headrace.config.schema import Config
from headrace.gateway.app import Gateway
from headrace.gateway.clocks import now
from headrace.gateway.exchange import Exchange
from headrace.gateway.records.diary import Diary
from headrace.gateway.send.dispatch import _begin
from headrace.telemetry.decisions import Ring, Story
from headrace.telemetry.metrics import Metrics
from headrace.telemetry.records import Record
from headrace.telemetry.spans import Spans
from tests.edge.rig import Rig, streamed

ROUNDS = 100  # short ones: some of them nothing disturbs
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
NOWHERE = "http://127.0.0.1:9"

Ended = tuple[Exchange, Record]


async def one_request(replicas: int) -> Ended:
    """A real request through a real gateway, before as many engines."""
    rig = Rig()
    found: list[Ended] = []
    for _ in range(replicas):
        await rig.engine()
    gateway = await rig.gateway()
    gateway.hears = (*gateway.hears, lambda exchange, record: found.append((exchange, record)))
    await rig.post(streamed(max_tokens=100), traceparent=PARENT)
    await rig.close()
    return found[0]


def diary(**sections: Any) -> Diary:
    """One of its own, with nobody behind it."""
    tree = {"models": [{"name": "m"}], "logging": {"requests": False}, **sections}
    gateway = Gateway(Config.model_validate(tree))
    return Diary(gateway.config, Metrics(["m"], []), gateway.log)


def us(work: Callable[[], object], times: int) -> float:
    """The least of some rounds' averages: what it costs when nothing else disturbs."""
    rounds, each = [], max(1, times // ROUNDS)
    for _ in range(ROUNDS):
        began = time.perf_counter()
        for _ in range(each):
            work()
        rounds.append((time.perf_counter() - began) / each * 1e6)
    return min(rounds)


def marks(exchange: Exchange) -> Callable[[], None]:
    """All that is noted of a request on its way with one attempt."""
    replica, reply = exchange.replica, _Reply()
    assert replica is not None

    def work() -> None:
        exchange.tries = []
        now(), now(), now()
        attempt = _begin(exchange, replica)
        attempt.answer(now(), reply)  # type: ignore[arg-type] # what it looks at is there

    return work


class _Connection:
    sent_at, answered = 1.0, True


class _Reply:
    status, connection = 200, _Connection()


def ending(kept: Diary, ended: Ended) -> Callable[[], None]:
    """What happens when a request has ended."""
    exchange, record = ended

    def work() -> None:
        kept.ended(exchange, record)
        if kept.tracing is not None:
            kept.tracing._queue.clear()  # noqa: SLF001 - else it would be full

    return work


def beginning(kept: Diary, exchange: Exchange) -> Callable[[], None]:
    """The context of a request, and that of its attempt upstream."""
    headers, [gate] = exchange.request.headers, kept.gates

    def work() -> None:
        with contextlib.suppress(StopIteration):  # a coroutine that never waits
            gate(exchange, b"").send(None)  # type: ignore[attr-defined] # it is one
        if exchange.trace is not None:
            exchange.trace.go_on(headers)

    return work


def measure(times: int, replicas: int) -> dict[str, float]:
    """Each figure by its name."""
    ended = asyncio.run(one_request(replicas))
    exchange, _ = ended
    exchange.trace = None
    off, ring = diary(decisions={"requests": 0}), diary()
    unsampled = diary(tracing={"endpoint": NOWHERE, "share": 0.0, "notable_per_s": 0})
    sampled = diary(tracing={"endpoint": NOWHERE, "share": 1.0, "follow_parent": False})
    tries = list(exchange.tries)
    found = {"marks on its way": us(marks(exchange), times)}
    exchange.tries = tries
    found["end, nothing kept"] = us(ending(off, ended), times)
    found["end, ring on"] = us(ending(ring, ended), times)
    found["context, traces on"] = us(beginning(unsampled, exchange), times)
    found["end, ring on, trace not sampled"] = us(ending(unsampled, ended), times)
    beginning(sampled, exchange)()
    found["end, ring on, trace sampled"] = us(ending(sampled, ended), times)
    kept = sampled.ring
    assert isinstance(kept, Ring)
    entry = kept.latest[-1]
    spans, story = Spans("headrace", "0"), entry.tell()
    few = max(1, times // 50)
    found["beside: put into words"] = us(entry.tell, few)
    found["beside: as JSON"] = us(lambda: msgspec.json.encode(story), few)
    found["beside: spans and protobuf"] = us(lambda: _exported(spans, story), few)
    return found


def _exported(spans: Spans, story: Story) -> bytes:
    encoded: bytes = encode_spans(spans.of(story)).SerializeToString()
    return encoded


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--replicas", type=int, default=8)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = measure(options.requests, options.replicas)
    if options.json:
        print(json.dumps({name: round(value, 2) for name, value in found.items()}, indent=2))
        return
    print(f"us for each request, {options.replicas} replicas, the best of {ROUNDS} rounds")
    for name, value in found.items():
        print(f"{name:<36} {value:8.2f}")


if __name__ == "__main__":
    main()
