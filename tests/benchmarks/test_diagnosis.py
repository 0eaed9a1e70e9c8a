"""The benchmark of the diagnosis: some of its cells, and that its tables add up."""

import pytest

from benchmarks.diagnosis.__main__ import jobs
from benchmarks.diagnosis.cells import Cell, fault, healthy
from benchmarks.diagnosis.report import chart, tables
from benchmarks.diagnosis.scenarios import CONTROLS, SCENARIOS, WORKLOADS
from headrace.diagnose.table import NAMES

CHAT = WORKLOADS[0]
BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}


@pytest.mark.parametrize(
    "name", ["stuck GPU", "errors of one", "more demand", "slow Redis", "unknown model"]
)
def test_a_fault_is_named(name: str) -> None:
    """Within a minute of its onset, by the gateway's own metrics, history and table."""
    cell = fault(BY_NAME[name], 1, CHAT, 11)

    assert (True, BY_NAME[name].expected[0]) == (cell.right, cell.said)
    assert 0 < cell.after_s <= 60


def test_a_healthy_fleet_is_well() -> None:
    """Nothing is said of a fleet in which nothing is wrong."""
    assert {"nothing"} == {cell.said for cell in healthy(CONTROLS[0], CHAT, 11)}


def test_equal_seeds_give_equal_runs() -> None:
    """A cell can be run again."""
    scenario = BY_NAME["replica down"]

    assert fault(scenario, 0, CHAT, 12) == fault(scenario, 0, CHAT, 12)


def test_right_names_are_findings() -> None:
    """What a scenario expects is something that the table can say."""
    expected = {name for scenario in SCENARIOS for name in scenario.expected}

    assert set() == expected - {*NAMES}


def test_every_fault_has_three_severities_on_three_workloads() -> None:
    """And those that are held out, too."""
    todo = [*jobs(1)]
    for number, scenario in enumerate(SCENARIOS):
        mine = [(sev, place) for kind, n, sev, place, _ in todo if (kind, n) == ("fault", number)]
        cells = {(sev, place) for sev, place in mine if not WORKLOADS[place].held}
        assert {(sev, place) for sev in range(3) for place in range(3)} == cells, scenario.name
    assert 50 <= sum(5 for kind, *_ in todo if kind == "healthy")


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
