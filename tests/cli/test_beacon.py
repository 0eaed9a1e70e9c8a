"""Commands find the gateway that runs here: one is found, of several one is chosen or asked for."""

import asyncio
import json
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner

from headrace.cli.app import app
from headrace.cli.beacon import FOLDER, Beacon, Place, found, places
from headrace.cli.serve import Serving
from headrace.config.load import state_folder
from headrace.config.schema import Config
from headrace.errors import StartError
from tests.cli.program import Program

CONFIG = {
    "models": [{"name": "m"}],
    "backends": [{"url": "http://127.0.0.1:9", "name": "gpu-1", "serves": ["m"]}],
    "health": {"enabled": False},
    "load": {"enabled": False},
}
LIVE = """
import sys
from pathlib import Path
from headrace.cli.beacon import Beacon
beacon = Beacon()
beacon.light(sys.argv[1], sys.argv[2])
print("lit", flush=True)
sys.stdin.read()
"""


@contextmanager
def other(url: str, admin_url: str, folder: Path) -> Iterator["subprocess.Popen[str]"]:
    """A gateway's beacon in a process of its own, started from a folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", LIVE, url, admin_url],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=folder,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert "lit\n" == process.stdout.readline()
        yield process
    finally:
        process.kill()
        process.communicate()


def files(state: Path) -> list[Path]:
    return sorted((state / "headrace" / FOLDER).glob("*"))


def test_a_gateway_is_found_while_it_runs(state: Path, tmp_path: Path) -> None:
    """Its addresses are there from its start to its stop, and nothing is left then."""
    beacon = Beacon()
    beacon.light("http://0.0.0.0:8000", "http://[::]:45123")

    assert [Place(os.getpid(), "http://127.0.0.1:8000", "http://[::1]:45123", str(Path.cwd()))] == (
        places()
    )
    assert "http://127.0.0.1:8000" == found("url", "--url")

    beacon.quench()
    beacon.quench()

    assert [] == places()
    assert None is found("admin_url", "--admin-url")
    assert [] == files(state)


def test_only_its_user_may_read_it(state: Path) -> None:
    """The file is the user's own, and so is its folder."""
    beacon = Beacon()
    beacon.light("http://127.0.0.1:1", "")

    (file,) = files(state)
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (file, file.parent)]
    beacon.quench()

    assert [0o600, 0o700] == modes


def test_a_killed_gateway_is_not_found(state: Path, tmp_path: Path) -> None:
    """A process that could not clean up leaves a file that nobody follows; it is removed."""
    with other("http://127.0.0.1:1", "http://127.0.0.1:2", tmp_path) as process:
        assert "http://127.0.0.1:2" == found("admin_url", "--admin-url")
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert 1 == len(files(state))

        assert None is found("admin_url", "--admin-url")
        assert [] == files(state)


def test_of_several_the_one_from_this_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder with its configuration has its gateway; from elsewhere the choice is the user's."""
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    with other("http://a:1", "http://a:2", here), other("http://b:1", "http://b:2", there):
        monkeypatch.chdir(here)
        assert "http://a:2" == found("admin_url", "--admin-url")
        monkeypatch.chdir(tmp_path)
        with pytest.raises(StartError) as refused:
            found("admin_url", "--admin-url")

    told = str(refused.value)
    assert told.startswith("2 gateways run here: ")
    assert f"http://b:2 (from {there})" in told
    assert told.endswith("say which with --admin-url.")


def test_one_without_an_admin_api_is_none_to_ask(tmp_path: Path) -> None:
    """A gateway whose admin API is off is found by its clients, and by no other command."""
    with other("http://a:1", "", tmp_path):
        assert "http://a:1" == found("url", "--url")
        assert None is found("admin_url", "--admin-url")


def test_a_file_of_another_machine_is_left_alone(state: Path) -> None:
    """Where machines share a home, each sees its own, and removes only its own."""
    folder = state / "headrace" / FOLDER
    folder.mkdir(parents=True)
    elsewhere = folder / f"not-{socket.gethostname()}-1.json"
    elsewhere.write_text("{}")

    assert [] == places()
    assert elsewhere.exists()


def test_without_a_place_to_write_it_serves_all_the_same(tmp_path: Path) -> None:
    """A home that cannot be written is no reason not to start."""
    blocked = tmp_path / "file"
    blocked.touch()
    beacon = Beacon(blocked / "folder")

    beacon.light("http://127.0.0.1:1", "")
    beacon.quench()

    assert [] == places(blocked / "folder")


@pytest.mark.parametrize(
    ("env", "wanted"),
    [
        ({"XDG_STATE_HOME": "/var/lib/x"}, Path("/var/lib/x/headrace")),
        ({"XDG_STATE_HOME": "relative"}, Path("~/.local/state/headrace").expanduser()),
        ({}, Path("~/.local/state/headrace").expanduser()),
    ],
)
def test_state_has_the_users_place(env: dict[str, str], wanted: Path) -> None:
    """As the base directory specification says: absolute, or the default."""
    assert wanted == state_folder(env)


async def test_a_service_says_where_it_is() -> None:
    """The port that was free when the usual one was busy is the one that commands ask."""
    ports = {"server": {"port": 0}, "admin": {"port": 0}}
    serving = Serving(Config.model_validate(CONFIG | ports))
    await serving.start()
    (place,) = await asyncio.to_thread(places)
    await serving.stop()

    assert place.url == serving._gateway.url
    assert place.admin_url == serving._annex.url
    assert [] == places()


@pytest.mark.e2e
def test_commands_ask_the_gateway_that_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without an address `fleet` and `explain` reach a gateway on whatever ports it took."""
    ports = {"server": {"port": 0}, "admin": {"port": 0}}
    (tmp_path / "headrace.yaml").write_text(json.dumps(CONFIG | ports))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    with Program(["serve"], tmp_path) as program:
        program.read_until("Ctrl-C stops it")
        runner = CliRunner()
        fleet = runner.invoke(app, ["fleet", "--json"])
        listed = runner.invoke(app, ["explain", "--json"])
        program.signal(signal.SIGINT)
        assert 0 == program.wait()

    assert ["gpu-1"] == [each["name"] for each in json.loads(fleet.output)["replicas"]]
    assert [] == json.loads(listed.output)
