"""audit.py: changes of the fleet and of experiments leave a line that says who made them."""

from typing import Any

import httpx2
import pytest
from fastapi import FastAPI

from headrace.config.fleet import Admin
from headrace.config.schema import Config
from headrace.gateway.admin.api import build
from headrace.gateway.admin.audit import SOMEBODY, Audit
from headrace.gateway.admin.desk import desk
from headrace.gateway.app import Gateway
from tests.admission.rig import Log

ARMS = [{"name": "old", "weight": 100, "target": "m"}, {"name": "new", "weight": 0, "target": "m"}]
TREE = {
    "models": [{"name": "m"}],
    "backends": [{"url": "http://gpu:1", "name": "rack/2", "serves": ["m"]}],
    "rules": [{"name": "try", "experiment": {"name": "gemma", "arms": ARMS}}],
}


@pytest.fixture
def log() -> Log:
    return Log()


def api(log: Log, **admin: Any) -> FastAPI:
    gateway = Gateway(Config.model_validate(TREE))
    config = Admin.model_validate(admin)
    app = build(gateway.fleet, gateway.keeper, config, gateway.floor, desk(gateway))
    app.middleware("http")(Audit(log))
    return app


def caller(app: FastAPI, **headers: str) -> httpx2.AsyncClient:
    url = "http://127.0.0.1:8001"
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url=url, headers=headers)


def told(log: Log) -> list[tuple[object, ...]]:
    return [(each["action"], each["subject"], each["actor"]) for each in log.named("audit")]


async def test_changes_are_told(log: Log) -> None:
    """Drain, undrain and a ramp are told with their subject and who asked for them."""
    async with caller(api(log, token="right"), authorization="Bearer right") as client:
        await client.post("/admin/fleet/rack/2/drain", json={})
        await client.post("/admin/fleet/rack/2/undrain", json={})
        ramp = {"arm": "new", "percent": 25}
        await client.post("/admin/experiments/gemma/ramp", json=ramp)

    assert [
        ("replica_drained", "rack/2", "admin token"),
        ("replica_undrained", "rack/2", "admin token"),
        ("experiment_ramped", "gemma: new 25 %", "admin token"),
    ] == told(log)


async def test_somebody_here(log: Log) -> None:
    """Without a token nobody has a name, but the change is told."""
    async with caller(api(log)) as client:
        await client.post("/admin/fleet/rack/2/drain", json={})

    assert [("replica_drained", "rack/2", SOMEBODY)] == told(log)


async def test_what_changes_nothing(log: Log) -> None:
    """Reading, a refusal and a mistake are no changes."""
    async with caller(api(log, token="right")) as stranger:
        await stranger.post("/admin/fleet/rack/2/drain", json={})
    async with caller(api(log)) as client:
        await client.get("/admin/fleet")
        await client.post("/admin/fleet/nobody/drain", json={})
        await client.post("/admin/experiments/gemma/ramp", json={"arm": "new", "percent": 101})

    assert [] == told(log)
