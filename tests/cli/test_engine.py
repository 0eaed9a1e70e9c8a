"""``headrace engine``: simulated replicas from the command line, and what they can look like."""

import signal
from pathlib import Path

import httpx2
import pytest
from typer.testing import CliRunner

from headrace.cli.app import app
from headrace.engines.sim.presets import PRESETS
from tests.cli.program import Program


@pytest.mark.e2e
class TestProgram:
    """The real program."""

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_serves_and_stops(self, tmp_path: Path, number: signal.Signals) -> None:
        """It says where it listens, has the faults it was given, and ends with code 0."""
        arguments = ["engine", "sim", "--port", "0", "--model", "m", "--speed", "100"]
        arguments += ["--fault", "error:share=0.5", "--fault", "slow"]
        with Program(arguments, tmp_path) as program:
            url = program.read_until(r"listens on (http://\S+) \(1 replica of 'm', l4-8b")
            models = httpx2.get(f"{url}/v1/models", trust_env=False, timeout=30).json()["data"]
            faults = httpx2.get(f"{url}/sim/faults", trust_env=False, timeout=30).json()["faults"]
            program.signal(number)

            assert ["m"] == [model["id"] for model in models]
            assert ["error", "slow"] == [fault["kind"] for fault in faults]
            assert 0 == program.wait()

    def test_the_configuration_counts(self, tmp_path: Path) -> None:
        """Its section is in force, options win over it, and faults of both are set."""
        (tmp_path / "headrace.yaml").write_text(
            "simulator: {port: 0, replicas: 2, model: a, faults: [{kind: stale}]}\n",
            encoding="utf-8",
        )
        arguments = ["engine", "sim", "--model", "b", "--fault", "slow"]
        with Program(arguments, tmp_path) as program:
            url = program.read_until(r"listens on (http://\S+) to \d+ \(2 replicas of 'b'")
            faults = httpx2.get(f"{url}/sim/faults", trust_env=False, timeout=30).json()["faults"]

            assert ["stale", "slow"] == [fault["kind"] for fault in faults]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--fault", "boom"], "headrace: --fault boom: 'boom' is no fault; use slow,"),
        (["--preset", "abacus"], "headrace: simulator.preset: 'abacus' is unknown; use one of"),
        (["--speed", "0"], "simulator.speed"),
    ],
)
def test_mistakes_are_told(arguments: list[str], told: str) -> None:
    """One line on standard error, exit code 2."""
    found = CliRunner().invoke(app, ["engine", "sim", *arguments])

    assert 2 == found.exit_code
    assert told in found.stderr
    assert 1 == found.stderr.count("\n")


def test_presets_are_listed() -> None:
    """Each preset has a line with its source."""
    found = CliRunner().invoke(app, ["engine", "presets"])
    lines = found.stdout.splitlines()[1:]

    assert 0 == found.exit_code
    assert [*PRESETS] == [line.split()[0] for line in lines]
    assert all(line.endswith(p.source) for line, p in zip(lines, PRESETS.values(), strict=True))
