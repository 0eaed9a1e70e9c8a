"""
What limits cost, in microseconds for each request, measured in one process: held, told in the head
and settled; in memory, and with a Redis on this machine, where it is a round trip.

    uv run python -m benchmarks.limits [--requests 20000]
"""

import argparse
import asyncio
import socket
import tempfile
import time
from pathlib import Path
from typing import Any

from headrace.gateway.app import Gateway
from headrace.gateway.exchange import Exchange
from headrace.telemetry.records import Record
from tests.edge.rig import Rig, ask, eventually
from tests.state.server import RedisServer

ROUNDS = 100  # short ones: some of them nothing disturbs
MUCH = 10**9
THREE = {"requests_per_minute": MUCH, "tokens_per_minute": MUCH, "concurrent_requests": MUCH}
ALL = {
    **THREE,
    "input_tokens_per_minute": MUCH,
    "output_tokens_per_minute": MUCH,
    "tokens_per_day": 10**12,
    "cost_per_month": 10**6,
}
PRICES = {"prices": {"tokens": [{"model": "m", "input": 1, "output": 2}]}}
BODY = ask(messages=[{"role": "user", "content": "word " * 480}], max_tokens=100)  # 2.4 kB

IN_MEMORY: dict[str, dict[str, Any]] = {
    "in memory, 1 limit": {"limits": {"tenant": {"requests_per_minute": MUCH}}},
    "in memory, 3 limits": {"limits": {"tenant": THREE}},
    "in memory, 3 limits and max_tokens": {"limits": {"tenant": {**THREE, "max_tokens": 100}}},
    "in memory, 7 limits with money": {"limits": {"tenant": ALL}, "metering": PRICES},
}

Ended = tuple[Gateway, Exchange, Record, bytes]


async def one_request(rig: Rig, **sections: Any) -> Ended:
    """A real request through a real gateway with these limits."""
    await rig.engine()
    gateway = await rig.gateway(**sections)
    found: list[tuple[Exchange, Record]] = []
    gateway.hears = (*gateway.hears, lambda exchange, record: found.append((exchange, record)))
    await rig.post(BODY)
    exchange, record = found[0]
    return gateway, exchange, record, bytes(rig.engines[0].exchanges[-1].body)


async def passes(ended: Ended) -> None:
    """What limits do with a request."""
    gateway, exchange, record, body = ended
    exchange.lines = exchange.answer_id = b""
    for gate in gateway.quota.gates():
        await gate(exchange, body)
    for hear in gateway.quota.hears():
        hear(exchange, record)


async def in_memory(times: int, **sections: Any) -> float:
    """Microseconds of CPU for one request: the least of some rounds' averages."""
    rig = Rig()
    ended = await one_request(rig, **sections)
    rounds, each = [], max(1, times // ROUNDS)
    for _ in range(ROUNDS):
        began = time.thread_time()  # of CPU, whoever else wants it
        for _ in range(each):
            await passes(ended)
        rounds.append((time.thread_time() - began) / each * 1e6)
    await rig.close()
    return min(rounds)


async def in_redis(times: int, **sections: Any) -> tuple[float, ...]:
    """Milliseconds of requests one after the other: percentiles 10, 50 and 99; us of CPU."""
    rig = Rig()
    with (
        tempfile.TemporaryDirectory(prefix="hr-", dir="/tmp") as folder,
        RedisServer(Path(folder), "--appendfsync", "everysec", port=_port()) as server,
    ):
        state = {"url": server.url, "timeout_s": 5}
        ended = await one_request(rig, state=state, **sections)
        took: list[float] = []
        cpu = time.process_time()
        for _ in range(times):
            began = time.perf_counter()
            await passes(ended)
            took.append((time.perf_counter() - began) * 1000)
        shared = ended[0].quota.purse.shared
        if shared is not None:
            await eventually(lambda: not shared.waiting, timeout_s=60)
        cpu = time.process_time() - cpu
        await rig.close()
    took.sort()
    return *(took[int(share * len(took))] for share in (0.1, 0.5, 0.99)), cpu / times * 1e6


def _port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=20_000)
    times = parser.parse_args().requests
    print("us of CPU for each request, in one process, body of 2.4 kB")
    off = asyncio.run(in_memory(times, limits={}))
    print(f"{'off':<44}{off:8.2f}")
    for name, sections in IN_MEMORY.items():
        print(f"{name:<44}{asyncio.run(in_memory(times, **sections)) - off:8.2f}")
    few = max(100, times // 20)
    for name, limits in {"Redis, 3 limits": THREE, "Redis, 7 limits with money": ALL}.items():
        found = asyncio.run(in_redis(few, limits={"tenant": limits}, metering=PRICES))
        times_ms = "{:.2f} ms p10, {:.2f} ms p50, {:.2f} ms p99".format(*found[:3])
        print(f"{name:<44}{found[3]:8.0f} us of CPU; {times_ms}")


if __name__ == "__main__":
    main()
