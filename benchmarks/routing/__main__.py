"""
`python -m benchmarks.routing`: reads the options, plays the plan, writes what it found. Everything
is written after each run, and a run that was cut off goes on with --resume.
"""

import argparse
import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import yaml
from rich.console import Console

from benchmarks.overhead import machine
from benchmarks.overhead.install import Missing
from headrace.errors import HeadraceError
from headrace.simulate import trace

from . import chart, plan, report
from .plan import Cell
from .results import Results
from .rig import Layout, Rig, Run
from .routers import ROUTERS, Router
from .validation import Agreement, simulate

_ROOT = Path(__file__).resolve().parents[2]
_RESULTS = Path(__file__).resolve().parent / "results"
_TRACES = _ROOT.parent / "shared" / "traces"
_PAGE = _ROOT / "docs" / "benchmarks-routing.md"
_ENV_DIR = Path("~/.cache/headrace-bench").expanduser()
_LAYOUT = Layout()
_WIDTH = 150


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.routing", description=__doc__)
    add = parser.add_argument
    add("--cells", default="full", help="which to play, by name; full is all of the full run")
    add("--routers", help="only these, by name")
    add("--seeds", type=int, default=3, help="runs of each router in each cell")
    add("--speed", type=float, help="how many times faster engines run, instead of the cells' own")
    add("--traces", type=Path, default=_TRACES, help="folder with mooncake/ and azure/")
    add("--settings", type=Path, help="YAML that is merged into Headrace's configuration")
    add("--env-dir", type=Path, default=_ENV_DIR, help="where routers are installed")
    add("--out", type=Path, default=_RESULTS, help="folder for JSON and Markdown")
    add("--name", help="of the results' files (default: latest if all was played, else part)")
    add("--resume", action="store_true", help="leave out what the results' file has already")
    add("--quick", action="store_true", help="a minute that sees whether the harness works")
    add("--validate", action="store_true", help="compare the harness with the simulator")
    add("--pages", action="store_true", help="write docs/ from the results' file, play nothing")
    return parser.parse_args()


class Session:
    """Plays cells and keeps what they gave."""

    def __init__(self, options: argparse.Namespace, console: Console, target: Path) -> None:
        self._options = options
        self._say = console.log
        self._target = target
        self._rig = Rig(_LAYOUT, options.env_dir.resolve())
        self._started_s = time.monotonic()
        self.results = Results()
        if options.resume and target.is_file():
            self.results = msgspec.json.decode(target.read_bytes(), type=Results)
        self._before_s = self.results.elapsed_s

    def play(self, cells: list[Cell]) -> None:
        """Seed by seed, routers in another order each time: nobody is always first."""
        self.results.machine = machine.describe()
        self.results.settings = settings = _settings(self._options.settings)
        todo = []
        for seed in range(self._options.seeds):
            for cell in cells:
                chosen = [_configured(router, settings) for router in self._routers(cell)]
                Random(f"{cell.name}/{seed}").shuffle(chosen)
                todo += [(cell, router, seed) for router in chosen]
        for number, (cell, router, seed) in enumerate(todo, 1):
            self._note(cell, router)
            if not self.results.has(cell.name, router.name, seed):
                self._say(f"{number}/{len(todo)} {cell.name}, seed {seed}: {router.label}")
                self._one(cell, router, seed)

    def _routers(self, cell: Cell) -> list[Router]:
        wanted = self._options.routers
        names = wanted.split(",") if wanted else cell.routers
        known = {router.name: router for router in ROUTERS}
        unknown = [name for name in names if name not in known]
        if unknown:
            raise SystemExit(f"There is no router {unknown[0]!r}; there are {', '.join(known)}.")
        return [known[name] for name in names]

    def _note(self, cell: Cell, router: Router) -> None:
        results = self.results
        results.titles[cell.name], results.kinds[cell.name] = cell.title, cell.kind
        results.speeds[cell.name] = cell.scale.speed
        results.labels[router.name] = router.label
        if router.ours and router.name not in results.ours:
            results.ours.append(router.name)

    def _one(self, cell: Cell, router: Router, seed: int) -> None:
        try:
            run = self._rig.play(router, cell.scene(self._options.traces, seed), seed)
        except Missing as reason:
            self._say(f"  not measured: {reason}")
            self.results.missing[router.name] = str(reason)
            return
        self.results.runs.append(run)
        self._say(f"  {told(run)}")
        self.save()

    def save(self) -> None:
        """Write everything, so that nothing is lost when the next run is cut off."""
        self.results.elapsed_s = self._before_s + time.monotonic() - self._started_s
        self._target.parent.mkdir(parents=True, exist_ok=True)
        encoded = msgspec.json.format(msgspec.json.encode(self.results), indent=1)
        fresh = self._target.with_suffix(".new")
        fresh.write_bytes(encoded + b"\n")
        fresh.replace(self._target)


def told(run: Run) -> str:
    """A run in one line."""
    ttft = run.figures.ttft
    line = (
        f"TTFT {ttft.mean:.0f} ms (p50 {ttft.p50:.0f}, p99 {ttft.p99:.0f}), cached"
        f" {run.figures.cached:.3f}, good {run.figures.good:.3f}, outside {run.outside_ms:.0f} ms,"
        f" {run.figures.failed} failed; harness {run.client_share + run.fleet_share:.0%} of a core,"
        f" others {run.foreign_cores:.1f} cores"
    )
    return f"{line}; INVALID: {'; '.join(run.invalid)}" if run.invalid else line


def _settings(path: Path | None) -> dict[str, Any]:
    return {} if path is None else yaml.safe_load(path.read_text(encoding="utf-8")) or {}


def _configured(router: Router, settings: dict[str, Any]) -> Router:
    return replace(router, settings={**router.settings, **settings}) if router.ours else router


def _validate(options: argparse.Namespace, console: Console) -> Agreement:
    """The same trace, over HTTP and without."""
    cell = plan.VALIDATION
    if options.speed:
        cell = plan.at(cell, options.speed)
    path = plan.locate(options.traces, cell.trace)
    found = trace.replay(cell.name, trace.read(path, cell.requests), cell.rate, seed=0)
    simulated = simulate(cell, found)
    console.log(f"simulated: mean {simulated.mean:.0f}, p50 {simulated.p50:.0f} ms")
    router = next(router for router in ROUTERS if router.name == cell.routers[0])
    scene = replace(cell.scene(options.traces, seed=0), warm=0.0)
    run = Rig(_LAYOUT, options.env_dir.resolve()).play(router, scene, seed=0)
    console.log(f"over HTTP: {told(run)}")
    return Agreement(simulated, run.figures.ttft, tuple(run.invalid))


def _pages(results: Results, agreement: Agreement | None) -> None:
    """The charts and the page of the documentation."""
    charts = []
    shown = [cell for cell in results.cells() if results.kinds[cell] != "quick"]
    for first in range(0, len(shown), 2):
        cells = shown[first : first + 2]
        name = f"assets/routing-{first // 2 + 1}.svg"
        (_PAGE.parent / name).write_text(
            chart.draw(results, "Time to first token", cells), encoding="utf-8"
        )
        charts.append(name)
    before = _PAGE.read_text(encoding="utf-8") if _PAGE.is_file() else ""
    new = report.section(results, charts, agreement)
    _PAGE.write_text(report.page(before, new), encoding="utf-8")


def _quick(results: Results, cells: list[Cell]) -> int:
    """Whether the harness did what it should; what the numbers are does not matter."""
    wanted = sum(len(cell.routers) for cell in cells)
    problems = [f"{run.router}: {run.failures}" for run in results.runs if run.failures]
    problems += [f"{run.router}: no cached token" for run in results.runs if not run.hits]
    problems += [f"{name}: {reason}" for name, reason in results.missing.items()]
    if len(results.runs) < wanted and not problems:
        problems.append(f"{len(results.runs)} of {wanted} runs took place")
    for problem in problems:
        print(f"The harness does not work: {problem}", file=sys.stderr)
    return 1 if problems else 0


def _play(options: argparse.Namespace, console: Console) -> int:
    if options.quick:
        cells, options.seeds = [plan.QUICK], 1
    else:
        cells = plan.choose(options.cells)
    if options.speed:
        cells = [plan.at(cell, options.speed) for cell in cells]
    complete = options.cells == "full" and not (options.quick or options.routers or options.speed)
    name = options.name or ("latest" if complete else "quick" if options.quick else "part")
    checked = options.out / "agreement.json"
    session = Session(options, console, options.out / f"{name}.json")
    if complete and not options.pages:
        checked.parent.mkdir(parents=True, exist_ok=True)
        checked.write_bytes(msgspec.json.encode(_validate(options, console)))
    if options.pages:
        session.results = msgspec.json.decode((options.out / f"{name}.json").read_bytes(),
                                              type=Results)  # fmt: skip
    else:
        session.play(cells)
        session.save()
    agreement = None
    if checked.is_file():
        agreement = msgspec.json.decode(checked.read_bytes(), type=Agreement)
    text = report.section(session.results, [], agreement)
    (options.out / f"{name}.md").write_text(text + "\n", encoding="utf-8")
    if complete or options.pages:
        _pages(session.results, agreement)
    console.print(text, markup=False, soft_wrap=True)
    return _quick(session.results, cells) if options.quick else 0


def _end(*_: object) -> None:
    raise SystemExit(143)


def main() -> int:
    """Runs the benchmark; see --help."""
    options = _options()
    if len(os.sched_getaffinity(0)) < 2:
        raise SystemExit("two cores are needed: one for the router alone, one for the harness")
    # The other core is the router's alone; whoever is started on it moves there.
    os.sched_setaffinity(0, {_LAYOUT.harness_core})
    # Ends as Ctrl-C does: every process that was started is stopped on the way out.
    signal.signal(signal.SIGTERM, _end)
    console = Console(log_path=False)
    if not console.is_terminal:
        console = Console(log_path=False, width=_WIDTH)
    try:
        if options.validate:
            found = _validate(options, console)
            (options.out / "agreement.json").write_bytes(msgspec.json.encode(found))
            console.print(f"error of the mean {found.error:+.1%}")
            return 0 if found.agrees else 1
        return _play(options, console)
    except HeadraceError as error:
        print(error, file=sys.stderr)
        return 2


if __name__ == "__main__":
    raise SystemExit(main())
