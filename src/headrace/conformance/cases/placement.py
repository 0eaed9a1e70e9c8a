"""Cases 22 and 23: requests that belong to one replica, and requests that only look alike."""

import asyncio
from typing import Any

from headrace.conformance import answers, shapes
from headrace.conformance.fake import Exchange
from headrace.conformance.stage import CHAT, COMPLETIONS, RESPONSES, Play, Stage
from headrace.conformance.verdict import NotApplicable

FOLLOWERS = 8
ALIKE = 16
SHARED = "You are a careful assistant who answers in few words. " * 40


async def stickiness(stage: Stage) -> None:
    """A conversation that one replica holds goes on there."""
    if not await stage.supports(RESPONSES):
        raise NotApplicable(f"the gateway does not offer {RESPONSES}")
    if not stage.spread:
        raise NotApplicable("requests reach one replica only")
    play = stage.play(_stored(stage))
    answer = await stage.post(stage.ask(play, RESPONSES), RESPONSES)
    stage.equal(f"{RESPONSES}: status", 200, answer.status)
    home, identity = play.replicas[-1], shapes.field(shapes.document(answer), "id")
    where = []
    for _ in range(FOLLOWERS):
        follower = stage.play(_stored(stage))
        body = stage.ask(follower, RESPONSES, previous_response_id=identity)
        await stage.post(body, RESPONSES)
        where += follower.replicas
    told = f"{FOLLOWERS} requests that continue a response of replica {home}: where they went"
    stage.equal(told, [home] * FOLLOWERS, where)


def _stored(stage: Stage) -> Any:
    """A whole response whose id says which replica made it."""

    async def script(exchange: Exchange) -> None:
        identity = f"resp_{exchange.number}_{stage.number(exchange)}"
        await exchange.answer(200, answers.dump(answers.response_body(stage.model, identity)))

    return script


async def lookalikes(stage: Stage) -> None:
    """
    Requests that differ in tools, or in token ids, are not taken for the same prefix. They are sent
    at the same time: one by one an idle replica may rightly get all of them.
    """
    play = stage.play()
    salted = stage.ask(play, cache_salt="salt-1", tools=[_tool(0)])
    await stage.post(salted)
    seen = play.exchanges[0].json() if play.exchanges else {}
    stage.equal("request with cache_salt: at the engine", "salt-1", seen.get("cache_salt"))
    stage.equal("request with tools: at the engine", [_tool(0)], seen.get("tools"))
    if not stage.spread:
        raise NotApplicable("requests reach one replica only")
    plays = [stage.play() for _ in range(ALIKE)]
    words = {"role": "system", "content": SHARED}
    bodies = [stage.ask(play, tools=[_tool(number)]) for number, play in enumerate(plays)]
    bodies = [body | {"messages": [words, *body["messages"]]} for body in bodies]
    await asyncio.gather(*(stage.post(body, CHAT) for body in bodies))
    _spread(stage, f"{ALIKE} prompts that differ in their tools only", plays)
    await _token_ids(stage)


async def _token_ids(stage: Stage) -> None:
    plays = [stage.play() for _ in range(ALIKE)]
    bodies = [
        stage.ask(play, COMPLETIONS, prompt=[*range(first, first + 64)], user=play.token)
        for play, first in zip(plays, range(1000, 2000, 37), strict=False)
    ]
    seen = await asyncio.gather(*(stage.post(body, COMPLETIONS) for body in bodies))
    if any(answer.status != 200 for answer in seen):
        return  # it does not take token ids, or drops the user's name by which we find them
    if any(play.replicas for play in plays):
        _spread(stage, f"{ALIKE} different prompts of token ids", plays)


def _tool(number: int) -> dict[str, Any]:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}}
    named = {"name": f"tool_{number}", "description": f"Tool {number}.", "parameters": schema}
    return {"type": "function", "function": named}


def _spread(stage: Stage, told: str, plays: list[Play]) -> None:
    used = sorted({number for play in plays for number in play.replicas})
    stage.check(told, "more than one replica gets some", f"replicas {used}", passed=len(used) > 1)
