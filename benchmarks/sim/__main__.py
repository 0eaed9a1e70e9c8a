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
from headrace.config.backends import Backend
from headrace.engines.calibrate.target import Target
from headrace.engines.sim import sheet

from . import engines, table
from .replay import PACE_TOKENS, Replay, middle, pace_ms, replay, summary
from .workload import Ask, workload

_ROOT = Path(__file__).resolve().parents[2]
_RESULTS = Path(__file__).resolve().parent / "results" / "latest.json"
_PAGE = _ROOT / "docs" / "simulator.md"
_REST_S = 5.0  # after the calibration
_SIM_REPLAYS = 2  # it does the same each time
_QUIET = 0.1  # share by which a prompt alone may be slower or faster than when it was calibrated
_MOST_DISTURBED = 5


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sim", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="of the requests")
    parser.add_argument("--replays", type=int, default=3, help="of vLLM")
    parser.add_argument("--time", type=float, default=80.0, help="seconds to calibrate")
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


@dataclasses.dataclass(slots=True)
class Found:
    """The replays that count, and how many did not because the machine was busy."""

    replays: list[Replay] = dataclasses.field(default_factory=list)
    paces: list[float] = dataclasses.field(default_factory=list)
    disturbed: int = 0


async def _replays(url: str, asks: Sequence[Ask], seed: int, wanted: int, pace: float) -> Found:
    """
    As many replays as wanted before and after which the engine alone was about as fast as when it
    was calibrated; ``pace`` is that time in ms. On a machine that others use, its speed changes by
    half from minute to minute.
    """
    found = Found()
    async with Target(Backend(url=url, name="engine", serves={"any": "any"})) as target:
        await target.facts()
        while len(found.replays) < wanted and found.disturbed < _MOST_DISTURBED:
            # New prompts in each replay, so that each finds the cache as empty.
            salt = f"{seed}/{time.time_ns()}"
            before = await pace_ms(target, f"{salt}/before")
            one = await replay(target, asks, salt)
            after = await pace_ms(target, f"{salt}/after")
            found.paces += [round(before, 1), round(after, 1)]
            if max(abs(before / pace - 1), abs(after / pace - 1)) <= _QUIET:
                found.replays.append(one)
            else:
                found.disturbed += 1
    if not found.replays:
        raise SystemExit(
            f"the machine was never quiet: a prompt took {found.paces} ms, and {pace:.0f} ms when"
            " the engine was calibrated"
        )
    return found


def _side(found: Found) -> dict[str, Any]:
    return {
        "summary": dataclasses.asdict(middle([summary(one) for one in found.replays])),
        "each": [dataclasses.asdict(summary(one)) for one in found.replays],
        "most_at_once": max(one.most_at_once for one in found.replays),
        "disturbed": found.disturbed,
        "paces_ms": found.paces,
        "replays": [[dataclasses.asdict(one) for one in each.heard] for each in found.replays],
    }


def _measured(options: argparse.Namespace, say: Callable[[str], None]) -> dict[str, Any]:
    asks = workload(options.seed)
    with tempfile.TemporaryDirectory(prefix="headrace-sim-") as name:
        folder = Path(name)
        with engines.vllm(folder) as running:
            preset = options.preset or _calibrated(running.url, folder, options.time)
            text = preset.read_text(encoding="utf-8")
            fitted = sheet.read(preset)
            pace = fitted.prefill_ms(PACE_TOKENS) + fitted.request_ms
            time.sleep(_REST_S)
            say(f"{len(asks)} requests to vLLM, {options.replays} times")
            before, began = _others_s(running), time.monotonic()
            real = asyncio.run(_replays(running.url, asks, options.seed, options.replays, pace))
            foreign = (_others_s(running) - before) / (time.monotonic() - began)
        if options.keep_preset is not None:
            options.keep_preset.write_text(text, encoding="utf-8")
        say("the same to the simulator")
        with engines.simulator(folder, preset) as running:
            sim = asyncio.run(_replays(running.url, asks, options.seed, _SIM_REPLAYS, pace))
    return {
        "date": dt.datetime.now(tz=dt.UTC).date().isoformat(),
        "machine": machine.describe(),
        "seed": options.seed,
        "requests": len(asks),
        "pace_ms": round(pace, 1),
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
