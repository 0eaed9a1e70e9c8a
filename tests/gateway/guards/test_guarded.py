"""guarded.py: what an answer must not say never leaves, and streams stay streams."""

import asyncio
import json
from typing import Any

import pytest

from headrace.conformance import answers
from headrace.conformance.wire import Answer
from headrace.telemetry.records import Guarded
from tests.edge.rig import CHAT_PATH, Rig, ask, openai_error, streamed
from tests.gateway.guards.test_guarding import CARD, MAIL, guarded

OUT = {"name": "pii", "kind": "pii", "mode": "redact", "direction": "output"}
WORDS = [
    "Write ",
    "to anna",
    ".lee@",
    "exam",
    "ple.org",
    ", not ",
    "to 4111 ",
    "1111 1111",
    " 1111",
    ".",
]
CLEAN = "Write to <EMAIL_ADDRESS>, not to <CREDIT_CARD>."


def said(answer: Answer) -> str:
    """The text of a streamed chat answer."""
    bodies = [each.json() for each in answer.events if each.data not in {None, "[DONE]"}]
    return "".join(
        choice["delta"].get("content") or "" for body in bodies for choice in body["choices"]
    )


def finish(answer: Answer) -> list[Any]:
    """Why choices ended."""
    bodies = [each.json() for each in answer.events if each.data not in {None, "[DONE]"}]
    reasons = [choice.get("finish_reason") for body in bodies for choice in body["choices"]]
    return [reason for reason in reasons if reason]


async def test_a_stream_is_redacted(rig: Rig) -> None:
    """However the text is cut; usage, the end and the engine's connection are as ever."""
    engine = await guarded(rig, OUT)
    engine.script = answers.streams(*answers.chat_frames("m", WORDS, usage=True))
    answer = await rig.post(streamed())

    assert (200, CLEAN, ["length"]) == (answer.status, said(answer), finish(answer))
    assert "[DONE]" == answer.events[-1].data
    assert answer.events[-2].json()["usage"]
    record = rig.gateway_now.records[-1]
    assert ("completed", answers.USAGE["completion_tokens"]) == (record.outcome, record.tokens_out)
    found = {"EMAIL_ADDRESS": 1, "CREDIT_CARD": 1}
    assert (Guarded("pii", "redact", found),) == record.guards


async def test_words_leave_as_they_come(rig: Rig) -> None:
    """A guarded stream is a stream: what is plain does not wait for the end."""
    engine = await guarded(rig, OUT)
    go_on = asyncio.Event()
    frames = answers.chat_frames("m", ["Hello ", "there ", "friend"])

    async def script(exchange: Any) -> None:
        await exchange.start_stream()
        await exchange.events(*frames[:3])
        await go_on.wait()
        await exchange.events(*frames[3:])
        await exchange.end_stream()

    engine.script = script
    async with rig.client() as client:
        answer = await client.open("POST", CHAT_PATH, streamed())
        while "Hello " not in said(answer):
            await answer.event()
        go_on.set()
        await answer.finish()
    assert "Hello there friend" == said(answer)


async def test_tokens_one_by_one_are_not_told(rig: Rig) -> None:
    """Log probabilities and token numbers would spell what was taken out."""
    engine = await guarded(rig, OUT)
    spelled = {"content": [{"token": MAIL, "logprob": -0.1, "top_logprobs": []}]}
    chunk = json.loads(answers.chat_chunk("m", {"content": MAIL})[6:])
    chunk["choices"][0] |= {"logprobs": spelled, "token_ids": [1, 2]}
    frames = answers.chat_frames("m")
    engine.script = answers.streams(frames[0], answers.frame(chunk), *frames[-2:])
    answer = await rig.post(streamed())

    assert MAIL.encode() not in bytes(answer.body)
    assert b'"token_ids":[' not in bytes(answer.body)


@pytest.mark.parametrize(
    "path", ["/v1/chat/completions", "/v1/completions", "/v1/messages", "/v1/responses"]
)
@pytest.mark.parametrize("stream", [True, False])
async def test_every_dialect(rig: Rig, path: str, stream: bool) -> None:
    """Every text of every dialect, in all the places in which it stands."""
    engine = await guarded(rig, OUT)

    async def script(exchange: Any) -> None:
        name = path.removeprefix("/v1/")
        frames = answers.stream_for(name, "m") if stream else [answers.body_for(name, "m")]
        mails = [_poisoned(frame) for frame in frames]
        if stream:
            await answers.streams(*mails)(exchange)
        else:
            await answers.says(200, mails[0])(exchange)

    engine.script = script
    answer = await rig.post(ask(path, stream=stream), path)

    assert 200 == answer.status
    assert MAIL.encode() not in bytes(answer.body)
    assert b"<EMAIL_ADDRESS>" in bytes(answer.body)


def _poisoned(frame: bytes) -> bytes:
    """A frame or a body with an address in every text that a model wrote."""
    head, mark, data = frame.partition(b"data: ")
    text = data if mark else frame
    if text.strip() == b"[DONE]":
        return frame
    tree = json.loads(text)
    _poison(tree)
    shown = json.dumps(tree).encode()
    return head + mark + shown + b"\n\n" if mark else shown


def _poison(node: Any) -> None:
    if isinstance(node, list):
        for each in node:
            _poison(each)
    elif isinstance(node, dict):
        for key, value in node.items():
            if key in {"content", "text", "delta"} and isinstance(value, str) and value:
                node[key] = f" {MAIL} "
            else:
                _poison(value)


async def test_a_whole_answer_is_redacted_and_a_clean_one_is_not_touched(rig: Rig) -> None:
    """Its bytes are the engine's where nothing was found."""
    engine = await guarded(rig, OUT)
    clean = answers.chat_body("m")
    engine.script = answers.says(200, clean)
    assert clean == bytes((await rig.post(ask())).body)
    engine.script = answers.says(200, answers.chat_body("m", f"It is {MAIL}."))

    answer = (await rig.post(ask())).json()
    assert "It is <EMAIL_ADDRESS>." == answer["choices"][0]["message"]["content"]


async def test_a_stream_ends_by_policy(rig: Rig) -> None:
    """What was clean has left; then the choice ends as filtered, and the engine is let go."""
    engine = await guarded(rig, OUT | {"mode": "block"})
    never = asyncio.Event()
    frames = answers.chat_frames("m", ["All ", "good ", "but ", f"{MAIL} ", "so ", "there "])

    async def script(exchange: Any) -> None:
        await exchange.start_stream()
        await exchange.events(*frames[:-1])
        await never.wait()

    engine.script = script
    answer = await rig.post(streamed())

    assert ("All good but ", ["content_filter"]) == (said(answer), finish(answer))
    assert "[DONE]" == answer.events[-1].data
    assert MAIL.encode() not in bytes(answer.body)
    assert "rejected_guard" == rig.gateway_now.records[-1].outcome
    await engine.exchanges[-1].wait_closed()


async def test_a_whole_answer_is_emptied_by_policy(rig: Rig) -> None:
    """In the words that each API has for it."""
    engine = await guarded(rig, OUT | {"mode": "block"})
    engine.script = answers.says(200, answers.chat_body("m", MAIL))
    answer = await rig.post(ask())

    (choice,) = answer.json()["choices"]
    assert (200, "content_filter", "") == (
        answer.status, choice["finish_reason"], choice["message"]["content"],
    )  # fmt: skip
    assert "rejected_guard" == rig.gateway_now.records[-1].outcome


async def test_a_form_without_words_for_it_is_an_error(rig: Rig) -> None:
    """Such as a list of documents."""
    engine = await guarded(rig, OUT | {"mode": "block"})
    engine.script = answers.says(200, json.dumps({"documents": [MAIL]}).encode())

    openai_error(await rig.post(ask("/v1/rerank"), "/v1/rerank"), 400, "content_policy_violation")


async def test_tool_calls_stay_json(rig: Rig) -> None:
    """Their arguments are redacted and can still be read, numbers and escapes included."""
    engine = await guarded(rig, OUT)
    arguments = json.dumps({"to": f"line\n{MAIL}", "card": int(CARD.replace(" ", "")), "n": 1})
    pieces = [arguments[at : at + 5] for at in range(0, len(arguments), 5)]
    calls = [{"tool_calls": [{"index": 0, "function": {"arguments": each}}]} for each in pieces]
    first = {"tool_calls": [{"index": 0, "id": "c", "type": "function",
                             "function": {"name": "send", "arguments": ""}}]}  # fmt: skip
    engine.script = answers.streams(
        *(answers.chat_chunk("m", delta) for delta in [first, *calls]),
        answers.chat_chunk("m", {}, "tool_calls"), answers.DONE,
    )  # fmt: skip
    answer = await rig.post(streamed())

    bodies = [each.json() for each in answer.events if each.data not in {None, "[DONE]"}]
    text = "".join(
        call["function"]["arguments"]
        for body in bodies
        for call in body["choices"][0]["delta"].get("tool_calls") or []
    )
    assert {"to": "line\n<EMAIL_ADDRESS>", "card": "<CREDIT_CARD>", "n": 1} == json.loads(text)


async def test_an_engine_that_breaks_off(rig: Rig) -> None:
    """What is held is not sent; the stream ends with an error as it would without guards."""
    engine = await guarded(rig, OUT)
    frames = answers.chat_frames("m", ["Hi ", "4111 "])
    engine.script = answers.streams_then(*frames[:2], then=answers.resets)
    answer = await rig.post(streamed())

    assert "upstream_failed" == answer.events[-2].json()["error"]["code"]
    assert b"4111" not in bytes(answer.body)


async def test_errors_of_engines_pass(rig: Rig) -> None:
    """They are not a model's words."""
    engine = await guarded(rig, OUT)
    engine.script = answers.says(400, answers.error(400, "Too long."))

    assert "Too long." == openai_error(await rig.post(ask()), 400)["message"]


SCHEMA = {"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]}
ASKED: dict[str, Any] = {
    "response_format": {"type": "json_schema", "json_schema": {"name": "p", "schema": SCHEMA}}
}
CHECK = {"name": "shape", "kind": "json_schema", "deadline_s": 20}


@pytest.mark.parametrize(
    ("text", "found"),
    [('{"age": 7}', {}), ('{"age": "x"}', {"NOT_VALID": 1}), ('{"age": 7', {"NOT_JSON": 1})],
)
@pytest.mark.parametrize("stream", [True, False])
async def test_answers_are_held_against_the_schema_that_was_asked_for(
    rig: Rig, text: str, found: dict[str, int], stream: bool
) -> None:
    """Streamed ones when they end."""
    engine = await guarded(rig, CHECK)
    frames = answers.streams(*answers.chat_frames("m", [text[:4], text[4:]]))
    engine.script = frames if stream else answers.says(200, answers.chat_body("m", text))
    assert 200 == (await rig.post(ask(stream=stream, **ASKED))).status

    shown = rig.gateway_now.records[-1].guards
    assert (Guarded("shape", "log", found),) == shown if found else () == shown


@pytest.mark.parametrize("stream", [True, False])
async def test_an_answer_that_does_not_follow_its_schema_is_refused(rig: Rig, stream: bool) -> None:
    """A stream's text has left by then, but its end says that it counts for nothing."""
    engine = await guarded(rig, CHECK | {"mode": "block"})
    frames = answers.streams(*answers.chat_frames("m", ["not", " json"]))
    engine.script = frames if stream else answers.says(200, answers.chat_body("m", "not json"))
    answer = await rig.post(ask(stream=stream, **ASKED))

    if stream:
        assert "content_filter" == finish(answer)[-1]
    else:
        assert "content_filter" == answer.json()["choices"][0]["finish_reason"]
    assert "rejected_guard" == rig.gateway_now.records[-1].outcome


async def test_a_client_that_leaves_ends_the_answer(rig: Rig) -> None:
    """As without guards: the engine's connection is closed at once."""
    engine = await guarded(rig, OUT)
    engine.script = answers.streams_then(*answers.chat_frames("m")[:2], then=answers.hangs)
    async with rig.client() as client:
        answer = await client.open("POST", CHAT_PATH, streamed())
        await answer.event()
    await engine.exchanges[-1].wait_closed()
    await rig.idle()
    assert "client_gone" == rig.gateway_now.records[-1].outcome
