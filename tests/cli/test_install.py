"""``headrace install-service``: where the unit goes, and what is refused."""

import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from headrace.cli import install as command
from headrace.cli.app import app

CONFIG = 'backends: [{url: "http://gpu-1:8000", serves: [m]}]\n'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "headrace.yaml"
    path.write_text(CONFIG)
    return path


@pytest.fixture(autouse=True)
def open_homes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests run from wherever the repository is: here no folder is a home, or a temporary one."""
    monkeypatch.setattr(command, "PRIVATE", ())
    monkeypatch.setattr(command, "TEMPORARY", ())
    monkeypatch.setattr(command, "USUAL", Path("/nowhere"))


def install(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["install-service", *map(str, arguments)])


def test_a_dry_run_prints_it(file: Path) -> None:
    """The whole unit, which runs this very program with this file."""
    done = install("--dry-run", "--config", file)

    assert f"serve --config {file}\n" in done.stdout
    assert f"ExecStart={Path(sys.executable).parent}" in done.stdout


def test_it_is_written_and_the_next_step_is_told(file: Path, tmp_path: Path) -> None:
    """The file has the unit, and two commands start it."""
    done = install("--config", file, "--dir", tmp_path / "units", "--name", "llm")
    path = tmp_path / "units" / "llm.service"

    assert "[Install]\nWantedBy=multi-user.target\n" in path.read_text()
    assert f"{path} is written." in done.stdout
    assert "systemctl enable --now llm" in done.stdout


def test_a_service_of_a_user(file: Path, tmp_path: Path) -> None:
    """It starts with the user's session, and how it outlives that is told."""
    done = install("--user", "--config", file, "--dir", tmp_path)

    assert "WantedBy=default.target" in (tmp_path / "headrace.service").read_text()
    assert "systemctl --user enable --now headrace" in done.stdout
    assert "enable-linger" in done.stdout


def test_twice_is_fine_but_yours_stays(file: Path, tmp_path: Path) -> None:
    """The same again changes nothing; a unit that differs is replaced by --force alone."""
    path = tmp_path / "headrace.service"
    install("--config", file, "--dir", tmp_path)
    again = install("--config", file, "--dir", tmp_path)
    path.write_text("# mine\n")
    refused = install("--config", file, "--dir", tmp_path)
    mine = path.read_text()
    forced = install("--config", file, "--dir", tmp_path, "--force")

    assert "is as it should be" in again.stdout
    assert (2, "# mine\n") == (refused.exit_code, mine)
    assert "--force replaces it" in refused.stderr
    assert (0, True) == (forced.exit_code, path.read_text().startswith("# Written by"))


def test_without_engines_it_is_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the configuration names no engine, the embedded one is started."""
    monkeypatch.chdir(tmp_path)
    first = install("--dry-run")
    monkeypatch.setattr(command, "USUAL", tmp_path / "headrace.yaml")
    (tmp_path / "headrace.yaml").write_text("server: {port: 9000}\n")
    second = install("--dry-run")

    assert "headrace up\n" in first.stdout
    assert f"headrace up --config {tmp_path}/headrace.yaml\n" in second.stdout


def test_what_a_service_cannot_read_is_told(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program or a file in somebody's home."""
    monkeypatch.setattr(command, "PRIVATE", (file.parent,))
    done = install("--dry-run", "--config", file)
    run_as = install("--dry-run", "--config", file, "--run-as", "me")

    assert 2 == done.exit_code
    assert f"{file} is in a home" in done.stderr
    assert 0 == run_as.exit_code


def test_a_python_in_a_home_is_told(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A virtual environment is elsewhere, but its Python is a link into a home, as uv makes it."""
    home = tmp_path / "home" / "python3.13"
    home.parent.mkdir()
    home.touch()
    link = tmp_path / "venv" / "bin" / "python"
    link.parent.mkdir(parents=True)
    link.symlink_to(home)
    monkeypatch.setattr(command, "PRIVATE", (home.parent,))
    monkeypatch.setattr(sys, "executable", str(link))
    done = install("--dry-run", "--config", file)

    assert 2 == done.exit_code
    assert f"{home} is in a home, which a service cannot read; install Python" in done.stderr


def test_a_file_in_a_temporary_folder_is_told(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service of the machine has a /tmp of its own, whoever it runs as; one of yours has not."""
    monkeypatch.setattr(command, "TEMPORARY", (file.parent,))
    refused = [install("--dry-run", "--config", file, *more) for more in ((), ("--run-as", "me"))]
    own = install("--dry-run", "--config", file, "--user")

    assert [2, 2] == [each.exit_code for each in refused]
    assert f"{file} is in a folder for temporary files" in refused[0].stderr
    assert 0 == own.exit_code


def test_a_user_service_has_no_other_user(file: Path) -> None:
    """--run-as and --user contradict each other."""
    done = install("--user", "--run-as", "me", "--config", file)

    assert (2, True) == (done.exit_code, "--run-as is for services" in done.stderr)


def test_a_folder_that_cannot_be_written_is_told(file: Path) -> None:
    """One sentence with what else can be done."""
    done = install("--config", file, "--dir", file / "no")

    assert 2 == done.exit_code
    assert "--dry-run prints it" in done.stderr


def test_a_program_without_a_script(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where there is no `headrace` beside Python, the module is run."""
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))

    assert (str(tmp_path / "python"), "-m", "headrace") == command.executable()
