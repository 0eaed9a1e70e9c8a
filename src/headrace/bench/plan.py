"""What is sent, and when: requests from distributions or from a trace, at a rate or one by one."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from random import Random
from typing import Literal

from headrace.bench.sizes import Sizes, block, prose
from headrace.simulate.trace import BLOCK_TOKENS, read, replay

Arrivals = Literal["poisson", "constant", "gamma"]


@dataclass(frozen=True, slots=True)
class Job:
    """One request: when it is due (s after the start; 0 where at once) and what it says."""

    number: int
    due_s: float
    prompt: str
    output_tokens: int


@dataclass(frozen=True, slots=True)
class Shape:
    """
    What requests are like. ``prefix`` tokens begin all prompts alike, as a system prompt does.
    """

    prompts: Sizes
    outputs: Sizes
    prefix: int = 0
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Step:
    """
    One level of load: a rate (requests per second, open loop) or a number of requests at a time
    (closed loop), for so many requests or so long.
    """

    rate: float | None
    concurrency: int | None
    jobs: Sequence[Job] = field(repr=False)
    duration_s: float | None = None

    @property
    def name(self) -> str:
        """How tables call it."""
        if self.concurrency is not None:
            return f"{self.concurrency} at a time"
        return "trace" if self.rate is None else f"{self.rate:g}/s"


def due(rate: float, count: int, arrivals: Arrivals, burstiness: float, seed: int) -> list[float]:
    """
    When requests are due, s: a Poisson process, a clock, or gamma-distributed gaps, whose
    ``burstiness`` is their shape (1 is Poisson, less comes in bursts), as vLLM's bench has it.
    """
    random = Random(f"arrivals {seed}")
    shape = 1.0 if arrivals == "poisson" else burstiness
    gaps: Iterator[float] = (
        1 / rate if arrivals == "constant" else random.gammavariate(shape, 1 / (rate * shape))
        for _ in range(count)
    )
    times = list(accumulate(gaps))
    # Chance must not change the load: scaled so that the last is due where its rate says.
    factor = (count / rate) / times[-1] if times else 1.0
    return [time * factor - (times[0] * factor if times else 0.0) for time in times]


def jobs(shape: Shape, times: Sequence[float]) -> list[Job]:
    """A request for each time, drawn from the shape; the seed says which."""
    random = Random(f"jobs {shape.seed}")
    prefix = prose(shape.prefix, Random(f"prefix {shape.seed}")) + " " if shape.prefix else ""
    found = []
    for number, time in enumerate(times):
        own = max(1, shape.prompts.draw(random) - shape.prefix)
        text = prefix + prose(own, random)
        found.append(Job(number, time, text, shape.outputs.draw(random)))
    return found


def recorded(path: Path, speed: float, limit: int | None, seed: int) -> list[Job]:
    """
    The requests of a trace, ``speed`` times faster than recorded. Prompts that begin alike in the
    trace begin alike here: each of its blocks is 512 tokens of the same text.

    Raises:
        ConfigError: the file cannot be read, or is no trace.

    """
    found = []
    for request in replay(path.name, read(path, limit), speed, seed).requests:
        blocks = [block(name, BLOCK_TOKENS) for name in request.blocks]
        rest = request.prompt_tokens - BLOCK_TOKENS * len(blocks)
        own = prose(max(1, rest), Random(f"request {seed} {request.number}"))
        prompt = " ".join([*blocks, own])
        found.append(Job(request.number, request.arrival_s, prompt, request.output_tokens))
    start = found[0].due_s
    return [Job(job.number, job.due_s - start, job.prompt, job.output_tokens) for job in found]
