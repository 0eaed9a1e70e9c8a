"""An engine in time that only passes when everybody waits: hours of probes in a second."""

import asyncio
import selectors
from collections.abc import Coroutine
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from headrace.engines.calibrate.session import Session, Survey
from headrace.engines.calibrate.target import Answer, Facts, Load, Refused
from headrace.engines.sim import text
from headrace.engines.sim.cost import Preset
from headrace.engines.sim.engine import Engine, Job, limits
from headrace.engines.sim.scheduler import Sequence
from headrace.engines.sim.tally import Tally

Result = TypeVar("Result")


class _Selector(selectors.DefaultSelector):
    """Waits for nobody; the time that it was to wait is skipped."""

    now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        found = super().select(0)
        if not found and timeout:
            self.now += timeout
        return found


class Loop(asyncio.SelectorEventLoop):
    """An event loop whose clock jumps to the next timer."""

    def __init__(self) -> None:
        self._skipping = _Selector()
        super().__init__(self._skipping)

    def time(self) -> float:
        return self._skipping.now


def run(work: Coroutine[Any, Any, Result]) -> Result:
    """Run in such time."""
    with asyncio.Runner(loop_factory=Loop) as runner:
        return runner.run(work)


class Quiet:
    """Nothing is wrong with the engine."""

    def slowness(self) -> float:
        return 1.0

    def hangs(self) -> bool:
        return False

    def full(self) -> bool:
        return False


@dataclass(frozen=True)
class Habits:
    """What an engine may be like, beside its preset."""

    metrics: bool = True
    tells_length: bool = True
    strangers: int = 0  # requests of others while it is calibrated
    busy: int = 0
    longest: int = 4096


class Imitation:
    """A simulated engine without HTTP (``session.Subject``)."""

    url = "http://engine"

    def __init__(self, preset: Preset, habits: Habits = Habits(), **given: int) -> None:
        bounds = limits(preset, max_model_len=habits.longest, **given)
        self.preset = replace(preset, max_num_seqs=bounds.max_num_seqs)
        self.engine = Engine(preset, bounds, asyncio.get_running_loop(), Quiet(), Tally("m", 8192))
        self.habits = habits
        self.asked = 0

    @property
    def facts(self) -> Facts:
        bounds, told = self.engine.limits, self.habits.metrics
        return Facts(
            kind="vllm",
            version="0.32.0",
            model="m",
            max_model_len=self.habits.longest if self.habits.tells_length else None,
            kv_tokens=bounds.num_gpu_blocks * bounds.block_size if told else None,
            block_size=bounds.block_size if told else None,
        )

    async def load(self) -> Load | None:
        if not self.habits.metrics:
            return None
        strangers = self.habits.strangers if self.asked else 0
        running = self.engine.running + self.habits.busy
        return Load(running, self.engine.waiting, self.asked + strangers)

    async def complete(self, prompt: str, tokens: int) -> Answer:
        loop = asyncio.get_running_loop()
        pieces = text.tokens(prompt)
        if len(pieces) + tokens > self.habits.longest:
            raise Refused(400, "too long")
        self.asked += 1
        arrivals: list[tuple[float, int]] = []
        done = loop.create_future()

        def listener(produced: int) -> None:
            arrivals.append((loop.time(), produced))
            if produced == tokens:
                done.set_result(None)

        names = text.Names([*pieces, *["x"] * tokens], self.engine.limits.block_size)
        job = Job(Sequence(len(pieces), tokens, names), listener, tokens)
        sent = loop.time()
        self.engine.add(job)
        try:
            await done
        except asyncio.CancelledError:
            self.engine.abort(job)
            raise
        return Answer(sent, tuple(arrivals), len(pieces), job.sequence.cached)


async def surveyed(
    preset: Preset, time_s: float = 60.0, habits: Habits = Habits(), **given: int
) -> Survey:
    """What a calibration of such an engine sees."""
    target = Imitation(preset, habits, **given)
    loop = asyncio.get_running_loop()
    session = Session(target, target.facts, lambda _: None, "nonce", loop.time)
    return await session.run(time_s)
