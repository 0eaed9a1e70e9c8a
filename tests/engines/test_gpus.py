"""Which GPUs there are: asked from a library, from a program, or not known."""

import sys
import types
from pathlib import Path
from typing import Any

import pytest

from headrace.engines import gpus
from headrace.engines.gpus import MIB, Gpu

TABLE = "NVIDIA L4, 23034\nNVIDIA L4, 23034\n"


class NVMLError(Exception):
    """As pynvml's."""


def library(*, broken: bool = False) -> Any:
    """A pynvml with one GPU, or one that finds no driver."""
    module: Any = types.ModuleType("pynvml")
    module.NVMLError = NVMLError

    def init() -> None:
        if broken:
            raise NVMLError

    module.nvmlInit = init
    module.nvmlShutdown = lambda: None
    module.nvmlDeviceGetCount = lambda: 1
    module.nvmlDeviceGetHandleByIndex = lambda index: index
    module.nvmlDeviceGetName = lambda handle: b"NVIDIA H100"
    module.nvmlDeviceGetMemoryInfo = lambda handle: types.SimpleNamespace(total=80 * 1024**3)
    return module


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An nvidia-smi of our own, alone on the path."""
    path = tmp_path / "nvidia-smi"
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "pynvml", None)
    return path


def write(path: Path, output: str, code: int = 0) -> None:
    path.write_text(f"#!{sys.executable}\nprint({output!r}, end='')\nraise SystemExit({code})\n")
    path.chmod(0o755)


def test_from_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """With nvidia-ml-py installed it is asked."""
    monkeypatch.setitem(sys.modules, "pynvml", library())

    assert gpus.visible() == (Gpu("NVIDIA H100", 80 * 1024**3),)


def test_from_the_program(program: Path) -> None:
    """Else nvidia-smi is run."""
    write(program, TABLE)

    assert gpus.visible() == (Gpu("NVIDIA L4", 23034 * MIB),) * 2


def test_a_library_without_a_driver(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The program has the last word."""
    monkeypatch.setitem(sys.modules, "pynvml", library(broken=True))
    write(program, TABLE)

    assert gpus.visible() == (Gpu("NVIDIA L4", 23034 * MIB),) * 2


@pytest.mark.parametrize(("output", "code"), [("", 9), ("NVIDIA GB10, [N/A]\n", 0)])
def test_not_known(program: Path, output: str, code: int) -> None:
    """A program that fails or does not know either: unknown is not the same as none."""
    write(program, output, code)

    assert gpus.visible() is None


def test_neither(program: Path) -> None:
    """Without library and program nothing is known."""
    assert not program.exists()
    assert gpus.visible() is None
