"""forecast.py and routing/preview.py: what is foretold happens, and nothing happens by telling."""

import json
from typing import Any

import pytest

from headrace.gateway.app import Gateway
from headrace.gateway.body.prompt import Prompts
from headrace.gateway.place.forecast import forecast
from headrace.gateway.rules.rehearsal import Sample, rehearse
from headrace.routing.policies import POLICIES
from headrace.routing.rules import Rulebook
from tests.edge.rig import Rig, ask


def foretold(gateway: Gateway, body: dict[str, Any]) -> dict[str, Any]:
    sample = Sample(body=json.dumps(body).encode(), at=0.0, request_id="r-1")
    found = rehearse(gateway.steer.book or Rulebook(()), gateway.catalogue, sample)
    prompts = Prompts(gateway.config.routing, gateway.pipeline.usher.rank)
    return forecast(gateway.placement, prompts, found, found.targets[0])


@pytest.mark.parametrize("policy", POLICIES)
async def test_what_happens(rig: Rig, policy: str) -> None:
    """Under every policy, the replica that is foretold is the one that answers."""
    for _ in range(3):
        await rig.engine()
    gateway = await rig.gateway(routing={"policy": policy})
    for turn in range(6):
        body = ask(messages=[{"role": "user", "content": f"{turn % 4} tell me more. " * 80}])
        once, again = foretold(gateway, body), foretold(gateway, body)
        answer = await rig.post(body, x_request_id="r-1")
        await rig.idle()
        assert once == again
        assert answer.header("x-headrace-replica") == once["replica"]


async def test_policies_of_rules(rig: Rig) -> None:
    """A rule's policy decides, and its name is the reason."""
    for _ in range(3):
        await rig.engine()
    gateway = await rig.gateway(rules=[{"name": "r", "policy": "round_robin"}])
    seen = []
    for _ in range(3):
        told = foretold(gateway, ask())
        seen.append((await rig.post(ask())).header("x-headrace-replica"))
        assert ("round_robin", seen[-1]) == (told["reason"], told["replica"])

    assert 3 == len(set(seen))


async def test_caches_are_foretold(rig: Rig) -> None:
    """Who has answered a prompt has it cached, and costs less."""
    for _ in range(2):
        await rig.engine()
    gateway = await rig.gateway()
    body = ask(messages=[{"role": "user", "content": "A long story. " * 400}])
    holder = (await rig.post(body)).header("x-headrace-replica")
    await rig.idle()

    told = foretold(gateway, body)
    cached = {each["replica"]: each["cached_tokens"] for each in told["candidates"]}
    costs = {each["replica"]: each["cost_ms"] for each in told["candidates"]}
    assert holder == told["replica"] == max(cached, key=cached.__getitem__)
    assert 0 == min(cached.values())
    assert holder == min(costs, key=costs.__getitem__)


async def test_one_and_none(rig: Rig) -> None:
    """With one replica there is nothing to weigh; with none that is said."""
    await rig.engine()
    gateway = await rig.gateway()
    told = foretold(gateway, ask())
    (name,) = gateway.fleet.replicas
    assert (name, "the only replica", None) == (
        told["replica"], told["reason"], told["candidates"][0]["cost_ms"],
    )  # fmt: skip
    gateway.fleet.remove(name)

    assert {
        "model": "m",
        "replica": None,
        "reason": "it has no ready replica",
        "candidates": [],
    } == (foretold(gateway, ask()))
