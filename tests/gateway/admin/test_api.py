"""admin.py: what the fleet is doing, drain and undrain, who may call, and one shape for errors."""

import asyncio
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI

from headrace.config.backends import Backend
from headrace.config.fleet import Admin
from headrace.config.schema import Config
from headrace.fleet.load import LoadView, Lora
from headrace.fleet.states import State
from headrace.gateway.admin.api import build
from headrace.gateway.app import Gateway

JSON = {"content-type": "application/json"}


@pytest.fixture
def gateway() -> Gateway:
    backends = tuple(
        Backend.model_validate({"url": "http://gpu:1", "name": name, "serves": ["m"]})
        for name in ("gpu-1", "rack/2")
    )
    return Gateway(Config(backends=backends))


@pytest.fixture
def app(gateway: Gateway) -> FastAPI:
    return build(gateway.fleet, gateway.keeper, Admin(), gateway.floor)


def caller(app: FastAPI, host: str = "127.0.0.1:8001") -> httpx2.AsyncClient:
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url=f"http://{host}")


def message(answer: httpx2.Response, status: int, code: str) -> str:
    """Demand an error in the one shape; gives its text."""
    body = answer.json()
    assert status == answer.status_code, body
    assert {"error": {"message", "type", "param", "code"}} == {k: set(v) for k, v in body.items()}
    assert ("admin_error", code) == (body["error"]["type"], body["error"]["code"])
    return str(body["error"]["message"])


async def test_what_is_away(app: FastAPI, gateway: Gateway) -> None:
    """Engines at zero are listed with their reason; their model is on demand, and no failure."""
    for name in ("gpu-1", "rack/2"):
        gateway.fleet.remove(name)
    gateway.floor.tell("qwen", ("m",), "off", "idle for 300 s")
    waiting = asyncio.create_task(gateway.fleet.groups["m"].ready())
    async with caller(app) as client:
        body = (await client.get("/admin/fleet")).json()
    waiting.cancel()

    (away,) = body["away"]
    assert ([], {"m": 0}, {"m": 1}) == (body["replicas"], body["models"], body["waiting"])
    assert ["m"] == body["on_demand"]
    assert ("qwen", ["m"], "off", "idle for 300 s") == tuple(
        away[key] for key in ("name", "serves", "state", "reason")
    )


async def test_fleet(app: FastAPI, gateway: Gateway) -> None:
    """All replicas with state, reason and load, and how many can answer each model."""
    replica = gateway.fleet.replicas["gpu-1"]
    ward = gateway.keeper.ward(replica)
    assert ward is not None
    ward.load = LoadView(running=3, kv_usage=0.5, block_size=16, lora=Lora(("a",), (), 4))
    lease = replica.lease(100)
    gateway.fleet.move(gateway.fleet.replicas["rack/2"], State.EJECTED, "sick")
    async with caller(app) as client:
        body = (await client.get("/admin/fleet")).json()
    lease.release()

    busy, sick = body["replicas"]
    assert {"m": 1} == body["models"]
    assert ("ready", "trusted", True) == (busy["state"], busy["reason"], busy["routable"])
    assert (1, 100, 1) == (busy["inflight_requests"], busy["inflight_tokens"], busy["sent"])
    assert (3, 0.5, 16, ["a"]) == tuple(
        busy["load"][key] for key in ("running", "kv_usage", "block_size", "loras_running")
    )
    assert ("ejected", "sick", False, None) == tuple(
        sick[key] for key in ("state", "reason", "routable", "load")
    )


@pytest.mark.parametrize("name", ["gpu-1", "rack/2", "rack%2F2"])
async def test_one_replica(app: FastAPI, name: str) -> None:
    """One by its name, slashes and all, with its history."""
    async with caller(app) as client:
        body = (await client.get(f"/admin/fleet/{name}")).json()

    assert name.replace("%2F", "/") == body["name"]
    assert [(None, "starting"), ("starting", "ready")] == [
        (step["before"], step["after"]) for step in body["history"]
    ]


async def test_drain_and_undrain(app: FastAPI, gateway: Gateway) -> None:
    """A busy replica drains until its deadline, and comes back as it was."""
    lease = gateway.fleet.replicas["rack/2"].lease(1)
    async with caller(app) as client:
        drained = await client.post("/admin/fleet/rack/2/drain", json={"deadline_s": 60})
        while_draining = [*gateway.fleet.groups["m"].names]
        back = await client.post("/admin/fleet/rack/2/undrain", json={})
    lease.release()

    assert (202, "draining") == (drained.status_code, drained.json()["state"])
    assert 59 < drained.json()["drain_left_s"] <= 60
    assert ["gpu-1"] == while_draining
    assert (202, "ready", None) == (
        back.status_code,
        back.json()["state"],
        back.json()["drain_left_s"],
    )


ERRORS: dict[str, tuple[str, str, dict[str, Any], int, str]] = {
    "no such replica": ("GET", "/admin/fleet/nobody", {}, 404, "not_found"),
    "drain nobody": ("POST", "/admin/fleet/nobody/drain", {"json": {}}, 404, "not_found"),
    "undrain nobody": ("POST", "/admin/fleet/nobody/undrain", {"json": {}}, 404, "not_found"),
    "no such path": ("GET", "/admin", {}, 404, "not_found"),
    "wrong method": ("DELETE", "/admin/fleet", {}, 405, "method_not_allowed"),
    "negative deadline": (
        "POST",
        "/admin/fleet/gpu-1/drain",
        {"json": {"deadline_s": -1}},
        422,
        "unprocessable_entity",
    ),
    "unknown key": (
        "POST",
        "/admin/fleet/gpu-1/drain",
        {"json": {"deadline": 5}},
        422,
        "unprocessable_entity",
    ),
    "no JSON": (
        "POST",
        "/admin/fleet/gpu-1/drain",
        {"content": b"{", "headers": JSON},
        422,
        "unprocessable_entity",
    ),
    "a form, as a page would send": (
        "POST",
        "/admin/fleet/gpu-1/drain",
        {"data": {"a": "b"}},
        415,
        "unsupported_media_type",
    ),
}


@pytest.mark.parametrize("case", ERRORS)
async def test_errors_have_one_shape(app: FastAPI, gateway: Gateway, case: str) -> None:
    """Whatever is wrong, the answer has the same form, and nothing was drained."""
    method, path, more, status, code = ERRORS[case]
    async with caller(app) as client:
        answer = await client.request(method, path, **more)

    assert message(answer, status, code)
    assert ["gpu-1", "rack/2"] == gateway.fleet.groups["m"].names


class TestWhoMayCall:
    @pytest.fixture(params=["evil.example", "10.0.0.1:8001"])
    def foreign(self, request: pytest.FixtureRequest) -> str:
        return str(request.param)

    async def test_foreign_names(self, app: FastAPI, foreign: str) -> None:
        """Without a token, a name that points here by somebody's DNS is refused."""
        async with caller(app, foreign) as client:
            answer = await client.get("/admin/fleet")

        assert "this machine" in message(answer, 403, "forbidden")

    @pytest.mark.parametrize("host", ["localhost:8001", "127.0.0.1", "[::1]:8001"])
    async def test_own_names(self, app: FastAPI, host: str) -> None:
        """Names of this machine are fine."""
        async with caller(app, host) as client:
            assert 200 == (await client.get("/admin/fleet")).status_code

    @pytest.mark.parametrize("given", ["", "Bearer no", "Bearer right!", "Basic right", "right"])
    async def test_wrong_token(self, gateway: Gateway, given: str) -> None:
        """With a token set, nothing is told without exactly this one, the schema neither."""
        admin = Admin.model_validate({"token": "right"})
        headers = {"authorization": given} if given else {}
        async with caller(build(gateway.fleet, gateway.keeper, admin, gateway.floor)) as client:
            seen = [
                await client.get(path, headers=headers)
                for path in ("/admin/fleet", "/openapi.json")
            ]

        for answer in seen:
            assert "bearer token" in message(answer, 401, "unauthorized")

    async def test_right_token(self, gateway: Gateway, foreign: str) -> None:
        """With it, any name of the gateway will do."""
        admin = Admin.model_validate({"token": "right", "host": "0.0.0.0"})
        async with caller(
            build(gateway.fleet, gateway.keeper, admin, gateway.floor), foreign
        ) as client:
            answer = await client.get("/admin/fleet", headers={"authorization": "Bearer right"})

        assert 200 == answer.status_code


async def test_the_schema_names_the_calls(app: FastAPI) -> None:
    """The OpenAPI description has the four calls."""
    async with caller(app) as client:
        paths = (await client.get("/openapi.json")).json()["paths"]

    assert {
        "/admin/fleet",
        "/admin/fleet/{name}",
        "/admin/fleet/{name}/drain",
        "/admin/fleet/{name}/undrain",
    } == set(paths)
