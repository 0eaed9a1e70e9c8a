"""
The command line as a whole: commands, version, errors. What a command does is in its own file.

A command's module is imported when the command is used: help and completion must not wait for
libraries that they do not need.
"""

import importlib
import inspect
import re
from dataclasses import dataclass
from typing import Annotated, Any

import typer
from typer._click.exceptions import NoArgsIsHelpError, UsageError  # Typer names them nowhere else
from typer.core import TyperCommand, TyperGroup

from headrace import __version__
from headrace.config.words import soften
from headrace.errors import HeadraceError

WITHIN_PARAGRAPH = re.compile(
    r"(?<!\n)\n(?!\n)"
)  # line ends of a docstring; the terminal has others
FAILED = 2  # exit code: the configuration is wrong, or something could not start


@dataclass(frozen=True, slots=True)
class Entry:
    """What help says about a command before its module, ``headrace.cli.NAME``, is imported."""

    summary: str
    examples: tuple[str, ...]
    module: str = ""  # where the command's name is none of a module


COMMANDS = {
    "up": Entry(
        "Start a model and the gateway on this machine.",
        ("headrace up", "headrace up --model my-model.gguf --port 9000"),
    ),
    "serve": Entry(
        "Start the gateway in front of the engines that the configuration names.",
        ("headrace serve", "headrace serve --config staging.yaml --port 9000"),
    ),
    "chat": Entry(
        "Talk to a model in the terminal.",
        ("headrace chat", "headrace chat --url http://gateway:8000 --model qwen3-8b"),
    ),
    "classify": Entry(
        "Tell which class texts have, how sure that is, and why.",
        ('headrace classify "Prove that 2 + 2 = 4."', "headrace classify --file texts.txt --json"),
    ),
    "conformance": Entry(
        "Try a gateway on 25 edge cases and the shapes of the API.",
        ("headrace conformance --gateway headrace", "headrace conformance wiring litellm"),
    ),
    "engine": Entry(
        "Run an engine by itself.",
        (
            "headrace engine sim --replicas 8",
            "headrace engine presets",
            "headrace engine calibrate --url http://gpu-1:8000",
        ),
    ),
    "fleet": Entry(
        "Show the replicas of a running gateway, drain one, or take it back.",
        ("headrace fleet --watch", "headrace fleet drain gpu-1", "headrace fleet undrain gpu-1"),
    ),
    "top": Entry(
        "Show a running gateway at a glance: replicas, tenants and the slowest requests.",
        ("headrace top", "headrace top --sort ttft", "headrace top --once"),
    ),
    "why": Entry(
        "Tell what is wrong and why: the finding, its evidence, what it is not, and what to do.",
        ("headrace why", "headrace why --model qwen3-8b --since 5m", "headrace why --at 14:05"),
    ),
    "simulate": Entry(
        "Try routing policies before a simulated fleet.",
        (
            "headrace simulate --trace chat --rate 20 --replicas 4 --preset l4-8b",
            "headrace simulate --trace conversation_trace.jsonl --rate 3.7 --compare all",
        ),
    ),
    "explain": Entry(
        "Tell what a request met on its way: its time, the decision and why, retries, predictions.",
        (
            "headrace explain req_5f2c9a01d4e8b7360000002a",
            "headrace explain --slowest --model qwen3-8b",
            "headrace explain --last --log headrace.log",
        ),
    ),
    "route": Entry(
        "Tell which rule a request would match and where it would go, without sending it.",
        (
            "headrace route test --model gpt-4o --text hello",
            "headrace route explain --file request.json",
        ),
    ),
    "guard": Entry(
        "Tell what guards say of a text, without sending it to a model.",
        (
            'headrace guard test --text "Write to anna@example.org"',
            "headrace guard test --file prompt.txt --guard pii",
        ),
    ),
    "experiment": Entry(
        "Show the experiments of a running gateway, and give an arm another share.",
        ("headrace experiment status", "headrace experiment ramp new-model candidate 25"),
    ),
    "keys": Entry(
        "Create, list, rotate and revoke API keys.",
        ("headrace keys create my-app", "headrace keys list"),
    ),
    "limits": Entry(
        "Show what tenants, keys and models have used of their limits.",
        ("headrace limits show", "headrace limits show --tenant acme"),
    ),
    "usage": Entry(
        "Show what was used and what it cost, from the configured ledger.",
        (
            "headrace usage --by model,day --since 7d",
            "headrace usage statement --month 2026-11",
            "headrace usage cost --since 24h",
        ),
    ),
    "bench": Entry(
        "Put load on an endpoint that speaks the OpenAI API.",
        (
            "headrace bench load --url http://gateway:8000 --rate 5",
            "headrace bench load --concurrency 1,2,4,8,16 --html sweep.html",
        ),
    ),
    "aws": Entry(
        "Start, pause and end a deployment on AWS, and tell what it costs.",
        ("headrace aws up --stack eks --env dev", "headrace aws pause --stack eks --env dev"),
    ),
    "models": Entry(
        "Pull, list and remove the models on this machine.",
        (
            "headrace models pull Qwen/Qwen3-8B",
            "headrace models list",
            "headrace models rm Qwen/Qwen3-8B",
        ),
    ),
    "edge": Entry(
        "Print the configuration of the Envoy before the gateway, and check it.",
        ("headrace edge config > envoy.yaml", "headrace edge check"),
    ),
    "gpu": Entry(
        "Show what the GPUs of this machine do, and for whom.",
        ("headrace gpu --watch", "headrace gpu --json"),
    ),
    "install-service": Entry(
        "Write a systemd unit that runs Headrace hardened, and say how to start it.",
        ("headrace install-service --dry-run", "headrace install-service --user"),
        "install",
    ),
    "config": Entry(
        "Check, show and describe the configuration.",
        ("headrace config check", "headrace config show", "headrace config schema"),
    ),
}


class Commands(TyperGroup):
    """The commands by name; turns the project's errors into one line each and an exit code."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        for name, entry in COMMANDS.items():
            self.add_command(TyperCommand(name, help=entry.summary))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Put the command itself in the place of its entry, then go on as usual."""
        if args[0] in COMMANDS:
            self.add_command(_command(args[0]), args[0])
        return super().resolve_command(ctx, args)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Options before the command."""
        try:
            return super().parse_args(ctx, args)
        except UsageError as error:
            raise _refused(error) from error

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except UsageError as error:
            raise _refused(error) from error
        except HeadraceError as error:
            for line in str(error).splitlines():
                typer.echo(f"headrace: {line}", err=True)
            raise typer.Exit(FAILED) from error


def _refused(error: UsageError) -> Exception:
    """How a command ends that was written wrongly; without any word it ends with its help."""
    if isinstance(error, NoArgsIsHelpError):
        return error
    typer.echo(f"headrace: {misused(error)}", err=True)
    return typer.Exit(FAILED)


def misused(error: UsageError) -> str:
    """What is wrong with how a command was written, and where to read what is right."""
    told = soften(" ".join(error.format_message().split()))
    command = error.ctx.command_path if error.ctx is not None else "headrace"
    end = "" if told.endswith("?") else "."
    return f"{told.rstrip('.')}{end} See {command} --help."


def _command(name: str) -> Any:
    """A module has a function of its own name, or a Typer app where it has several commands."""
    module = COMMANDS[name].module or name
    found = getattr(importlib.import_module(f"headrace.cli.{module}"), module)
    if not isinstance(found, typer.Typer):
        alone = typer.Typer(add_completion=False)
        text = inspect.getdoc(found) or ""
        alone.command(
            name,
            help=WITHIN_PARAGRAPH.sub(" ", text),
            epilog=examples(*COMMANDS[name].examples),
        )(found)
        found = alone
    return typer.main.get_command(found)


def examples(*lines: str) -> str:
    """The end of a command's help."""
    return "\n".join(["Examples:" if len(lines) > 1 else "Example:", *(f"  {x}" for x in lines)])


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"headrace {__version__}")
        raise typer.Exit


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=examples(
        "headrace up               a model and the gateway on this machine",
        "headrace chat             talk to it, in another terminal",
        "headrace config check     is headrace.yaml right?",
        "headrace COMMAND --help   what a command takes, with examples",
    ),
)


@app.callback()
def headrace(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Headrace stands before your own LLMs: one address, many engines, every decision explained."""
