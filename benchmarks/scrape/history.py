"""
What the history of ``headrace why`` takes: memory for a day, CPU for a reading and for a look.
``python -m benchmarks.scrape.history`` prints the figures of docs/diagnosis.md; nothing listens.
"""

import argparse
import gc
import os
import time
from pathlib import Path
from random import Random

from benchmarks.scrape.__main__ import gateway
from headrace.diagnose.history import PACKED, PER_COARSE, STEP_S, History
from headrace.diagnose.lens import reach_s
from headrace.diagnose.series import METRICS, TABLE, Key
from headrace.diagnose.table import diagnose
from headrace.gateway.app import Gateway
from headrace.gateway.records.recorder import reading

STEPS = (PACKED + 1) * PER_COARSE  # of which an hour is packed
DAY_H = 24
STILL = {  # what hardly ever moves in a fleet that is well
    "r_failed", "r_unwell", "r_moves", "r_ejected", "r_ready", "r_coming", "r_aside", "r_silent",
    "e_preempted", "retries_refused",
}  # fmt: skip


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replicas", type=int, default=256)
    parser.add_argument("--tenants", type=int, default=50)
    chosen = parser.parse_args()
    print(figures(chosen.replicas, chosen.tenants), end="")


def figures(replicas: int, tenants: int, steps: int = STEPS) -> str:
    """A line for each figure."""
    made = gateway(replicas, tenants)
    began = time.process_time()
    first = reading(made.metrics.columns(METRICS))
    read_ms = (time.process_time() - began) * 1000
    before_mb = resident_mb()
    history, add_ms = filled(first, steps)
    now_mb = resident_mb() - before_mb
    hour_mb = history.packed_bytes / 1e6
    look_s = looked(history, made)
    return (
        f"{replicas} replicas, {tenants} tenants: {len(first):,} series\n"
        f"memory: {now_mb:.1f} MB after {steps * STEP_S / 3600:.1f} h, packed {hour_mb:.2f} MB an"
        f" hour, so {now_mb + hour_mb * (DAY_H - 1):.0f} MB for a day\n"
        f"CPU: {read_ms:.0f} ms to read, {add_ms:.1f} ms to keep, every {STEP_S:g} s;"
        f" {look_s:.1f} s for a look at 15 minutes in which nothing is wrong\n"
    )


def filled(first: dict[Key, float], steps: int) -> tuple[History, float]:
    """A history in which most series move at random, and CPU milliseconds of a step."""
    random, history, took = Random(2), History(), 0.0
    values = dict(first)
    pace = {key: 10 * random.random() for key in first if key[0] not in STILL}
    for step in range(steps):
        for key, each in pace.items():
            now = each * random.uniform(0.95, 1.05)
            values[key] = values[key] + now if TABLE[key[0]].kind == "rate" else now
        given = dict(values)
        began = time.process_time()
        history.add(STEP_S * step, given)
        took += time.process_time() - began
    return history, took * 1000 / steps


def resident_mb() -> float:
    """What this process has of the machine's memory."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def looked(history: History, of: Gateway) -> float:
    """CPU seconds of a diagnosis with its snapshot."""
    serves = {name: [*each.serves] for name, each in of.fleet.replicas.items()}
    began = time.process_time()
    end_s = history.snapshot().at_s
    begin_s = end_s - reach_s(900.0, STEP_S * PER_COARSE)
    diagnose(history.snapshot(end_s, begin_s), 900.0, "m", serves)
    return time.process_time() - began


if __name__ == "__main__":
    main()
