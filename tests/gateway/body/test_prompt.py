"""prompt.py: what routing sees of a request, end to end from the body's bytes."""

from typing import Any

import pytest

from headrace.gateway.app import Gateway
from headrace.gateway.records.story import Entry
from headrace.routing.decision import Decision
from tests.edge.rig import CHAT_PATH, Rig, ask

LONG = "All work and no play makes Jack a dull boy. " * 60
SYSTEM = {"role": "system", "content": LONG}


def last(gateway: Gateway) -> Decision:
    assert gateway.diary.ring is not None
    kept = gateway.diary.ring.latest[-1]
    assert isinstance(kept, Entry)
    decision = kept.tries[-1].decision
    assert decision is not None
    return decision


async def cached(rig: Rig, first: dict[str, Any], then: dict[str, Any], path: str) -> float:
    """Which share of the second request is believed to be cached after the first."""
    for _ in range(2):
        await rig.engine()
    gateway = await rig.gateway()
    for body in (first, then):
        assert 200 == (await rig.post(body, path)).status
    decision = last(gateway)
    return max(terms[8] for terms in decision.terms) / decision.tokens


USER = {"role": "user", "content": "hi"}
TOOL = {"type": "function", "function": {"name": "f", "description": LONG, "parameters": {}}}
SHARING: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "messages": (
        CHAT_PATH,
        ask(messages=[SYSTEM, USER]),
        ask(messages=[SYSTEM, USER, {"role": "assistant", "content": "yes?"}, USER]),
    ),
    "keys in another order": (
        CHAT_PATH,
        ask(temperature=0.5, messages=[SYSTEM, USER], tools=[TOOL]),
        {"tools": [TOOL], "messages": [SYSTEM, USER], "model": "m", "top_p": 0.9},
    ),
    "tools before messages": (
        CHAT_PATH,
        ask(messages=[USER], tools=[TOOL]),
        ask(messages=[{"role": "user", "content": "ho"}], tools=[TOOL]),
    ),
    "completions": (
        "/v1/completions",
        ask("/v1/completions", prompt=LONG),
        ask("/v1/completions", prompt=LONG + "And so on."),
    ),
    "Anthropic's system": (
        "/v1/messages",
        ask("/v1/messages", system=LONG),
        ask("/v1/messages", system=LONG, messages=[{"role": "user", "content": "other"}]),
    ),
}
APART: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "another salt": (
        CHAT_PATH,
        ask(messages=[SYSTEM, USER], cache_salt="a"),
        ask(messages=[SYSTEM, USER], cache_salt="b"),
    ),
    "other tools": (
        CHAT_PATH,
        ask(messages=[SYSTEM, USER]),
        ask(messages=[SYSTEM, USER], tools=[{"type": "function", "function": {"name": "g"}}]),
    ),
    "another beginning": (
        CHAT_PATH,
        ask(messages=[SYSTEM, USER]),
        ask(messages=[USER, SYSTEM]),
    ),
}


@pytest.mark.parametrize("kind", SHARING)
async def test_what_begins_alike_is_found(rig: Rig, kind: str) -> None:
    """Most of a prompt that goes on where another stood is believed to be cached."""
    path, first, then = SHARING[kind]

    assert 0.6 < await cached(rig, first, then, path) <= 1


@pytest.mark.parametrize("kind", APART)
async def test_what_only_looks_alike_is_not(rig: Rig, kind: str) -> None:
    """Engines would not find it in their caches either."""
    path, first, then = APART[kind]

    assert 0 == await cached(rig, first, then, path)


async def test_images_are_few_tokens(rig: Rig) -> None:
    """A megabyte of base64 counts as an image, and the same image is found again."""
    image = {"url": "data:image/png;base64," + "iVBORw0KGgo" * 90_000}
    parts = [{"type": "image_url", "image_url": image}, {"type": "text", "text": LONG}]
    body = ask(messages=[{"role": "user", "content": parts}])
    share = await cached(rig, body, body, CHAT_PATH)

    assert 1000 < last(rig.gateway_now).tokens < 3000
    assert share > 0.2


@pytest.mark.parametrize(
    ("headers", "more"),
    [
        ({"x-session-id": "s1"}, {}),
        ({"cookie": "a=b; sid=s1"}, {}),
        ({}, {"user": "alice"}),
    ],
)
async def test_sessions(rig: Rig, headers: dict[str, str], more: dict[str, Any]) -> None:
    """A header, a cookie or the body's user name a session, which stays at one replica."""
    engines = [await rig.engine() for _ in range(4)]
    gateway = await rig.gateway(routing={"session_cookie": "sid", "sticky_ms": 1000})
    for number in range(8):
        body = ask(messages=[{"role": "user", "content": f"{number}?"}], **more)
        async with rig.client() as client:
            await client.post(CHAT_PATH, body, list(headers.items()))

    assert [0, 0, 0, 8] == sorted(len(engine.exchanges) for engine in engines)
    assert gateway.diary.ring is not None
    assert 8 == len(gateway.diary.ring)


async def test_rules_that_look_into_messages(rig: Rig) -> None:
    """Where a rule takes messages apart, prompts are found all the same."""
    for _ in range(2):
        await rig.engine()
    gateway = await rig.gateway(
        rules=[{"name": "images", "match": {"images": True}, "policy": "round_robin"}]
    )
    for _ in range(2):
        await rig.post(ask(messages=[SYSTEM, USER]))

    decision = last(gateway)
    assert max(terms[8] for terms in decision.terms) > 0.6 * decision.tokens


async def test_tokens_are_learned(rig: Rig) -> None:
    """What engines count makes bytes per token of a model, from prompts that are long enough."""
    for _ in range(2):
        await rig.engine()
    gateway = await rig.gateway()
    before = gateway.placement.models["m"].density.bytes_per_token
    await rig.post(ask(messages=[SYSTEM, USER]))

    assert before != gateway.placement.models["m"].density.bytes_per_token


@pytest.mark.parametrize(("policy", "looks"), [("round_robin", False), ("prefix", True)])
async def test_only_who_needs_the_prompt_pays_for_it(rig: Rig, policy: str, looks: bool) -> None:
    """A policy that does not look at prompts has none hashed and none remembered."""
    for _ in range(2):
        await rig.engine()
    gateway = await rig.gateway(routing={"policy": policy})
    assert 200 == (await rig.post(ask(messages=[SYSTEM, USER]), CHAT_PATH)).status

    assert looks is (len(gateway.placement.index) > 0)
