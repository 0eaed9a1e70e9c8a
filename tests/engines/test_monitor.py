"""What GPUs do: all that a driver tells, None for what it does not, and a sentence without one."""

import os
import sys
from pathlib import Path

import pytest

from headrace.engines.monitor import library, name_of, readings
from headrace.errors import StartError
from tests.engines import nvml


def test_all_that_a_gpu_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use, memory, power in watts, temperature, clock, errors, and who holds memory."""
    fake = nvml.install(monkeypatch)
    fake.pid = os.getpid()
    with library() as opened:
        first = readings(opened)[0]

    assert ("NVIDIA H100", "GPU-0", 97) == (first.name, first.uuid, first.busy_percent)
    assert (79 * nvml.GIB, 80 * nvml.GIB) == (first.memory_used_bytes, first.memory_bytes)
    assert (612.4, 700.0, 41, 1980) == (
        first.power_w, first.power_limit_w, first.temperature_c, first.clock_mhz,
    )  # fmt: skip
    assert (3, 1) == (first.ecc_corrected, first.ecc_uncorrected)
    assert [(os.getpid(), 78 * nvml.GIB)] == [(p.pid, p.memory_bytes) for p in first.processes]
    assert "python" in first.processes[0].name


def test_what_a_gpu_does_not_know_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """A card without ECC and sensors is shown all the same."""
    nvml.install(monkeypatch)
    with library() as opened:
        second = readings(opened)[1]

    assert ("NVIDIA T4", 97) == (second.name, second.busy_percent)
    assert (None, None, None, None) == (
        second.power_w, second.power_limit_w, second.ecc_corrected, second.ecc_uncorrected,
    )  # fmt: skip
    assert () == second.processes


def test_the_library_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when the driver is lost on the way, which is one sentence."""
    fake = nvml.install(monkeypatch)
    fake.lost = "GPU is lost"

    with (
        pytest.raises(StartError, match="The GPUs do not answer: GPU is lost"),
        library() as opened,
    ):
        readings(opened)

    assert 0 == fake.open


def test_without_a_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    """One sentence that says what is missing."""
    nvml.install(monkeypatch, driver="NVML Shared Library Not Found")

    with pytest.raises(StartError, match="can be asked on this machine: NVML Shared"), library():
        pass


def test_without_the_binding(monkeypatch: pytest.MonkeyPatch) -> None:
    """One sentence that says how to install it."""
    monkeypatch.setitem(sys.modules, "pynvml", None)

    with pytest.raises(StartError, match=r"pip install 'headrace\[gpu\]'"), library():
        pass


def test_names_of_processes(tmp_path: Path) -> None:
    """The beginning of the command line; nothing for one that has gone."""
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "cmdline").write_bytes(b"vllm\0serve\0" + b"x" * 100 + b"\0")

    assert "vllm serve " + "x" * 49 == name_of(7, tmp_path)
    assert "" == name_of(8, tmp_path)
