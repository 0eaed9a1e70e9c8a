"""``headrace simulate``: what it prints, writes, and says of mistakes."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from headrace.cli.app import app
from headrace.cli.simulate import fleet_of
from headrace.engines.sim import sheet
from headrace.engines.sim.presets import PRESETS
from headrace.simulate.world import Change


def call(*arguments: str) -> Result:
    few = ["--requests", "60", "--seeds", "2", "--replicas", "2", "--rate", "20"]
    return CliRunner().invoke(app, ["simulate", "--trace", "b2b", *few, *arguments])


def test_tables_are_printed() -> None:
    """A row for each policy, then deviations and sizes; no join, no table of joins."""
    found = call("--policy", "lowest_cost:fair", "--compare", "sticky")

    assert 0 == found.exit_code
    assert "b2b, rate 20, 2 h100-8b" in found.stdout
    assert 3 == found.stdout.count("\nheadrace:lowest_cost:fair ")
    assert 3 == found.stdout.count("\nsticky ")
    assert "After a join" not in found.stdout


def test_joins_are_printed() -> None:
    """A replica that joins is judged."""
    assert "After a join" in call("--join", "0.5").stdout


def test_tenants_are_printed() -> None:
    """With tenants a row for each of them, and below how fair it was; a wrong one is said."""
    found = call("--tenant", "small:1", "--tenant", "nightly:3:batch")
    wrong = call("--tenant", "small")

    assert 0 == found.exit_code
    assert ["small", "nightly"] == sorted(
        (line.split()[0] for line in found.stdout.splitlines() if line[:3] in {"sma", "nig"}),
        reverse=True,
    )
    assert "Jain's index" in found.stdout
    assert (2, True) == (wrong.exit_code, "NAME:SHARE" in wrong.output)


@pytest.mark.parametrize("option", [("--gateways", "2"), ("--json",), ("--out", "found.json")])
def test_tenants_stand_alone(option: tuple[str, ...]) -> None:
    """What does not go with tenants is refused, and named, rather than left out in silence."""
    found = call("--tenant", "small:1", "--tenant", "big:3", *option)

    assert 2 == found.exit_code
    assert option[0] in found.output


def test_figures_are_written(tmp_path: Path) -> None:
    """The file has every rate and policy with all figures, and says that it is simulated."""
    path = tmp_path / "found.json"
    found = call("--rate", "30", "--die", "0.5", "--out", str(path))
    document = json.loads(path.read_text(encoding="utf-8"))

    assert 0 == found.exit_code
    assert document["simulated"] is True
    assert ["h100-8b"] * 2 == document["fleet"]
    assert [{"at_s": 0.5, "joins": None}] == document["changes"]
    assert [20.0, 30.0] == [each["rate"] for each in document["results"]]
    assert 60 == document["results"][0]["figures"]["requests"]["mean"]


def test_programs_read_them() -> None:
    """With --json standard output is that document, and nothing else."""
    document = json.loads(call("--json").stdout)

    assert [20.0] == [each["rate"] for each in document["results"]]


def test_processes_change_nothing() -> None:
    """Runs at the same time find what they find one after the other."""
    assert (
        call("--compare", "sticky").stdout == call("--compare", "sticky", "--processes", "2").stdout
    )


def test_several_gateways_are_tried() -> None:
    """One gateway, and more of them that talk, those of Headrace beside the same alone."""
    several = ("--gateways", "1", "--gateways", "3")
    found = call("--compare", "sticky", *several).stdout
    silent = call(*several, "--share-s", "0").stdout

    for name in ("lowest_cost", "lowest_cost x 3", "lowest_cost x 3, alone"):
        assert 3 == found.count(f"\nheadrace:{name}  ")
    assert 3 == found.count("\nsticky x 3  ")
    assert "sticky x 3, alone" not in found
    assert "\nheadrace:lowest_cost x 3  " not in silent


def test_fleets_are_described(tmp_path: Path) -> None:
    """Presets with and without a number, and from a file; the changes in their order."""
    path = tmp_path / "mine.yaml"
    path.write_text(sheet.text(PRESETS["l4-8b"]), encoding="utf-8")
    fleet = fleet_of(["h100-8b:1", "a100-8b", str(path)], 2, [9.0], [5.0, 12.0])

    assert ["h100-8b", "a100-8b", "a100-8b", "l4-8b", "l4-8b"] == [
        preset.name for preset in fleet.presets
    ]
    assert (Change(5.0, None), Change(9.0, PRESETS["h100-8b"]), Change(12.0, None)) == fleet.changes


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--preset", "abacus"], "--preset: 'abacus' is unknown; use one of h100-8b"),
        (["--policy", "best"], "--policy: 'best' is unknown; use round_robin"),
        (["--compare", "best"], "--compare: 'best' is unknown; use all"),
        (["--trace", "absent"], "no file 'absent', and no generator of that name"),
        (["--die", "1", "--die", "2"], "At 2 s the last replica would die"),
        (["--out", "absent/file.json"], "absent/file.json cannot be written"),
        (["--processes", "2", "--die", "1", "--die", "2"], "At 2 s the last replica would die"),
    ],
)
def test_mistakes_are_told(arguments: list[str], told: str) -> None:
    """One line on standard error, exit code 2."""
    found = call(*arguments)

    assert 2 == found.exit_code
    assert told in found.stderr
