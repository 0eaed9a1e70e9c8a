"""bill.py: usage and costs by the admin API."""

from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI

from headrace.config.fleet import Admin
from headrace.config.metering import Metering
from headrace.config.schema import Config
from headrace.gateway.admin.api import build
from headrace.gateway.admin.bill import bill
from headrace.gateway.app import Gateway
from headrace.metering.statements import INSERT_USAGE, UPSERT_PRESENCE
from headrace.metering.stores import Statement, open_store
from tests.metering.conftest import settings
from tests.metering.rows import NOON, a_row, values

GPUS = {"gpus": [{"replica": "gpu-*", "per_hour": 6}]}


@pytest.fixture
def config(tmp_path: Path) -> Metering:
    config = settings(tmp_path, prices=GPUS)
    store = open_store(config)
    rows = [a_row("1", cost=3), a_row("2", cost=4), a_row("3", tenant="b", model="n", cost=150)]
    minute = int(NOON.timestamp()) // 60
    store.write(
        [
            Statement(INSERT_USAGE, [values(row) for row in rows]),
            Statement(UPSERT_PRESENCE, [(minute, "gpu-1", 60.0, 30.0)]),
        ]
    )
    store.close()
    return config


def caller(config: Metering) -> httpx2.AsyncClient:
    gateway = Gateway(Config())
    app: FastAPI = build(gateway.fleet, gateway.keeper, Admin(), gateway.floor, bill(config))
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://127.0.0.1:8001")


async def ask(config: Metering, path: str, status: int = 200) -> Any:
    async with caller(config) as client:
        answer = await client.get(path)
    assert status == answer.status_code, answer.text
    return answer.json()


async def test_usage_by_what_is_asked_for(config: Metering) -> None:
    """Sums with exact costs, of a tenant where one is named."""
    everything = await ask(config, "/admin/usage?by=tenant,day")
    one = await ask(config, "/admin/usage?by=model&tenant=b")

    assert [
        ("acme", "2026-11-21", 2, 200, "0.00000007"),
        ("b", "2026-11-21", 1, 100, "0.00000150"),
    ] == [(x["tenant"], x["day"], x["requests"], x["tokens_in"], x["cost"]) for x in everything]
    assert [("n", "USD")] == [(x["model"], x["currency"]) for x in one]


async def test_usage_of_a_time(config: Metering) -> None:
    """Of a span that holds nothing there is nothing."""
    assert [] == await ask(config, "/admin/usage?since_us=1&until_us=2")


async def test_cost_of_replicas(config: Metering) -> None:
    """A minute of a GPU at 6 an hour is 0.10, half of it idle."""
    (found,) = await ask(config, "/admin/usage/cost")

    assert ("gpu-1", "0.10000000", "0.05000000") == (
        found["replica"], found["cost"], found["idle_cost"],
    )  # fmt: skip
    assert 0.5 == found["utilisation"]


async def test_what_cannot_be_summed_up_is_refused(config: Metering) -> None:
    """With what there is, in the one shape of errors."""
    error = (await ask(config, "/admin/usage?by=colour", 422))["error"]

    assert error["message"].startswith("There is no 'colour' to sum up by; there are tenant,")


async def test_without_a_ledger_that_is_told() -> None:
    """Not an empty list: nothing is kept."""
    for path in ("/admin/usage", "/admin/usage/cost"):
        error = (await ask(Metering(), path, 503))["error"]
        assert "set `metering.url`" in error["message"]
