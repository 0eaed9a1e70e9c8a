"""
The same faults before the real gateway: HTTP, its own client, simulated vLLM engines with faults
set in them, ten times faster than real. ``python -m benchmarks.diagnosis.real`` takes a minute for
each fault; it shows that what the simulation measures is what a gateway says.
"""

import argparse
import asyncio
import time
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any, NamedTuple

import httpx2

from headrace.config.schema import Config
from headrace.config.simulator import Fault, Simulator
from headrace.diagnose.finding import Diagnosis
from headrace.diagnose.table import diagnose
from headrace.engines.sim.server import Server
from headrace.gateway.app import Gateway

SPEED = 10.0
INTERVAL_S = 0.5  # five seconds of theirs
RATE = 12.0  # requests per second
USUAL_S, FAULT_S = 25.0, 9.0
PROMPT = "Tell me about water wheels, mills and their headraces. " * 12


class Stage(NamedTuple):
    """What runs: the engines, the gateway, and what clients ask."""

    server: Server
    gateway: Gateway
    load: "Load"


class Load:
    """Open-loop clients. Attributes may be changed while it runs."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.rate, self.model, self.words, self.answer = RATE, "sim", 1.0, 200
        self.ended = 0

    async def run(self) -> None:
        random = Random(1)
        async with (
            httpx2.AsyncClient(timeout=60, trust_env=False) as client,
            asyncio.TaskGroup() as group,
        ):
            while True:
                group.create_task(self._ask(client, random.random()))
                await asyncio.sleep(random.expovariate(self.rate))

    async def _ask(self, client: httpx2.AsyncClient, chance: float) -> None:
        text = f"{chance} " + PROMPT * max(1, int(self.words))
        body = {
            "model": self.model, "stream": True,
            "max_tokens": self.answer, "min_tokens": self.answer,
            "messages": [{"role": "user", "content": text}],
        }  # fmt: skip
        url = f"{self.url}/v1/chat/completions"
        try:
            async with client.stream("POST", url, json=body) as answer:
                async for _ in answer.aiter_raw():
                    pass
        except httpx2.TransportError:
            return
        self.ended += 1


async def main() -> None:
    """Each fault once, or those that are named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("faults", nargs="*", help=f"of {', '.join(FAULTS)}")
    for name in parser.parse_args().faults or FAULTS:
        expected, inject = FAULTS[name]
        began = time.monotonic()
        found = await once(inject)
        right = "right" if found.finding.name == expected else f"WRONG, not {expected}"
        print(f"{name}: {found.finding.name} ({right}): {found.finding.summary}", flush=True)
        print(f"  {time.monotonic() - began:.0f} s", flush=True)


async def once(inject: Callable[[Stage], Awaitable[None]]) -> Diagnosis:
    """As usual, then the fault, then the question."""
    server = Server(Simulator(port=0, replicas=3, speed=SPEED, preset="l40s-8b", answer_tokens=60))
    await server.start()
    tree: dict[str, Any] = {
        "server": {"port": 0},
        "backends": [{"url": url, "serves": ["sim"]} for url in server.urls],
        "diagnosis": {"interval_s": INTERVAL_S},
        "routing": {"policy": "round_robin"},  # so little load would all go to one cache
        "load": {"interval_s": INTERVAL_S / 2},
        "logging": {"requests": False, "file": "/dev/null"},
    }
    gateway = Gateway(Config.model_validate(tree))
    await gateway.start()
    load = Load(gateway.url)
    task = asyncio.create_task(load.run())
    try:
        await asyncio.sleep(USUAL_S)
        await inject(Stage(server, gateway, load))
        await asyncio.sleep(FAULT_S)
        recorder = gateway.instruments.recorder
        assert recorder is not None
        return diagnose(recorder.snapshot(), 900.0 * INTERVAL_S / 5, "sim")
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await gateway.stop(drain_s=0)
        await server.stop()


async def _nothing(_: Stage) -> None:
    pass


def _engine(**fault: Any) -> Callable[[Stage], Awaitable[None]]:
    async def inject(stage: Stage) -> None:
        stage.server.replicas[1].faults.add(Fault(**fault))

    return inject


async def _more(stage: Stage) -> None:
    stage.load.model = "unknown"


async def _longer(stage: Stage) -> None:
    stage.load.answer *= 3


async def _prompts(stage: Stage) -> None:
    stage.load.words = 6.0


FAULTS: dict[str, tuple[str, Callable[[Stage], Awaitable[None]]]] = {
    "nothing": ("nothing", _nothing),
    "slow replica": ("slow-replica", _engine(kind="slow", factor=4)),
    "stuck replica": ("stuck-replica", _engine(kind="hang")),
    "errors of one": ("upstream-errors", _engine(kind="error", share=0.4)),
    "unknown model": ("unknown-model", _more),
    "long answers": ("long-outputs", _longer),
    "long prompts": ("long-prompts", _prompts),
}


if __name__ == "__main__":
    asyncio.run(main())
