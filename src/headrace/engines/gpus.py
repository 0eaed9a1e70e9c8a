"""Which GPUs this machine shows: from NVIDIA's library, else from nvidia-smi, else unknown."""

import importlib
import shutil
import subprocess
from dataclasses import dataclass
from typing import Any

MIB = 1024 * 1024
SMI_S = 10.0  # nvidia-smi takes seconds where the driver is not kept loaded
QUERY = ("--query-gpu=name,memory.total", "--format=csv,noheader,nounits")


@dataclass(frozen=True, slots=True)
class Gpu:
    """One of them."""

    name: str
    memory_bytes: int


def visible() -> tuple[Gpu, ...] | None:
    """The GPUs by number; None where neither library nor program can tell."""
    found = _from_library()
    return _from_program() if found is None else found


def _from_library() -> tuple[Gpu, ...] | None:
    try:
        nvml: Any = importlib.import_module("pynvml")  # package nvidia-ml-py; not everybody has it
    except ImportError:
        return None
    try:
        nvml.nvmlInit()
    except nvml.NVMLError:
        return None
    try:
        handles = [nvml.nvmlDeviceGetHandleByIndex(i) for i in range(nvml.nvmlDeviceGetCount())]
        return tuple(
            Gpu(_text(nvml.nvmlDeviceGetName(handle)), nvml.nvmlDeviceGetMemoryInfo(handle).total)
            for handle in handles
        )
    except nvml.NVMLError:
        return None
    finally:
        nvml.nvmlShutdown()


def _text(name: Any) -> str:
    """NVIDIA's older bindings give bytes."""
    return name.decode() if isinstance(name, bytes) else str(name)


def _from_program() -> tuple[Gpu, ...] | None:
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    try:
        done = subprocess.run(  # noqa: S603 - a fixed program of the driver
            [program, *QUERY], capture_output=True, text=True, timeout=SMI_S, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return parse(done.stdout)


def parse(table: str) -> tuple[Gpu, ...] | None:
    """What nvidia-smi prints: a name and MiB on each line."""
    rows = [line.rpartition(",") for line in table.splitlines() if line.strip()]
    try:
        return tuple(Gpu(name.strip(), int(mib) * MIB) for name, _, mib in rows)
    except ValueError:
        return None  # "[N/A]" where the driver does not know
