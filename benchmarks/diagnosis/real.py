"""
The faults of the simulation, and others, for real: a gateway, three engines and what stands between
them as processes, HTTP, and the answer of the admin API. Engines are simulated, at real speed.

``python -m benchmarks.diagnosis.real`` takes some two minutes for each case, a few of them side by
side; it shows whether what the simulation measures is what a gateway says.
"""

import argparse
import asyncio
import json
import os
import signal
import sys
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.diagnosis.crowd import Crowd
from benchmarks.diagnosis.stage import TENANTS, Ports, Stage, interrupted, orderly

INTERVAL_S = 2.0  # between two readings; the gateway's default is 5 s, and all else takes longer
USUAL_S, FAULT_S = 80.0, 26.0  # 40 and 13 readings
BESIDE = 3  # cases at the same time
FOUND = "benchmarks/diagnosis/results/real.md"


class Play:
    """A running case: its stage and its clients."""

    def __init__(self, stage: Stage, crowd: Crowd, group: asyncio.TaskGroup) -> None:
        self.stage, self.crowd, self.group = stage, crowd, group
        self.ends: list[Callable[[], object]] = []

    def more(self, rate: float, *tenants: str) -> None:
        """Further clients, so many requests per second."""
        crowd = Crowd(self.stage, 99, tenants or TENANTS)
        crowd.rate = rate
        self.ends.append(self.group.create_task(crowd.run()).cancel)

    def end(self) -> None:
        """Undo what goes on by itself."""
        for end in self.ends:
            end()


Inject = Callable[[Play], Awaitable[None]]


@dataclass(frozen=True)
class Case:
    """A fault, and the names that are right for it."""

    expected: tuple[str, ...]
    inject: Inject
    stage: dict[str, Any] = field(default_factory=dict)


async def _nothing(_: Play) -> None:
    """All goes on as it did."""


def _engine(*numbers: int, **fault: Any) -> Inject:
    async def inject(play: Play) -> None:
        for number in numbers:
            await play.stage.fault(number, **fault)

    return inject


def _signal(number: signal.Signals) -> Inject:
    async def inject(play: Play) -> None:
        play.stage.engines[1].send(number)

    return inject


def _crowd(**changes: Any) -> Inject:
    async def inject(play: Play) -> None:
        for name, value in changes.items():
            setattr(play.crowd, name, value)

    return inject


def _times(factor: float, *tenants: str) -> Inject:
    async def inject(play: Play) -> None:
        play.more((factor - 1) * play.crowd.rate, *tenants)

    return inject


async def _redis(play: Play) -> None:
    assert play.stage.redis is not None
    play.stage.redis.send(signal.SIGSTOP)


async def _redis_gone(play: Play) -> None:
    assert play.stage.redis is not None
    play.stage.redis.send(signal.SIGKILL)


async def _storm(play: Play) -> None:
    """More come than engines can do; these say 503, and clients ask again at once."""
    play.crowd.resend = 5
    play.crowd.rate *= 5


async def _refusals(play: Play) -> None:
    """Engines say 503 with next to nothing to do, and clients ask again at once."""
    play.crowd.resend = 5
    for number in range(3):
        await play.stage.fault(number, kind="error", status=503, share=0.8)


async def _stopped(play: Play) -> None:
    """The gateway gets its core for a part of the time."""
    play.ends.append(interrupted(play.stage.gateway, 0.7))


async def _far(play: Play) -> None:
    play.stage.ways[1].delay_s = 0.15


async def _revoked(play: Play) -> None:
    play.stage.secrets["acme"] = "hr-gone"


# Engines of which the usual fills less than half; what is too much waits here, or there is refused.
SMALL = {"max_num_seqs": 6}
QUICK = {"engine": {"speed": 4.0}}  # so that answers are long within the time
FULL = {**SMALL, "max_num_queued_reqs": 8}
CASES = {
    "nothing": Case(("nothing",), _nothing),
    "slow replica": Case(("slow-replica",), _engine(1, kind="slow", factor=3)),
    "all engines slow": Case(("slow-fleet",), _engine(0, 1, 2, kind="slow", factor=2.5)),
    "engine makes no token": Case(("stuck-replica",), _engine(1, kind="hang")),
    "engine's process stopped": Case(("stuck-replica", "replica-down"), _signal(signal.SIGSTOP)),
    "engine killed": Case(("replica-down",), _signal(signal.SIGKILL)),
    "errors of one": Case(("upstream-errors",), _engine(1, kind="error", share=0.4)),
    "errors of all": Case(("upstream-errors",), _engine(0, 1, 2, kind="error", share=0.4)),
    "full engines, clients ask again": Case(("retry-storm",), _storm, {"engine": FULL}),
    # An engine that says 503 fails if it has nothing to do, and refuses if it has: these do both.
    "engines say 503, clients ask again": Case(("upstream-errors", "retry-storm"), _refusals),
    "slow way to one": Case(("network-latency",), _far, {"ways": True}),
    "unknown model": Case(("unknown-model",), _crowd(unknown=0.5)),
    "a key revoked": Case(("auth-failures",), _revoked),
    "long answers": Case(("long-outputs",), _crowd(answer=240)),
    "long prompts": Case(("long-prompts",), _crowd(sentences=80)),
    "more demand": Case(("capacity",), _times(5.0), {"engine": SMALL}),
    "noisy tenant": Case(("noisy-tenant",), _times(5.0, "globex"), {"engine": SMALL}),
    "clients gone": Case(("traffic-drop",), _crowd(rate=0.01)),
    "clients that do not read": Case(
        ("slow-clients",), _crowd(frozen=0.4), {"engine": {"speed": 4.0}}
    ),
    "clients that give up": Case(("client-aborts",), _crowd(patience_s=0.045)),
    "Redis stands still": Case(("state-slow",), _redis, {"redis": True}),
    "Redis killed": Case(("state-slow",), _redis_gone, {"redis": True}),
    "gateway without its core": Case(("gateway-saturated",), _stopped),
}


async def once(case: Case, seed: int, folder: Path, ports: Ports) -> dict[str, Any]:
    """As usual, then the fault, then the question; its answer."""
    async with Stage(folder, ports, INTERVAL_S, **case.stage) as stage:
        crowd = Crowd(stage, seed)
        async with asyncio.TaskGroup() as group:
            task = group.create_task(crowd.run())
            play = Play(stage, crowd, group)
            try:
                await asyncio.sleep(USUAL_S)
                await case.inject(play)
                await asyncio.sleep(FAULT_S)
                found = await stage.why()
            finally:  # or a gateway that gets no core would take long to end
                play.end()
                task.cancel()
        return {**found, "statuses": crowd.ended}


async def many(names: list[str], times: int, beside: int, keep: Path | None) -> list[list[str]]:
    """All of them; a row for each with what was named."""
    places, ports = asyncio.Semaphore(beside), Ports(20_000 + os.getpid() % 10_000)
    rows: list[list[str]] = [[] for _ in names]

    async def run(row: int, seed: int) -> None:
        name = names[row]
        async with places:
            with tempfile.TemporaryDirectory() as folder:
                found = await once(CASES[name], seed, Path(folder), ports)
        if keep is not None:
            words = name.replace(" ", "-").replace("'", "")
            (keep / f"{words}-{seed}.json").write_text(json.dumps(found, indent=1))
        said = found["finding"]["name"]
        rows[row].append(said)
        right = "right" if said in CASES[name].expected else "WRONG"
        also = ", ".join(each["name"] for each in found["also"])
        print(f"{name}: {said} ({right}){f'; also {also}' if also else ''}", flush=True)
        print(f"    {found['finding']['summary']}", flush=True)

    async with asyncio.TaskGroup() as group:
        for seed in range(times):
            for row in range(len(names)):
                group.create_task(run(row, seed))
    return rows


def table(names: list[str], rows: list[list[str]]) -> str:
    """What was said, as a table of Markdown."""
    lines = ["| what goes wrong | right | of | said |", "|---|---:|---:|---|"]
    for name, said in zip(names, rows, strict=True):
        right = sum(each in CASES[name].expected for each in said)
        words = ", ".join(f"`{each}`" for each in sorted(set(said)))
        lines.append(f"| {name} | {right} | {len(said)} | {words} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Each case, or those that are named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="*", help=f"of: {'; '.join(CASES)}")
    parser.add_argument("--times", type=int, default=1, help="how often each")
    parser.add_argument("--beside", type=int, default=BESIDE, help="cases at the same time")
    parser.add_argument("--keep", type=Path, help="a folder for the answers, as JSON")
    parser.add_argument("--write", action="store_true", help=f"write the table to {FOUND}")
    given = parser.parse_args()
    unknown = [name for name in given.cases if name not in CASES]
    if unknown:
        parser.error(f"there is no case {unknown[0]!r}; there are: {'; '.join(CASES)}")
    names = given.cases or [*CASES]
    if given.keep is not None:
        given.keep.mkdir(parents=True, exist_ok=True)
    rows = orderly(many(names, given.times, given.beside, given.keep))
    text = table(names, rows)
    print(text)
    if given.write:
        Path(FOUND).write_text(text)
    wrong = sum(e not in CASES[n].expected for n, r in zip(names, rows, strict=True) for e in r)
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main()
