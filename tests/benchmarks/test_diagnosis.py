"""The benchmark of the diagnosis: some of its cells, and that its tables add up."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks.diagnosis.__main__ import held, jobs, run, sample
from benchmarks.diagnosis.cells import Cell, calm, clear, faults, judge
from benchmarks.diagnosis.controls import CONTROLS
from benchmarks.diagnosis.progress import Progress
from benchmarks.diagnosis.report import chart, tables
from benchmarks.diagnosis.scenarios import SCENARIOS, WORKLOADS
from headrace.diagnose.table import NAMES
from headrace.errors import StartError

CHAT = WORKLOADS[0]
BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}


NAMED = ("stuck GPU", "errors of one", "more demand", "slow Redis", "unknown model", "slow guard",
         "adapters thrash", "empty answers of one", "limit of one tenant")  # fmt: skip


def cells(names: Sequence[str], seed: int) -> list[Cell]:
    chosen = [(BY_NAME[name], 1) for name in names]
    histories = zip(chosen, faults(chosen, CHAT, seed), strict=True)
    return [judge(scenario, 1, CHAT, seed, history) for (scenario, _), history in histories]


def test_faults_are_named() -> None:
    """Within a minute of their onset, by the gateway's own metrics, history and table."""
    found = cells(NAMED, 11)

    assert [BY_NAME[name].expected[0] for name in NAMED] == [cell.said for cell in found]
    assert all(0 < cell.after_s <= 60 for cell in found)


def test_a_healthy_fleet_is_well() -> None:
    """Nothing is said of a fleet in which nothing is wrong."""
    found = clear(CONTROLS[0], CHAT, 11, calm(CONTROLS[0], CHAT, 11))

    assert {"nothing"} == {cell.said for cell in found}


def test_equal_seeds_give_equal_runs() -> None:
    """A cell can be run again, and what is run before it does not change it."""
    assert cells(["replica down"], 12) == cells(["errors of one", "replica down"], 12)[1:]


def test_right_names_are_findings() -> None:
    """What a scenario expects is something that the table can say."""
    expected = {name for scenario in SCENARIOS for name in scenario.expected}

    assert set() == expected - {*NAMES}


def test_every_fault_has_three_severities_on_three_workloads() -> None:
    """And those that are held out, too."""
    todo = [*jobs(1)]
    broken = {(job.place, job.severity): job.numbers for job in todo if job.kind == "faults"}
    for number, scenario in enumerate(SCENARIOS):
        mine = {at for at, numbers in broken.items() if number in numbers}
        assert {(place, sev) for sev in range(3) for place in range(3)} <= mine, scenario.name
    assert 400 <= sum(5 * len(job.numbers) for job in todo if job.kind == "healthy")


def test_a_sample_has_every_fault() -> None:
    """Once, and three times what is held out, on a workload each; every severity is there."""
    todo = [*sample(1)]
    numbers = [number for job in todo if job.kind == "faults" for number in job.numbers]

    assert [3 if each.held else 1 for each in SCENARIOS] == [
        numbers.count(number) for number in range(len(SCENARIOS))
    ]
    assert {0, 1, 2} == {job.severity for job in todo if job.kind == "faults"}
    assert len(CONTROLS) == sum(job.kind == "healthy" for job in todo)


def test_what_is_held_out_can_be_run_alone() -> None:
    """Every fault and healthy fleet of it, and nothing else."""
    alone = [job for each in jobs(1) if (job := held(each)) is not None]

    faulty = {number for job in alone if job.kind == "faults" for number in job.numbers}
    well = {number for job in alone if job.kind == "healthy" for number in job.numbers}
    assert {number for number, each in enumerate(SCENARIOS) if each.held} == faulty
    assert {number for number, each in enumerate(CONTROLS) if each.held} == well


def cell(**fields: object) -> Cell:
    usual = {
        "scenario": "f", "severity": 1, "workload": "chat", "seed": 1, "held": False,
        "expected": ("a",), "said": "a", "right": True, "after_s": 20.0,
    }  # fmt: skip
    return Cell(**(usual | fields))  # type: ignore[arg-type]


def test_tables() -> None:
    """Scores apart for what was held out, false alarms, and what was said instead."""
    healthy_one = {"scenario": "healthy: steady", "expected": ("nothing",)}
    text = tables(
        [
            cell(), cell(right=False, said="b", after_s=-1.0), cell(held=True, scenario="g"),
            cell(**healthy_one, said="nothing"), cell(**healthy_one, said="b", right=False),
        ]
    )  # fmt: skip

    assert "| faults the table was made with | 1 of 2 | 50.0% | 20 s |" in text
    assert "| faults held out | 1 of 1 | 100.0% | 20 s |" in text
    assert "False alarms: 1 of 2 looks at healthy fleets (50.0%)." in text
    assert "| f | `a` | 1 of 2 | `b` 1 |" in text
    assert "| g (held out) | `a` | 1 of 1 |  |" in text


def test_chart() -> None:
    """A row for each fault, a dot for each of its cells."""
    text = chart([cell(), cell(right=False, after_s=-1.0), cell(scenario="<g>")])

    assert 3 == text.count("<circle")
    assert "&lt;g&gt;" in text


def test_an_interrupted_run_goes_on(tmp_path: Path) -> None:
    """Pieces that are done are not run again; a line that was cut off is."""
    path = tmp_path / "progress.jsonl"
    first, second = [*jobs(1, quick=True)][:2]
    progress = Progress(path, "code", resume=True)
    progress.add(first, [cell(scenario="slow replica"), cell(scenario="stuck GPU")])
    progress.add(second, [cell(scenario="healthy: steady")])
    text = path.read_text()
    path.write_text(text[:-10])
    again = Progress(path, "code", resume=True)

    assert {first: [cell(scenario="slow replica"), cell(scenario="stuck GPU")]} == again.done
    assert [cell(scenario="slow replica"), cell(scenario="stuck GPU")] == run([first], 1, again)
    again.add(second, [cell(scenario="healthy: steady")])
    assert text == path.read_text()
    again.end()
    assert not path.exists()


def test_a_run_does_not_go_on_with_other_code(tmp_path: Path) -> None:
    """Results of two tables are not put together."""
    path = tmp_path / "progress.jsonl"
    Progress(path, "code", resume=False)
    with pytest.raises(StartError, match="another version"):
        Progress(path, "other", resume=True)

    assert {} == Progress(path, "other", resume=False).done
