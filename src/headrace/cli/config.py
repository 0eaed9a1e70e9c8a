"""``headrace config``: is the configuration right, what is in force, what could be set."""

import json
from enum import StrEnum
from typing import Annotated

import typer

from headrace.cli.app import examples
from headrace.cli.options import ConfigArgument
from headrace.cli.route import effective
from headrace.config import describe, dump
from headrace.config.examples import examples as taught
from headrace.config.fields import dotted
from headrace.config.load import Loaded, read
from headrace.config.pricebook import prices
from headrace.config.schema import Config
from headrace.engines import gpus, preflight
from headrace.errors import ConfigError, StartError
from headrace.gateway.rules.rehearsal import failures

config = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    epilog=examples("headrace config check", "headrace config show", "headrace config schema"),
    help="Check, show and describe the configuration.",
)


class Format(StrEnum):
    """How the effective configuration is written."""

    YAML = "yaml"
    JSON = "json"


@config.command(
    epilog=examples(
        "headrace config check",
        "headrace config check staging.yaml",
        "headrace config check --engines   # on the machine that will run them",
    )
)
def check(
    file: ConfigArgument = None,
    engines: Annotated[
        bool,
        typer.Option(
            "--engines",
            help="Look at this machine, too: models, programs, ports and GPUs of `engines`.",
        ),
    ] = False,
) -> None:
    """Tell whether the configuration is right, or else everything that is wrong with it."""
    loaded = read(file)
    if loaded.config.classes.enabled:
        taught(loaded.config.classes)
    prices(loaded.config.metering)
    tests = _rehearse(loaded)
    if engines:
        _inspect(loaded.config)
    typer.echo(_summary(loaded))
    if tests:
        typer.echo(f"{_count(tests, 'test')} of rules passed.")


def _rehearse(loaded: Loaded) -> int:
    """
    Run the tests that rules carry; gives how many there are.

    Raises:
        ConfigError: the rules' file is wrong, or tests have failed; each with file and line.

    """
    rules, catalogue, origins = effective(loaded.config, loaded.origins)
    failed = [
        f"{origins.get(keys, 'rules')}:{dotted(keys)}: {failure.text}"
        for failure in failures(rules, catalogue)
        for keys in [("rules", failure.rule, "tests", failure.case)]
    ]
    if failed:
        raise ConfigError("\n".join(failed))
    return sum(len(rule.tests) for rule in rules)


def _inspect(config: Config) -> None:
    """
    Tell what there is to know about the engines before they start.

    Raises:
        StartError: some could not start; it tells all that was found.

    """
    found = preflight.inspect(config.engines, gpus.visible())
    for finding in found:
        if not finding.problem:
            typer.echo(str(finding))
    problems = [f"{finding}." for finding in found if finding.problem]
    if problems:
        raise StartError("\n".join(problems))


@config.command(
    epilog=examples("headrace config show", "headrace config show staging.yaml --format json")
)
def show(
    file: ConfigArgument = None,
    form: Annotated[
        Format, typer.Option("--format", "-f", help="YAML says where each value came from.")
    ] = Format.YAML,
) -> None:
    """Print what is in force: file, environment and defaults together, with secrets masked."""
    loaded = read(file)
    if form is Format.JSON:
        typer.echo(dump.to_json(loaded.config))
    else:
        typer.echo(dump.to_yaml(loaded.config, loaded.origins))


@config.command(epilog=examples("headrace config schema > headrace.schema.json"))
def schema() -> None:
    """Print the JSON Schema of headrace.yaml, for completion and checks in an editor."""
    typer.echo(json.dumps(describe.schema(), indent=2))


def _summary(loaded: Loaded) -> str:
    effective = loaded.config
    names = {name for backend in effective.backends for name in backend.serves}
    names |= {engine.names[0] for engine in effective.engines}
    models = len(effective.models) or len(names)
    engine = "on" if effective.engine.enabled else "off"
    started = sum(entry.replicas for entry in effective.engines)
    engines = f"{_count(started, 'engine')} to start, " if started else ""
    found = f"{loaded.file} is right" if loaded.file else "There is no file; the defaults are right"
    return (
        f"{found}: {_count(models, 'model')}, {_count(len(effective.backends), 'backend')}, "
        f"{engines}embedded engine {engine}."
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
