"""Compose: the file keeps its schema, every profile resolves, and what it mounts is there."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from headrace.config.load import read

FOLDER = Path(__file__).parents[2] / "deploy" / "compose"
FILE = FOLDER / "compose.yaml"
PROFILES = ["cpu", "llamacpp", "gpu", "data", "observability", "edge"]
BIN = Path(sys.prefix) / "bin"


def compose(*arguments: str, file: Path = FILE) -> subprocess.CompletedProcess[str]:
    """The real program, without a daemon; it reads no .env of this machine."""
    call: list[str | Path] = [
        BIN / "docker-compose",
        "--env-file",
        "/dev/null",
        "--file",
        file,
        *arguments,
    ]
    return subprocess.run(call, capture_output=True, text=True, check=False)


def schema(file: Path) -> subprocess.CompletedProcess[str]:
    """Compose's own schema."""
    call: list[str | Path] = [
        BIN / "check-jsonschema",
        "--builtin-schema",
        "vendor.compose-spec",
        file,
    ]
    return subprocess.run(call, capture_output=True, text=True, check=False)


def services(*profiles: str) -> dict[str, Any]:
    """What runs with these profiles."""
    flags = [part for each in profiles for part in ("--profile", each)]
    done = compose(*flags, "config")
    assert 0 == done.returncode, done.stderr
    found: dict[str, Any] = yaml.safe_load(done.stdout)["services"]
    return found


def test_it_keeps_the_schema() -> None:
    """No unknown key anywhere."""
    assert 0 == schema(FILE).returncode


@pytest.mark.parametrize("profile", PROFILES)
def test_every_profile_resolves(profile: str) -> None:
    """Each profile is one that compose can start, with the gateway."""
    assert {"gateway"} < services(profile).keys()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("stop_grace_period: 75s", "stop_graceperiod: 75s"),
        ("edge-config: {condition: service_completed_successfully}", "nobody: {condition: x}"),
    ],
)
def test_planted_mistakes_are_found(tmp_path: Path, old: str, new: str) -> None:
    """An unknown key, and a dependency on nobody."""
    file = tmp_path / "compose.yaml"
    text = FILE.read_text()
    file.write_text(text.replace(old, new))

    assert old in text
    assert schema(file).returncode or compose("--profile", "edge", "config", file=file).returncode


def test_the_gateway_takes_its_configuration() -> None:
    """headrace.yaml is right as it is, and with every line of gateway.env.example."""
    lines = (FOLDER / "gateway.env.example").read_text().splitlines()
    given = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))

    alone, full = (read(FOLDER / "headrace.yaml", each).config for each in ({}, given))

    assert 2 * ["llama-3.1-8b"] == [model.name for model in (*alone.models, *full.models)]
    assert ("true", "false") == (alone.identity.anonymous, full.identity.anonymous)
    assert (None, True) == (alone.state.url, full.state.url is not None)


def test_the_backend_is_an_engine_of_each_profile() -> None:
    """One service of each engine's profile has the name that the gateway calls."""
    for profile in ("cpu", "llamacpp", "gpu"):
        named = [
            name
            for name, each in services(profile).items()
            if "engine-0" in (each.get("networks", {}).get("default") or {}).get("aliases", [])
        ]
        assert 1 == len(named), profile


def test_what_is_mounted_is_there() -> None:
    """Every file and folder of the repository that a service mounts exists."""
    mounts = [
        (name, each["source"])
        for name, service in services(*PROFILES).items()
        for each in service.get("volumes", [])
        if each["type"] == "bind" and not each["source"].endswith("/models")
    ]

    assert [] == [(name, path) for name, path in mounts if not Path(path).exists()]
    assert mounts


def test_services_have_no_more_than_they_need() -> None:
    """Read-only, no capabilities, published on loopback; the exporter alone asks the driver."""
    for name, each in services(*PROFILES).items():
        if name not in {"dcgm-exporter", "edge-config"}:
            assert (each["read_only"], ["ALL"]) == (True, each["cap_drop"]), name
        for port in each.get("ports", []):
            assert "127.0.0.1" == port["host_ip"], name


def test_a_stop_waits_for_the_drain() -> None:
    """Docker's patience is longer than the gateway's and the engines'."""
    found = services("gpu")
    server = read(FOLDER / "headrace.yaml", {}).config.server

    assert "1m15s" == found["gateway"]["stop_grace_period"]
    assert server.drain_s + server.drain_grace_s < 75
    assert "--shutdown-timeout=120" in found["engine-vllm"]["command"]
    assert "2m30s" == found["engine-vllm"]["stop_grace_period"]
