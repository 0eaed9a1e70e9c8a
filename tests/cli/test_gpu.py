"""``headrace gpu``: the table, the JSON, and the end of a watch."""

import io
import json
import sys
import time
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from headrace.cli import gpu
from headrace.cli.app import app
from headrace.engines.monitor import readings
from tests.engines import nvml


def drawn(gpus: Any) -> str:
    """As a terminal shows it."""
    console = Console(width=140, file=io.StringIO())
    console.print(gpu.table(gpus))
    return str(console.file.getvalue())  # type: ignore[attr-defined]


def test_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """A row for each GPU with all its numbers, and its processes below; a dash for the unknown."""
    fake = nvml.install(monkeypatch)
    lines = drawn(readings(fake)).splitlines()

    for word in ("NVIDIA H100", "97 %", "79.0 of 80.0 GiB", "612 of 700 W", "41 °C", "3 + 1"):
        assert word in lines[1]
    assert "79872 MiB" in lines[2]
    assert lines[3].rstrip().endswith("-")


def test_what_needs_a_look_has_a_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    """Full memory, heat and uncorrected errors stand out."""
    fake = nvml.install(monkeypatch)
    fake.temperature = 90
    cells = [[str(cell) for cell in column.cells] for column in gpu.table(readings(fake)).columns]

    assert ("[yellow]79.0", "[red]90 °C", "[red]3 + 1") == (
        cells[3][0][:12], cells[5][0][:10], cells[7][0][:10],
    )  # fmt: skip


def test_no_gpu_is_said() -> None:
    """An empty machine has a table that says so."""
    assert "the driver shows no GPU" in drawn([])


def test_json(monkeypatch: pytest.MonkeyPatch) -> None:
    """One line with every number and null for the unknown."""
    nvml.install(monkeypatch)
    done = CliRunner().invoke(app, ["gpu", "--json"])
    gpus = json.loads(done.stdout)["gpus"]

    assert [612.4, None] == [each["power_w"] for each in gpus]
    assert 1 == len(done.stdout.splitlines())


def test_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an option it is shown once."""
    nvml.install(monkeypatch)
    done = CliRunner().invoke(app, ["gpu"])

    assert (0, True) == (done.exit_code, "NVIDIA T4" in done.stdout)


@pytest.mark.parametrize(("options", "looks"), [(["--json"], 3), ([], 0)])
def test_a_watch_ends_with_ctrl_c(
    monkeypatch: pytest.MonkeyPatch, options: list[str], looks: int
) -> None:
    """It looks again and again; Ctrl-C is no error."""
    nvml.install(monkeypatch)
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", sleep)
    done = CliRunner().invoke(app, ["gpu", "--watch", "--interval", "0.5", *options])

    assert (0, [0.5] * 3) == (done.exit_code, waits)
    assert looks == done.stdout.count('"at"')


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """Code 2 and one sentence."""
    monkeypatch.setitem(sys.modules, "pynvml", None)
    done = CliRunner().invoke(app, ["gpu"])

    assert 2 == done.exit_code
    assert "headrace: NVIDIA's library for Python is missing" in done.stderr
