"""``headrace install-service``: the unit of unit.py, written where systemd looks."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from headrace.cli.options import ConfigOption
from headrace.cli.unit import Unit, folders
from headrace.config.load import read
from headrace.config.schema import Config
from headrace.errors import StartError

SYSTEM = Path("/etc/systemd/system")
USER = Path("~/.config/systemd/user")
USUAL = Path("/etc/headrace/headrace.yaml")
PRIVATE = (Path("/home"), Path("/root"))
TEMPORARY = (Path("/tmp"), Path("/var/tmp"))  # noqa: S108 - of which a service has its own


def install(
    *,
    config: ConfigOption = None,
    user: Annotated[
        bool,
        typer.Option(
            "--user/--system", help="A service of yours, or one of the machine's, which needs root."
        ),
    ] = False,
    name: Annotated[str, typer.Option(metavar="NAME", help="Name of the service.")] = "headrace",
    run_as: Annotated[
        str,
        typer.Option(
            metavar="USER",
            show_default=False,
            help="Run as this user; else systemd makes one up that owns nothing else.",
        ),
    ] = "",
    directory: Annotated[
        Path | None,
        typer.Option(
            "--dir", metavar="DIR", show_default=False, help="Write it here instead, for a package."
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a unit that differs.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the unit, and write nothing.")
    ] = False,
) -> None:
    """
    Write a systemd unit that runs Headrace hardened, and say how to start it.

    It runs `headrace serve` where the configuration names engines, else `headrace up`, and a stop
    may take as long as the configuration's drain. Secrets belong into headrace.env, beside it.
    """
    if run_as and user:
        raise StartError("--run-as is for services of the machine; a --user service runs as you.")
    if config is None and not user and USUAL.exists():
        config = USUAL
    loaded = read(config)
    file = loaded.file.resolve() if loaded.file is not None else None
    program = (*executable(), *words(loaded.config, file))
    if not user:
        # The Python of a virtual environment is often a link to another place, such as uv's folder.
        python = Path(sys.executable).resolve()
        _reachable((Path(program[0]), python, *([file] if file is not None else [])), run_as)
    text = Unit(program, loaded.config, user, run_as, folders(loaded.config)).text()
    if dry_run:
        typer.echo(text, nl=False)
        return
    path = (directory or (USER if user else SYSTEM)).expanduser() / f"{name}.service"
    write(path, text, force=force)
    flag = " --user" if user else ""
    typer.echo(f"  systemctl{flag} daemon-reload\n  systemctl{flag} enable --now {name}")
    if user:
        typer.echo("  loginctl enable-linger   # so that it runs while you are not logged in")


def executable() -> tuple[str, ...]:
    """How this very program is called."""
    beside = Path(sys.executable).parent / "headrace"
    return (str(beside),) if beside.exists() else (sys.executable, "-m", "headrace")


def words(config: Config, file: Path | None) -> tuple[str, ...]:
    """The command: `serve` where there are engines to stand before, else `up`."""
    named = config.backends or config.models or config.discovery or config.engines
    at = ("--config", str(file)) if file is not None else ()
    return ("serve" if named else "up", *at)


def write(path: Path, text: str, *, force: bool) -> None:
    """
    Write a unit; one that says the same stays.

    Raises:
        StartError: it differs, or cannot be written.

    """
    try:
        known = path.read_text(encoding="utf-8") if path.exists() else None
        if known == text:
            typer.echo(f"{path} is as it should be. To start it:")
            return
        if known is not None and not force:
            raise StartError(f"{path} differs from what would be written; --force replaces it.")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise StartError(
            f"Cannot write {path}: {error.strerror}; --user needs no root, --dry-run prints it."
        ) from None
    typer.echo(f"{path} is written. To start it:")


def _reachable(paths: tuple[Path, ...], run_as: str) -> None:
    for path in paths:
        if not run_as and any(path.is_relative_to(private) for private in PRIVATE):
            what = "Python" if path.name.startswith("python") else "Headrace"
            raise StartError(
                f"{path} is in a home, which a service cannot read; install {what} elsewhere,"
                " with its configuration in /etc/headrace, or use --user or --run-as."
            )
        if any(path.is_relative_to(folder) for folder in TEMPORARY):
            raise StartError(
                f"{path} is in a folder for temporary files, of which a service has its own;"
                " put it elsewhere, such as into /etc/headrace or /opt/headrace."
            )
