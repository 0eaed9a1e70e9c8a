"""
Faults in a simulated fleet, named or not. ``make bench-diagnosis`` writes the tables and the chart
of docs/diagnosis.md; ``--quick`` runs one cell of each kind of fault, ``--sample`` one of
each fault and three of those that are held out, in turn over severities and workloads. A run that
was interrupted goes on with ``--resume``.
"""

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from random import Random

from benchmarks.diagnosis.cells import Cell, calm, clear, faults, judge
from benchmarks.diagnosis.controls import CONTROLS
from benchmarks.diagnosis.progress import Job, Progress, fingerprint
from benchmarks.diagnosis.report import chart, tables
from benchmarks.diagnosis.scenarios import SCENARIOS, WORKLOADS
from headrace.errors import StartError

RESULTS = Path(__file__).parent / "results"
PROGRESS = RESULTS / "progress.jsonl"
CHART = Path(__file__).parents[2] / "docs" / "assets" / "diagnosis.svg"
SEED = 1701  # this and the next two were never used while the table was made
SEVERITIES = (0, 1, 2)


def main() -> None:
    """Run, print, and keep what was found."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--quick", action="store_true", help="one severity and workload, nothing kept"
    )
    parser.add_argument("--sample", action="store_true", help="a seventh of the cells, kept")
    parser.add_argument("--held", action="store_true", help="only what is held out, nothing kept")
    parser.add_argument(
        "--resume", action="store_true", help="go on with the pieces that an earlier run has done"
    )
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--workers", type=int, default=2)
    chosen = parser.parse_args()
    began = time.monotonic()
    todo = [*(sample(chosen.seed) if chosen.sample else jobs(chosen.seed, quick=chosen.quick))]
    if chosen.held:
        todo = [*filter(None, map(held, todo))]
    Random(chosen.seed).shuffle(todo)  # so that what is done so far speaks for all
    keep = not chosen.quick and not chosen.held
    try:
        progress = Progress(PROGRESS, fingerprint(), resume=chosen.resume) if keep else None
    except StartError as error:
        parser.error(str(error))
    cells = run(todo, chosen.workers, progress)
    if progress is not None:
        write(cells)
        progress.end()
    print(tables(cells))
    for cell in cells:
        if not cell.right:
            print(f"wrong: {cell.scenario}, {cell.workload}, severity {cell.severity}: {cell.said}")
    print(f"{len(cells)} cells in {time.monotonic() - began:.0f} s")


def held(job: Job) -> Job | None:
    """What of it is held out."""
    kept = SCENARIOS if job.kind == "faults" else CONTROLS
    numbers = tuple(number for number in job.numbers if kept[number].held)
    return job._replace(numbers=numbers) if numbers else None


def jobs(seed: int, *, quick: bool = False) -> Iterator[Job]:
    """
    Every fault at every severity on every workload that the table was made with; the held ones
    likewise; and the other faults at the middle severity on the held workloads. Healthy fleets on
    all. Every severity has a seed, and so a past, of its own.
    """
    for place, workload in [*enumerate(WORKLOADS)][: 1 if quick else None]:
        numbers = tuple(
            number for number, each in enumerate(SCENARIOS) if not (workload.held and each.held)
        )
        for severity in (1,) if quick or workload.held else SEVERITIES:
            yield Job("faults", numbers, severity, place, seed + severity)
        for number in range(len(CONTROLS)):
            yield Job("healthy", (number,), 0, place, seed)


def sample(seed: int) -> Iterator[Job]:
    """One cell of every fault, three of those that are held out, one of every healthy fleet."""
    numbers: dict[tuple[int, int], list[int]] = {}
    for number, scenario in enumerate(SCENARIOS):
        for turn in range(3 if scenario.held else 1):
            place = (number + turn) % 3
            severity = (number // 3 + turn) % len(SEVERITIES)
            numbers.setdefault((place, severity), []).append(number)
    for (place, severity), some in sorted(numbers.items()):
        yield Job("faults", tuple(some), severity, place, seed + severity)
    for number in range(len(CONTROLS)):
        yield Job("healthy", (number,), 0, number % len(WORKLOADS), seed)


def run(todo: Sequence[Job], workers: int, progress: "Progress | None" = None) -> list[Cell]:
    """Run them, with a word about how far it is; what was done before is not done again."""
    done = progress.done if progress is not None else {}
    cells = [cell for job in todo for cell in done.get(job, ())]
    open_ = [job for job in todo if job not in done]
    with ProcessPoolExecutor(workers) as pool:
        running = {pool.submit(one, job): job for job in open_}
        for number, future in enumerate(as_completed(running), len(todo) - len(open_) + 1):
            found = future.result()
            cells += found
            if progress is not None:
                progress.add(running[future], found)
            print(f"{number} of {len(todo)} pieces", flush=True)
    return sorted(cells, key=order)


def write(cells: Sequence[Cell]) -> None:
    """The tables, the chart, and every cell."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "table.md").write_text(tables(cells), encoding="utf-8")
    lines = [json.dumps(cell._asdict()) for cell in cells]
    (RESULTS / "cells.jsonl").write_text("\n".join([*lines, ""]), encoding="utf-8")
    CHART.write_text(chart(cells), encoding="utf-8")


def order(cell: Cell) -> tuple[bool, int, str, int, int]:
    """Faults in the order of the list, healthy fleets behind them."""
    names = [scenario.name for scenario in SCENARIOS]
    healthy_one = cell.scenario not in names
    place = len(names) if healthy_one else names.index(cell.scenario)
    return healthy_one, place, cell.workload, cell.severity, cell.seed


def one(job: Job) -> list[Cell]:
    """Run some, and judge them."""
    workload = WORKLOADS[job.place]
    if job.kind == "healthy":
        control = CONTROLS[job.numbers[0]]
        return clear(control, workload, job.seed, calm(control, workload, job.seed))
    chosen = [(SCENARIOS[number], job.severity) for number in job.numbers]
    return [
        judge(scenario, severity, workload, job.seed, history)
        for (scenario, severity), history in zip(
            chosen, faults(chosen, workload, job.seed), strict=True
        )
    ]


if __name__ == "__main__":
    main()
