"""Case 1: an error after 200 was sent reaches the client as one frame, and nothing glues to it."""

import pytest

from headrace.conformance import answers
from headrace.conformance.fake import Exchange, chunk, head
from tests.edge.rig import STREAMS, Rig, check_anthropic, ends_with_error, streamed, turns

OPENAI_STREAMS = [path for path in STREAMS if path != "/v1/messages"]
CUT = b'data: {"id":"chatcmpl-1","choices":[{"delta":{"content":"half a fra'


async def _breaks(exchange: Exchange, how: str) -> None:
    """Stop in the middle of a frame, once the gateway has what was sent before."""
    await exchange.write(chunk(CUT))
    await turns(30)
    if how == "garbage":
        await exchange.write(b"this is no chunk size\r\n")
        await exchange.wait_closed()
    elif how == "reset":
        exchange.reset()
    else:
        exchange.close()


@pytest.mark.parametrize("how", ["reset", "close", "garbage"])
@pytest.mark.parametrize("path", OPENAI_STREAMS)
async def test_case_01_error_after_200_is_one_sse_frame(rig: Rig, path: str, how: str) -> None:
    """A stream that breaks ends with one error frame and [DONE]; the cut-off frame is dropped."""
    frames = answers.stream_for(path.removeprefix("/v1/"), "m")[:2]
    await rig.engine(answers.streams_then(*frames, then=lambda e: _breaks(e, how)))
    await rig.gateway()

    answer = await rig.post(streamed(path), path)

    assert (200, True) == (answer.status, answer.ended)
    assert frames == [event.raw for event in answer.events[:2]]
    ends_with_error(answer, path)
    assert 4 == len(answer.events)


@pytest.mark.parametrize("how", ["reset", "close", "garbage"])
async def test_case_01_error_after_200_on_messages(rig: Rig, how: str) -> None:
    """On /v1/messages the frame is Anthropic's error event, and there is no [DONE]."""
    frames = answers.message_frames("m")[:3]
    await rig.engine(answers.streams_then(*frames, then=lambda e: _breaks(e, how)))
    await rig.gateway()

    answer = await rig.post(streamed("/v1/messages"), "/v1/messages")

    *before, last = answer.events
    assert (200, True) == (answer.status, answer.ended)
    assert frames == [event.raw for event in before]
    assert "error" == last.event
    check_anthropic(last.json())
    assert b"[DONE]" not in answer.body


async def test_case_01_engines_own_error_frame_passes_once(rig: Rig) -> None:
    """An error frame that the engine wrote itself is relayed as it is; no second one is added."""
    frames = [
        answers.chat_chunk("m", {"content": "Hi"}),
        b"data: " + answers.error(500) + b"\n\n",
        answers.DONE,
    ]
    await rig.engine(answers.streams(*frames))
    await rig.gateway()

    answer = await rig.post(streamed())

    assert b"".join(frames) == answer.body


async def test_case_01_broken_after_done_is_no_error(rig: Rig) -> None:
    """When the engine breaks after [DONE], the stream was whole: no error frame follows."""

    async def script(exchange: Exchange) -> None:
        await exchange.start_stream()
        await exchange.events(*answers.chat_frames("m"))
        await turns(20)
        exchange.reset()

    await rig.engine(script)
    await rig.gateway()

    answer = await rig.post(streamed())

    assert b"".join(answers.chat_frames("m")) == answer.body


async def test_case_01_stream_shorter_than_its_length(rig: Rig) -> None:
    """A stream with a content-length that it does not keep ends with an error frame."""
    frame = answers.chat_chunk("m", {"content": "Hi"})
    start = head(200, ("content-type", "text/event-stream"), ("content-length", "9999"))
    await rig.engine(answers.raw(start + frame, close=True))
    await rig.gateway()

    answer = await rig.post(streamed())

    assert frame == answer.events[0].raw
    ends_with_error(answer)


async def test_case_01_error_in_whole_answer_is_not_hidden(rig: Rig) -> None:
    """A whole answer that is cut off is no success for the client: it sees an error or a cut."""
    start = head(200, ("content-type", "application/json"), ("content-length", "1000"))
    await rig.engine(answers.raw(start + b'{"id":"chatcmpl-1","choices":[', close=True))
    await rig.gateway()

    answer = await rig.post({"model": "m", "messages": []})

    cut = answer.status == 200 and answer.broken and not answer.ended
    assert cut or answer.status == 502, answer
