"""
One cell of the benchmark: a fault, a severity, a workload, a seed, and what was said of it. What is
said does not change what happens, so that a run is first made, and then judged by its history.
"""

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from benchmarks.diagnosis.asks import EPOCH_S
from benchmarks.diagnosis.controls import Control
from benchmarks.diagnosis.scenarios import END_S, ONSET_S, Scenario, Workload
from benchmarks.diagnosis.world import World
from headrace.diagnose.finding import Diagnosis
from headrace.diagnose.history import History
from headrace.diagnose.table import diagnose

SINCE_S = 900.0
STEP_S = 10.0
READ_S = 0.6  # behind a full ten seconds, when that moment's reading has been taken
# A moment at which a healthy fleet is judged: not the same in every cell, but after enough history.
JUDGED_S = (240.0, 270.0, 300.0, 330.0, 360.0)


class Cell(NamedTuple):
    """``after_s`` is when the right name was first said and stayed: -1 for never."""

    scenario: str
    severity: int
    workload: str
    seed: int
    held: bool
    expected: tuple[str, ...]
    said: str
    right: bool
    after_s: float
    summary: str = ""


Chosen = Sequence[tuple[Scenario, int]]


def faults(chosen: Chosen, workload: Workload, seed: int) -> Iterator[History]:
    """
    The histories of some faults, each with its severity. All of them have the same past: it is
    lived through once, and each fault is a process that goes on from there.
    """
    world = workload.world(seed)
    world.run(ONSET_S + 0.5)
    for scenario, severity in chosen:
        yield _aside(_broken, world, scenario, severity)


def calm(control: Control, workload: Workload, seed: int) -> History:
    """The history of a fleet in which nothing is wrong."""
    world = workload.world(seed, control.shape)
    if control.happen is not None:
        control.happen(world)
    world.run(JUDGED_S[-1] + READ_S)
    return world.history


def judge(
    scenario: Scenario, severity: int, workload: Workload, seed: int, history: History
) -> Cell:
    """Ask every ten seconds from 20 s after the onset on."""
    after_s, said = -1.0, None
    at_s = ONSET_S + 2 * STEP_S
    while at_s <= END_S + 0.1:
        said = asked(history, at_s)
        if not _right(scenario, said):
            after_s = -1.0
        elif after_s < 0:
            after_s = at_s - ONSET_S
        at_s += STEP_S
    assert said is not None
    return Cell(
        scenario.name, severity, workload.name, seed, scenario.held,
        scenario.expected, said.finding.name, _right(scenario, said), after_s, said.finding.summary,
    )  # fmt: skip


def clear(control: Control, workload: Workload, seed: int, history: History) -> list[Cell]:
    """Ask some times."""
    cells = []
    for at_s in JUDGED_S:
        said = asked(history, at_s)
        cells.append(
            Cell(
                f"healthy: {control.name}", 0, workload.name, seed, control.held,
                ("nothing",), said.finding.name, said.finding.name == "nothing", at_s,
                said.finding.summary,
            )
        )  # fmt: skip
    return cells


def asked(history: History, at_s: float) -> Diagnosis:
    """What `headrace why` says at that moment."""
    return diagnose(history.snapshot(EPOCH_S + at_s + READ_S), SINCE_S)


# --- below -------------------------------------------------------------------------------------


def _right(scenario: Scenario, said: Diagnosis) -> bool:
    named = said.finding.name in scenario.expected
    return named and (not scenario.phase or said.finding.phase == scenario.phase)


def _broken(world: World, scenario: Scenario, severity: int) -> History:
    scenario.inject(world, severity)
    world.run(END_S + READ_S)
    return world.history


def _aside(
    work: Callable[[World, Scenario, int], History], world: World, scenario: Scenario, severity: int
) -> History:
    """Do it in a copy of this process, so that the world here stays as it is."""
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe(duplex=False)

    def tell() -> None:
        there.send(work(world, scenario, severity))

    child = context.Process(target=tell)
    child.start()
    there.close()
    try:
        found = here.recv()
    except EOFError:
        message = f"The run of {scenario.name} ended without a result; its error is above."
        raise RuntimeError(message) from None
    finally:
        child.join()
    assert isinstance(found, History)
    return found
