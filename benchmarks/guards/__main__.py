"""Measures guards and writes docs/guardrails.md's tables and the raw numbers."""

import argparse
import asyncio
import json
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits

from benchmarks.guards import accuracy, report, speed


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.guards", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs/guardrails.md"))
    parser.add_argument("--assets", type=Path, default=Path("docs/assets"))
    options = parser.parse_args()
    with threadpool_limits(1):
        results: dict[str, Any] = {
            "entities": accuracy.entities(),
            "attacks": accuracy.attacks(),
            "texts": speed.texts(),
            "chunks": speed.chunks(),
            "stalls": asyncio.run(speed.stalls()),
        }
    raw = json.dumps(results, indent=1) + "\n"
    (options.assets / "guards.json").write_text(raw, encoding="utf-8")
    page = options.out.read_text(encoding="utf-8")
    options.out.write_text(report.replaced(page, report.render(results)), encoding="utf-8")
    print(report.render(results))


if __name__ == "__main__":
    main()
