"""``headrace gpu``: what engines/monitor.py reads, as a table or as JSON, once or until Ctrl-C."""

import json
import time
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.table import Table

from headrace.cli import watch
from headrace.engines.monitor import Reading, library, readings

GIB = 1024**3
MIB = 1024**2
HOT_C = 83  # where data-centre GPUs begin to slow down
FULL = 0.97


def gpu(
    *,
    watching: watch.Watch = False,
    interval: Annotated[
        float, typer.Option(min=0.1, metavar="SECONDS", help="Between two looks.")
    ] = 2.0,
    as_json: Annotated[bool, typer.Option("--json", help="JSON, one line for each look.")] = False,
) -> None:
    """
    Show what the GPUs of this machine do, and for whom.

    Use of cores and memory, power, temperature, ECC errors since the driver was loaded, and the
    processes that hold memory. Needs NVIDIA's driver, and the extra `gpu`.
    """
    with library() as nvml:
        if not as_json:
            watch.show(lambda: table(readings(nvml)), watch=watching, every_s=interval)
        elif watching:
            watch.repeat(lambda: typer.echo(line(readings(nvml))), interval)
        else:
            typer.echo(line(readings(nvml)))


def line(gpus: list[Reading]) -> str:
    """A look as JSON: what is unknown is null."""
    return json.dumps({"at": round(time.time(), 3), "gpus": [asdict(each) for each in gpus]})


def table(gpus: list[Reading]) -> Table:
    """A look as a table: a row for each GPU, its processes below."""
    shown = Table(box=None, pad_edge=False)
    for title in ("GPU", "name", "busy", "memory", "power", "temp", "clock", "ECC"):
        shown.add_column(title, justify="left" if title in {"GPU", "name"} else "right")
    if not gpus:
        shown.add_row("", "the driver shows no GPU")
    for each in gpus:
        shown.add_row(
            str(each.index),
            each.name,
            _known(each.busy_percent, "{} %"),
            _memory(each),
            _power(each),
            _temperature(each.temperature_c),
            _known(each.clock_mhz, "{} MHz"),
            _ecc(each),
        )
        for process in each.processes:
            held = process.memory_bytes
            shown.add_row(
                "", f"  {process.pid} {process.name}".rstrip(), "",
                _known(None if held is None else held // MIB, "{} MiB"), "", "", "", "",
                style="dim",
            )  # fmt: skip
    return shown


def _known(value: Any, form: str) -> str:
    return "-" if value is None else form.format(value)


def _memory(each: Reading) -> str:
    used, total = each.memory_used_bytes, each.memory_bytes
    if used is None or total is None:
        return "-"
    text = f"{used / GIB:.1f} of {total / GIB:.1f} GiB"
    return f"[yellow]{text}[/]" if used > FULL * total else text


def _power(each: Reading) -> str:
    if each.power_w is None:
        return "-"
    limit = "" if each.power_limit_w is None else f" of {each.power_limit_w:.0f}"
    return f"{each.power_w:.0f}{limit} W"


def _temperature(celsius: int | None) -> str:
    text = _known(celsius, "{} °C")
    return f"[red]{text}[/]" if celsius is not None and celsius >= HOT_C else text


def _ecc(each: Reading) -> str:
    """Uncorrected errors lose what was computed: they are shown in red."""
    if each.ecc_corrected is None or each.ecc_uncorrected is None:
        return "-"
    text = f"{each.ecc_corrected} + {each.ecc_uncorrected}"
    return f"[red]{text}[/]" if each.ecc_uncorrected else text
