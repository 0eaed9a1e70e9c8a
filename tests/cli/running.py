"""A gateway with rules and an experiment whose admin API can be asked, for tests of commands."""

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from headrace.cli.app import app
from headrace.config.schema import Config
from headrace.gateway.admin.annex import Annex
from headrace.gateway.app import Gateway

ARMS = [{"name": "old", "weight": 3, "target": "small"}, {"name": "new", "target": "big"}]
CONFIG: dict[str, Any] = {
    "admin": {"port": 0},
    "health": {"enabled": False},
    "load": {"enabled": False},
    "models": [{"name": "small"}, {"name": "big"}],
    "backends": [{"url": "http://127.0.0.1:9", "name": "gpu-1", "serves": ["small"]}],
    "rules": [
        {"name": "team", "match": {"headers": {"x-team": "a*"}}, "target": ["big", "small"]},
        {"name": "night", "match": {"times": "22:00-06:00"}, "target": "small"},
        {"name": "hard", "match": {"classes": "hard"}, "target": "big"},
        {"name": "try", "match": {"models": "chat"}, "experiment": {"name": "e", "arms": ARMS}},
    ],
}
NOON, NIGHT = "2026-11-23T12:00", "2026-11-23T23:00:00+00:00"


class Running:
    """A gateway's admin API on a thread of its own."""

    def __init__(self) -> None:
        self.url = ""
        self._loop = asyncio.new_event_loop()
        self._up = threading.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._live(),))

    def start(self) -> None:
        self._thread.start()
        assert self._up.wait(30)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(20)
        self._loop.close()

    async def _live(self) -> None:
        self._over = asyncio.Event()
        annex = Annex(Gateway(Config.model_validate(CONFIG)))
        await annex.start()
        self.url = annex.url
        self._up.set()
        await self._over.wait()
        await annex.stop()


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    up = Running()
    up.start()
    yield up.url
    up.stop()


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "headrace.yaml"
    path.write_text(json.dumps(CONFIG), encoding="utf-8")
    return str(path)


def headrace(*arguments: str, url: str = "", stdin: str = "") -> Result:
    """Call it; nothing listens at the default address of a test."""
    asked = ["--admin-url", url] if url else []
    return CliRunner().invoke(app, [*arguments, *asked], input=stdin, env={"COLUMNS": "100"})
