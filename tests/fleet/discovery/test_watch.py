"""The sources as tasks: which are built, and what happens when one breaks."""

import asyncio
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from headrace.config.schema import Config
from headrace.errors import StartError
from headrace.fleet.discovery.reconciler import Reconciler
from headrace.fleet.discovery.source import Changed, pauses
from headrace.fleet.discovery.watch import Watches, build, watches
from tests.fleet.discovery.recorder import Log, Replicas, found, section, until


class Breaking:
    """A source with a fault in it, twice."""

    def __init__(self) -> None:
        self.lives = 0

    async def watch(self, changed: Changed) -> None:
        self.lives += 1
        if self.lives == 1:
            raise ZeroDivisionError("a fault")
        if self.lives == 2:
            return
        changed([found("a")])
        await asyncio.get_running_loop().create_future()


async def test_all_sources_of_the_configuration(tmp_path: Path) -> None:
    """Each source feeds the same fleet; static names are theirs alone; stopping ends all tasks."""
    for name in ("a", "b"):
        (tmp_path / name).write_text(f"- {{url: 'http://{name}:1', serves: [m]}}\n")
    backends = [{"url": "http://a:1", "serves": ["m"]}]
    sources = [{"type": "file", "path": tmp_path / name, "serves": ["m"]} for name in ("a", "b")]
    config = Config.model_validate({"backends": backends, "discovery": sources})
    fleet, log = Replicas(), Log()
    running = watches(config, ["m"], fleet, log)
    before = asyncio.all_tasks()
    running.start()
    await until(lambda: len(log.events) == 2)
    await running.stop()

    assert ["+b:1"] == fleet.done
    assert ["replica_found", "replica_skipped"] == sorted(log.names())
    assert before == asyncio.all_tasks()


async def test_a_broken_source_starts_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault in a source is logged, and costs neither the gateway nor the source for good."""
    monkeypatch.setattr("headrace.fleet.discovery.watch.pauses", partial(pauses, 0.01, 0.05))
    fleet, log, source = Replicas(), Log(), Breaking()
    running = Watches([("s", source)], Reconciler(fleet, log, ["m"], []), log)
    running.start()
    await until(lambda: fleet.done == ["+a"])
    await running.stop()

    assert 3 == source.lives
    assert ["discovery_failed", "discovery_failed", "replica_found"] == log.names()
    assert "ZeroDivisionError: a fault\nit ended by itself" in log.errors()


@pytest.mark.parametrize("kind", ["kubernetes", "dns"])
def test_libraries_missing(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A source whose library is not installed says how to install it."""
    package = {"kubernetes": "kubernetes_asyncio", "dns": "dns"}[kind]
    for name in [each for each in sys.modules if each.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, f"headrace.fleet.discovery.{kind}", raising=False)
    monkeypatch.setitem(sys.modules, package, None)
    settings: dict[str, dict[str, Any]] = {
        "kubernetes": {"selector": "a=b"},
        "dns": {"name": "x", "port": 1},
    }

    with pytest.raises(StartError, match=r"install it with `pip install 'headrace"):
        build(section(type=kind, serves=["m"], **settings[kind]), ["m"], Log())


def test_libraries_are_not_loaded_in_vain() -> None:
    """A gateway without Kubernetes does not pay for its client."""
    code = (
        "import sys, headrace.gateway.app;"
        "sys.exit(any(name.split('.')[0] in {'kubernetes_asyncio', 'dns', 'aiohttp'}"
        " for name in sys.modules))"
    )
    assert 0 == subprocess.run([sys.executable, "-c", code], check=False).returncode
