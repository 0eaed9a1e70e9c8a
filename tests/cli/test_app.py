"""The command line as a whole: help, version, errors and exit codes."""

import contextlib
import importlib
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.core import TyperGroup
from typer.testing import CliRunner

from headrace import __version__
from headrace.cli.app import COMMANDS, app

HEADRACE = [sys.executable, "-m", "headrace"]
COLOUR = re.compile(r"\x1b\[[0-9;]*m")  # Typer colours its help where CI shows colours
HEAVY = {"headrace.config.schema", "pydantic_settings", "uvloop", "httptools", "prompt_toolkit"}
SPAN = "must be a number and s, m, h or d, such as 24h or 30d"


def run(*arguments: str) -> tuple[int, str, str]:
    """Exit code and what was printed, on a wide terminal and without colours."""
    result = CliRunner().invoke(app, arguments, prog_name="headrace", env={"COLUMNS": "200"})
    return result.exit_code, COLOUR.sub("", result.stdout), COLOUR.sub("", result.stderr)


def test_version() -> None:
    """--version prints the version and nothing else."""
    assert (0, f"headrace {__version__}\n", "") == run("--version")


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help(option: str) -> None:
    """Help lists every command with its summary."""
    code, out, _ = run(option)

    assert 0 == code
    for name, entry in COMMANDS.items():
        assert name in out
        assert entry.summary in out


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_an_example(name: str) -> None:
    """The help of a command says what the list of commands says, and shows how to call it."""
    code, out, _ = run(name, "--help")

    assert 0 == code
    assert COMMANDS[name].summary in out
    assert "Example" in out
    assert all(example in out for example in COMMANDS[name].examples)


def understood(example: str) -> bool:
    """Whether the command line takes an example as it is written."""
    command: Any = typer.main.get_command(app)
    rest = shlex.split(example.partition(" > ")[0], comments=True)
    while isinstance(command, TyperGroup) and len(rest) > 1 and not rest[1].startswith("-"):
        context = command.make_context(rest[0], rest[1:])
        _, command, _ = command.resolve_command(context, rest[1:])
        rest = rest[1:]
    return command.make_context(rest[0], rest[1:]).command is command


def inner(name: str) -> Iterator[tuple[str, Any]]:
    """The commands of a command, by the words that call them, with itself."""
    root: Any = typer.main.get_command(app)
    command = root.resolve_command(root.make_context("headrace", [name]), [name])[1]
    yield name, command
    if isinstance(command, TyperGroup):
        yield from ((f"{name} {each}", found) for each, found in command.commands.items())


@pytest.mark.parametrize("name", COMMANDS)
def test_examples_can_be_called(name: str) -> None:
    """Every example in a command's help is a call that the command understands."""
    assert all(understood(example) for example in COMMANDS[name].examples)


@pytest.mark.parametrize("name", COMMANDS)
def test_inner_commands_have_examples_that_can_be_called(name: str) -> None:
    """So is every example of the commands inside of it, and each of them has one."""
    for words, command in inner(name):
        head, *lines = (command.epilog or "").splitlines()

        assert head in {"Example:", "Examples:"}, words
        assert all(understood(line.strip()) for line in lines), words


@pytest.mark.parametrize("name", COMMANDS)
def test_command_has_its_file(name: str) -> None:
    """A command is the thing of its own name in the file of its own name."""
    file = COMMANDS[name].module or name
    module = importlib.import_module(f"headrace.cli.{file}")

    assert callable(vars(module)[file])


def test_unknown_command() -> None:
    """A mistyped command is told the nearest one."""
    code, _, error = run("confg")

    assert 2 == code
    assert "Did you mean 'config'?" in error


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--nope",), "No such option: --nope. See headrace --help."),
        (("engine", "nope"), "No such command 'nope'. See headrace engine --help."),
        (("serve", "--port", "x"),
         "Invalid value for '--port': must be a whole number. See headrace serve --help."),
        (("serve", "--port", "70000"),
         "Invalid value for '--port': must be at most 65535. See headrace serve --help."),
        (("keys", "create"), "Missing argument 'NAME'. See headrace keys create --help."),
        (("keys", "create", "a", "--expires", "soon"),
         f"Invalid value for '--expires': 'soon' {SPAN}. See headrace keys create --help."),
    ],
)  # fmt: skip
def test_a_misused_command_is_told_in_one_line(arguments: tuple[str, ...], told: str) -> None:
    """A wrong option, value or name is one sentence that says where to read on, and code 2."""
    assert (2, "", f"headrace: {told}\n") == run(*arguments)


@pytest.mark.parametrize("group", ["engine", "keys", "route", "aws"])
def test_a_group_without_a_command_shows_its_help(group: str) -> None:
    """Nothing was asked wrongly: what there is to ask is shown."""
    _, out, error = run(group)

    assert "Commands" in out + error
    assert "headrace:" not in out + error


def test_help_waits_for_no_library() -> None:
    """Help and completion do not import what only a command needs."""
    source = f"import sys, headrace.cli.app; print({HEAVY!r} & sys.modules.keys())"
    found = subprocess.run([sys.executable, "-c", source], capture_output=True, check=True)

    assert b"set()" == found.stdout.strip()


def test_completion_reaches_inner_commands() -> None:
    """The shell completes commands of commands."""
    env = {
        **os.environ,
        "_HEADRACE_COMPLETE": "complete_bash",
        "COMP_WORDS": "headrace config s",
        "COMP_CWORD": "2",
    }
    found = subprocess.run(HEADRACE, env=env, capture_output=True, check=True)

    assert {b"show", b"schema"} == set(found.stdout.split())


def test_error_is_one_line(tmp_path: Path) -> None:
    """A wrong configuration is a sentence on standard error and exit code 2; no traceback."""
    path = tmp_path / "none.yaml"

    assert (2, "", f"headrace: {path}: there is no such file\n") == run(
        "config", "check", str(path)
    )


def test_every_problem_has_a_line(tmp_path: Path) -> None:
    """Several problems are several lines, each of which says who speaks."""
    path = tmp_path / "wrong.yaml"
    path.write_text("server: {port: x, read_s: x}")

    code, _, error = run("config", "check", str(path))

    assert 2 == code
    assert 2 == len(error.splitlines())
    assert all(line.startswith(f"headrace: {path}:1:server.") for line in error.splitlines())


def test_reader_that_goes_away() -> None:
    """`headrace config schema | head -1` ends without a complaint."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as closed:
        ended = subprocess.run(
            [*HEADRACE, "config", "schema"], stdout=closed, stderr=subprocess.PIPE, check=False
        )

    assert b"" == ended.stderr


def test_interrupt(tmp_path: Path) -> None:
    """Ctrl-C ends a command with exit code 130 and without a traceback."""
    fifo = tmp_path / "headrace.yaml"
    os.mkfifo(fifo)
    with (
        subprocess.Popen(
            [*HEADRACE, "config", "check", str(fifo)],
            stderr=subprocess.PIPE,
            # Tests in the background of a shell ignore it, and so would the child.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
        ) as process,
        fifo.open("w"),
    ):  # opens when the command has begun to read
        while process.poll() is None:  # a signal between its open and its read waits for the next
            process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(5)
        error = process.stderr.read() if process.stderr is not None else None

    assert (130, b"") == (process.returncode, error)
