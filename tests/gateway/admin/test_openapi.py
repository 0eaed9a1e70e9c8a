"""The admin API as its OpenAPI document describes it: whatever is sent, it answers as it says."""

import asyncio
import threading
from pathlib import Path
from typing import Any, Self

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
)

from headrace.config.schema import Config
from headrace.gateway.admin.annex import Annex
from headrace.gateway.app import Gateway

CHECKS = [not_a_server_error, content_type_conformance, response_schema_conformance]


class Running:
    """A gateway and its admin API, in a thread with a loop of its own."""

    def __init__(self, folder: Path) -> None:
        self._config = Config.model_validate(tree(folder))
        self._ready = threading.Event()
        self.url = ""
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(30)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(30)

    async def _run(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        gateway = Gateway(self._config)
        annex = Annex(gateway)
        await gateway.start()
        try:
            await annex.start()
            self.url = annex.url
            self._ready.set()
            await self._stop.wait()
            await annex.stop()
        finally:
            await gateway.stop(drain_s=0)


def tree(folder: Path) -> dict[str, Any]:
    """One of everything that the API speaks about."""
    arms = [{"name": "a"}, {"name": "b"}]
    return {
        "server": {"port": 0},
        "admin": {"port": 0},
        "models": [{"name": "m"}],
        "backends": [
            {"url": "http://127.0.0.1:9", "name": "gpu/1", "serves": ["m"], "probe": False}
        ],
        "rules": [{"name": "r", "experiment": {"name": "e", "arms": arms}}],
        "identity": {"file": str(folder / "keys.json"), "pepper_file": str(folder / "pepper")},
        "tenants": [{"name": "t"}],
        "metering": {"url": f"sqlite:{folder / 'usage.db'}"},
        "logging": {"file": str(folder / "log")},
    }


# the gateway in the other thread rolls dice of its own while a strategy draws
@pytest.mark.filterwarnings("ignore::hypothesis.errors.HypothesisDeprecationWarning")
def test_every_endpoint_answers_as_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No fault of ours, the type and the shape that the document promises, for any input."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Running(tmp_path) as running:
        schema = schemathesis.openapi.from_url(f"{running.url}/openapi.json")
        found: list[Any] = [*schema.get_all_operations()]
        operations = [each.ok() for each in found]
        assert len(operations) > 20
        for operation in operations:
            _try(operation)


def _try(operation: Any) -> None:
    """Some requests for one endpoint, good ones and bad ones."""

    @settings(
        max_examples=8, phases=[Phase.explicit, Phase.generate],
        suppress_health_check=[*HealthCheck], derandomize=True, database=None,
    )  # fmt: skip
    @given(case=operation.as_strategy())
    def attempt(case: Any) -> None:
        case.call_and_validate(checks=CHECKS, timeout=20)

    attempt()
