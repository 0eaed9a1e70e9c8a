"""
What a run of the benchmark has done so far, on disk: an hour's work is not lost when it is
interrupted. What a piece is made of is __main__.py's.
"""

import json
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import headrace
from benchmarks.diagnosis.cells import Cell
from headrace.errors import StartError

PARTS = ("diagnose", "simulate", "routing", "engines/sim")


class Job(NamedTuple):
    """
    Runs that are made together: faults of one severity on one workload share their past; of healthy
    fleets, one. ``numbers`` are places in the lists, ``kind`` is faults or healthy.
    """

    kind: str
    numbers: tuple[int, ...]
    severity: int
    place: int
    seed: int


class Progress:
    """
    The cells of each piece that is done, a line each. The first line names the code that made them:
    a run does not go on with the results of another table.
    """

    def __init__(self, path: Path, code: str, *, resume: bool) -> None:
        self._path = path
        self.done: dict[Job, list[Cell]] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        if resume and path.exists():
            self._read(code)
        else:
            path.write_text(json.dumps({"code": code}) + "\n", encoding="utf-8")

    def add(self, job: Job, cells: Sequence[Cell]) -> None:
        """A piece is done."""
        self.done[job] = [*cells]
        line = json.dumps({"job": job, "cells": [cell._asdict() for cell in cells]})
        with self._path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def end(self) -> None:
        """All are done, and written elsewhere."""
        self._path.unlink(missing_ok=True)

    # --- below -----------------------------------------------------------------------------

    def _read(self, code: str) -> None:
        head, *lines = self._path.read_text(encoding="utf-8").splitlines(keepends=True)
        if json.loads(head)["code"] != code:
            raise StartError(
                f"{self._path} is of another version of the code; start anew, without --resume."
            )
        whole = [line for line in lines if line.endswith("\n")]  # the last one may be cut off
        for line in whole:
            found = json.loads(line)
            kind, numbers, severity, place, seed = found["job"]
            job = Job(kind, tuple(numbers), severity, place, seed)
            self.done[job] = [
                Cell(**{**each, "expected": tuple(each["expected"])}) for each in found["cells"]
            ]
        self._path.write_text(head + "".join(whole), encoding="utf-8")


def fingerprint() -> str:
    """A hash of what decides what a run finds: the table, the simulation, and the benchmark."""
    package = Path(headrace.__file__).parent
    folders = (*(package / name for name in PARTS), Path(__file__).parent)
    files = [path for folder in folders for path in sorted(folder.rglob("*.py"))]
    digest = sha256()
    for path in files:
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:16]
