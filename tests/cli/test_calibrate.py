"""``headrace engine calibrate``: from a running engine to a preset that the simulator takes."""

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from headrace.cli.app import app
from headrace.engines.sim import sheet
from headrace.engines.sim.presets import PRESETS
from tests.cli.program import Program


def calibrate(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["engine", "calibrate", *arguments])


@pytest.mark.e2e
def test_a_simulator_is_calibrated_and_becomes_a_preset(tmp_path: Path) -> None:
    """A real run of some seconds finds about the engine's times; its file runs a simulator."""
    arguments = ["engine", "sim", "--port", "0", "--speed", "4", "--max-model-len", "1100"]
    with Program(arguments, tmp_path) as program:
        url = program.read_until(r"listens on (http://\S+) ")
        asking = ["engine", "calibrate", "--url", url, "--time", "3", "--out", "mine.yaml"]
        with Program(asking, tmp_path) as asked:
            code = asked.wait()
            told = asked.text()
    with Program(["engine", "sim", "--port", "0", "--preset", "mine.yaml"], tmp_path) as program:
        program.read_until(r"listens on http://\S+ \(1 replica of 'sim', mine.yaml")
    found, real = sheet.read(tmp_path / "mine.yaml"), PRESETS["l4-8b"]

    assert 0 == code
    assert re.search(r"^R² \d\.\d+; off by", told, re.MULTILINE)
    assert "Written: headrace engine sim --preset mine.yaml" in told
    assert ("mine", 34_000, 16) == (found.name, found.kv_tokens, found.block_size)
    # Wide, and wider for what is slower on machines that do other things: how exact it is stands
    # in tests/engines/calibrate.
    assert 0.6 < 4 * found.step_ms / real.step_ms < 3
    assert 0.6 < 4 * found.prefill_ms(1024) / real.prefill_ms(1024) < 3
    assert (tmp_path / "mine.yaml").read_text(encoding="utf-8").startswith("# mine: fitted to vllm")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--url", "http://127.0.0.1:9"], "does not answer as an OpenAI API does"),
        (["--url", "engine:8000"], "must be http://host:port"),
        (["--url", "http://a", "--out", "x.json"], "--out x.json: must end in .yaml"),
        (["--url", "http://a", "--out", "none/x.yaml"], "there is no folder none"),
        (["--url", "http://a", "--api-key-file", "none"], "`api_key_file` none: No such file"),
    ],
)
def test_mistakes_are_told(arguments: list[str], told: str) -> None:
    """One line on standard error, exit code 2."""
    found = calibrate(*arguments)

    assert 2 == found.exit_code
    assert told in found.stderr
    assert 1 == found.stderr.count("\n")
