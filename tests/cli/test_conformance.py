"""``headrace conformance``: what it refuses, what it prints, and Headrace against it for real."""

import json
import socket
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner, Result

from headrace.cli.app import app
from headrace.config.schema import Config
from headrace.conformance.catalogue import CASES
from headrace.conformance.wiring import WIRINGS
from tests.ports import free_port


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["conformance", *arguments], prog_name="headrace")


def free_ports() -> tuple[int, int]:
    """A port for the gateway, and the first of two for the engine."""
    first = free_port(3)
    return first, first + 1


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "Give either --base-url"),
        (["--base-url", "http://127.0.0.1:1", "--gateway", "headrace"], "Give either --base-url"),
        (["--base-url", "https://127.0.0.1:1"], "must be http://host:port"),
        (["--gateway", "nobody"], "No wiring is known for 'nobody'"),
        (["--gateway", "headrace", "--case", "3,99"], "There is no case 99"),
        (["wiring", "nobody"], "No wiring is known for 'nobody'"),
    ],
)
def test_wrong_options(arguments: list[str], told: str) -> None:
    """Options that make no sense are exit code 2 and one sentence that says what would."""
    result = run(*arguments)

    assert 2 == result.exit_code
    assert told in result.stderr


def test_missing_program() -> None:
    """A gateway that is not installed is exit code 2, with what to do."""
    port, engine_port = free_ports()
    ports = ("--port", str(port), "--engine-port", str(engine_port))

    result = run("--gateway", "litellm", "--program", "/nowhere/litellm", *ports)

    assert 2 == result.exit_code
    assert "install LiteLLM proxy, or say where it is with --program" in result.stderr


def test_silent_gateway() -> None:
    """A gateway that does not answer in time could not be tried: exit code 2."""
    port, engine_port = free_ports()

    result = run(
        "--base-url", f"http://127.0.0.1:{port}", "--engine-port", str(engine_port), "--wait", "0"
    )

    assert 2 == result.exit_code
    assert "does not pass chat requests for the model conformance on" in result.stderr


def test_taken_engine_port() -> None:
    """An engine port that is taken is exit code 2, and names the option that mends it."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])

        result = run("--base-url", "http://127.0.0.1:1", "--engine-port", port)

    assert 2 == result.exit_code
    assert "choose other ports with --engine-port" in result.stderr


@pytest.mark.parametrize("name", WIRINGS)
def test_wiring(name: str) -> None:
    """The wiring names both replicas and the command that starts the gateway."""
    result = run("wiring", name, "--engine-port", "9101", "--port", "9100")

    assert 0 == result.exit_code
    assert "Start it with: " in result.output
    for port in ("9100", "9101", "9102"):
        assert port in result.output


def test_wiring_for_headrace_is_a_configuration() -> None:
    """What is printed for Headrace is a right headrace.yaml."""
    config = Config.model_validate(yaml.safe_load(run("wiring", "headrace").stdout))

    assert ["127.0.0.1:8101", "127.0.0.1:8102"] == [backend.name for backend in config.backends]


@pytest.mark.e2e
@pytest.mark.timeout(300)
def test_headrace_passes_all(tmp_path: Path) -> None:
    """The program as a user starts it passes every case, none left out."""
    port, engine_port = free_ports()
    file = tmp_path / "results.json"
    ports = ("--port", str(port), "--engine-port", str(engine_port))

    result = run("--gateway", "headrace", "--out", str(file), *ports)

    data = json.loads(file.read_text())
    assert 0 == result.exit_code, result.output
    assert {"pass": len(CASES), "fail": 0, "not applicable": 0} == data["counts"]


@pytest.mark.e2e
def test_failures_are_told() -> None:
    """A case that fails is exit code 1, with what was expected and what was seen."""
    port, engine_port = free_ports()
    ports = ("--port", str(port), "--engine-port", str(engine_port))
    nobody = f"http://127.0.0.1:{free_ports()[0]}/metrics"

    result = run("--gateway", "headrace", "--case", "A1,25", "--metrics-url", nobody, *ports)

    assert 1 == result.exit_code, result.output
    assert " A1  pass " in result.stdout
    assert " 25  fail " in result.stdout
    assert "saw ConnectionRefusedError" in result.stdout
    assert "headrace: 1 pass, 1 fail, 0 not applicable" in result.stdout
