"""A driver of NVIDIA's in place of pynvml: two GPUs, one of which knows little of itself."""

import sys
import types
from typing import Any

import pytest

GIB = 1024**3


class NVMLError(Exception):
    """As pynvml's."""


class NVMLError_NotSupported(NVMLError):  # noqa: N801 - pynvml's name
    """A GPU does not know it."""


class NVMLError_NoPermission(NVMLError):  # noqa: N801 - pynvml's name
    """It does not tell us."""


class Nvml(types.ModuleType):
    """GPU 0 is a data centre's, 1 a small one; ``lost`` breaks all calls, ``driver`` says why."""

    NVMLError = NVMLError
    NVMLError_NotSupported = NVMLError_NotSupported
    NVMLError_NoPermission = NVMLError_NoPermission
    NVML_TEMPERATURE_GPU = 0
    NVML_CLOCK_SM = 1
    NVML_VOLATILE_ECC = 0
    NVML_MEMORY_ERROR_TYPE_CORRECTED = 0
    NVML_MEMORY_ERROR_TYPE_UNCORRECTED = 1

    def __init__(self, driver: str = "") -> None:
        super().__init__("pynvml")
        self.driver = driver
        self.lost = ""
        self.open = 0
        self.pid = 1
        self.temperature = 41

    def nvmlInit(self) -> None:  # noqa: N802 - pynvml's name, like all that follow
        if self.driver:
            raise NVMLError(self.driver)
        self.open += 1

    def nvmlShutdown(self) -> None:  # noqa: N802
        self.open -= 1

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        if self.lost:
            raise NVMLError(self.lost)
        return 2

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        return index

    def nvmlDeviceGetName(self, handle: int) -> Any:  # noqa: N802
        return b"NVIDIA H100" if handle == 0 else "NVIDIA T4"

    def nvmlDeviceGetUUID(self, handle: int) -> str:  # noqa: N802
        return f"GPU-{handle}"

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> Any:  # noqa: N802
        return types.SimpleNamespace(used=(79 if handle == 0 else 1) * GIB, total=80 * GIB)

    def nvmlDeviceGetUtilizationRates(self, handle: int) -> Any:  # noqa: N802
        return types.SimpleNamespace(gpu=97, memory=40)

    def nvmlDeviceGetPowerUsage(self, handle: int) -> int:  # noqa: N802
        return self._rare(handle, 612_400)

    def nvmlDeviceGetEnforcedPowerLimit(self, handle: int) -> int:  # noqa: N802
        return self._rare(handle, 700_000)

    def nvmlDeviceGetTemperature(self, handle: int, sensor: int) -> int:  # noqa: N802
        return self.temperature

    def nvmlDeviceGetClockInfo(self, handle: int, clock: int) -> int:  # noqa: N802
        return 1980

    def nvmlDeviceGetTotalEccErrors(self, handle: int, kind: int, counter: int) -> int:  # noqa: N802
        return self._rare(handle, (3, 1)[kind])

    def nvmlDeviceGetComputeRunningProcesses(self, handle: int) -> list[Any]:  # noqa: N802
        if handle:
            raise NVMLError_NoPermission
        return [types.SimpleNamespace(pid=self.pid, usedGpuMemory=78 * GIB)]

    def _rare(self, handle: int, value: int) -> int:
        """What only the first one knows."""
        if handle:
            raise NVMLError_NotSupported
        return value


def install(monkeypatch: pytest.MonkeyPatch, **how: str) -> Nvml:
    """In the binding's place."""
    library = Nvml(**how)
    monkeypatch.setitem(sys.modules, "pynvml", library)
    return library
