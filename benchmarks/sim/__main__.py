"""
`python -m benchmarks.sim`: calibrates the simulator with a real vLLM on this machine's CPU, then
sends both the same requests. Writes results/latest.json and the table in docs/simulator.md.
"""

import argparse
import asyncio
import dataclasses
import datetime as dt
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.overhead import machine
from benchmarks.overhead.process import busy_s
from headrace.config.schema import Backend
from headrace.engines.calibrate.target import Target

from . import engines, table
from .replay import Replay, replay, summary
from .workload import Ask, workload

_ROOT = Path(__file__).resolve().parents[2]
_RESULTS = Path(__file__).resolve().parent / "results" / "latest.json"
_PAGE = _ROOT / "docs" / "simulator.md"
_PAUSE_S = 1.0
_REST_S = 15.0  # around the calibration: others may use the machine, too


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sim", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="of the requests")
    parser.add_argument("--replays", type=int, default=4, help="of each engine")
    parser.add_argument("--time", type=float, default=90.0, help="seconds to calibrate")
    parser.add_argument("--preset", type=Path, help="use this file, and do not calibrate")
    parser.add_argument("--keep-preset", type=Path, help="where the fitted preset is copied to")
    parser.add_argument("--out", type=Path, default=_RESULTS)
    parser.add_argument("--page", type=Path, default=_PAGE)
    parser.add_argument("--strict", action="store_true", help="exit 1 if an aim is missed")
    return parser.parse_args()


def _calibrated(url: str, folder: Path, time_s: float) -> Path:
    path = folder / "cpu-smollm2.yaml"
    argv = [sys.executable, "-m", "headrace", "engine", "calibrate", "--url", url]
    argv += ["--time", str(time_s), "--out", str(path)]
    subprocess.run(argv, check=True)
    return path


async def _replays(url: str, asks: Sequence[Ask], salts: Sequence[str]) -> list[Replay]:
    found = []
    async with Target(Backend(url=url, name="engine", serves={"any": "any"})) as target:
        await target.facts()
        await target.complete("Hello there", 2)
        for salt in salts:
            await asyncio.sleep(_PAUSE_S)
            found.append(await replay(target, asks, salt))
    return found


def _side(replays: Sequence[Replay]) -> dict[str, Any]:
    return {
        "summary": dataclasses.asdict(summary(replays)),
        "each": [dataclasses.asdict(summary([one])) for one in replays],
        "most_at_once": max(one.most_at_once for one in replays),
        "replays": [[dataclasses.asdict(one) for one in each.heard] for each in replays],
    }


def _measured(options: argparse.Namespace, say: Callable[[str], None]) -> dict[str, Any]:
    asks = workload(options.seed)
    # New prompts in each replay, so that each finds the caches as empty; the same for both engines.
    salts = [f"{options.seed}/{time.time_ns()}/{number}" for number in range(options.replays)]
    with tempfile.TemporaryDirectory(prefix="headrace-sim-") as name:
        folder = Path(name)
        with engines.vllm(folder) as running:
            # The engine is calibrated between its replays: what a shared machine does changes.
            half = (len(salts) + 1) // 2
            say(f"{len(asks)} requests to vLLM, {options.replays} times")
            before, began = _others_s(running), time.monotonic()
            real = asyncio.run(_replays(running.url, asks, salts[:half]))
            time.sleep(_REST_S)
            preset = options.preset or _calibrated(running.url, folder, options.time)
            time.sleep(_REST_S)
            text = preset.read_text(encoding="utf-8")
            real += asyncio.run(_replays(running.url, asks, salts[half:]))
            foreign = (_others_s(running) - before) / (time.monotonic() - began)
        if options.keep_preset is not None:
            options.keep_preset.write_text(text, encoding="utf-8")
        say("the same to the simulator")
        with engines.simulator(folder, preset) as running:
            sim = asyncio.run(_replays(running.url, asks, salts))
    return {
        "date": dt.datetime.now(tz=dt.UTC).date().isoformat(),
        "machine": machine.describe(),
        "seed": options.seed,
        "requests": len(asks),
        "replays": options.replays,
        "foreign_cores": round(max(0.0, foreign), 2),
        "preset": text,
        "vllm": _side(real),
        "sim": _side(sim),
    }


def _others_s(running: engines.Running) -> float:
    """CPU seconds of everything on the machine but the engine and us."""
    return busy_s() - running.tree.cpu_s() - time.process_time()


def main() -> int:
    """Runs the comparison; see --help."""
    options = _options()
    if len(os.sched_getaffinity(0)) < 2:
        raise SystemExit("two cores are needed: one for the engine alone, one for who asks it")
    os.sched_setaffinity(0, {engines.CLIENT_CORE})
    written = _measured(options, lambda text: print(text, flush=True))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(written, ensure_ascii=False) + "\n", encoding="utf-8")
    told = table.render(written)
    print(told)
    page = options.page.read_text(encoding="utf-8")
    options.page.write_text(table.replaced(page, told), encoding="utf-8")
    return 1 if options.strict and table.missed(written) else 0


if __name__ == "__main__":
    raise SystemExit(main())
