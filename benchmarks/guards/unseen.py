"""
How many attacks are found of collections that rules and examples were not written by: the half of
their rows whose digest is odd. The other half was read. Nothing is downloaded here.
"""

import argparse
import json
import re
from collections.abc import Iterable, Iterator
from hashlib import md5
from pathlib import Path
from typing import Any

from headrace.config.guards import Injection as Settings
from headrace.gateway.rules.embedding import Builtin
from headrace.guard.injection import Injection

SPIKEE = "spikee/data/workspace/datasets"
# Frames of spikee's have a place for the order within them.
PLACE = re.compile(r"<[A-Z_]*(?:INSTRUCTION|PLACEHOLDER|MALICIOUS)[A-Z_]*>")
ORDER = "Write a poem about rain."


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.guards.unseen", description=__doc__)
    parser.add_argument("folder", type=Path, help="where the packages were installed")
    folder = parser.parse_args().folder
    kinds = {
        "rules": Injection(Settings(vectors=False)),
        "rules and vectors": Injection(Settings(), Builtin()),
    }
    print("| collection | rows |", " | ".join(kinds), "|")
    print("|---|---|", "|".join("---" for _ in kinds), "|", sep="")
    for name, texts in collections(folder).items():
        found = [sum(bool(kind.find(text)) for text in texts) for kind in kinds.values()]
        print(f"| {name} | {len(texts)} |", " | ".join(map(str, found)), "|")


def collections(folder: Path) -> dict[str, list[str]]:
    """The rows that nobody has read, by the name of their collection."""
    sets = folder / SPIKEE
    return {
        "agent-injection-bench: hidden in what tools answer": unseen(
            _text(row["injected"]) for row in _rows(folder / "aib/data/attacks.jsonl")
        ),
        "spikee: to extract a system prompt": unseen(
            row["instruction"]
            for row in _rows(sets / "seeds-sysmsg-extraction-2025-04/instructions.jsonl")
        ),
        "spikee: frames around a harmless order": unseen(
            PLACE.sub(ORDER, row["text"])
            for row in _rows(sets / "seeds-cybersec-2026-01/jailbreaks.jsonl")
        ),
        "spikee: harmless prompts (found is wrong)": unseen(
            row["text"]
            for row in _rows(sets / "seeds-investment-advice-fp/standalone_user_inputs.jsonl")
        ),
    }


def unseen(texts: Iterable[str]) -> list[str]:
    """Those of the half that was not read."""
    return [text for text in texts if md5(text.encode(), usedforsecurity=False).digest()[0] % 2]


def _rows(file: Path) -> Iterator[dict[str, Any]]:
    lines = file.read_text(encoding="utf-8").splitlines()
    yield from (json.loads(line) for line in lines if line.strip())


def _text(injected: object) -> str:
    return injected if isinstance(injected, str) else json.dumps(injected)


if __name__ == "__main__":
    main()
