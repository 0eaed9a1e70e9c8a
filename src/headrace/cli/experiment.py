"""
``headrace experiment``: the experiments of a running gateway, by its admin API. What follows from
the numbers is routing/experiments.py's.
"""

import json
from typing import Annotated, Any
from urllib.parse import quote

import typer
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from headrace.cli import watch
from headrace.cli.app import examples
from headrace.cli.fleet import Admin, AdminUrl, Token
from headrace.cli.options import AsJson
from headrace.errors import StartError

SHARE_WIDTH = 10  # cells of a bar
SCALE_WIDTH = 41  # cells of an interval; the middle one is no change
SCALE = 0.5  # at its ends: half as slow, half as fast

COLUMNS = ("arm", "target", "share", "", "requests", "failed", "p50", "p95", "tokens")
TEXTS = frozenset({"arm", "target", ""})

experiment = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    epilog=examples(
        "headrace experiment status", "headrace experiment ramp new-model candidate 25"
    ),
    help="Show the experiments of a running gateway, and give an arm another share.",
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="The experiment's name.")]


@experiment.command(epilog=examples("headrace experiment status new-model --watch"))
def status(
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", show_default="all", help="The experiment's name."),
    ] = None,
    *,
    admin_url: AdminUrl = None,
    token: Token = None,
    watching: watch.Watch = False,
    as_json: AsJson = False,
) -> None:
    """Show what each arm has seen, and whether it differs from the control."""
    admin = Admin(admin_url, token)
    if as_json:
        typer.echo(json.dumps(_seen(admin, name), indent=2))
        return
    watch.show(lambda: shown(_seen(admin, name)), watch=watching)


@experiment.command(epilog=examples("headrace experiment ramp new-model candidate 25"))
def ramp(
    name: Name,
    arm: Annotated[str, typer.Argument(metavar="ARM", help="The arm's name.")],
    percent: Annotated[
        float, typer.Argument(min=0, max=100, metavar="PERCENT", help="Its share from now on.")
    ],
    *,
    admin_url: AdminUrl = None,
    token: Token = None,
) -> None:
    """
    Give an arm another share; the others keep their proportions.

    It holds until the gateway stops or the experiment is configured anew.
    """
    path = f"/admin/experiments/{quote(name, safe='')}/ramp"
    seen = Admin(admin_url, token).post(path, {"arm": arm, "percent": percent})
    shares = ", ".join(f"{each['name']} {each['percent']:g} %" for each in seen["arms"])
    typer.echo(f"{seen['name']}: {shares}")


def _seen(admin: Admin, name: str | None) -> list[Any]:
    found: list[Any] = admin.get("/admin/experiments")["experiments"]
    if name is None:
        return found
    chosen = [each for each in found if each["name"] == name]
    if not chosen:
        known = ", ".join(each["name"] for each in found) or "none"
        raise StartError(f"There is no experiment {name!r}; there are: {known}.")
    return chosen


def shown(experiments: list[Any]) -> RenderableType:
    """All of it for people."""
    if not experiments:
        return Text("No rule in force has an experiment.")
    parts: list[RenderableType] = []
    for each in experiments:
        if parts:
            parts.append(Text(""))
        parts.append(Text(f"{each['name']} (rule {each['rule']}, by {each['by']})", "bold"))
        parts.append(_table(each["arms"]))
        parts += [_verdict(arm, each["alpha"]) for arm in each["arms"][1:]]
    return Group(*parts)


def _table(arms: list[Any]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in COLUMNS:
        table.add_column(column, justify="left" if column in TEXTS else "right")
    for arm in arms:
        filled = round(arm["percent"] / 100 * SHARE_WIDTH)
        table.add_row(
            arm["name"],
            ", ".join(arm["target"]) or "as asked",
            f"{arm['percent']:g} %",
            Text("█" * filled + "░" * (SHARE_WIDTH - filled), "cyan"),
            str(arm["requests"]),
            f"{arm['error_rate']:.2%}",
            _ms(arm["ttft_p50_ms"]),
            _ms(arm["ttft_p95_ms"]),
            str(arm["tokens_out"]),
        )
    return table


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f} ms"


def _verdict(arm: Any, alpha: float) -> Text:
    """An arm beside the control in one line, and the interval of its change as a picture."""
    versus, out = arm["versus_control"], arm["taken_out"]
    line = Text(f"{arm['name']} beside the control: ")
    if out is not None:
        value, control = (f"{out[key]:.4g}" for key in ("value", "control"))
        line.append(f"taken out, {out['metric']} {value} against {control}. ", "red")
    different = [
        what
        for what, key in (("failures", "error_p"), ("slow first bytes", "slow_p"))
        if versus[key] <= alpha
    ]
    differs = f"{' and '.join(different)} differ" if different else "no difference is certain"
    line.append(f"{differs} (p: failures {versus['error_p']:.3g}, slow {versus['slow_p']:.3g}, ")
    line.append(f"mean {versus['ttft_p']:.3g})")
    if versus["ttft_change"] is not None:
        low, high = versus["ttft_low"], versus["ttft_high"]
        line.append(f"\n  ttft {low:+.0%} ")
        line.append(interval(versus["ttft_change"], low, high), "cyan")
        line.append(f" {high:+.0%}")
    return line


def interval(middle: float, low: float, high: float) -> str:
    """A confidence interval on a scale whose middle is no change."""

    def cell(value: float) -> int:
        inside = min(max(value, -SCALE), SCALE)
        return round((inside / SCALE + 1) / 2 * (SCALE_WIDTH - 1))

    cells = ["·"] * SCALE_WIDTH
    cells[SCALE_WIDTH // 2] = "│"
    for place in range(cell(low), cell(high) + 1):
        cells[place] = "─" if place != SCALE_WIDTH // 2 else "┼"
    cells[cell(middle)] = "●"
    return "".join(cells)
