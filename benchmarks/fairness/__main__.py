"""
``make bench-fairness``: several workloads, tenants and classes in the simulation, at 150 % of what
the fleet can do; writes the tables of docs/queue.md. The scenes are in plan.py.
"""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import mean

from headrace.simulate.sharing import Shared

from .plan import SCENES, SEEDS, Scene, apart, play
from .table import bars, page, rows

_PAGE = Path(__file__).resolve().parents[2] / "docs" / "queue.md"


def main() -> int:
    """Play all scenes; 1 when ``--strict`` and a bar is missed."""
    parser = argparse.ArgumentParser(description="The bars of fairness, simulated.")
    parser.add_argument("--only", default="", help="scenes, by the beginning of their name")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="how many (default: %(default)s)")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument(
        "--apart", action="store_true", help="one replica to the small tenant, only"
    )
    parser.add_argument("--report", action="store_true", help="write into docs/queue.md")
    parser.add_argument("--strict", action="store_true", help="fail when a bar is missed")
    options = parser.parse_args()
    scenes = [scene for scene in SCENES if scene.name.startswith(options.only)]
    if options.apart:
        _apart(scenes, options.seeds)
        return 0
    began = time.monotonic()
    found = _played(scenes, options.seeds, options.processes)
    table = rows(found)
    for line in table:
        print(line)
    print(f"{time.monotonic() - began:.0f} s")
    if options.report:
        before = _PAGE.read_text(encoding="utf-8")
        _PAGE.write_text(page(before, table, options.seeds), encoding="utf-8")
    missed = bars(found)
    for text in missed:
        print(text, file=sys.stderr)
    return 1 if options.strict and missed else 0


def _apart(scenes: Sequence[Scene], seeds: int) -> None:
    for scene in scenes:
        found = [apart(scene, seed) for seed in range(1, seeds + 1)]
        times, tokens = (mean(each) for each in zip(*found, strict=True))
        print(f"{scene.name}: p99 {times:.2f} times that alone, {tokens:.3f} of the tokens")


def _played(scenes: Sequence[Scene], seeds: int, processes: int) -> dict[Scene, list[Shared]]:
    wanted = [(scene, seed) for scene in scenes for seed in range(1, seeds + 1)]
    with ProcessPoolExecutor(min(processes, len(wanted))) as pool:
        results = {}
        for each, shared in zip(wanted, pool.map(play, *zip(*wanted, strict=True)), strict=True):
            results[each] = shared
            print(f"{len(results)} of {len(wanted)}: {each[0].name}", file=sys.stderr)
    return {scene: [results[scene, seed] for seed in range(1, seeds + 1)] for scene in scenes}


if __name__ == "__main__":
    sys.exit(main())
