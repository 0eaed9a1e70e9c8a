"""What a judgement costs: time for a text, for a start, memory, and what the loop pays."""

import asyncio
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

from headrace.config.classes import Classes
from headrace.gateway.rules.classifier import Judging
from headrace.gateway.rules.embedding import Builtin
from headrace.routing.classify import Judge
from headrace.routing.features import excerpt, features
from headrace.telemetry.classes import ClassMetrics
from headrace.telemetry.metrics import Metrics
from headrace.telemetry.writer import Writer

REQUESTS = 200
COLD = """
import time; began = time.perf_counter()
import asyncio, gc
def held():
    gc.collect()
    return int(open("/proc/self/statm").read().split()[1]) / 256
from headrace.gateway.app import Gateway
from headrace.config.schema import Config
before, at = held(), time.perf_counter()
async def main():
    gateway = Gateway(Config.model_validate({
        "server": {"port": 0}, "models": [{"name": "a"}], "classes": {"enabled": True},
        "logging": {"file": "/dev/null"}}))
    await gateway.classes.start()
    print(time.perf_counter() - at, time.process_time(), held() - before)
    await gateway.classes.close()
asyncio.run(main())
"""


def measured(builtin: Builtin, judge: Judge, texts: Sequence[str]) -> dict[str, Any]:
    """All of it; ``texts`` are the evaluation's, as they are."""
    return {
        "in_thread_cpu_ms": _spread(_in_thread(builtin, judge, texts)),
        **asyncio.run(_in_gateway(texts)),
        **_cold(),
        "load_average": round(os.getloadavg()[0], 1),
    }


def _in_thread(builtin: Builtin, judge: Judge, texts: Sequence[str]) -> list[float]:
    spent = []
    for text in texts:
        began = time.thread_time()
        seen = excerpt(text)
        judge.classify(builtin.embed([seen])[0], features(seen))
        spent.append(time.thread_time() - began)
    return spent


async def _in_gateway(texts: Sequence[str]) -> dict[str, Any]:
    """As requests meet it: the hop to the thread and back, the deadline, the memory."""
    metrics = Metrics([], [])
    log = Writer(metrics, requests=False, console=False, file=None)
    judging = Judging(Classes(enabled=True), ClassMetrics(metrics.registry), log)
    await judging.start()
    fresh, late = [], 0
    for text in texts:
        began = time.perf_counter()
        late += (await judging.judge(text)).why == "late"
        fresh.append(time.perf_counter() - began)
    known = []
    for text in texts:
        began = time.perf_counter()
        await judging.judge(text)
        known.append(time.perf_counter() - began)
    on_loop = await _on_loop(judging)
    await judging.close()
    return {
        "fresh_ms": _spread(fresh),
        "late_at_15_ms": round(late / len(texts), 4),
        "remembered_ms": _spread(known),
        "loop_cpu_ms": on_loop,
    }


async def _on_loop(judging: Judging) -> dict[str, float]:
    """
    What one request costs the event loop: CPU time of its thread, in ms. Wall time would measure
    whatever else the machine does.
    """
    found = {}
    for name, words in (("short", b"prove this now"), ("400_kb", b"prove this now. " * 25_000)):
        body = [
            b'{"messages":[{"role":"user","content":"%d %s"}]}' % (number, words)
            for number in range(REQUESTS)
        ]
        began = time.thread_time()
        for each in body:
            await judging.of(each)
        found[name] = round((time.thread_time() - began) / REQUESTS * 1000, 3)
    return found


def _cold() -> dict[str, Any]:
    """A start in a fresh process, beyond that of the gateway itself."""
    done = subprocess.run(
        [sys.executable, "-c", COLD], check=True, capture_output=True, text=True, timeout=120
    )
    wall, cpu, megabytes = (float(word) for word in done.stdout.split()[:3])
    return {
        "cold_start_s": round(wall, 2),
        "cold_start_cpu_s": round(cpu, 2),
        "memory_mib": round(megabytes, 1),
    }


def _spread(seconds: Sequence[float]) -> dict[str, float]:
    cuts = statistics.quantiles(seconds, n=100)
    return {"p50": round(cuts[49] * 1000, 3), "p99": round(cuts[98] * 1000, 3)}
