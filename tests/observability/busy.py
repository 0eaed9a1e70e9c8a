"""
A gateway with simulated engines that has something to do: tenants, a ledger with prices, rules with
an experiment and a shadow, retries, errors, clients that leave. All real but the engines.
"""

import asyncio
import contextlib
import itertools
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

import aiohttp

from headrace.cli.serve import Serving
from headrace.config.schema import Config
from headrace.config.simulator import Simulator
from headrace.engines.sim.server import Server
from headrace.gateway.app import Gateway
from tests.admission.rig import Place

TENANTS = ("acme", "globex")
TEXT = "Water flows through the channel to the turbine, and the turbine turns. "


class Busy:
    """``async with Busy(folder) as busy``; ``work`` gives it load."""

    def __init__(
        self,
        folder: Path,
        replicas: int = 3,
        *,
        speed: float = 10,
        errors: float = 0.1,
        **sections: Any,
    ) -> None:
        self._folder = folder
        self._sections = sections
        faults = [{"kind": "error", "share": errors, "replica": 0}]
        self.engines = Server(
            Simulator.model_validate(
                {
                    "replicas": replicas, "port": 0, "model": "chat", "speed": speed,
                    "answer_tokens": 60, "faults": faults, "surface": {"kv_events": True},
                }
            )
        )  # fmt: skip
        self.secrets: dict[str, str] = {}
        self._numbers = itertools.count()
        self._chance = random.Random(7)

    async def __aenter__(self) -> Self:
        await self.engines.start()
        place = Place(self._folder, *TENANTS)
        for tenant in TENANTS:
            issued = await place.issue(f"{tenant}-app", tenant=tenant)
            self.secrets[tenant] = issued.secret
        await place.issue("for-a-month", expires_at=datetime.now(UTC) + timedelta(days=30))
        self._serving = Serving(Config.model_validate(self._tree() | self._sections))
        await self._serving.start()
        await self._ready()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._serving.stop()
        await self.engines.stop()

    @property
    def gateway(self) -> Gateway:
        return self._serving._gateway

    @property
    def admin_url(self) -> str:
        return self._serving._annex.url

    async def work(self, seconds: float, users: int = 8) -> None:
        """Conversations, and now and then something that goes wrong, for so long."""
        async with aiohttp.ClientSession(self.gateway.url) as session:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await asyncio.gather(*(self._user(session, each) for each in range(users)))

    async def ask(self, session: aiohttp.ClientSession, tenant: str, **body: Any) -> int:
        """One request, read to its end; its status."""
        head = {"authorization": f"Bearer {self.secrets[tenant]}"}
        body = {"model": "chat", "stream": True, "max_tokens": 60, **body}
        async with session.post("/v1/chat/completions", json=body, headers=head) as answer:
            await answer.read()
            return answer.status

    async def _user(self, session: aiohttp.ClientSession, number: int) -> None:
        tenant = TENANTS[number % len(TENANTS)]
        talk: list[dict[str, str]] = []
        for turn in itertools.count():
            talk = talk[-6:] if turn % 9 else []
            talk.append({"role": "user", "content": f"{number}-{turn} " + TEXT * 8})
            await self.ask(session, tenant, messages=talk)
            talk.append({"role": "assistant", "content": TEXT})
            if turn % 5 == number % 5:
                await self._mishap(session, tenant, turn)

    async def _mishap(self, session: aiohttp.ClientSession, tenant: str, turn: int) -> None:
        words = [{"role": "user", "content": TEXT}]
        await self.ask(session, tenant, messages=words, stream=False)
        await self.ask(session, tenant, messages=words, model="nobody")
        await self.ask(session, tenant, messages=words, model="trial")
        with contextlib.suppress(TimeoutError):  # a client that leaves
            async with asyncio.timeout(0.02):
                await self.ask(session, tenant, messages=words, max_tokens=2000)

    async def _ready(self) -> None:
        """Until every engine can be used, and has been read."""
        keeper, group = self.gateway.keeper, self.gateway.fleet.groups["chat"]
        for _ in range(600):
            ready = [each for each in group.replicas if keeper.view(each) is not None]
            if len(ready) == len(self.engines.urls):
                return
            await asyncio.sleep(0.05)
        raise TimeoutError("the engines are not ready")

    def _events(self, index: int) -> str:
        """Where an engine publishes what its cache holds."""
        publisher = self.engines.replicas[index]._front.publisher
        assert publisher is not None
        return publisher.endpoint

    def _tree(self) -> dict[str, Any]:
        arms = [{"name": "control", "weight": 3, "target": "chat"},
                {"name": "candidate", "target": "chat"}]  # fmt: skip
        experiment = {"name": "new-prompt", "arms": arms}
        return {
            "server": {"port": 0},
            "admin": {"port": 0},
            "logging": {"file": str(self._folder / "log.jsonl")},
            "health": {"interval_s": 0.5},
            "load": {"interval_s": 0.2},
            "identity": {
                "file": str(self._folder / "keys.json"),
                "pepper_file": str(self._folder / "pepper"),
            },
            "tenants": [{"name": name} for name in TENANTS],
            "metering": {
                "url": f"sqlite:{self._folder / 'usage.db'}",
                "spill_dir": str(self._folder / "spill"),
                "prices": {
                    "tokens": [{"model": "*", "input": "1", "output": "4"}],
                    "gpus": [{"replica": "*", "per_hour": "0.8"}],
                },
            },
            "models": [{"name": "chat"}],
            "backends": [
                {
                    "url": url, "name": f"engine-{index}", "serves": ["chat"],
                    "kv_events": self._events(index),
                }
                for index, url in enumerate(self.engines.urls)
            ],
            "rules": [
                {"name": "trial", "match": {"models": "trial"}, "experiment": experiment},
                {
                    "name": "rest", "match": {"models": "chat"}, "target": "chat",
                    "shadow": {"target": "chat", "percent": 5},
                },
            ],
        }  # fmt: skip
