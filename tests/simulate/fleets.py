"""Small traces and fleets for the tests of the simulation."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import count
from typing import Generic, TypeVar

from headrace.engines.sim.cost import Preset
from headrace.engines.sim.presets import PRESETS
from headrace.simulate.engine import Engine, Job
from headrace.simulate.policy import Immediate
from headrace.simulate.trace import Request, Trace

H100 = PRESETS["h100-8b"]
BLOCK = 512
Kind = TypeVar("Kind", bound=Immediate)


def request(
    number: int,
    arrival_s: float = 0.0,
    prompt_tokens: int = 2000,
    output_tokens: int = 20,
    blocks: Sequence[int] = (),
    session: int = 0,
) -> Request:
    """A request; what ``blocks`` does not name is shared with nobody."""
    return Request(number, arrival_s, prompt_tokens, output_tokens, tuple(blocks), session)


def trace(*requests: Request) -> Trace:
    """They come in this order."""
    return Trace("test", BLOCK, requests)


def families(
    requests: int, prefixes: int, every_s: float, prompt_tokens: int = 6000, output_tokens: int = 40
) -> Trace:
    """
    A stream of requests in turn from so many families, each with eight blocks in common, in an
    order that is not that of any router.
    """
    fresh = count(1_000_000)
    whole = prompt_tokens // BLOCK
    return trace(
        *(
            request(
                number,
                number * every_s,
                prompt_tokens,
                output_tokens,
                [
                    *range(family * 100, family * 100 + 8),
                    *(next(fresh) for _ in range(whole - 8)),
                ],
                family,
            )
            for number in range(requests)
            for family in [(number * 7919 + number // 5) % prefixes]
        )
    )


def small(kv_tokens: int, preset: Preset = H100) -> Preset:
    """A GPU with so little room for keys and values."""
    return replace(preset, name=f"{preset.name}-small", kv_tokens=kv_tokens)


class Bench(Generic[Kind]):
    """A policy before a few engines that do nothing."""

    def __init__(self, policy: Kind, replicas: int = 3) -> None:
        self.policy = policy
        self.fleet = {number: Engine(number, H100, BLOCK) for number in range(replicas)}
        policy.begin(self.fleet, BLOCK, 1)
        for number in self.fleet:
            policy.joined(number, 0.0)
        self._number = 0

    def send(self, blocks: Sequence[int] = (), tokens: int = 1100, session: int = 0) -> int:
        """Where the next request goes; it stays there."""
        return self.sent(blocks, tokens, session).replica

    def sent(self, blocks: Sequence[int] = (), tokens: int = 1100, session: int = 0) -> Job:
        """The same, for those who want to end it."""
        self._number += 1
        job = Job(request(self._number, 0.0, tokens, 5, blocks, session))
        self.policy.offer(job, 0.0)
        ((_, job.replica),) = self.policy.due(0.0)
        return job
