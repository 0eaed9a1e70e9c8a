"""What the process itself uses, in the families that Prometheus' clients export; all on Linux."""

import os
import resource
import sys
import time
from functools import cache
from pathlib import Path

from headrace.engines.sim.tally import described


@cache
def _started_s() -> float:
    """When this process began, as well as it knows: its clock behind the present."""
    if sys.platform != "linux":
        return time.time() - time.process_time()
    after_name = Path("/proc/self/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    uptime = float(Path("/proc/uptime").read_text(encoding="ascii").split()[0])
    return time.time() - uptime + int(after_name[19]) / os.sysconf("SC_CLK_TCK")


def text() -> str:
    """The families of this process; all replicas in it show the same."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    families = [
        ("process_start_time_seconds", "Start, in seconds since 1970.", "gauge", _started_s()),
        ("process_cpu_seconds_total", "CPU time.", "counter", usage.ru_utime + usage.ru_stime),
        (
            "process_max_fds", "Most open files.", "gauge",
            resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        ),
    ]  # fmt: skip
    if sys.platform == "linux":
        pages = [int(n) for n in Path("/proc/self/statm").read_text(encoding="ascii").split()[:2]]
        size = resource.getpagesize()
        files = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - names only, and fast
        families += [
            ("process_virtual_memory_bytes", "Virtual memory.", "gauge", pages[0] * size),
            ("process_resident_memory_bytes", "Resident memory.", "gauge", pages[1] * size),
            ("process_open_fds", "Open files.", "gauge", files),
        ]
    return "".join(described(*family) for family in families)
