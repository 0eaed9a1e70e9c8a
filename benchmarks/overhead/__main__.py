"""
`python -m benchmarks.overhead`: reads the options, runs a session, writes what it found.
Exits 0 whether bars are met or not, unless --strict asks for more.
"""

import argparse
import dataclasses
import os
import signal
import tempfile
import time
from pathlib import Path

import msgspec
from rich.console import Console

from . import machine, report, startup
from .bars import judge
from .peers import PEERS, Peer
from .plan import FULL, QUICK, Plan
from .results import Results
from .rig import Layout, Rig
from .session import Session

_ROOT = Path(__file__).resolve().parents[2]
_RESULTS = Path(__file__).resolve().parent / "results"
_CHART = _ROOT / "docs/assets/overhead.svg"
_LAYOUT = Layout()
_LOG_WIDTH = 150
_ENV_DIR = Path("~/.cache/headrace-bench").expanduser()


def _options() -> argparse.Namespace:
    names = ",".join(peer.name for peer in PEERS)
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overhead", description=__doc__)
    parser.add_argument("--peers", default=names, help=f"which to measure (default: {names})")
    parser.add_argument("--quick", action="store_true", help="shorter and noisier: for CI")
    parser.add_argument("--rounds", type=int, help="repetitions of every measurement")
    parser.add_argument("--pace", choices=("step", "own"), default="step", help="see the README")
    parser.add_argument("--env-dir", type=Path, default=_ENV_DIR, help="where peers are installed")
    parser.add_argument("--out", type=Path, default=_RESULTS, help="folder for JSON and Markdown")
    parser.add_argument("--chart", type=Path, help="the SVG (default: docs/assets, if complete)")
    parser.add_argument("--name", help="of the results' files (default: latest, quick or part)")
    parser.add_argument("--port", type=int, default=_LAYOUT.proxy_port, help="of the proxies")
    parser.add_argument(
        "--engine-port", type=int, default=_LAYOUT.engine_port, help="first replica"
    )
    parser.add_argument(
        "--no-startup", action="store_true", help="leave out `up` and `serve` times"
    )
    parser.add_argument("--strict", action="store_true", help="exit 1 if a bar is missed")
    return parser.parse_args()


def _choose(names: str) -> list[Peer]:
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    unknown = set(wanted) - {peer.name for peer in PEERS}
    if unknown:
        raise SystemExit(f"unknown peer: {', '.join(sorted(unknown))}")
    return [peer for peer in PEERS if peer.name in wanted]


def _run(options: argparse.Namespace, plan: Plan, console: Console) -> Results:
    started_s = time.monotonic()
    peers = _choose(options.peers)
    layout = dataclasses.replace(
        _LAYOUT, proxy_port=options.port, engine_port=options.engine_port, pace=options.pace
    )
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder:
        rig = Rig(layout, Path(folder))
        Path(folder).chmod(0o755)  # nginx's worker may be another user
        with rig:
            session = Session(rig, plan, peers, options.env_dir.resolve(), console.log)
            session.prepare()
            session.rounds()
            session.memory()
            session.growth()
            ours = next((peer for peer in peers if peer.kind == "headrace"), None)
            if ours is not None and not options.no_startup:
                console.log("start-up")
                session.results.startup = startup.measure(rig, ours, plan.starts)
    session.results.machine = machine.describe()
    session.results.elapsed_s = time.monotonic() - started_s
    return session.results


def _write(results: Results, options: argparse.Namespace) -> None:
    """Only a full run with every peer may replace what the documentation shows."""
    complete = not options.quick and len(results.labels) == len(PEERS)
    name = options.name or ("latest" if complete else "quick" if options.quick else "part")
    options.out.mkdir(parents=True, exist_ok=True)
    encoded = msgspec.json.format(msgspec.json.encode(results), indent=1)
    (options.out / f"{name}.json").write_bytes(encoded + b"\n")
    (options.out / f"{name}.md").write_text(report.markdown(results))
    target = options.chart or (_CHART if complete else None)
    if target is not None:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(report.drawing(results))


def _end(*_: object) -> None:
    raise SystemExit(143)


def main() -> int:
    """Runs the benchmark; see --help."""
    options = _options()
    if len(os.sched_getaffinity(0)) < 2:
        raise SystemExit("two cores are needed: one for the proxy alone, one for the harness")
    # Ends as Ctrl-C does: every process that was started is stopped on the way out.
    signal.signal(signal.SIGTERM, _end)
    console = Console(log_path=False)
    if not console.is_terminal:
        console = Console(log_path=False, width=_LOG_WIDTH)
    plan = QUICK if options.quick else FULL
    if options.rounds:
        plan = dataclasses.replace(plan, rounds=options.rounds, replica_rounds=options.rounds)
    results = _run(options, plan, console)
    _write(results, options)
    report.show(results, console)
    console.print(f"took {results.elapsed_s:.0f} s")
    missed = any(verdict.state == "miss" for verdict in judge(results))
    return 1 if options.strict and missed else 0


if __name__ == "__main__":
    raise SystemExit(main())
