"""``headrace models``: the models on this machine. How they get here is engines/weights'."""

import sys
from collections.abc import Callable
from contextlib import closing
from functools import partial
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table

from headrace.cli.app import examples
from headrace.cli.options import ConfigOption
from headrace.config.load import load
from headrace.engines.weights.cache import Cache, Entry, Plan, origin_of
from headrace.engines.weights.origin import parse
from headrace.errors import StartError

SHOWN_REVISION = 12  # characters; enough to tell revisions apart

models = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    epilog=examples(
        "headrace models pull Qwen/Qwen3-8B",
        "headrace models list",
        "headrace models rm Qwen/Qwen3-8B",
    ),
    help="Pull, list and remove the models on this machine.",
)

Patterns = list[str]


@models.command("list", epilog=examples("headrace models list"))
def list_(config: ConfigOption = None) -> None:
    """List the models on this machine."""
    cache = Cache(load(config).store)
    entries = cache.entries()
    if not entries:
        typer.echo(f"There is no model in {cache.folder}; `headrace models pull` gets one.")
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("model", "revision", "source", "files", "size", "state"):
        justify = "right" if column in {"files", "size"} else "left"
        table.add_column(column, justify=justify, no_wrap=column != "model", overflow="fold")  # type: ignore[arg-type]
    for entry in entries:
        manifest = entry.manifest
        state = "complete" if manifest.complete else "pulled in part"
        table.add_row(
            manifest.model,
            manifest.revision[:SHOWN_REVISION],
            entry.source,
            str(len(manifest.files)),
            size(entry.size),
            state,
        )
    Console().print(table)


@models.command(
    epilog=examples(
        "headrace models pull Qwen/Qwen3-8B",
        "headrace models pull Qwen/Qwen3-8B@b968826d9c46dd6066d109eabc6255188de91218",
        "headrace models pull unsloth/Qwen3-8B-GGUF --include '*Q4_K_M.gguf'",
        "headrace models pull s3://models/qwen3-8b",
    )
)
def pull(
    model: Annotated[
        str,
        typer.Argument(metavar="MODEL", help="org/name, org/name@revision or s3://bucket/prefix."),
    ],
    include: Annotated[
        Patterns | None,
        typer.Option(
            metavar="PATTERN", show_default="all", help="Pull only such files; repeatable."
        ),
    ] = None,
    exclude: Annotated[
        Patterns | None,
        typer.Option(
            metavar="PATTERN", show_default="none", help="Leave out such files; repeatable."
        ),
    ] = None,
    no_verify: Annotated[
        bool,
        typer.Option(
            "--no-verify",
            help="Compare no hashes: buckets that are encrypted with KMS keys have none.",
        ),
    ] = False,
    config: ConfigOption = None,
) -> None:
    """
    Get a model onto this machine.

    What was broken off goes on where it was; every file is compared with its hash.
    """
    store, name = load(config).store, parse(model)
    with closing(origin_of(name, store)) as origin:
        listing = origin.listing().chosen(tuple(include or ()), tuple(exclude or ()))
        if not listing.items:
            raise StartError(f"No file of {model} is left by --include and --exclude.")
        with _progress() as progress:
            begin = partial(_begin, progress, name.model)
            entry = Cache(store).pull(name, origin, listing, begin, verify=not no_verify)
    typer.echo(_summary(entry))


@models.command(
    epilog=examples(
        "headrace models rm Qwen/Qwen3-8B", "headrace models rm Qwen/Qwen3-8B@b968826d --yes"
    )
)
def rm(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL", help="As `list` shows it; with @REVISION only that revision."
        ),
    ],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    config: ConfigOption = None,
) -> None:
    """Remove a model from this machine."""
    cache = Cache(load(config).store)
    entries = cache.find(parse(model))
    if not entries:
        raise StartError(
            f"There is no {model} in {cache.folder}; `headrace models list` shows what is."
        )
    for entry in entries:
        typer.echo(f"{entry.manifest.model} {entry.manifest.revision}  {size(entry.size)}")
    if not yes and not sys.stdin.isatty():
        raise StartError("Nobody can be asked whether to remove it; say --yes.")
    if not yes:
        typer.confirm("Remove?", abort=True)
    for entry in entries:
        cache.remove(entry)


def size(count: float) -> str:
    """Bytes as people read them: ``15.3 GiB``."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.1f} {unit}" if unit != "B" else f"{count:.0f} B"
        count /= 1024
    return f"{count:.1f} TiB"


def _progress() -> Progress:
    """A bar on a terminal; nothing where nobody looks."""
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )


def _begin(progress: Progress, model: str, plan: Plan) -> Callable[[int], None]:
    here = plan.total_bytes - plan.missing_bytes
    task = progress.add_task(model, total=plan.total_bytes, completed=here)
    return partial(progress.advance, task)


def _summary(entry: Entry) -> str:
    files = entry.manifest.files.values()
    unverified = sum(not kept.verified for kept in files)
    doubt = f", {unverified} compared by size only" if unverified else ""
    total = size(sum(kept.size for kept in files))
    return f"{entry.folder}\n{len(files)} files, {total}{doubt}."
