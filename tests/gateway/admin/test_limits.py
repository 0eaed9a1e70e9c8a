"""limits.py: what is used of limits, by the admin API."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx2
import pytest

from headrace.conformance import answers
from headrace.gateway.admin.api import build
from headrace.gateway.admin.limits import limits
from headrace.gateway.app import Gateway
from tests.admission.rig import Place
from tests.edge.rig import CHAT_PATH, Rig, ask
from tests.state.server import RedisServer

CONFIG = {
    "tenant": {"tokens_per_day": 1000, "cost_per_month": 5},
    "key": {"requests_per_minute": 1},
    "models": {"m": {"concurrent_requests": 3}},
}
PRICES = {"prices": {"tokens": [{"model": "m", "input": 100, "output": 100}]}}


async def call(gateway: Gateway, path: str) -> httpx2.Response:
    """The admin API of a gateway, without a socket."""
    app = build(gateway.fleet, gateway.keeper, gateway.config.admin, gateway.floor, limits(gateway))
    transport = httpx2.ASGITransport(app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        return await client.get(path)


async def start(rig: Rig, place: Place, **more: Any) -> Gateway:
    await rig.engine(answers.like_vllm)
    return await rig.gateway(
        limits=CONFIG,
        metering=PRICES,
        tenants=[{"name": "acme"}],
        identity=place.config.model_dump(),
        **more,
    )


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path, "acme")


async def test_what_is_used(rig: Rig, place: Place) -> None:
    """Each limit of tenants, keys and models with what is used and held, money as a text."""
    issued = await place.issue("ci", tenant="acme")
    gateway = await start(rig, place)
    await rig.post(ask(max_tokens=10), CHAT_PATH, authorization=f"Bearer {issued.secret}")
    told = (await call(gateway, "/admin/limits")).json()
    found = {(each["whom"], each["limit"]): each for each in told}
    day, month = found["acme", "tokens_per_day"], found["acme", "cost_per_month"]

    assert {"acme", "default", "ci", "m"} == {whom for whom, _ in found}
    assert ("tenant", "tokens per day", 1000, 41, 0, 0.041) == (
        day["scope"], day["unit"], day["most"], day["used"], day["held"], day["ratio"],
    )  # fmt: skip
    assert day["resets_at"].endswith("T00:00:00+00:00")
    assert ("USD per month", "5.00000000", "0.00410000") == (
        month["unit"], month["most"], month["used"],
    )  # fmt: skip
    assert 0 < found["ci", "requests_per_minute"]["used"] <= 1
    assert found["ci", "requests_per_minute"]["resets_at"] is None
    assert 0 == found["default", "tokens_per_day"]["used"]


async def test_one_tenant(rig: Rig, place: Place) -> None:
    """Its limits and those of its keys; one that there is not is 404 with those there are."""
    await place.issue("ci", tenant="acme")
    await place.issue("other")
    gateway = await start(rig, place)
    found = (await call(gateway, "/admin/limits?tenant=acme")).json()
    ghost = await call(gateway, "/admin/limits?tenant=ghost")

    assert {("tenant", "acme"), ("key", "ci")} == {(each["scope"], each["whom"]) for each in found}
    assert (404, "There is no tenant 'ghost'; there are: default, acme.") == (
        ghost.status_code,
        ghost.json()["error"]["message"],
    )


async def test_nothing_is_limited(rig: Rig) -> None:
    """Without limits there is nothing to show."""
    await rig.engine(answers.like_vllm)
    gateway = await rig.gateway()

    assert [] == (await call(gateway, "/admin/limits")).json()


async def test_the_shared_state_is_lost(rig: Rig, place: Place) -> None:
    """Where nobody can be asked it says so."""
    with (
        TemporaryDirectory(prefix="hr-", dir="/tmp") as folder,
        RedisServer(Path(folder)) as server,
    ):
        gateway = await start(rig, place, state={"url": server.url, "timeout_s": 10})
        before = await call(gateway, "/admin/limits?tenant=acme")
        server.kill()
        answer = await call(gateway, "/admin/limits?tenant=acme")

    assert {0} == {float(each["used"]) for each in before.json()}
    assert 503 == answer.status_code
    assert "The shared state at" in answer.json()["error"]["message"]
