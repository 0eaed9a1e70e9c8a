"""Case 9: usage is asked for in streams and stripped again, and only where the client did not."""

import json
from typing import Any

import pytest

from headrace.conformance import answers
from headrace.conformance.fake import Exchange, chunk
from tests.edge.rig import CHAT_PATH, ENDPOINTS, Rig, ask, eventually

COUNTED = ("/v1/chat/completions", "/v1/completions")
CHAT_FRAMES = answers.chat_frames("m", usage=True)


def _frames(path: str, *, usage: bool) -> list[bytes]:
    return answers.stream_for(path.removeprefix("/v1/"), "m", usage=usage)


@pytest.mark.parametrize("path", COUNTED)
async def test_case_09_usage_is_injected_and_stripped(rig: Rig, path: str) -> None:
    """The engine is asked for usage; the client's stream is what it would be without."""
    engine = await rig.engine()
    gateway = await rig.gateway()
    asked = ask(path, stream=True)

    answer = await rig.post(asked, path)

    assert asked | {"stream_options": {"include_usage": True}} == engine.exchanges[0].json()
    assert b"".join(_frames(path, usage=False)) == answer.body
    await eventually(lambda: len(gateway.records) == 1)
    assert (33, 8) == (gateway.records[-1].tokens_in, gateway.records[-1].tokens_out)


@pytest.mark.parametrize("path", COUNTED)
async def test_case_09_usage_asked_for_is_passed_on(rig: Rig, path: str) -> None:
    """A client that asks for usage gets the extra chunk; its request is not touched."""
    engine = await rig.engine()
    gateway = await rig.gateway()
    asked = ask(path, stream=True, stream_options={"include_usage": True})

    answer = await rig.post(asked, path)

    assert json.dumps(asked).encode() == engine.exchanges[0].body
    assert b"".join(_frames(path, usage=True)) == answer.body
    await eventually(lambda: len(gateway.records) == 1)
    assert (33, 8) == (gateway.records[-1].tokens_in, gateway.records[-1].tokens_out)


@pytest.mark.parametrize("path", COUNTED)
async def test_case_09_explicit_false_is_respected(rig: Rig, path: str) -> None:
    """`include_usage: false` is the client's word: nothing is injected and nothing is stripped."""
    engine = await rig.engine(answers.streams(*_frames(path, usage=True)))
    await rig.gateway()
    asked = ask(path, stream=True, stream_options={"include_usage": False})

    answer = await rig.post(asked, path)

    assert json.dumps(asked).encode() == engine.exchanges[0].body
    assert b"".join(_frames(path, usage=True)) == answer.body


@pytest.mark.parametrize("options", [None, {}, {"other": [1, {"include_usage": False}]}])
async def test_case_09_other_stream_options_are_kept(
    rig: Rig, options: dict[str, Any] | None
) -> None:
    """The client's other stream options reach the engine; usage is added to them, once."""
    engine = await rig.engine()
    await rig.gateway()

    answer = await rig.post(ask(stream=True, stream_options=options))

    expected = {**(options or {}), "include_usage": True}
    body = bytes(engine.exchanges[0].body)
    assert ask(stream=True, stream_options=expected) == json.loads(
        body, object_pairs_hook=_without_duplicates
    )
    assert b"".join(answers.chat_frames("m")) == answer.body


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    assert len(pairs) == len(dict(pairs)), f"a key is there twice: {pairs}"
    return dict(pairs)


async def test_case_09_continuous_usage_is_kept(rig: Rig) -> None:
    """Chunks with choices and usage (continuous_usage_stats) are the client's and stay."""
    counted = [answers.text_chunk("m", "a", usage={"prompt_tokens": 1, "completion_tokens": 1})]
    frames = [*counted, answers.text_usage("m"), answers.DONE]
    engine = await rig.engine(answers.streams(*frames))
    await rig.gateway()
    options = {"include_usage": True, "continuous_usage_stats": True}
    whole = await rig.post(ask(COUNTED[1], stream=True, stream_options=options), COUNTED[1])
    only = {"continuous_usage_stats": True}
    part = await rig.post(ask(COUNTED[1], stream=True, stream_options=only), COUNTED[1])

    assert b"".join(frames) == whole.body
    assert options == engine.exchanges[0].json()["stream_options"]
    assert True is engine.exchanges[1].json()["stream_options"]["continuous_usage_stats"]
    assert part.body.startswith(counted[0])
    assert part.body.endswith(answers.DONE)


@pytest.mark.parametrize("path", ENDPOINTS)
async def test_case_09_nothing_is_injected_elsewhere(rig: Rig, path: str) -> None:
    """Whole answers and other endpoints are not touched: the body is as the client sent it."""
    engine = await rig.engine()
    await rig.gateway()
    bodies: list[dict[str, Any]] = [ask(path), ask(path, stream=False)]
    if path in {"/v1/responses", "/v1/messages"}:
        bodies.append(ask(path, stream=True))

    for body in bodies:
        assert 200 == (await rig.post(body, path)).status

    assert [json.dumps(body).encode() for body in bodies] == [e.body for e in engine.exchanges]


async def test_case_09_empty_choices_without_usage_stay(rig: Rig) -> None:
    """Only the usage chunk is stripped: another chunk with empty choices is not ours to drop."""
    filtered = answers.frame({"id": "", "model": "m", "choices": [], "prompt_filter_results": []})
    frames = [filtered, *answers.chat_frames("m")]
    await rig.engine(answers.streams(*frames[:-1], answers.chat_usage("m"), answers.DONE))
    await rig.gateway()

    answer = await rig.post(ask(stream=True))

    assert b"".join(frames) == answer.body


async def test_case_09_text_that_looks_like_usage_stays(rig: Rig) -> None:
    """Generated text that reads like a usage chunk is text."""
    text = '{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1}}'
    frames = [
        answers.chat_chunk("m", {"content": text}),
        answers.chat_chunk("m", {"content": f'data: {text}\n\n"choices": []'}, "stop"),
    ]
    await rig.engine(answers.streams(*frames, answers.chat_usage("m"), answers.DONE))
    await rig.gateway()

    answer = await rig.post(ask(stream=True))

    assert b"".join([*frames, answers.DONE]) == answer.body


async def test_case_09_engine_that_does_not_count(rig: Rig) -> None:
    """An engine that ignores the option changes nothing for the client."""
    await rig.engine(answers.streams(*answers.chat_frames("m")))
    await rig.gateway()

    answer = await rig.post(ask(stream=True))

    assert b"".join(answers.chat_frames("m")) == answer.body


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("size", [1, 5, 64, 10_000])
async def test_case_09_stripped_however_it_is_cut(rig: Rig, size: int, line_end: bytes) -> None:
    """The usage chunk is found in any segmentation and with any line end; nothing else is lost."""
    sent = b"".join(CHAT_FRAMES).replace(b"\n", line_end)
    expected = b"".join(answers.chat_frames("m")).replace(b"\n", line_end)

    async def script(exchange: Exchange) -> None:
        await exchange.start_stream()
        pieces = [sent[start : start + size] for start in range(0, len(sent), size)]
        await exchange.write_slowly(*map(chunk, pieces))
        await exchange.end_stream()

    await rig.engine(script)
    await rig.gateway()

    answer = await rig.post(ask(stream=True))

    assert expected == answer.body


async def test_case_09_spaced_usage_chunk_is_stripped(rig: Rig) -> None:
    """Engines that write JSON with spaces, or usage before choices, are understood too."""
    spaced = (
        b'data: {"id": "1", "usage": {"prompt_tokens": 3, "completion_tokens": 2, '
        b'"prompt_tokens_details": {"cached_tokens": 1}}, "choices": [ ], "model": "m"}\n\n'
    )
    words = answers.chat_frames("m")[:-1]
    await rig.engine(answers.streams(*words, spaced, answers.DONE))
    gateway = await rig.gateway()

    answer = await rig.post(ask(stream=True))

    assert b"".join([*words, answers.DONE]) == answer.body
    await eventually(lambda: len(gateway.records) == 1)
    record = gateway.records[-1]
    assert (3, 2, 1) == (record.tokens_in, record.tokens_out, record.tokens_cached)


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses", "/v1/messages"])
@pytest.mark.parametrize("stream", [True, False])
async def test_case_09_tokens_are_on_record(rig: Rig, path: str, stream: bool) -> None:
    """The record has the tokens of every endpoint, streamed or not."""
    await rig.engine()
    gateway = await rig.gateway()

    await rig.post(ask(path, stream=stream), path)

    await eventually(lambda: len(gateway.records) == 1)
    assert (33, 8) == (gateway.records[-1].tokens_in, gateway.records[-1].tokens_out)


async def test_case_09_path_is_counted_only_once(rig: Rig) -> None:
    """Two streams on one connection: each is stripped on its own."""
    await rig.engine()
    await rig.gateway()
    async with rig.client() as client:
        plain = await client.post(CHAT_PATH, ask(stream=True))
        asked = ask(stream=True, stream_options={"include_usage": True})
        counted = await client.post(CHAT_PATH, asked)

    assert b"".join(answers.chat_frames("m")) == plain.body
    assert b"".join(CHAT_FRAMES) == counted.body


async def test_case_09_usage_after_a_long_event(rig: Rig) -> None:
    """The usage chunk is stripped also behind an event of half a megabyte."""
    frames = [answers.chat_chunk("m", {"content": "x" * 500_000}), answers.chat_usage("m")]
    await rig.engine(answers.streams(*frames, answers.DONE))
    gateway = await rig.gateway()

    answer = await rig.post(ask(stream=True))

    assert frames[0] + answers.DONE == answer.body
    await eventually(lambda: len(gateway.records) == 1)
    assert 8 == gateway.records[-1].tokens_out


async def test_case_09_whole_answer_to_a_stream(rig: Rig) -> None:
    """An engine that answers a stream with plain JSON is relayed as it is, usage included."""
    await rig.engine(answers.says(200, answers.chat_body("m")))
    await rig.gateway()

    assert answers.chat_body("m") == (await rig.post(ask(stream=True))).body


async def test_case_09_escaped_keys_are_keys(rig: Rig) -> None:
    """What the client said with escapes in its keys is what it said."""
    engine = await rig.engine(answers.streams(*CHAT_FRAMES))
    await rig.gateway()
    body = (
        rb'{"model":"m","messages":[],"str\u0065am":true,'
        rb'"stream\u005foptions":{"include\u005fusage":true}}'
    )

    answer = await rig.post(body)

    assert body == engine.exchanges[0].body
    assert b"".join(CHAT_FRAMES) == answer.body


ODD = [
    b'{"model":"m","stream":true,"stream_options":5}',
    b'{"model":"m","stream":true,"stream_options":"include_usage"}',
    b'{"model":"m","stream":true,"stream_options":[]}',
    b'{"model":"m","stream":true,"stream_options":{"include_usage":"no"}}',
    b'{"model":"m","stream":null}',
    b'{"model":"m","messages":5,"max_tokens":"many"}',
    b'{"model":"m","max_tokens":-1,"max_completion_tokens":1e300}',
    b'{"model":"m","max_tokens":123456789012345678901234567890}',
    b'{"model":"m","prompt":[[],{},null,[1.5,"a"]],"previous_response_id":7}',
    b'{"model":"m","user":"\\ud800"}',
    b'{"model":"m","messages":[{"content":[{"image_url":7},{"image_url":{"url":7}},7]}]}',
]


async def test_case_09_odd_values_are_the_engines_matter(rig: Rig) -> None:
    """The gateway is no validator: odd values reach the engine as they are, or are a clean 400."""
    engine = await rig.engine(answers.says(400, answers.ERR_TEMPERATURE))
    await rig.gateway()
    for body in ODD:
        answer = await rig.post(body)

        assert 400 == answer.status, (body, answer)
        assert "error" in answer.json()
    assert {bytes(exchange.body) for exchange in engine.exchanges} <= set(ODD)


async def test_case_09_hanging_up_at_done_is_no_abort(rig: Rig) -> None:
    """A client that closes at [DONE], before the engine's last chunk, had a whole answer."""
    await rig.engine(answers.streams_then(*CHAT_FRAMES, then=Exchange.wait_closed))
    gateway = await rig.gateway()
    async with rig.client() as client:
        answer = await client.open("POST", CHAT_PATH, ask(stream=True))
        await answer.until(len(b"".join(answers.chat_frames("m"))))

    await eventually(lambda: len(gateway.records) == 1)
    record = gateway.records[-1]
    assert ("completed", 33, 8) == (record.outcome, record.tokens_in, record.tokens_out)
    assert not record.estimated


async def test_case_09_what_an_abandoned_stream_was_sent_counts(rig: Rig) -> None:
    """A client that leaves in the middle of a stream is charged for the chunks that it had."""
    frames = answers.chat_frames("m", ["one"] * 9)[:8]
    await rig.engine(answers.streams_then(*frames, then=Exchange.wait_closed))
    gateway = await rig.gateway()
    async with rig.client() as client:
        answer = await client.open("POST", CHAT_PATH, ask(stream=True))
        await answer.until(len(b"".join(frames)))

    await eventually(lambda: len(gateway.records) == 1)
    record = gateway.records[-1]
    assert ("client_gone", len(frames) - 1) == (record.outcome, record.tokens_out)
    assert record.estimated
