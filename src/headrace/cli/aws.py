"""``headrace aws``: a deployment on AWS from nothing to its first token, and back to no cost."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Annotated, Any, Literal

import typer

from headrace.aws.account import Account
from headrace.aws.cluster import Cluster
from headrace.aws.cost import MONTH_H, Estimate, Gpus, estimate
from headrace.aws.prices import Prices, prices
from headrace.aws.program import Programs
from headrace.aws.stack import Place, Stack
from headrace.cli.app import examples
from headrace.errors import ConfigError, StartError

CHART = Path("deploy/helm/headrace")
PEPPER = "headrace-pepper"  # the Secret without which kept hashes of API keys are of no use
UNKNOWN = {"name": "NAME", "namespace": "headrace", "group": "GROUP", "url": "URL"}

Kind = Annotated[
    Literal["eks", "ec2"],
    typer.Option("--stack", help="eks: a cluster; ec2: GPU instances without one."),
]
Environment = Annotated[
    str, typer.Option("--env", metavar="NAME", help="A file of the stack's environments/.")
]
Folder = Annotated[
    Path, typer.Option("--dir", metavar="DIR", help="deploy/terraform of a checkout of Headrace.")
]
Dry = Annotated[bool, typer.Option("--dry-run", help="Print the commands, and run none of them.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing; for pipelines.")]
Table = Annotated[
    Path | None,
    typer.Option(
        "--prices", metavar="FILE", show_default=False, help="A table of prices of yours."
    ),
]

aws = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    epilog=examples(
        "headrace aws up --stack eks --env dev --values models.yaml",
        "headrace aws pause --stack eks --env dev",
        "headrace aws cost --stack eks --env prod --gpus g6.xlarge:4",
    ),
    help="Start, pause and end a deployment on AWS, and tell what it costs.",
)


@dataclass(frozen=True, slots=True)
class Deployment:
    """What commands work on: a stack in an environment, the account, and the programs."""

    place: Place
    stack: Stack
    account: Account
    programs: Programs

    def known(self) -> dict[str, Any]:
        """The stack's outputs; in a dry run names that stand for them."""
        if self.programs.dry:
            return {**UNKNOWN, "releases": [], "manifests": [], "values": "", "secrets": {}}
        return self.stack.outputs()

    def cluster(self, outputs: dict[str, Any]) -> Cluster:
        """The cluster, reached."""
        found = Cluster(self.programs, self.place.kubeconfig, outputs["namespace"])
        found.reach(outputs["name"], self.account.region)
        return found


@aws.command(
    epilog=examples(
        "headrace aws up --stack eks --env dev --values models.yaml",
        "headrace aws up --stack ec2 --env dev --dry-run",
    )
)
def up(
    *,
    stack: Kind = "eks",
    env: Environment = "dev",
    folder: Folder = Path("deploy/terraform"),
    chart: Annotated[Path, typer.Option(metavar="DIR", help="Headrace's Helm chart.")] = CHART,
    values: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE", show_default=False, help="Values of the chart, your models; repeatable."
        ),
    ] = None,
    dry_run: Dry = False,
    yes: Yes = False,
) -> None:
    """
    Make a deployment, or bring it to what its files say: AWS first, then what runs in the cluster.

    A plan is shown, with its cost, before anything is made. A second run changes what has changed.
    """
    for file in values or ():
        if not file.is_file():
            raise ConfigError(f"--values: {file} is missing.")
    it = _deployment(stack, env, folder, dry=dry_run)
    _initialise(it)
    it.stack.plan()
    if not dry_run:
        _tell_cost(estimate(it.stack.shown(), prices()), prices())
        _agree(f"Make this in account {it.account.number()}?", yes=yes)
    it.stack.apply()
    outputs = it.known()
    if stack == "eks":
        _furnish(it, outputs, chart, values or ())
    if not dry_run:
        typer.echo(f"{outputs['url']} is where clients go.")
        typer.echo("`headrace aws pause` ends what GPUs cost.")


@aws.command(
    epilog=examples("headrace aws down --stack eks --env dev", "headrace aws down --dry-run")
)
def down(
    *,
    stack: Kind = "eks",
    env: Environment = "dev",
    folder: Folder = Path("deploy/terraform"),
    dry_run: Dry = False,
) -> None:
    """
    Destroy a deployment, once its name was typed.

    What the cluster started on its own goes first; else its nodes would go on costing. The bucket
    of states stays. Deployments with deletion_protection refuse: set it to false and run `up`.
    """
    it = _deployment(stack, env, folder, dry=dry_run)
    name = it.place.setting("name")
    _initialise(it)
    it.stack.plan(destroy=True)
    if not dry_run:
        typed = typer.prompt(f"This destroys {name}, its models and its ledger. Type its name")
        if typed != name:
            raise ConfigError(f"{typed!r} is not {name!r}; nothing was destroyed.")
    if stack == "eks":
        it.cluster(it.known()).empty()
    it.stack.apply()
    if not dry_run:
        bucket = it.account.bucket()
        typer.echo(f"{name} is gone. The state's bucket {bucket} stays: some cents a month.")


@aws.command(epilog=examples("headrace aws pause --stack eks --env dev"))
def pause(
    *,
    stack: Kind = "eks",
    env: Environment = "dev",
    folder: Folder = Path("deploy/terraform"),
    dry_run: Dry = False,
) -> None:
    """
    Set GPUs to zero, and tell what costs on. Data, addresses and settings stay.
    """
    it = _deployment(stack, env, folder, dry=dry_run)
    _initialise(it)
    outputs = it.known()
    if stack == "eks":
        stopped = it.cluster(outputs).pause() if not dry_run else _told(it, outputs, "pause")
        typer.echo(f"Paused: {', '.join(stopped) or 'no engine was running'}.")
    elif dry_run:
        typer.echo(
            f"$ aws autoscaling update-auto-scaling-group --min-size 0 --desired-capacity 0"
            f" --auto-scaling-group-name {outputs['group']}"
        )
    else:
        group = it.account.group(outputs["group"])
        it.account.pause(group)
        typer.echo(
            f"Paused: {len(group.running)} instances of {group.name} end after their streams."
        )
    if not dry_run:
        table = prices()
        stays = estimate(it.stack.state(), table)
        typer.echo(
            f"What stays costs about {stays.per_month(gpu=False):.0f} USD a month"
            f" (prices of {table.date}); `headrace aws down` ends that, too."
        )


@aws.command(epilog=examples("headrace aws resume --stack eks --env dev"))
def resume(
    *,
    stack: Kind = "eks",
    env: Environment = "dev",
    folder: Folder = Path("deploy/terraform"),
    dry_run: Dry = False,
) -> None:
    """
    Give back what a pause took: engines start again, and with them nodes.
    """
    it = _deployment(stack, env, folder, dry=dry_run)
    _initialise(it)
    outputs = it.known()
    if stack == "eks":
        started = it.cluster(outputs).resume() if not dry_run else _told(it, outputs, "resume")
        typer.echo(f"Resumed: {', '.join(started) or 'no engine was paused'}.")
    elif dry_run:
        typer.echo(
            f"$ aws autoscaling update-auto-scaling-group --auto-scaling-group-name"
            f" {outputs['group']} (sizes: those before the pause)"
        )
    else:
        least, wanted = it.account.resume(it.account.group(outputs["group"]))
        typer.echo(
            f"Resumed: {outputs['group']} has {wanted} instances to start, at least {least}."
        )


@aws.command(epilog=examples("headrace aws status --stack eks --env dev"))
def status(
    *,
    stack: Kind = "eks",
    env: Environment = "dev",
    folder: Folder = Path("deploy/terraform"),
    table: Table = None,
) -> None:
    """
    Tell what runs, whether it is paused, and what it costs an hour.
    """
    it = _deployment(stack, env, folder, dry=False)
    listed = prices(table)
    _initialise(it)
    outputs = it.known()
    fixed = estimate(it.stack.state(), listed).per_month(gpu=False) / MONTH_H
    if stack == "eks":
        cluster = it.cluster(outputs)
        nodes, paused = cluster.nodes(), cluster.paused()
    else:
        group = it.account.group(outputs["group"])
        # How many of a mixed group are Spot its own answer does not say: told as if none were.
        nodes, paused = [(kind, False) for kind in group.running], group.before is not None
    usd = sum(
        listed.instances.get(kind, 0.0) * (listed.spot_share if spot else 1.0)
        for kind, spot in nodes
    )
    missing = sorted({kind for kind, _ in nodes if kind not in listed.instances})
    typer.echo(f"{outputs['name']} ({stack}, {it.account.region}){', paused' if paused else ''}")
    typer.echo(f"  clients   {outputs['url']}")
    typer.echo(f"  GPU nodes {len(nodes)}" + (f": {_kinds(nodes)}" if nodes else ""))
    typer.echo(f"  an hour   {usd:.2f} USD of GPUs, {fixed:.2f} USD of the rest ({listed.date})")
    if missing:
        typer.echo(f"  no price known: {', '.join(missing)}")


@aws.command(
    epilog=examples(
        "headrace aws cost --stack eks --env prod --gpus g6.xlarge:4 --hours 10",
        "headrace aws cost --plan plan.json",
    )
)
def cost(
    *,
    stack: Kind = "eks",
    env: Environment = "dev",
    folder: Folder = Path("deploy/terraform"),
    plan: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            show_default=False,
            help="A plan as `terraform show -json` wrote it, instead of making one.",
        ),
    ] = None,
    gpus: Annotated[
        str | None,
        typer.Option(
            metavar="TYPE:N", show_default=False, help="GPU nodes that Karpenter will start."
        ),
    ] = None,
    hours: Annotated[
        float, typer.Option(min=0, max=24, metavar="H", help="For how many hours a day.")
    ] = 24.0,
    on_demand: Annotated[
        bool, typer.Option("--on-demand/--spot", help="How these nodes are paid.")
    ] = False,
    table: Table = None,
) -> None:
    """
    Estimate a month from the plan, with the bundled table of prices and its date.

    What is paid by use is named beside it; stacks/*/infracost-usage.yml has figures for that.
    """
    listed = prices(table)
    nodes = None if gpus is None else _gpus(gpus, hours, spot=not on_demand)
    if plan is not None:
        document = _plan(plan)
    else:
        it = _deployment(stack, env, folder, dry=False)
        _initialise(it)
        it.stack.plan()
        document = it.stack.shown()
    _tell_cost(estimate(document, listed, nodes), listed)


# --- below -------------------------------------------------------------------------------------


def _deployment(kind: Literal["eks", "ec2"], env: str, folder: Path, *, dry: bool) -> Deployment:
    place = Place(kind, env, folder.expanduser().resolve())
    region = place.setting("region")
    programs = Programs(typer.echo, dry=dry)
    return Deployment(place, Stack(place, programs), Account(region), programs)


def _initialise(it: Deployment) -> None:
    if it.programs.dry:
        it.stack.initialise(f"headrace-state-ACCOUNT-{it.account.region}")
        return
    bucket, new = it.account.ensure_bucket()
    if new:
        typer.echo(f"Made the bucket {bucket} for the states of deployments.")
    it.stack.initialise(bucket)


def _furnish(it: Deployment, outputs: dict[str, Any], chart: Path, files: Sequence[Path]) -> None:
    """What runs in the cluster, in the order in which it needs each other."""
    cluster = it.cluster(outputs)
    cluster.namespace()
    for release in outputs["releases"]:
        cluster.install(release)
    if it.programs.dry:
        typer.echo("# then helm upgrade --install for each chart of the output `releases`")
    if not it.programs.dry and not cluster.has_secret(PEPPER):
        cluster.secret(PEPPER, {"pepper": token_hex(32)})
    wanted = outputs["secrets"]
    if place := wanted.get("redis"):
        url = it.account.redis_url(place["endpoint"], place["secret_arn"])
        cluster.secret("headrace-redis", {"url": url})
    if place := wanted.get("postgres"):
        url = it.account.postgres_url(place["endpoint"], place["secret_arn"])
        cluster.secret("headrace-postgres", {"url": url})
    cluster.headrace(chart, outputs["values"], files)
    cluster.apply(outputs["manifests"])


def _told(it: Deployment, outputs: dict[str, Any], what: str) -> list[str]:
    """A dry run of what asks the cluster: there may be none to ask."""
    it.cluster(outputs)
    for kind in ("scaledobjects", "deployments -l app.kubernetes.io/component=engine"):
        typer.echo(f"$ kubectl -n {outputs['namespace']} ... {kind}  # {what}")
    return ["nothing, since this is a dry run"]


def _agree(question: str, *, yes: bool) -> None:
    if not yes and not typer.confirm(question):
        raise StartError("Nothing was made.")


def _plan(file: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(f"--plan: {file} is no plan in JSON: {error}.") from error


def _gpus(text: str, hours: float, *, spot: bool) -> Gpus:
    kind, _, count = text.partition(":")
    if not kind or not count.isdigit():
        raise ConfigError(f"--gpus: {text} is not TYPE:N, such as g6.xlarge:2.")
    return Gpus(kind, int(count), hours, spot)


def _tell_cost(found: Estimate, listed: Prices) -> None:
    for line in sorted(found.lines, key=lambda line: -line.usd_per_hour):
        typer.echo(f"{line.usd_per_hour * MONTH_H:10.2f}  {line.address}  {line.what}")
    typer.echo(f"{found.per_month(gpu=True):10.2f}  USD a month of 730 hours, running")
    typer.echo(f"{found.per_month(gpu=False):10.2f}  USD a month, paused")
    for text in found.by_use:
        typer.echo(f"  by use: {text}")
    for address in found.unknown:
        typer.echo(f"  not counted, since its price is not in the table: {address}")
    typer.echo(
        f"List prices of {listed.date}, {listed.region}, without tax, traffic and discounts."
    )


def _kinds(nodes: Sequence[tuple[str, bool]]) -> str:
    counted: dict[str, int] = {}
    for kind, spot in nodes:
        name = f"{kind} {'Spot' if spot else 'on demand'}"
        counted[name] = counted.get(name, 0) + 1
    return ", ".join(f"{count} x {name}" for name, count in sorted(counted.items()))
