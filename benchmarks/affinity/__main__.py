"""
`python -m benchmarks.affinity`: the same conversations under three routing policies, with two real
vLLM on this machine's CPU. Writes results/latest.json and a section of docs/benchmarks-routing.md.
"""

import argparse
import asyncio
import contextlib
import dataclasses
import datetime as dt
import json
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.overhead import machine
from benchmarks.overhead.process import Tree, busy_s
from benchmarks.sim import engines

from . import figures, rig
from .chats import CONVERSATIONS, TURNS, chats

_ROOT = Path(__file__).resolve().parents[2]
_RESULTS = Path(__file__).resolve().parent / "results" / "latest.json"
_PAGE = _ROOT / "docs" / "benchmarks-routing.md"
_POLICIES = ("round_robin", "random", "lowest_cost")
_RESET = {"VLLM_SERVER_DEV_MODE": "1"}  # opens POST /reset_prefix_cache


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.affinity", description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], help="of conversations")
    parser.add_argument("--limit-s", type=float, default=900.0, help="no seed begins after that")
    parser.add_argument("--out", type=Path, default=_RESULTS)
    parser.add_argument("--page", type=Path, default=_PAGE)
    return parser.parse_args()


def _turned(seed: int) -> tuple[str, ...]:
    """The policies, each seed beginning with another: whatever drifts does not hit one alone."""
    start = seed % len(_POLICIES)
    return _POLICIES[start:] + _POLICIES[:start]


def _measured(options: argparse.Namespace, say: Callable[[str], None]) -> dict[str, Any]:
    began = time.monotonic()
    rows: list[figures.Row] = []
    passes: list[dict[str, Any]] = []
    seeds: list[int] = []
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="headrace-affinity-")))
        running = []
        for core in (0, 1):
            place = folder / f"replica-{core}"
            place.mkdir()
            running.append(stack.enter_context(engines.vllm(place, core, _RESET)))
            say(f"{time.monotonic() - began:.0f} s: vLLM {core} is ready")
        cold = rig.Cold([one.url for one in running])
        cold.warm()
        for seed in options.seeds:
            if seeds and time.monotonic() - began > options.limit_s:
                say(f"no time is left for seed {seed} and those after it")
                break
            seeds.append(seed)
            for policy in _turned(seed):
                found, facts = _pass(folder, cold, [one.tree for one in running], seed, policy)
                rows += found
                passes.append(facts)
                say(f"{time.monotonic() - began:.0f} s: {facts}")
    return {
        "date": dt.datetime.now(tz=dt.UTC).date().isoformat(),
        "machine": machine.describe(),
        "engine": "vLLM 0.32.0 on CPU, SmolLM2-135M, one thread each",
        "elapsed_s": round(time.monotonic() - began),
        "seeds": seeds,
        "policies": _POLICIES,
        "conversations": CONVERSATIONS,
        "turns": TURNS,
        "passes": passes,
        "rows": [dataclasses.asdict(row) for row in rows],
    }


def _pass(
    folder: Path, cold: rig.Cold, trees: Sequence[Tree], seed: int, policy: str
) -> tuple[list[figures.Row], dict[str, Any]]:
    """All conversations of a seed under one policy: engines and gateway begin knowing nothing."""
    name = f"{policy}-{seed}"
    place = folder / name
    place.mkdir()
    port = engines.free_port()
    with rig.gateway(place, cold.urls, policy, port) as tree:
        cold.empty()
        ours = [*trees, tree]
        hits, busy, began = cold.hits(), _others_s(ours), time.monotonic()
        heard = asyncio.run(rig.converse(f"http://127.0.0.1:{port}", chats(seed), name))
        took = time.monotonic() - began
        foreign, hits = (_others_s(ours) - busy) / took, cold.hits() - hits
    log = (place / "requests.jsonl").read_text("utf-8")
    found = rig.rows(heard, log, name, seed, policy)
    if min(found, key=lambda row: row.sent_s).cached:
        raise SystemExit(f"{name}: the first prompt was in a cache that should have been empty")
    facts = {
        "seed": seed,
        "policy": policy,
        "seconds": round(took, 1),
        "foreign_cores": round(max(0.0, foreign), 2),
        "cached": round(figures.cached_share(found), 3),
        "engine_hits": hits,
    }
    return found, facts


def _others_s(ours: Sequence[Tree]) -> float:
    """CPU seconds of everything on the machine but the engines, the gateway and us."""
    return busy_s() - sum(tree.cpu_s() for tree in ours) - time.process_time()


def main() -> int:
    """Runs the comparison; see --help."""
    options = _options()
    if len(os.sched_getaffinity(0)) < 2:
        raise SystemExit("two cores are needed: one for each engine")
    written = _measured(options, lambda text: print(text, flush=True))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(written, ensure_ascii=False) + "\n", encoding="utf-8")
    told = figures.render(written)
    print(told)
    page = options.page.read_text(encoding="utf-8")
    options.page.write_text(figures.replaced(page, told), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
