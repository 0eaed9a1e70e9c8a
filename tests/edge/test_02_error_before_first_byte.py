"""Case 2: an error before the first byte is a real status, in the shape of the endpoint."""

import pytest

from headrace.conformance import answers
from headrace.conformance.fake import Exchange
from tests.edge.rig import STREAMS, Rig, anthropic_error, ask, openai_error, streamed, turns


@pytest.mark.parametrize("body", [answers.ERR_CONTEXT, answers.ERR_MODEL, answers.ERR_TEMPERATURE])
@pytest.mark.parametrize("path", [path for path in STREAMS if path != "/v1/messages"])
async def test_case_02_refused_stream_is_a_real_status(rig: Rig, path: str, body: bytes) -> None:
    """An engine that refuses a stream with 4xx: the client gets that status and those bytes."""
    status = 404 if body is answers.ERR_MODEL else 400
    engine = await rig.engine(answers.says(status, body))
    await rig.gateway()

    answer = await rig.post(streamed(path), path)

    assert (status, body) == (answer.status, bytes(answer.body))
    assert "application/json" == answer.header("content-type")
    assert 1 == len(engine.exchanges)


async def test_case_02_refused_message_is_a_real_status(rig: Rig) -> None:
    """On /v1/messages too: Anthropic's shape passes as it is, OpenAI's is put into it."""
    path, native = "/v1/messages", answers.message_error("invalid_request_error", "too long")
    engine = await rig.engine(answers.says(400, native))
    await rig.gateway()
    passed = await rig.post(streamed(path), path)
    engine.script = answers.says(400, answers.ERR_TEMPERATURE)
    turned = await rig.post(streamed(path), path)

    assert (400, native) == (passed.status, bytes(passed.body))
    assert "temperature must be non-negative" in anthropic_error(turned, 400)["message"]


@pytest.mark.parametrize("stream", [True, False])
async def test_case_02_engine_dies_before_its_first_byte(rig: Rig, stream: bool) -> None:
    """An engine that breaks before any byte is 502 upstream_failed, streamed or not."""
    await rig.engine(answers.resets)
    await rig.gateway()

    answer = await rig.post(ask(stream=stream))

    openai_error(answer, 502, "upstream_failed")


async def test_case_02_messages_have_their_own_shape(rig: Rig) -> None:
    """On /v1/messages the 502 is in Anthropic's shape."""
    await rig.engine(answers.resets)
    await rig.gateway()

    anthropic_error(await rig.post(streamed("/v1/messages"), "/v1/messages"), 502)


async def test_case_02_head_alone_is_not_yet_an_answer(rig: Rig) -> None:
    """Engines send their head before the prefill; if one dies then, there is still a status."""
    await rig.engine(answers.streams_then(then=_reset_later))
    await rig.gateway()

    answer = await rig.post(streamed())

    openai_error(answer, 502, "upstream_failed")


async def _reset_later(exchange: Exchange) -> None:
    await turns(50)
    exchange.reset()
