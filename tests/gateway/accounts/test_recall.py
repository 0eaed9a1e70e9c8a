"""recall.py: a gateway that starts knows what was used of budgets before, from the ledger."""

import asyncio
import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from headrace.admission.limits import Calendar, Level
from headrace.admission.types import Caller
from headrace.conformance import answers
from headrace.gateway.accounts.recall import Recall
from headrace.gateway.app import Gateway
from tests.admission.rig import Place
from tests.edge.rig import Rig, ask, eventually, openai_error

SPENT = 41
PRICES = {"tokens": [{"model": "m", "input": 100, "output": 100}]}


def metering(folder: Path) -> dict[str, Any]:
    return {
        "url": f"sqlite:{folder / 'usage.db'}",
        "spill_dir": str(folder / "spill"),
        "interval_s": 0.01,
        "prices": PRICES,
    }


async def level(gateway: Gateway, name: str, whom: str = "") -> Level:
    return next(
        Level(each.used, each.held)
        for each in await gateway.quota.shown()
        if (each.bound.whom, each.bound.name) == (whom, name)
    )


async def test_a_restart_renews_nothing(rig: Rig, tmp_path: Path) -> None:
    """Tokens of the day and money of the month that were used before the start are used."""
    limits = {"tenant": {"tokens_per_day": 2 * SPENT + 50, "cost_per_month": 5}}
    await rig.engine(answers.like_vllm)
    first = await rig.gateway(limits=limits, metering=metering(tmp_path))
    for _ in range(2):
        await rig.post(ask(max_tokens=10))
    await first.stop(drain_s=0.1)
    second = await rig.gateway(limits=limits, metering=metering(tmp_path))
    passed = await rig.post(ask(max_tokens=10))
    refused = await rig.post(ask(max_tokens=10))

    assert 200 == passed.status
    openai_error(refused, 429, "insufficient_quota")
    assert Level(3 * SPENT, 0) == await level(second, "tokens_per_day")
    assert Level(3 * SPENT * 10_000, 0) == await level(second, "cost_per_month")


async def test_without_a_file_there_is_no_past(
    rig: Rig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A ledger that cannot be read stops nothing, and is told."""
    await rig.engine(answers.like_vllm)
    gateway = await rig.gateway(
        limits={"tenant": {"tokens_per_day": 10_000}}, metering=metering(tmp_path)
    )
    (tmp_path / "usage.db").unlink()
    await gateway.quota.recall.read()
    gateway.log.flush()
    events = [json.loads(line) for line in capsys.readouterr().err.splitlines()]

    assert 200 == (await rig.post(ask())).status
    assert [True] == [
        "There is no ledger at" in event["reason"]
        for event in events
        if event["event"] == "limits_past_unknown"
    ]


async def test_it_is_read_once_more(
    rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a crash has ended comes into the ledger later, and counts then."""
    monkeypatch.setattr("headrace.gateway.accounts.recall.AGAIN_S", 0.05)
    await rig.engine(answers.like_vllm)
    gateway = await rig.gateway(
        limits={"tenant": {"tokens_per_day": 10_000}}, metering=metering(tmp_path)
    )
    first = gateway.quota.recall.version

    await eventually(lambda: gateway.quota.recall.version > first, timeout_s=10)


async def test_the_first_limit_of_a_running_gateway(rig: Rig, tmp_path: Path) -> None:
    """A gateway that has run without limits knows what was used when it gets its first one."""
    await rig.engine(answers.like_vllm)
    place = Place(tmp_path, "acme")
    issued = await place.issue("app", tenant="acme")
    gateway = await rig.gateway(
        metering=metering(tmp_path),
        identity=place.config.model_dump(),
        tenants=[{"name": "acme"}],
    )
    head = {"authorization": f"Bearer {issued.secret}"}
    await rig.post(ask(max_tokens=10), **head)
    assert gateway.meter is not None
    await eventually(
        lambda: gateway.meter is not None and gateway.meter.seen().rows["written"] == 1
    )
    await place.office.alter("tester", "app", {"limits": {"tokens_per_day": SPENT + 5}})
    await gateway.door.look()
    await eventually(lambda: gateway.quota.recall.version > 0, timeout_s=10)

    openai_error(await rig.post(ask(max_tokens=10), **head), 429, "insufficient_quota")


async def test_whose_it_is(rig: Rig, tmp_path: Path) -> None:
    """What counts for a tenant, a key, a model and both is what each of them has used."""
    limit = {"tokens_per_day": 10_000}
    limits: dict[str, Any] = {"tenant": limit, "key": limit, "model": limit}
    limits |= {"tenants": {"acme": {"models": {"m": limit}}}}
    await rig.engine(answers.like_vllm)
    gateway = await rig.gateway(
        limits=limits, metering=metering(tmp_path), tenants=[{"name": "acme"}]
    )
    recall: Recall = gateway.quota.recall
    at_us = int(gateway.quota._clocks.day() * 1e6)
    await asyncio.to_thread(_book, gateway, at_us)
    await recall.read()
    gateway.quota._plan(Caller(tenant="acme", key="ci"), "m")
    found = {
        each.bound.scope: each.used
        for each in await gateway.quota.shown()
        if each.bound.whom in {"acme", "acme m", "m"}
    }
    plan = gateway.quota._plan(Caller(tenant="acme", key="ci"), "m")
    assert plan is not None
    key = next(bound for bound in plan.bounds if bound.scope == "key")
    day = Calendar().at(gateway.quota._clocks.day()).day

    assert {"tenant": 111, "tenant_model": 11, "model": 1011} == found
    assert Level(101, 0) == gateway.quota.purse.latest(key, day)


def _book(gateway: Gateway, at_us: int) -> None:
    """Rows of several tenants, keys and models."""
    path = gateway.config.metering.address.removeprefix("sqlite:")
    rows = [("acme", "ci", "m", 1), ("acme", "app", "m", 10), ("acme", "ci", "big", 100),
            ("rival", "x", "m", 1000)]  # fmt: skip
    with sqlite3.connect(path) as ledger:
        for number, (tenant, key, model, tokens) in enumerate(rows):
            ledger.execute(
                "INSERT INTO usage (id, at_us, request_id, tenant, key_id, endpoint, asked, model,"
                " replica, tokens_in, tokens_out, tokens_cached, estimated, queue_ms, ttft_ms,"
                " total_ms, outcome, status, attempts, price, cost) VALUES"
                " (?, ?, 'r', ?, ?, '/v1', 'm', ?, 'e', ?, 0, 0, 0, 0, 0, 0, 'completed', 200, 1,"
                " '', 0)",
                (f"row-{number}", at_us, tenant, key, model, tokens),
            )
    ledger.close()
