"""Programs that write down how they were called, and answer as told: first on PATH."""

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SCRIPT = """#!{python} -S
import json, os, sys
here = os.path.dirname(os.path.abspath(__file__))
line = [os.path.basename(sys.argv[0]), *sys.argv[1:]]
given = sys.stdin.read() if "-" in sys.argv[1:] else ""
with open(os.path.join(here, "calls.jsonl"), "a") as log:
    log.write(json.dumps({{"line": line, "given": given}}) + "\\n")
with open(os.path.join(here, "answers.json")) as file:
    answers = json.load(file)
for words, answer in answers:
    if all(word in line for word in words):
        if isinstance(answer, int):
            sys.stderr.write("it did not work\\n")
            sys.exit(answer)
        sys.stdout.write(json.dumps(answer))
        break
"""


@dataclass(frozen=True, slots=True)
class Recorded:
    """A folder of such programs."""

    folder: Path

    def answer(self, *pairs: tuple[tuple[str, ...], Any]) -> None:
        """What calls that hold all of some words answer; a number is an exit code."""
        (self.folder / "answers.json").write_text(json.dumps(pairs), encoding="utf-8")

    def calls(self) -> list[dict[str, Any]]:
        """The calls until now: ``line`` and what was ``given`` on standard input."""
        log = self.folder / "calls.jsonl"
        lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
        return [json.loads(line) for line in lines]

    def lines(self) -> list[str]:
        """The calls as lines."""
        return [" ".join(call["line"]) for call in self.calls()]


def recorded(folder: Path, *names: str) -> Recorded:
    """Programs of these names in a new folder."""
    folder.mkdir()
    for name in names:
        path = folder / name
        path.write_text(SCRIPT.format(python=sys.executable), encoding="utf-8")
        path.chmod(0o755)
    found = Recorded(folder)
    found.answer()
    return found


def path(found: Recorded) -> str:
    """PATH with them first."""
    return f"{found.folder}{os.pathsep}/usr/bin{os.pathsep}/bin"
