"""``headrace bench``: load on an endpoint, and what it did to its clients."""

import asyncio
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from json import dumps
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
import uvloop
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from headrace import __version__
from headrace.bench import plan
from headrace.bench.client import Client, Record, Target
from headrace.bench.drive import Played, play, warm
from headrace.bench.figures import Figures, Slo, as_json, figures, slo
from headrace.bench.page import page
from headrace.bench.plan import Arrivals, Job, Shape, Step
from headrace.bench.sizes import sizes
from headrace.cli.app import examples
from headrace.cli.options import AsJson, Out, save
from headrace.errors import ConfigError
from headrace.upstream import trust

DEFAULT_REQUESTS = 200
LATE_MS = 50.0  # requests sent later than this at the 99th percentile: the generator was too slow

bench = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    epilog=examples(
        "headrace bench load --url http://gateway:8000 --rate 5",
        "headrace bench load --concurrency 1,2,4,8,16 --html sweep.html",
    ),
    help="Put load on an endpoint that speaks the OpenAI API.",
)


@bench.callback()
def _group() -> None:
    """Put load on an endpoint that speaks the OpenAI API."""


@bench.command(
    epilog=examples(
        "headrace bench load --rate 5 --duration 60 --html load.html",
        "headrace bench load --rate 2,4,8 --slo ttft=500ms,tpot=50ms --out load.json",
        "headrace bench load --concurrency 1,2,4,8,16,32 --prompt-dist fixed:1024",
        "headrace bench load --trace conversation_trace.jsonl --speed 2 --requests 500",
    )
)
def load(
    *,
    url: Annotated[
        str, typer.Option(envvar="HEADRACE_URL", metavar="URL", help="Where the endpoint is.")
    ] = "http://127.0.0.1:8000",
    model: Annotated[
        str | None,
        typer.Option(
            "--model", "-m", metavar="NAME", show_default="its first", help="Model to ask."
        ),
    ] = None,
    endpoint: Annotated[
        Literal["chat", "completions"], typer.Option(help="Which API is asked.")
    ] = "chat",
    rate: Annotated[
        str | None,
        typer.Option(
            metavar="R[,R...]",
            show_default=False,
            help="Requests per second, sent whatever became of earlier ones (open loop);"
            " several for a sweep.",
        ),
    ] = None,
    concurrency: Annotated[
        str | None,
        typer.Option(
            metavar="N[,N...]",
            show_default=False,
            help="Requests at a time, the next when one ends (closed loop): the batch size an"
            " engine sees; several for a sweep.",
        ),
    ] = None,
    trace: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", show_default=False, help="A trace in Mooncake's or Azure's form."
        ),
    ] = None,
    speed: Annotated[
        float,
        typer.Option(min=0.001, metavar="X", help="Times faster than the trace was recorded."),
    ] = 1.0,
    requests: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", show_default="200", help="Requests of each level."),
    ] = None,
    duration: Annotated[
        float | None,
        typer.Option(
            min=0.1,
            metavar="SECONDS",
            show_default=False,
            help="How long each level sends, instead of a number of requests.",
        ),
    ] = None,
    arrivals: Annotated[
        Arrivals, typer.Option(help="How requests come in an open loop.")
    ] = "poisson",
    burstiness: Annotated[
        float,
        typer.Option(min=0.01, metavar="X", help="With gamma: below 1 in bursts, above 1 evenly."),
    ] = 0.5,
    prompt_dist: Annotated[
        str,
        typer.Option(
            metavar="DIST",
            help="Tokens of prompts: fixed:N, uniform:A-B, normal:M,D, lognormal:M,S or"
            " exponential:M.",
        ),
    ] = "lognormal:512,0.6",
    output_dist: Annotated[
        str, typer.Option(metavar="DIST", help="Tokens of answers, likewise.")
    ] = "fixed:128",
    prefix: Annotated[
        int,
        typer.Option(min=0, metavar="TOKENS", help="Tokens with which all prompts begin alike."),
    ] = 0,
    warm_up: Annotated[
        int,
        typer.Option(min=0, metavar="N", help="Requests before the first level that do not count."),
    ] = 2,
    limits: Annotated[
        list[str] | None,
        typer.Option(
            "--slo",
            metavar="NAME=TIME",
            show_default=False,
            help="What a good request keeps: ttft=500ms, tpot=50ms, itl=200ms, e2e=10s.",
        ),
    ] = None,
    stop_early: Annotated[
        bool,
        typer.Option(
            "--stop-early/--ignore-eos",
            help="Let answers end before their length; else vLLM is told to go on.",
        ),
    ] = False,
    seed: Annotated[int, typer.Option(metavar="N", help="Equal seeds send equal requests.")] = 0,
    timeout: Annotated[
        float, typer.Option(min=0.1, metavar="SECONDS", help="Longest wait for a whole answer.")
    ] = 600.0,
    api_key: Annotated[
        str | None,
        typer.Option(envvar="HEADRACE_API_KEY", metavar="KEY", help="Your key, if it wants one."),
    ] = None,
    ca: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", show_default=False, help="The authority of an https endpoint (PEM)."
        ),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(metavar="FILE", show_default=False, help="Write a page with charts."),
    ] = None,
    json: AsJson = False,
    out: Out = None,
    records: Annotated[
        Path | None,
        typer.Option(metavar="FILE", show_default=False, help="Write each request, a line each."),
    ] = None,
) -> None:
    """
    Send requests, and tell TTFT, inter-token latency, throughput and goodput.

    With --rate requests are sent when they are due, so that a slow server cannot slow its own
    load down; with --concurrency so many are always under way. Exit code 1 when a request failed.
    """
    shape = Shape(
        sizes(prompt_dist, "--prompt-dist"), sizes(output_dist, "--output-dist"), prefix, seed
    )
    wanted = slo(limits or ())
    steps = _steps(
        (rate, concurrency, trace, speed), (requests, duration), (arrivals, burstiness), shape
    )
    tls = _trusted(ca)
    target = Target(url, model or "", endpoint, api_key, timeout, not stop_early, tls)
    asked = {
        "url": url,
        "model": model or "",
        "load": ", ".join(step.name for step in steps),
        "requests": ", ".join(str(len(step.jobs)) for step in steps)
        if duration is None
        else f"for {duration:g} s",
        "arrivals": "closed loop" if concurrency else "trace" if trace else arrivals,
        "prompts": trace.name if trace else f"{prompt_dist}, of which {prefix} alike",
        "answers": "of the trace" if trace else output_dist,
        "seed": str(seed),
    }
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        played, target = runner.run(_run(target, steps, warm_up))
    asked["model"] = target.model
    found = [(each, figures(each, wanted)) for each in played]
    now = datetime.now(tz=UTC)
    save(
        html,
        lambda: page(asked, found, wanted, f"{now:%Y-%m-%d %H:%M} UTC, headrace {__version__}"),
    )
    document = _document(asked, found, wanted, now)
    if json:
        typer.echo(document, nl=False)
    else:
        _print([each for _, each in found], wanted)
    _warn([each for _, each in found])
    save(out, lambda: document)
    save(
        records, lambda: "".join(_line(each, record) for each in played for record in each.records)
    )
    if any(each.good < each.sent for _, each in found):
        raise typer.Exit(1)


# --- below -------------------------------------------------------------------------------------


def _steps(
    load: tuple[str | None, str | None, Path | None, float],
    size: tuple[int | None, float | None],
    spacing: tuple[Arrivals, float],
    shape: Shape,
) -> list[Step]:
    rate, concurrency, trace, speed = load
    requests, duration = size
    if sum(each is not None for each in (rate, concurrency, trace)) != 1:
        raise ConfigError("Say one of --rate, --concurrency and --trace: they are three loads.")
    if requests is not None and duration is not None:
        raise ConfigError("--requests and --duration exclude each other; say one.")
    if trace is not None:
        return [Step(None, None, plan.recorded(trace, speed, requests, shape.seed))]
    if rate is not None:
        found = []
        for number, each in enumerate(_numbers(rate, "--rate")):
            count = requests or (round(each * duration) if duration else DEFAULT_REQUESTS)
            times = plan.due(each, max(1, count), *spacing, shape.seed + number)
            varied = replace(shape, seed=shape.seed + number)
            found.append(Step(each, None, plan.jobs(varied, times)))
        return found
    levels = [int(each) for each in _numbers(concurrency or "", "--concurrency")]
    shapes = [replace(shape, seed=shape.seed + number) for number in range(len(levels))]
    return [
        Step(None, each, _enough(its, each, requests, duration), duration)
        for each, its in zip(levels, shapes, strict=True)
    ]


def _enough(
    shape: Shape, at_once: int, requests: int | None, duration: float | None
) -> Sequence[Job]:
    if duration is None:
        return plan.jobs(shape, [0.0] * (requests or max(DEFAULT_REQUESTS, at_once)))
    # More than any engine answers in that time: an answer takes it a millisecond at least.
    return plan.jobs(shape, [0.0] * min(20_000, math.ceil(at_once * duration * 50)))


def _numbers(text: str, option: str) -> list[float]:
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        found = []
    whole = option != "--concurrency" or all(each.is_integer() for each in found)
    if not found or min(found) <= 0 or not whole or not all(map(math.isfinite, found)):
        raise ConfigError(f"{option}: {text} is not a list of numbers above 0, such as 1,2,4.")
    return found


def _trusted(ca: Path | None) -> Any:
    try:
        return trust.context(ca, verify=True)
    except OSError as error:
        why = error.strerror or str(error)
        raise ConfigError(f"--ca: {ca} holds no authority in PEM: {why}.") from error


async def _run(target: Target, steps: list[Step], warm_up: int) -> tuple[list[Played], Target]:
    client = Client(target)
    try:
        if not target.model:
            models = await client.models()
            if not models:
                raise ConfigError(f"--url: {target.url} serves no model.")
            client.target = target = replace(target, model=models[0])
        failed = [
            each for each in await warm(client, list(steps[0].jobs[:warm_up])) if not each.good
        ]
        if failed:
            raise ConfigError(f"A request to warm up failed: {failed[0].error}.")
        played = []
        console = Console(stderr=True)
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        with Progress(
            *columns, console=console, transient=True, disable=not console.is_terminal
        ) as bar:
            for step in steps:
                total = None if step.duration_s is not None else len(step.jobs)
                task = bar.add_task(step.name, total=total)
                played.append(await play(client, step, _teller(bar, task)))
        return played, target
    finally:
        client.close()


def _teller(bar: Progress, task: Any) -> Callable[[Record], None]:
    def tell(_record: Record) -> None:
        bar.advance(task)

    return tell


def _print(found: Sequence[Figures], wanted: Slo) -> None:
    table = Table(box=None, pad_edge=False)
    heads = (
        "load",
        "sent",
        "failed",
        "req/s",
        "tok/s",
        "TTFT p50",
        "p99",
        "TPOT p50",
        "p99",
        "ITL p99",
        "E2E p50",
    )
    for place, head in enumerate((*heads, "goodput/s") if wanted.written else heads):
        table.add_column(head, justify="right" if place else "left", no_wrap=True)
    for each in found:
        cells = [
            each.name, str(each.sent), str(each.sent - each.good), f"{each.request_rate:.2f}",
            f"{each.output_rate:.0f}",
            *(f"{spread.percentiles[p]:.1f}" for spread, p in (
                (each.ttft, 50), (each.ttft, 99), (each.tpot, 50), (each.tpot, 99), (each.itl, 99),
                (each.e2e, 50),
            )),
        ]  # fmt: skip
        table.add_row(*cells, *([f"{each.goodput:.2f}"] if wanted.written else []))
    Console(width=None if Console().is_terminal else 160).print(table)
    typer.echo("Times are ms.")


def _warn(found: Sequence[Figures]) -> None:
    for each in found:
        for error, count in list(each.failures.items())[:3]:
            typer.echo(f"{each.name}: {count} failed: {error}", err=True)
        if each.rate is not None and each.late.percentiles[99] > LATE_MS:
            late_ms = each.late.percentiles[99]
            told = f"one in a hundred requests was sent {late_ms:.0f} ms late"
            typer.echo(f"{each.name}: {told}: this machine is too slow.", err=True)


def _document(
    asked: dict[str, str], found: Sequence[tuple[Played, Figures]], wanted: Slo, now: datetime
) -> str:
    document = {
        "version": 1,
        "headrace": __version__,
        "written": now.isoformat(timespec="seconds"),
        "asked": asked,
        "slo_s": wanted.written,
        "levels": [as_json(each) for _, each in found],
    }
    return dumps(document, indent=1) + "\n"


def _line(played: Played, record: Record) -> str:
    fields = {name: getattr(record, name) for name in Record.__slots__}
    return dumps({"level": played.step.name, **fields}) + "\n"
