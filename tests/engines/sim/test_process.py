"""The process's own families."""

import time
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from headrace.engines.sim import process


def test_families_are_plausible() -> None:
    """Memory, CPU time and files of this process, which began before now."""
    found = {f.name: f.samples[0].value for f in text_string_to_metric_families(process.text())}

    assert 0 < found["process_cpu_seconds"]
    assert 1_000_000 < found["process_resident_memory_bytes"]
    assert found["process_resident_memory_bytes"] < found["process_virtual_memory_bytes"]
    assert abs(found["process_open_fds"] - len([*Path("/proc/self/fd").iterdir()])) <= 2
    assert 0 < time.time() - found["process_start_time_seconds"] < 86_400
