"""Tiers by meaning, from the client's words to the model that answers: rules, classes, engines."""

import asyncio
import threading
from typing import Any

import pytest

from headrace.config.fleet import Admin
from headrace.config.schema import Config
from headrace.errors import ConfigError
from headrace.gateway.admin.api import build
from headrace.gateway.admin.desk import desk
from headrace.gateway.app import Gateway
from headrace.gateway.rules.classifier import Judging
from headrace.telemetry import exhibit
from tests.edge.rig import Rig, ask
from tests.gateway.admin.test_api import caller

POOLS = ("small", "big")
CLASSES = {
    "enabled": True,
    "default": "fast",
    "deadline_ms": 5000,
    "examples": {
        "fast": ["what is the weather", "play a song", "call my mother", "good morning"],
        "reasoning": [
            "prove this theorem", "solve the equation 3x = 6", "derive the formula for x",
            "find the bug in this function",
        ],
    },
}  # fmt: skip
RULES = [
    {"name": "hard", "match": {"models": "auto", "classes": "reasoning"}, "target": "big"},
    {"name": "easy", "match": {"models": "auto"}, "target": "small"},
]


async def gateway(rig: Rig, **classes: Any) -> None:
    backends = [{"url": (await rig.engine()).url, "name": pool, "serves": [pool]} for pool in POOLS]
    models = [{"name": pool} for pool in POOLS]
    given = {**CLASSES, **classes}
    await rig.gateway(models=models, backends=backends, rules=RULES, classes=given)


async def answered_by(rig: Rig, text: str) -> str | None:
    messages = [{"role": "user", "content": text}]
    answer = await rig.post(ask(model="auto", messages=messages))
    return answer.header("x-headrace-replica")


async def test_hard_questions_go_to_the_large_model(rig: Rig) -> None:
    """Of one alias's requests each goes where its meaning sends it."""
    await gateway(rig)

    assert "big" == await answered_by(rig, "prove the theorem about the equation x = 2")
    assert "small" == await answered_by(rig, "play me a song this morning")
    judged = [record.judged for record in rig.gateway_now.records]
    assert ["reasoning", "fast"] == [each.name for each in judged if each is not None]


async def test_before_the_deadline_or_by_default(rig: Rig) -> None:
    """A judgement that is not there in time costs the request nothing but its class."""
    await gateway(rig, deadline_ms=1)
    judging, held = rig.gateway_now.classes, threading.Event()
    assert isinstance(judging, Judging)
    judging._thread.submit(held.wait, 10)
    answers = [await answered_by(rig, f"prove theorem {number}") for number in range(3)]
    held.set()
    text = exhibit.plain(rig.gateway_now.metrics.registry).decode()
    late = [
        float(line.split()[-1])
        for line in text.splitlines()
        if line.startswith('headrace_classifications_total{class="fast",why="late"}')
    ]

    assert ["small"] * 3 == answers
    assert [3.0] == late


async def test_other_models_are_not_judged(rig: Rig) -> None:
    """A request that no rule with a class could be for is never judged."""
    await gateway(rig)
    await rig.post(ask(model="small"))

    assert [None] == [record.judged for record in rig.gateway_now.records]
    assert b'why="meaning"} 1.0' not in exhibit.plain(rig.gateway_now.metrics.registry)


async def test_many_at_once(rig: Rig) -> None:
    """Requests that come together each get their own class."""
    await gateway(rig)
    texts = [f"prove theorem {n} and solve x = {n}" for n in range(6)]
    texts += [f"play song {n}, good morning" for n in range(6)]
    answers = await asyncio.gather(*(answered_by(rig, text) for text in texts))

    assert ["big"] * 6 + ["small"] * 6 == answers


async def test_wrong_file_ends_the_start(rig: Rig) -> None:
    """A file of examples that is not there is said before the gateway listens."""
    with pytest.raises(ConfigError, match=r"classes\.file /none\.yaml"):
        await rig.gateway(models=[{"name": "a"}], classes={"enabled": True, "file": "/none.yaml"})


async def test_admin_api_judges_what_it_is_asked() -> None:
    """A question whose class matters is judged as a request would be, and counted as none."""
    models = [{"name": pool} for pool in POOLS]
    config = {"models": models, "rules": RULES, "classes": CLASSES}
    gateway = Gateway(Config.model_validate(config))
    app = build(gateway.fleet, gateway.keeper, Admin(), gateway.floor, desk(gateway))
    body = '{"model":"auto","messages":[{"role":"user","content":"solve the equation"}]}'
    assert gateway.classes is not None
    async with caller(app) as client:
        early = await client.post("/admin/route", json={"body": body})
        await gateway.classes.start()
        found = (await client.post("/admin/route", json={"body": body})).json()
        plain = (await client.post("/admin/route", json={"body": '{"model":"big"}'})).json()
    await gateway.classes.close()

    assert 503 == early.status_code
    assert ("reasoning", "meaning") == (found["judged"]["name"], found["judged"]["why"])
    assert ("hard", ["big"]) == (found["rule"], found["targets"])
    assert (None, "") == (plain["judged"], plain["rule"])
    assert b'why="meaning"} 1.0' not in exhibit.plain(gateway.metrics.registry)
