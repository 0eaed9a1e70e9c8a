"""
Microseconds that rules add to a request, piece by piece and as a whole, on one core. ``make
bench-rules`` prints the table of docs/rules.md; nothing is sent.
"""

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

from headrace.config.rules import Rule
from headrace.config.schema import Config
from headrace.gateway.app import Gateway
from headrace.gateway.body import scan, traits
from headrace.gateway.body.edits import Edits
from headrace.gateway.door.request import Budget, Request
from headrace.gateway.door.routes import find
from headrace.gateway.exchange import Exchange
from headrace.routing.rules import Facts, Rulebook, Ruling
from headrace.routing.stickiness import Stickiness
from headrace.types import RequestFacts

RULES = 20
ROUNDS, CALLS = 15, 2000
PATH = "/v1/chat/completions"
MESSAGES = [
    {"role": "user" if turn % 2 else "assistant", "content": 'a "word" or two. ' * 16}
    for turn in range(8)
]
BODY = json.dumps({"model": "m", "messages": MESSAGES, "max_tokens": 900, "stream": True}).encode()
HEADERS = {
    b"host": b"gateway", b"content-type": b"application/json", b"x-team": b"search",
    b"x-session-id": b"session-1", b"user-agent": b"bench",
}  # fmt: skip


def main() -> None:
    """Print the table."""
    for name, price in asyncio.run(prices()):
        print(f"| {name} | {price:.1f} |")


def rules(count: int, last: dict[str, Any]) -> list[dict[str, Any]]:
    """So many rules of which only the last matches, each with some of the usual demands."""
    demands: list[dict[str, Any]] = [
        {"models": ["gpt-*", "chat"], "prompt_tokens": ">= 4000"},
        {"headers": {"x-team": "research*"}},
        {"stream": True, "messages": ">= 40"},
        {"tools": True, "endpoints": PATH},
        {"times": "mon-fri 03:00-03:01 Europe/Berlin"},
    ]
    others = [{"name": f"r{n}", "match": demands[n % len(demands)]} for n in range(count - 1)]
    return [*others, {"name": "last", "target": "m", **last}]


async def prices() -> list[tuple[str, float]]:
    """Every row: what it is, and microseconds."""
    book = Rulebook([Rule.model_validate(rule) for rule in rules(RULES, {})])
    found = traits.traits(traits.read(BODY))
    facts = Facts(
        model="m", endpoint=PATH, stream=True, prompt_bytes=len(BODY), prompt_tokens=700,
        headers=HEADERS, at=1.8e9, messages=found.messages,
    )  # fmt: skip
    assert isinstance(book.decide(facts), Ruling)
    limits = {"max_tokens": {"max": 500}, "temperature": {"default": 0.7}}
    arms = [{"name": "a", "target": "m", "weight": 9}, {"name": "b", "target": "m"}]
    edits = Edits(Rule.model_validate({"name": "r", "parameters": limits}).parameters)
    read = best(lambda: scan.read(BODY))
    return [
        ("20 rules, the last matches", best(lambda: book.decide(facts))),
        ("closer look at a body of 2.4 kB, where a rule asks for it",
         best(lambda: traits.traits(traits.read(BODY))) - read),
        ("two edits to that body", best(lambda: edits.apply(BODY, PATH))),
        ("no rules: the step as a whole", await whole([])),
        ("1 rule: the step as a whole", await whole([{"name": "one", "target": "m"}])),
        ("20 rules: the step as a whole", await whole(rules(RULES, {}))),
        ("20 rules and an experiment of two arms",
         await whole(rules(RULES, {"target": [], "experiment": {"name": "e", "arms": arms}}))),
        ("20 rules and two edits", await whole(rules(RULES, {"parameters": limits}))),
    ]  # fmt: skip


async def whole(values: list[dict[str, Any]]) -> float:
    """The step between reading and dispatching, as pipeline.py takes it."""
    backend = {"url": "http://127.0.0.1:9", "serves": ["m"]}
    gateway = Gateway(Config.model_validate({"backends": [backend], "rules": values}))
    steer, sticky, facts = gateway.steer, Stickiness(), RequestFacts("m", PATH, True, 700)
    exchange, fields = made(gateway), steer.read(BODY)
    took = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        for _ in range(CALLS):
            exchange.facts = facts
            if steer.book is not None:
                exchange.traits = traits.traits(fields)
                await steer.apply(exchange, BODY, sticky)
        took.append(time.perf_counter() - began)
    return min(took) / CALLS * 1e6


def made(gateway: Gateway) -> Exchange:
    """A request that came from nowhere."""
    request = Request("POST", PATH.encode(), HEADERS, Budget(1 << 30))
    request.take(BODY)
    client: Any = None
    return Exchange(request, client, find("POST", PATH), "req-1", gateway)


def best(call: Callable[[], object]) -> float:
    """Microseconds of one call, in the best of some rounds: the others were disturbed."""
    took = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        for _ in range(CALLS):
            call()
        took.append(time.perf_counter() - began)
    return min(took) / CALLS * 1e6


if __name__ == "__main__":
    main()
