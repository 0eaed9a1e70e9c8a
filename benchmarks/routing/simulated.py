"""
The simulated half of the proof: our core beside other routers' policies in the discrete-event
simulation. The half with real binaries is ``__main__``.

    uv run python -m benchmarks.routing.simulated --traces FOLDER [--only NAME,...] [--report]

Runs are kept in results/simulated.json as they end: a call goes on where the last one stopped, and
what another version of the code found is found again.
"""

import argparse
import hashlib
import json
import os
import sys
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headrace.engines.sim.presets import PRESETS
from headrace.errors import ConfigError
from headrace.simulate import contest
from headrace.simulate.contest import Run, Source
from headrace.simulate.report import Figures
from headrace.simulate.world import Change, Fleet

from . import ranking
from .plan import locate

_ROOT = Path(__file__).resolve().parents[2]
_RESULTS = Path(__file__).parent / "results" / "simulated.json"
_PAGE = _ROOT / "docs" / "benchmarks-routing.md"
# What decides about the figures: a run is only as good as the code that it ran.
_CODE = ("src/headrace/simulate", "src/headrace/routing", "src/headrace/engines/sim")

SEEDS = 3
RIVALS = (
    "round_robin", "power_of_two", "cache_aware", "gie", "aibrix", "dynamo", "kv_aware", "sticky",
)  # fmt: skip
OURS = "headrace:lowest_cost"
ORDERS = (f"{OURS}:fast", f"{OURS}:fair")

_H100 = PRESETS["h100-8b"]
_A100 = PRESETS["a100-8b"]
_CONVERSATION = "mooncake/conversation_trace.jsonl"


@dataclass(frozen=True, slots=True)
class Cell:
    """
    A workload and a fleet; ``shares`` says whether prompts begin alike, ``orders`` whether the
    default's other orders take part.
    """

    name: str
    trace: str
    rate: float
    fleet: Fleet
    requests: int | None = None
    shares: bool = True
    orders: bool = False

    def source(self, traces: Path) -> Source:
        """
        Its requests.

        Raises:
            ConfigError: the trace is not there.

        """
        name = str(locate(traces, self.trace)) if "/" in self.trace else self.trace
        return contest.source(name, self.requests, None)

    def wanted(self) -> list[Run]:
        """All of its runs."""
        own = [OURS, *ORDERS] if self.orders else [OURS]
        return contest.runs([*own, *RIVALS, "oracle"], [self.rate], SEEDS)


_EIGHT = Fleet((_H100,) * 8)
# The first requests of a trace: twelve policies and three seeds of whole ones take an hour.
_MANY, _FEW = 4000, 2500
CELLS = {
    cell.name: cell
    for cell in (
        Cell("conversation at 3.4", _CONVERSATION, 3.4, _EIGHT, _MANY, orders=True),
        Cell("conversation at 3.7", _CONVERSATION, 3.7, _EIGHT, _MANY, orders=True),
        Cell("conversation at 4.0", _CONVERSATION, 4.0, _EIGHT, _MANY, orders=True),
        Cell("synthetic at 3", "mooncake/synthetic_trace.jsonl", 3.0, _EIGHT),
        Cell("synthetic at 4", "mooncake/synthetic_trace.jsonl", 4.0, _EIGHT),
        Cell("chat, 90 per s", "chat", 90.0, _EIGHT, _FEW),
        Cell("agents, 30 per s", "agents", 30.0, _EIGHT, _FEW),
        Cell("b2b, 20 per s", "b2b", 20.0, _EIGHT, _FEW, orders=True),
        Cell("Azure conversation at 28", "azure/AzureLLMInferenceTrace_conv.csv", 28.0, _EIGHT,
             _MANY, shares=False),
        Cell("Azure code at 12", "azure/AzureLLMInferenceTrace_code.csv", 12.0, _EIGHT,
             _FEW, shares=False),
        Cell("conversation at 2.4, 4 H100 + 4 A100", _CONVERSATION, 2.4,
             Fleet((_H100,) * 4 + (_A100,) * 4), _FEW),
        Cell("conversation at 3.4, one joins 7", _CONVERSATION, 3.4,
             Fleet((_H100,) * 7, (Change(150.0, _H100),)), _FEW),
        Cell("conversation at 3.0, one of 8 dies", _CONVERSATION, 3.0,
             Fleet((_H100,) * 8, (Change(150.0, None),)), _FEW),
    )
}  # fmt: skip


def version() -> str:
    """A digest of the code that decides about the figures."""
    digest = hashlib.sha256()
    for folder in _CODE:
        for path in sorted((_ROOT / folder).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


class Book:
    """The runs that ended, by cell, in a file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._cells: dict[str, Any] = {}
        if path.exists():
            self._cells = json.loads(path.read_text(encoding="utf-8"))["cells"]

    def found(self, cell: Cell) -> dict[Run, Figures]:
        """The runs of a cell that are there, in their usual order."""
        known = {
            (run["policy"], run["seed"]): run["figures"]
            for run in self._cells.get(cell.name, {}).get("runs", ())
        }
        return {
            run: known[run.policy, run.seed]
            for run in cell.wanted()
            if (run.policy, run.seed) in known
        }

    def version(self, cell: Cell) -> str:
        """The code that the cell's runs were made with; "" if there are none."""
        return str(self._cells.get(cell.name, {}).get("code", ""))

    def note(self, cell: Cell, code: str, found: dict[Run, Figures]) -> None:
        """Keep the runs of a cell."""
        self._cells[cell.name] = {
            "code": code,
            "trace": cell.trace,
            "requests": cell.requests,
            "rate": cell.rate,
            "runs": [
                {"policy": run.policy, "seed": run.seed, "figures": _rounded(figures)}
                for run, figures in found.items()
            ],
        }
        text = json.dumps({"simulated": True, "cells": self._cells}, separators=(",", ":"))
        self._path.parent.mkdir(exist_ok=True)
        self._path.write_text(text + "\n", encoding="utf-8")


def main() -> int:
    """Play what is missing, then write the page's section."""
    parser = argparse.ArgumentParser(description="The simulated half of the routing benchmark.")
    parser.add_argument("--traces", type=Path, default=_ROOT.parent / "shared" / "traces")
    parser.add_argument("--only", default="", help="cells, by the beginning of their name")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--report", action="store_true", help="write the page only")
    options = parser.parse_args()
    names = [name.strip() for name in options.only.split(",") if name.strip()]
    chosen = [
        cell
        for cell in CELLS.values()
        if not names or any(cell.name.startswith(name) for name in names)
    ]
    book = Book(_RESULTS)
    if not options.report:
        for cell in chosen:
            try:
                _play(cell, options.traces, book, options.processes)
            except ConfigError as error:
                print(f"{cell.name}: {error}", file=sys.stderr)
    _page(book, CELLS.values())
    return 0


def _play(cell: Cell, traces: Path, book: Book, processes: int) -> None:
    code = version()
    found = book.found(cell) if book.version(cell) == code else {}
    missing = [run for run in cell.wanted() if run not in found]
    if not missing:
        return
    source = cell.source(traces)
    begin = time.monotonic()
    with ProcessPoolExecutor(processes) as pool:
        futures = {pool.submit(contest.play, run, source, cell.fleet): run for run in missing}
        for future in as_completed(futures):
            found[futures[future]] = future.result()
    ordered = {run: found[run] for run in cell.wanted()}
    book.note(cell, code, ordered)
    print(f"{cell.name}: {len(missing)} runs in {time.monotonic() - begin:.0f} s", flush=True)


def _page(book: Book, cells: Iterable[Cell]) -> None:
    tables = {
        cell.name: (cell.shares, next(iter(contest.results(book.found(cell)).values())))
        for cell in cells
        if book.found(cell)
    }
    before = _PAGE.read_text(encoding="utf-8")
    _PAGE.write_text(ranking.page(before, ranking.section(tables, SEEDS)), encoding="utf-8")


def _rounded(figures: Figures) -> Figures:
    return {name: None if value is None else round(value, 5) for name, value in figures.items()}


if __name__ == "__main__":
    sys.exit(main())
