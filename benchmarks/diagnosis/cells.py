"""One cell of the benchmark: a fault, a severity, a workload, a seed, and what was said of it."""

from typing import NamedTuple

from benchmarks.diagnosis.scenarios import END_S, ONSET_S, Control, Scenario, Workload
from headrace.diagnose.finding import Diagnosis
from headrace.diagnose.table import diagnose

SINCE_S = 900.0
STEP_S = 10.0
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


def fault(scenario: Scenario, severity: int, workload: Workload, seed: int) -> Cell:
    """Run one fault, and ask every ten seconds."""
    world = workload.world(seed)
    world.run(ONSET_S + 0.5)
    scenario.inject(world, severity)
    after_s, said = -1.0, None
    at_s = ONSET_S + 2 * STEP_S
    while at_s <= END_S + 0.1:
        world.run(at_s + 0.6)
        said = diagnose(world.snapshot(), SINCE_S)
        if not _right(scenario, said):
            after_s = -1.0
        elif after_s < 0:
            after_s = at_s - ONSET_S
        at_s += STEP_S
    assert said is not None
    return Cell(
        scenario.name, severity, workload.name, seed, scenario.held or workload.held,
        scenario.expected, said.finding.name, _right(scenario, said), after_s, said.finding.summary,
    )  # fmt: skip


def healthy(control: Control, workload: Workload, seed: int) -> list[Cell]:
    """Run a fleet in which nothing is wrong, and ask some times."""
    world = workload.world(seed, control.shape)
    if control.happen is not None:
        control.happen(world)
    cells = []
    for at_s in JUDGED_S:
        world.run(at_s + 0.6)
        said = diagnose(world.snapshot(), SINCE_S)
        cells.append(
            Cell(
                f"healthy: {control.name}", 0, workload.name, seed, workload.held, ("nothing",),
                said.finding.name, said.finding.name == "nothing", at_s, said.finding.summary,
            )
        )  # fmt: skip
    return cells


def _right(scenario: Scenario, said: Diagnosis) -> bool:
    named = said.finding.name in scenario.expected
    return named and (not scenario.phase or said.finding.phase == scenario.phase)
