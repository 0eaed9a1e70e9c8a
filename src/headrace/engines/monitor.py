"""
What each GPU of this machine does now, from NVIDIA's library. Showing it is cli/gpu.py's.

NVML: https://docs.nvidia.com/deploy/nvml-api/ (package nvidia-ml-py, extra `gpu`).
"""

import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from headrace.errors import StartError

MISSING = "NVIDIA's library for Python is missing: pip install 'headrace[gpu]'."
PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Process:
    """Who holds memory of a GPU. ``memory_bytes`` is None where the driver does not tell."""

    pid: int
    name: str
    memory_bytes: int | None


@dataclass(frozen=True, slots=True)
class Reading:
    """
    One GPU at one moment. None is what this GPU cannot tell, for example ECC of a consumer's card.

    Shares are percent, power is watts, temperature degrees Celsius; errors are counted since the
    driver was loaded.
    """

    index: int
    name: str
    uuid: str
    busy_percent: int | None
    memory_used_bytes: int | None
    memory_bytes: int | None
    power_w: float | None
    power_limit_w: float | None
    temperature_c: int | None
    clock_mhz: int | None
    ecc_corrected: int | None
    ecc_uncorrected: int | None
    processes: tuple[Process, ...] = field(default=())


@contextmanager
def library() -> Iterator[Any]:
    """
    NVML, opened.

    Raises:
        StartError: it is not installed, or finds no driver.

    """
    try:
        nvml: Any = importlib.import_module("pynvml")
    except ImportError:
        raise StartError(MISSING) from None
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        raise StartError(f"No GPU of NVIDIA can be asked on this machine: {error}.") from None
    try:
        yield nvml
    finally:
        nvml.nvmlShutdown()


def readings(nvml: Any) -> list[Reading]:
    """
    All GPUs, in the driver's order.

    Raises:
        StartError: the driver was lost.

    """
    try:
        count = nvml.nvmlDeviceGetCount()
        return [_reading(nvml, index) for index in range(count)]
    except nvml.NVMLError as error:
        raise StartError(f"The GPUs do not answer: {error}.") from None


def _reading(nvml: Any, index: int) -> Reading:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)

    def asked(function: Callable[..., Any], *more: Any) -> Any:
        """What the driver says; None where this GPU does not know it."""
        try:
            return function(handle, *more)
        except (nvml.NVMLError_NotSupported, nvml.NVMLError_NoPermission):
            return None

    memory = asked(nvml.nvmlDeviceGetMemoryInfo)
    busy = asked(nvml.nvmlDeviceGetUtilizationRates)
    power, limit = asked(nvml.nvmlDeviceGetPowerUsage), asked(nvml.nvmlDeviceGetEnforcedPowerLimit)
    return Reading(
        index=index,
        name=_text(nvml.nvmlDeviceGetName(handle)),
        uuid=_text(nvml.nvmlDeviceGetUUID(handle)),
        busy_percent=busy.gpu if busy is not None else None,
        memory_used_bytes=memory.used if memory is not None else None,
        memory_bytes=memory.total if memory is not None else None,
        power_w=power / 1000 if power is not None else None,
        power_limit_w=limit / 1000 if limit is not None else None,
        temperature_c=asked(nvml.nvmlDeviceGetTemperature, nvml.NVML_TEMPERATURE_GPU),
        clock_mhz=asked(nvml.nvmlDeviceGetClockInfo, nvml.NVML_CLOCK_SM),
        ecc_corrected=_errors(nvml, asked, nvml.NVML_MEMORY_ERROR_TYPE_CORRECTED),
        ecc_uncorrected=_errors(nvml, asked, nvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED),
        processes=tuple(
            Process(each.pid, name_of(each.pid), each.usedGpuMemory)
            for each in asked(nvml.nvmlDeviceGetComputeRunningProcesses) or ()
        ),
    )


def _errors(nvml: Any, asked: Callable[..., Any], kind: int) -> Any:
    return asked(nvml.nvmlDeviceGetTotalEccErrors, kind, nvml.NVML_VOLATILE_ECC)


def _text(name: Any) -> str:
    """NVIDIA's older bindings give bytes."""
    return name.decode() if isinstance(name, bytes) else str(name)


def name_of(pid: int, proc: Path = PROC) -> str:
    """
    The beginning of a process's command line; empty where it has gone or is another container's.
    """
    try:
        words = (proc / str(pid) / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return ""
    return b" ".join(word for word in words if word).decode(errors="replace")[:60]
