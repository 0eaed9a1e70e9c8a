"""pressure.py: what gives way when a queue grows, when that begins and ends, and what it says."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from headrace.conformance import answers
from headrace.conformance.answers import after
from headrace.gateway.app import Gateway
from headrace.gateway.place.pressure import LOOK_S
from headrace.routing.drain import Drain
from headrace.routing.lane import Ask
from tests.edge.rig import Rig, ask, eventually, openai_error
from tests.engines.sim.rig import simulator
from tests.gateway.place.test_placement import long
from tests.gateway.place.test_usher import LOW, value

STEP = {"name": "busy", "above_s": 4, "below_s": 2, "hold_s": 0}
MODELS = ("m", "small")


class Told(Drain):
    """A line that says of itself how long one would wait in it."""

    def __init__(self, gateway: Gateway, model: str = "m") -> None:
        pool = gateway.placement.models[model].pool
        super().__init__(pool.line)
        pool.drain = self
        self.says_s = 0.0

    def longest_s(self, rank: int, now: float) -> float | None:
        return self.says_s

    def wait_s(self, ask: Ask, now: float) -> float | None:
        return 0.0


class Stage:
    """A gateway with two models, the first of whose lines is not empty and as long as is said."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.go = asyncio.Event()
        self.tasks: list[asyncio.Task[Any]] = []

    async def start(self, *steps: dict[str, Any], **sections: Any) -> Gateway:
        first = await self.rig.engine(after(self.go, answers.like_vllm))
        second = await self.rig.engine()
        backends = [
            {"url": engine.url, "name": model, "serves": [model]}
            for engine, model in zip((first, second), MODELS, strict=True)
        ]
        gateway = await self.rig.gateway(
            models=[{"name": model} for model in MODELS],
            backends=backends,
            routing={"gate_tokens": 256},
            pressure={"steps": [STEP | step for step in steps]},
            **sections,
        )
        for number in range(2):
            self.tasks.append(asyncio.create_task(self.rig.post(long(number))))
        await eventually(lambda: gateway.placement.models["m"].pool.waiting == 1)
        self.line = Told(gateway)
        return gateway

    async def wait(self, says_s: float) -> None:
        """From now on the line is so long, and that has been seen."""
        self.line.says_s = says_s
        await asyncio.sleep(1.5 * LOOK_S)

    async def end(self) -> None:
        self.go.set()
        assert [200, 200] == [(await task).status for task in self.tasks]


async def test_a_smaller_model_answers(rig: Rig) -> None:
    """While the wait is too long the other model answers, and the answer says so; then no more."""
    stage = Stage(rig)
    gateway = await stage.start({"fallback": "small"})
    await stage.wait(4.5)
    answer = await rig.post(ask())
    assert ("small", "small") == (
        answer.header("x-headrace-model"), answer.header("x-headrace-replica")
    )  # fmt: skip
    assert "small" == gateway.records[0].served
    labels = {"step": "busy", "action": "fell_back"}
    assert 1.0 == value(gateway, "headrace_pressure_requests_total", **labels)
    assert 1.0 == value(gateway, "headrace_pressure_active", model="m", step="busy")
    await stage.wait(1.0)
    stage.tasks.append(asyncio.create_task(rig.post(ask())))
    await eventually(lambda: gateway.placement.models["m"].pool.waiting == 2)
    stage.go.set()

    assert [200] * 3 == [(await task).status for task in stage.tasks]
    assert "x-headrace-model" not in stage.tasks[-1].result().headers
    assert 0.0 == value(gateway, "headrace_pressure_active", model="m", step="busy")


async def test_the_log_says_when(rig: Rig, tmp_path: Path) -> None:
    """A step that begins and one that ends are events, with the wait that was predicted."""
    file = tmp_path / "log"
    stage = Stage(rig)
    gateway = await stage.start({"fallback": "small"}, logging={"file": str(file)})
    for says_s in (4.5, 1.0):
        await stage.wait(says_s)
        gateway.pipeline.pressure.seen()
    await stage.end()
    await asyncio.to_thread(gateway.log.flush)
    told = [json.loads(line) for line in file.read_text().splitlines() if '"pressure_' in line]

    assert [("pressure_began", "busy", "m", 4.5), ("pressure_ended", "busy", "m", 1.0)] == [
        (each["event"], each["step"], each["model"], each["wait_s"]) for each in told
    ]


async def test_it_does_not_flap(rig: Rig) -> None:
    """Between the two limits it stays what it was; and it lasts as long as it must."""
    stage = Stage(rig)
    gateway = await stage.start({"fallback": "small"}, {"name": "held", "max_tokens": 9,
                                                       "hold_s": 3600})  # fmt: skip
    active = []
    for says_s in (3.0, 5.0, 3.0, 1.0):
        await stage.wait(says_s)
        felt = {each.step: each.begun for each in gateway.pipeline.pressure.seen()
                if each.model == "m"}  # fmt: skip
        active.append((felt["busy"], felt["held"]))

    assert [(False, False), (True, True), (True, True), (False, True)] == active
    await stage.end()


async def test_nobody_goes_to_a_busier_model(rig: Rig) -> None:
    """The other model does not answer where its own line is as long, or it has no replica."""
    stage = Stage(rig)
    gateway = await stage.start({"fallback": "small", "classes": ["interactive"]})
    await stage.wait(4.5)
    group = gateway.fleet.groups["small"]
    gateway.fleet.remove("small")
    await eventually(lambda: not group.replicas)
    stage.tasks.append(asyncio.create_task(rig.post(ask())))
    await eventually(lambda: gateway.placement.models["m"].pool.waiting == 2)
    stage.go.set()

    assert [200] * 3 == [(await task).status for task in stage.tasks]


@pytest.mark.parametrize(("given", "sent"), [({}, 50), ({"max_tokens": 400}, 50),
                                             ({"max_completion_tokens": 20}, None)])  # fmt: skip
async def test_answers_are_made_shorter(rig: Rig, given: dict[str, int], sent: int | None) -> None:
    """The engine gets the limit and the client hears of it; who asked for less is left alone."""
    stage = Stage(rig)
    gateway = await stage.start({"max_tokens": 50}, rules=[{"name": "any", "target": "m"}])
    await stage.wait(4.5)
    stage.tasks.append(asyncio.create_task(rig.post(ask() | given)))
    await eventually(lambda: gateway.placement.models["m"].pool.waiting == 2)
    stage.go.set()
    statuses = [(await task).status for task in stage.tasks]
    answer, seen = stage.tasks[-1].result(), rig.engines[0].exchanges[-1].json()

    assert [200] * 3 == statuses
    assert (None if sent is None else str(sent)) == answer.header("x-headrace-max-tokens")
    assert given | ({"max_tokens": sent} if sent else {}) == {
        name: value for name, value in seen.items() if name.startswith("max_")
    }


async def test_background_is_refused_first(rig: Rig) -> None:
    """A class that gives way is refused with a time to come back; others are not."""
    stage = Stage(rig)
    gateway = await stage.start({"shed": True, "classes": ["batch", "background"]})
    await stage.wait(7.3)
    refused = await rig.post(ask(), **LOW)
    stage.tasks.append(asyncio.create_task(rig.post(ask())))
    await eventually(lambda: gateway.placement.models["m"].pool.waiting == 2)
    stage.go.set()

    assert "busy" in openai_error(refused, 503, "shed")["message"]
    assert "8" == refused.header("retry-after")
    assert "rejected_shed" == gateway.records[0].outcome
    assert 1.0 == value(
        gateway, "headrace_queue_shed_total", **{"class": "batch", "reason": "pressure"}
    )
    assert [200] * 3 == [(await task).status for task in stage.tasks]


async def test_without_steps_nobody_is_asked(rig: Rig) -> None:
    """A gateway without steps has nothing of this in a request's way."""
    await rig.engine()
    gateway = await rig.gateway()

    assert () == gateway.pipeline.pressure.gates


async def test_simulated_engines_under_load(rig: Rig) -> None:
    """A slow engine's line grows until another model answers; when it is empty that is over."""
    async with (
        simulator(model="m", preset="l4-8b", speed=1) as large,
        simulator(model="small", preset="h100-8b") as little,
    ):
        backends = [
            {"url": server.urls[0], "name": model, "serves": [model]}
            for server, model in zip((large, little), MODELS, strict=True)
        ]
        step = {"name": "late", "above_s": 0.2, "hold_s": 0, "fallback": "small", "max_tokens": 3}
        gateway = await rig.gateway(
            models=[{"name": model} for model in MODELS],
            backends=backends,
            routing={"gate_tokens": 256},
            pressure={"steps": [step]},
        )
        flood = [
            asyncio.create_task(rig.post(long(number, 1500, max_tokens=2))) for number in range(6)
        ]
        felt = gateway.pipeline.pressure.seen
        await eventually(lambda: any(each.begun for each in felt()))
        answer = await rig.post(ask(max_tokens=40))
        assert ("small", "3") == (
            answer.header("x-headrace-model"), answer.header("x-headrace-max-tokens")
        )  # fmt: skip
        assert [200] * 6 == [(await task).status for task in flood]
        await eventually(lambda: not any(each.begun for each in felt()))
        calm = await rig.post(ask(max_tokens=2))

        assert (200, None) == (calm.status, calm.header("x-headrace-model"))
        assert 3 == next(each.tokens_out for each in gateway.records if each.served == "small")
        await rig.idle()
