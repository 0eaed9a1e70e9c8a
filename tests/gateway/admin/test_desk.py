"""desk.py: what the admin API says about rules and experiments, and who may ask."""

import json
from http import HTTPStatus
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI

from headrace.config.fleet import Admin
from headrace.config.schema import Config
from headrace.gateway.admin.api import build
from headrace.gateway.admin.desk import desk
from headrace.gateway.app import Gateway
from headrace.routing.experiments import Outcome
from tests.gateway.admin.test_api import caller, message

ARMS = [{"name": "old", "weight": 3, "target": "m"}, {"name": "new", "weight": 1}]
RULES = [
    {"name": "long", "match": {"messages": ">= 3"}, "target": "n"},
    {"name": "try", "match": {"models": "x"}, "experiment": {"name": "e", "arms": ARMS}},
]


@pytest.fixture
def gateway() -> Gateway:
    backends = [
        {"url": "http://gpu:1", "name": "gpu-1", "serves": ["m"]},
        {"url": "http://gpu:2", "name": "gpu-2", "serves": ["m"]},
    ]
    models = [{"name": "m", "aliases": ["x"]}, {"name": "n"}]
    return Gateway(Config.model_validate({"models": models, "backends": backends, "rules": RULES}))


@pytest.fixture
def app(gateway: Gateway) -> FastAPI:
    return build(gateway.fleet, gateway.keeper, Admin(), gateway.floor, desk(gateway))


async def route(app: FastAPI, question: dict[str, Any]) -> httpx2.Response:
    async with caller(app) as client:
        return await client.post("/admin/route", json=question)


async def test_a_route(app: FastAPI, gateway: Gateway) -> None:
    """The rules in force decide; the pool's replicas are those of this moment."""
    found = (await route(app, {"body": '{"model": "m"}', "at": 0})).json()

    assert gateway.steer.book is not None
    assert (gateway.steer.book.version, 2, "") == (found["version"], found["rules"], found["rule"])
    (pool,) = found["pools"]
    assert ("m", "lowest cost") == (pool["model"], pool["reason"])
    assert pool["replica"] in {"gpu-1", "gpu-2"}
    assert {"gpu-1", "gpu-2"} == {each["replica"] for each in pool["candidates"]}


async def test_a_route_without_replicas(app: FastAPI) -> None:
    """A pool that has none is told, not hidden."""
    body = json.dumps({"model": "m", "messages": [{}, {}, {}]})
    found = (await route(app, {"body": body})).json()

    assert ("long", ["n"]) == (found["rule"], found["targets"])
    assert [("n", None)] == [(pool["model"], pool["replica"]) for pool in found["pools"]]


@pytest.mark.parametrize(
    ("question", "status", "code"),
    [
        ({"body": "{"}, 400, "bad_request"),
        ({"body": "{}", "endpoint": "/x"}, 404, "not_found"),
        ({"text": "hi"}, 422, HTTPStatus(422).name.lower()),
    ],
)
async def test_bad_questions(
    app: FastAPI, question: dict[str, Any], status: int, code: str
) -> None:
    """Errors have the API's one shape."""
    assert message(await route(app, question), status, code)


async def test_experiments(app: FastAPI, gateway: Gateway) -> None:
    """Each arm with its share and what it has seen; all but the first beside the control."""
    trial = gateway.steer.trials.running["e"].trial
    for failed in (True, False):
        trial.observe(1, (3, 1), Outcome(failed, 100.0, 7, 8))
    async with caller(app) as client:
        (seen,) = (await client.get("/admin/experiments")).json()["experiments"]

    old, new = seen["arms"]
    assert ("e", "try", "session") == (seen["name"], seen["rule"], seen["by"])
    assert (75, 25, 2, 1, 0.5) == (
        old["percent"], new["percent"], new["requests"], new["failed"], new["error_rate"],
    )  # fmt: skip
    assert (14, 16, 2) == (new["tokens_in"], new["tokens_out"], new["streams"])
    assert old["versus_control"] is None
    assert {"error_p", "slow_p", "ttft_p"} <= set(new["versus_control"])


async def test_ramp(app: FastAPI, gateway: Gateway) -> None:
    """A ramp is in force at once."""
    async with caller(app) as client:
        answer = await client.post("/admin/experiments/e/ramp", json={"arm": "new", "percent": 40})

    assert [60, 40] == [arm["percent"] for arm in answer.json()["arms"]]
    assert (60, 40) == gateway.steer.trials.weights["e"]


@pytest.mark.parametrize(
    ("name", "order", "status", "text"),
    [
        ("x", {"arm": "new", "percent": 4}, 404, "no experiment 'x'; there are: e"),
        ("e", {"arm": "y", "percent": 4}, 404, "no arm 'y'; there are: old, new"),
        ("e", {"arm": "new", "percent": 101}, 422, "percent"),
    ],
)
async def test_bad_ramps(
    app: FastAPI, name: str, order: dict[str, Any], status: int, text: str
) -> None:
    """What there is, is named."""
    async with caller(app) as client:
        answer = await client.post(f"/admin/experiments/{name}/ramp", json=order)

    assert status == answer.status_code
    assert text in answer.json()["error"]["message"]


async def test_strangers(app: FastAPI) -> None:
    """The guard of the admin API is before these, too."""
    async with caller(app, "evil.example") as client:
        answer = await client.get("/admin/experiments")

    assert 403 == answer.status_code
