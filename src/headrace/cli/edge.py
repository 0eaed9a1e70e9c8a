"""``headrace edge``: Envoy's configuration, made from ours, and whether Envoy takes it."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from headrace.cli.app import examples
from headrace.cli.options import ConfigArgument
from headrace.config.load import load
from headrace.edge.certificate import self_signed
from headrace.edge.envoy import render
from headrace.edge.process import check as validate
from headrace.errors import ConfigError, StartError

edge = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    epilog=examples("headrace edge config > envoy.yaml", "headrace edge check"),
    help="Print the configuration of the Envoy before the gateway, and check it.",
)


@edge.command(
    epilog=examples(
        "headrace edge config > envoy.yaml",
        "headrace edge config staging.yaml --out envoy.yaml --self-signed certs",
    )
)
def config(
    file: ConfigArgument = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="PATH", help="Write it to this file."),
    ] = None,
    self_signed_in: Annotated[
        Path | None,
        typer.Option(
            "--self-signed",
            metavar="DIR",
            help="Make a self-signed certificate in this folder, and use it.",
        ),
    ] = None,
) -> None:
    """
    Print Envoy's whole configuration, made from headrace.yaml.

    Without `edge.tls.cert` it names /etc/headrace/tls/tls.crt and tls.key, where Kubernetes mounts
    a secret.
    """
    settings = load(file)
    pair = None
    if self_signed_in is not None:
        if settings.edge.tls.cert is not None:
            raise StartError("The configuration has `edge.tls.cert`; --self-signed is for others.")
        pair = self_signed(self_signed_in.resolve(), settings.edge.tls.names)
    text = render(settings, pair)
    if out is None:
        typer.echo(text, nl=False)
        return
    try:
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise StartError(f"Cannot write {out}: {error.strerror}.") from None


@edge.command(epilog=examples("headrace edge check", "headrace edge check staging.yaml"))
def check(file: ConfigArgument = None) -> None:
    """Tell whether Envoy takes the configuration that is made from headrace.yaml."""
    settings = load(file)
    tls = settings.edge.tls
    pair = self_signed(tls.dir, tls.names) if tls.enabled and tls.cert is None else None
    refused = asyncio.run(validate(render(settings, pair)))
    if refused:
        raise ConfigError(f"Envoy refuses it: {refused}")
    scheme = "https" if tls.enabled else "http"
    typer.echo(f"Envoy takes it: {scheme}://{settings.edge.host}:{settings.edge.port}.")
