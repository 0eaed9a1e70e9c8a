"""What Envoy itself answers: JSON in both dialects, and no word of the client's in it."""

import json

import pytest

from headrace import errors
from headrace.edge.replies import REPLIES, Reply, body, replies

OURS = {
    thing.status: thing
    for thing in vars(errors).values()
    if isinstance(thing, type) and issubclass(thing, errors.ApiError)
}


@pytest.mark.parametrize("reply", REPLIES, ids=lambda reply: str(reply.status))
def test_shapes(reply: Reply) -> None:
    """OpenAI's error has four fields, Anthropic's a type; no formatter of Envoy's is in them."""
    openai, anthropic = json.loads(body(reply)), json.loads(body(reply, anthropic=True))

    assert ["error"] == list(openai)
    assert {"message", "type", "param", "code"} == set(openai["error"])
    assert {"type": "error", "error": {"type": reply.anthropic, "message": reply.message}} == (
        anthropic
    )
    assert "%" not in body(reply)


@pytest.mark.parametrize("status", [408, 413, 431])
def test_as_the_gateway_says_it(status: int) -> None:
    """Where the gateway has an error of its own, the edge uses its code."""
    [reply] = [reply for reply in REPLIES if reply.status == status]

    assert (OURS[status].type, OURS[status].code) == (reply.type, reply.code)
    assert OURS[status].anthropic_type == reply.anthropic


def test_anthropic_comes_first() -> None:
    """The first match decides, so the narrower one stands first."""
    mappers = replies()["mappers"]

    assert 2 * len(REPLIES) == len(mappers)
    assert all("and_filter" in mapper["filter"] for mapper in mappers[::2])
    assert all("status_code_filter" in mapper["filter"] for mapper in mappers[1::2])
