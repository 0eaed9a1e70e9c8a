"""``headrace simulate``: routing policies before a simulated fleet, to choose one or to size it."""

from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from itertools import product
from json import dumps
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from headrace.cli.options import AsJson, Out, save
from headrace.engines.sim import sheet
from headrace.engines.sim.cost import Preset
from headrace.engines.sim.presets import PRESETS
from headrace.errors import ConfigError
from headrace.simulate import contest, sharing
from headrace.simulate.contest import Results, Run, Source
from headrace.simulate.report import AFTER_JOIN, BY_SIZE, MAIN, Figures, as_json, table
from headrace.simulate.sharing import Party
from headrace.simulate.world import Change, Fleet

# What a queue without tenants is: who comes first goes first.
FIRST_COME = "headrace:lowest_cost:fair"


def simulate(
    *,
    trace: Annotated[
        str,
        typer.Option(
            "--trace",
            "-t",
            metavar="FILE|NAME",
            show_default=False,
            help="A trace in Mooncake's or Azure's form, or a generator: chat, b2b, agents.",
        ),
    ],
    replicas: Annotated[
        int, typer.Option(min=1, max=1000, metavar="N", help="Replicas of each preset.")
    ] = 8,
    preset: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[:N]",
            show_default="h100-8b",
            help="Their GPU and model class, or a preset's file; several for a mixed fleet.",
        ),
    ] = None,
    rate: Annotated[
        list[float] | None,
        typer.Option(
            min=0.001,
            metavar="X",
            show_default="1",
            help="Times faster than recorded; for generators requests per second. Repeatable.",
        ),
    ] = None,
    policy: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[:ORDER]",
            show_default="lowest_cost",
            help="A policy of Headrace, such as lowest_cost:fair; repeatable.",
        ),
    ] = None,
    compare: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            show_default=False,
            help="Another router's policy, or all of them; repeatable.",
        ),
    ] = None,
    seeds: Annotated[
        int, typer.Option(min=1, max=100, metavar="N", help="Runs of each, to tell chance apart.")
    ] = 3,
    requests: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", show_default="all; 5000 of a generator", help="The first N only."
        ),
    ] = None,
    max_tokens: Annotated[
        int | None,
        typer.Option(
            min=2, metavar="N", show_default=False, help="Leave out requests with more tokens."
        ),
    ] = None,
    quiet: Annotated[
        float,
        typer.Option(
            min=0,
            max=1,
            metavar="SHARE",
            help="Of the requests so many are not streamed: routers do not see their first token.",
        ),
    ] = 0.0,
    join: Annotated[
        list[float] | None,
        typer.Option(
            min=0, metavar="SECOND", show_default=False, help="A replica joins; repeatable."
        ),
    ] = None,
    die: Annotated[
        list[float] | None,
        typer.Option(
            min=0, metavar="SECOND", show_default=False, help="A replica dies; repeatable."
        ),
    ] = None,
    gateways: Annotated[
        list[int] | None,
        typer.Option(
            min=1,
            max=64,
            metavar="N",
            show_default="1",
            help="Gateways that get the requests by chance, each with its own router; repeatable.",
        ),
    ] = None,
    share_s: Annotated[
        float,
        typer.Option(
            min=0,
            max=10,
            metavar="SECONDS",
            help="How often those of Headrace tell each other what they did; 0 is never.",
        ),
    ] = 0.1,
    tenant: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME:SHARE[:CLASS]",
            show_default=False,
            help="Part the requests between tenants, and show what each gets beside what it would"
            " get alone; repeatable.",
        ),
    ] = None,
    processes: Annotated[
        int, typer.Option(min=1, max=256, metavar="N", help="Runs at the same time.")
    ] = 1,
    json: AsJson = False,
    out: Out = None,
) -> None:
    """
    Try routing policies before a simulated fleet.

    Nothing is started or sent: events are computed, thousands of requests in a second.
    """
    source = contest.source(trace, requests, max_tokens, quiet)
    fleet = fleet_of(preset or ["h100-8b"], replicas, join or [], die or [])
    names = contest.policies(policy or ["lowest_cost"], compare or [])
    if tenant:
        if gateways or json or out is not None:
            raise ConfigError(
                "--tenant: what tenants get is shown for one gateway, and for people only;"
                " leave out --gateways, --json and --out."
            )
        parties = [sharing.party(each) for each in tenant]
        for name, speed in product(names, rate or [1.0]):
            _share(name, source, speed, fleet, parties, seeds)
        return
    wanted = contest.runs(names, rate or [1.0], seeds, gateways or [1], share_s)
    found = _played(wanted, source, fleet, processes)
    results = contest.results(found)
    document = _document(source, fleet, seeds, results)
    if json:
        typer.echo(document, nl=False)
    else:
        for speed, rows in results.items():
            _print(f"{source.name}, rate {speed:g}, {_count(fleet)}", rows, seeds > 1)
    save(out, lambda: document)


def fleet_of(
    presets: Sequence[str], replicas: int, joins: Sequence[float], deaths: Sequence[float]
) -> Fleet:
    """
    The fleet that the options describe; who joins is of the first preset.

    Raises:
        ConfigError: there is no such preset.

    """
    found: list[Preset] = []
    for each in presets:
        name, _, number = each.rpartition(":")
        counted = bool(name) and number.isdecimal() and int(number) > 0
        found += [_preset(name if counted else each)] * (int(number) if counted else replicas)
    changes = [Change(at_s, found[0]) for at_s in joins] + [Change(at_s, None) for at_s in deaths]
    return Fleet(tuple(found), tuple(sorted(changes, key=lambda change: change.at_s)))


def _share(
    name: str, source: Source, rate: float, fleet: Fleet, parties: Sequence[Party], seeds: int
) -> None:
    """Play one policy with tenants, and print what each of these got."""
    found = []
    for seed in range(1, seeds + 1):
        trace = sharing.parted(source.trace(rate, seed), parties, seed)
        found.append(
            sharing.share(
                trace, fleet, lambda: contest.policy(name), lambda: contest.policy(FIRST_COME), seed
            )
        )
    title = f"{source.name}, rate {rate:g}, {_count(fleet)}, {name}"
    Console().print(f"\n{title}", style="bold", highlight=False)
    _aligned(sharing.table(found))
    typer.echo(sharing.sums(found))


# --- below -------------------------------------------------------------------------------------


def _preset(name: str) -> Preset:
    if name in PRESETS:
        return PRESETS[name]
    if sheet.is_file(name):
        return sheet.read(Path(name))
    raise ConfigError(
        f"--preset: {name!r} is unknown; use one of {', '.join(PRESETS)}, or a file in .yaml."
    )


def _played(
    wanted: Sequence[Run], source: Source, fleet: Fleet, processes: int
) -> dict[Run, Figures]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(
        *columns, TimeElapsedColumn(), console=Console(stderr=True), transient=True
    ) as bar:
        task = bar.add_task("simulating", total=len(wanted))

        def done(run: Run) -> None:
            bar.update(task, advance=1, description=f"{run.name} at {run.rate:g}")

        if processes == 1 or len(wanted) == 1:
            return contest.sequential(wanted, source, fleet, done)
        return _parallel(wanted, source, fleet, processes, done)


def _parallel(
    wanted: Sequence[Run],
    source: Source,
    fleet: Fleet,
    processes: int,
    done: Callable[[Run], None],
) -> dict[Run, Figures]:
    with ProcessPoolExecutor(min(processes, len(wanted))) as pool:
        futures = {pool.submit(contest.play, run, source, fleet): run for run in wanted}
        try:
            for future in as_completed(futures):
                future.result()
                done(futures[future])
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
        return {run: future.result() for future, run in futures.items()}


def _print(title: str, rows: dict[str, Any], spread: bool) -> None:
    console = Console()
    console.print(f"\n{title}", style="bold", highlight=False)
    _aligned(table(rows, MAIN, spread=False))
    if spread:
        console.print("\nMean over the seeds and its deviation", highlight=False)
        _aligned(table(rows, MAIN[:4], spread=True))
    console.print("\nFirst token by size of the prompt, in tokens; ms", highlight=False)
    _aligned(table(rows, BY_SIZE, spread=False))
    if any(found["join_peak"] is not None for found in rows.values()):
        console.print("\nAfter a join, requests in flight compared with the mean", highlight=False)
        _aligned(table(rows, AFTER_JOIN, spread=False))


def _aligned(lines: Sequence[Sequence[str]]) -> None:
    widths = [max(len(line[place]) for line in lines) for place in range(len(lines[0]))]
    for first, *others in lines:
        cells = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        typer.echo("  ".join([first.ljust(widths[0]), *cells]))


def _count(fleet: Fleet) -> str:
    kinds = dict.fromkeys(preset.name for preset in fleet.presets)
    return " + ".join(
        f"{sum(preset.name == kind for preset in fleet.presets)} {kind}" for kind in kinds
    )


def _document(source: Source, fleet: Fleet, seeds: int, results: Results) -> str:
    document = {
        "simulated": True,
        "trace": source.name,
        "requests": source.requests,
        "fleet": [preset.name for preset in fleet.presets],
        "changes": [
            {"at_s": change.at_s, "joins": change.preset.name if change.preset else None}
            for change in fleet.changes
        ],
        "seeds": seeds,
        "results": [
            {"rate": rate, "policy": name, "figures": as_json(found)}
            for rate, rows in results.items()
            for name, found in rows.items()
        ],
    }
    return dumps(document, indent=1) + "\n"
