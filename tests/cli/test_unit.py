"""The text of a unit: what its rights and its patience follow from, and what systemd says of it."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from headrace.cli.unit import Unit, folders, quoted
from headrace.config.schema import Config

BACKEND = {"url": "http://gpu-1:8000", "serves": ["m"]}
PROGRAM = ("/usr/bin/env", "serve", "--config", "/etc/headrace/headrace.yaml")


def unit(user: bool = False, account: str = "", **sections: Any) -> Unit:
    config = Config.model_validate({"backends": [BACKEND], **sections})
    return Unit(PROGRAM, config, user, account, folders(config))


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Systemd's own judge; `apt-get install systemd` brings it, and none need run."""
    call = ["systemd-analyze", *arguments]
    return subprocess.run(call, capture_output=True, text=True, check=False)


VARIANTS = {
    "system": unit(),
    "user": unit(user=True),
    "account": unit(account="daemon"),
    "engines": unit(engines=[{"type": "sim", "model": "m"}], backends=[]),
    "edge": unit(edge={"enabled": True, "port": 443}),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_systemd_takes_it(tmp_path: Path, name: str) -> None:
    """`systemd-analyze verify` has nothing to say about any kind of unit."""
    path = tmp_path / "headrace.service"
    path.write_text(VARIANTS[name].text())
    done = analyze("verify", "--man=no", path)

    assert ("", 0) == (done.stderr, done.returncode)


def test_a_planted_mistake_is_found(tmp_path: Path) -> None:
    """The judge knows the directives: a misspelt one is told."""
    path = tmp_path / "headrace.service"
    path.write_text(VARIANTS["system"].text().replace("PrivateTmp", "PrivateTemp"))

    assert "PrivateTemp" in analyze("verify", "--man=no", path).stderr


@pytest.mark.parametrize(("name", "limit"), [("system", 15), ("account", 16), ("engines", 20)])
def test_it_is_hardened(tmp_path: Path, name: str, limit: int) -> None:
    """Its exposure is at most 1.5 of 10 (a plain unit has 9.6), with engines 2.0: they see GPUs."""
    path = tmp_path / "headrace.service"
    path.write_text(VARIANTS[name].text())
    judged = ("security", "--offline=true", "--no-pager", f"--threshold={limit}", path)
    done = analyze(*judged)

    assert 0 == done.returncode, done.stdout[-300:]


def test_a_plain_unit_would_fail(tmp_path: Path) -> None:
    """The limit of the test above means something."""
    path = tmp_path / "headrace.service"
    path.write_text("[Service]\nExecStart=/usr/bin/env\n")

    assert analyze("security", "--offline=true", "--threshold=25", path).returncode


def test_a_stop_may_take_as_long_as_the_drain() -> None:
    """Grace, drain and the slowest engine, and a quarter of a minute."""
    server = {"drain_s": 60, "drain_grace_s": 4.5}
    engines = [{"type": "sim", "model": "m", "stop_s": 20}]

    assert 80 == unit(server=server).stop_s
    assert 100 == unit(server=server, engines=engines, backends=[]).stop_s
    assert "TimeoutStopSec=80\n" in unit(server=server).text()


def test_low_ports_need_one_right() -> None:
    """Below 1024 it may bind, and nothing else."""
    low, high = unit(server={"port": 80}).text(), unit().text()

    assert "CapabilityBoundingSet=CAP_NET_BIND_SERVICE\n" in low
    assert "CapabilityBoundingSet=\n" in high


def test_engines_see_gpus() -> None:
    """Who starts engines sees NVIDIA's devices and no other, and may compile."""
    with_engines, without = VARIANTS["engines"].text(), VARIANTS["system"].text()

    assert "DeviceAllow=char-nvidia-uvm rw" in with_engines
    assert "MemoryDenyWriteExecute" not in with_engines
    assert ("PrivateDevices=yes", "MemoryDenyWriteExecute=yes") == tuple(
        re.findall(r"(?:PrivateDevices|MemoryDenyWriteExecute)=yes", without)
    )[::-1]


def test_it_writes_where_the_configuration_says() -> None:
    """Folders of the ledger and the log are open; those at home are the state directory's."""
    sections: dict[str, Any] = {
        "metering": {"url": "sqlite:/srv/usage/usage.db"},
        "logging": {"file": "/srv/log/headrace.log"},
        "store": {"dir": "/var/lib/headrace/models"},
    }
    text = unit(**sections).text()

    assert ["/srv/log", "/srv/usage"] == re.findall(r"ReadWritePaths=-(\S+)", text)


def test_a_made_up_user_has_a_home() -> None:
    """Keys and weights are kept in the state directory, for a named user, too."""
    for each in ("system", "account"):
        assert "StateDirectory=headrace\n" in VARIANTS[each].text()
        assert "Environment=HOME=/var/lib/headrace\n" in VARIANTS[each].text()
    assert "DynamicUser=yes\n" in VARIANTS["system"].text()
    assert "User=daemon\n" in VARIANTS["account"].text()


@pytest.mark.parametrize(
    ("word", "written"),
    [("/a/b-c.d", "/a/b-c.d"), ("a b", '"a b"'), ('"', '"\\""'), ("50%", "50%%"), ("$X", "$$X")],
)
def test_words_are_quoted_for_systemd(word: str, written: str) -> None:
    """Spaces and quotes are kept, and nothing is expanded."""
    assert written == quoted(word)
