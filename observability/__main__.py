"""``python -m observability``: writes the dashboards; with --check it says which are not as written."""

import argparse
import sys
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from observability.dashboards import fleet, overview, requests, routing, scaling, tenants

FOLDER = Path(__file__).resolve().parent / "grafana" / "dashboards"
BOARDS = (overview, fleet, tenants, routing, scaling, requests)


def written() -> dict[Path, str]:
    """Each file with its text."""
    encoder = JSONEncoder(sort_keys=True, indent=1)
    boards = [module.board() for module in BOARDS]
    return {FOLDER / f"{board.uid}.json": encoder.encode(board) + "\n" for board in boards}


def stale(files: dict[Path, str]) -> list[str]:
    """Files that are missing, differ, or that no dashboard writes."""
    found = [path.name for path, text in files.items() if _read(path) != text]
    return sorted([*found, *(path.name for path in FOLDER.glob("*.json") if path not in files)])


def main() -> int:
    """Write, or check."""
    parser = argparse.ArgumentParser(prog="python -m observability", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; 1 if one is stale")
    files = written()
    if parser.parse_args().check:
        old = stale(files)
        for name in old:
            print(f"{name} is stale; run `make observability`", file=sys.stderr)
        return 1 if old else 0
    FOLDER.mkdir(parents=True, exist_ok=True)
    for path, text in files.items():
        path.write_text(text, encoding="utf-8")
        print(f"wrote {path.relative_to(FOLDER.parents[2])}")
    return 0


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


if __name__ == "__main__":
    sys.exit(main())
