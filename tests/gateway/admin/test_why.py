"""why.py: what the admin API says about causes, from the history or from a Prometheus."""

import math
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI

from headrace.config.fleet import Admin
from headrace.config.schema import Config
from headrace.diagnose import history as rings
from headrace.diagnose.history import History
from headrace.gateway.admin.api import build
from headrace.gateway.admin.why import why
from headrace.gateway.app import Gateway
from headrace.gateway.records.recorder import Recorder
from tests.gateway.admin.test_api import caller

BACKEND = {"url": "http://gpu:1", "name": "gpu-1", "serves": ["m"]}


def gateway(**diagnosis: Any) -> Gateway:
    models = [{"name": "m"}, {"name": "n"}]
    tree = {"models": models, "backends": [BACKEND], "diagnosis": diagnosis}
    return Gateway(Config.model_validate(tree))


def app(of: Gateway) -> FastAPI:
    return build(of.fleet, of.keeper, Admin(), of.floor, why(of))


async def asked(of: Gateway, query: str = "") -> httpx2.Response:
    async with caller(app(of)) as client:
        return await client.get(f"/admin/why{query}")


def troubled() -> Gateway:
    """One whose replica has been silent with requests for the last half minute."""
    made = gateway()
    history = History()
    for step in range(60):
        at_s = 1000.0 + 5.0 * step
        quiet_s = max(0.0, 5.0 * (step - 53))
        history.add(
            at_s,
            {
                ("r_inflight", ("gpu-1",)): 4.0,
                ("r_ready", ("gpu-1",)): 1.0,
                ("r_silent", ("gpu-1",)): quiet_s,
                ("ended", ("m", "completed")): 10.0 * min(step, 53),
            },
        )
    made.instruments.recorder = Recorder(history, list)
    return made


async def test_a_finding_for_each_model() -> None:
    """What is wrong comes first, with evidence and what to do; a model without replicas is well."""
    answer = (await asked(troubled())).json()
    first, second = answer["diagnoses"]

    assert "history" == answer["source"]
    assert ("m", False, "stuck-replica") == (
        first["model"], first["healthy"], first["finding"]["name"]
    )  # fmt: skip
    assert ["gpu-1"] == first["finding"]["replicas"]
    assert "headrace_replica_silent_seconds" in first["finding"]["evidence"][0]["promql"]
    assert first["finding"]["advice"]
    assert ("n", True) == (second["model"], second["healthy"])


async def test_one_model() -> None:
    """Only what was asked for is looked at; an unknown name is told with those that are known."""
    found = (await asked(troubled(), "?model=n")).json()["diagnoses"]
    unknown = await asked(troubled(), "?model=x")

    assert ["n"] == [each["model"] for each in found]
    assert 404 == unknown.status_code
    assert "There is no model 'x'; there are: m, n." == unknown.json()["error"]["message"]


async def test_the_past() -> None:
    """A moment before the trouble was well."""
    found = (await asked(troubled(), "?model=m&at_s=1240")).json()["diagnoses"]

    assert [True] == [each["healthy"] for each in found]


async def test_too_early() -> None:
    """A gateway without a history says so."""
    found = (await asked(gateway())).json()["diagnoses"]

    assert {"no-data"} == {each["finding"]["name"] for each in found}


async def test_what_is_not_covered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer says since when anything is known, and which replicas had no room."""
    monkeypatch.setattr(rings, "MAX_SERIES", 2)
    made, history = gateway(), History()
    history.add(1000.0, {("r_ready", (name,)): 1.0 for name in ("gpu-1", "gpu-2", "gpu-3")})
    made.instruments.recorder = Recorder(history, list)
    answer = (await asked(made)).json()

    assert (1000.0, ["gpu-3"]) == (answer["known_from_s"], answer["unseen"])
    assert (None, []) == ((none := (await asked(gateway())).json())["known_from_s"], none["unseen"])


async def test_no_history_at_all() -> None:
    """Where it is switched off, the answer names the settings."""
    answer = await asked(gateway(enabled=False))

    assert 503 == answer.status_code
    assert "`diagnosis.enabled`" in answer.json()["error"]["message"]


@pytest.mark.parametrize("query", ["?since_s=5", "?since_s=x", "?since_s=90000", "?at_s=-1"])
async def test_wrong_questions(query: str) -> None:
    """What cannot be looked at is 422."""
    assert 422 == (await asked(gateway(), query)).status_code


async def test_numbers_are_json() -> None:
    """What is not known is null, never NaN."""
    for each in (await asked(troubled())).json()["diagnoses"][0]["finding"]["evidence"]:
        for value in (each["now"], each["usual"]):
            assert value is None or math.isfinite(value)
