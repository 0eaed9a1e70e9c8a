"""stream.py and dialects.py: however an answer is cut, clients see the whole text, redacted."""

import asyncio
import json
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.guard.patterns import Patterns
from headrace.guard.quoting import Quotes, placed, plain
from headrace.guard.screen import Refused, Tally, redacted
from headrace.guard.secrets import Secrets
from headrace.guard.stream import MAX_CHANNELS, MAX_FRAME_BYTES, Stream
from headrace.guard.types import Unavailable
from tests.guard.growth import linear
from tests.guard.test_segments import TEXTS, THINGS

DETECTORS = (Patterns(), Secrets())


def found_in(text: str) -> list[Any]:
    return [("g", "redact", each.find(text)) for each in DETECTORS]


async def judge(text: str, start: int, quotes: Quotes | None, plainly: bool) -> str:
    """Redact what the patterns find, as the gateway does."""
    found = [] if plainly else found_in(text)
    if quotes is not None and "\\" in text and not plainly:
        meant, places = plain(text)
        found = [(name, mode, placed(each, places)) for name, mode, each in found_in(meant)]
    return redacted(text, found, Tally(), start, quotes)


async def refuse(text: str, start: int, _quotes: Quotes | None, plainly: bool) -> str:
    """Refuse what the patterns find."""
    if not plainly and any(each for _, _, each in found_in(text)):
        raise Refused("g", ["X"])
    return text[start:]


def clean(text: str) -> str:
    """The text as a whole, redacted."""
    return redacted(text, found_in(text), Tally())


def frame(body: Any) -> bytes:
    return b"data: " + json.dumps(body).encode() + b"\n\n"


def events(data: bytes) -> list[Any]:
    """The decoded events of a stream."""
    frames = [line[6:] for line in data.split(b"\n") if line.startswith(b"data: ")]
    return [json.loads(each) for each in frames if each != b"[DONE]"]


async def through(data: bytes, places: Iterable[int] = ()) -> bytes:
    """What leaves of a stream that comes in pieces."""
    stream, made = Stream(judge, by_sentence=False), b""
    ends = sorted({min(place, len(data)) for place in places} | {len(data)})
    for start, end in zip([0, *ends], ends, strict=False):
        made += await stream.feed(data[start:end])
    return made + await stream.finish()


def cut(text: str, places: list[int]) -> list[str]:
    ends = sorted({place for place in places if place < len(text)} | {len(text)})
    return [text[start:end] for start, end in zip([0, *ends], ends, strict=False)]


# --- the dialects: how each streams some texts, and how its clients put them together ----------


def chat(texts: list[list[str]]) -> bytes:
    """The choices take turns."""
    made = b""
    for turn in range(max(map(len, texts))):
        for index, pieces in enumerate(texts):
            if turn < len(pieces):
                last = turn == len(pieces) - 1
                choice = {"index": index, "delta": {"content": pieces[turn]},
                          "finish_reason": "stop" if last else None}  # fmt: skip
                made += frame({"object": "chat.completion.chunk", "choices": [choice]})
    return made + b"data: [DONE]\n\n"


def chat_texts(data: bytes) -> list[str]:
    texts: dict[int, str] = {}
    for event in events(data):
        for choice in event["choices"]:
            delta = choice["delta"].get("content") or ""
            texts[choice["index"]] = texts.get(choice["index"], "") + delta
    return [texts[index] for index in sorted(texts)]


def completion(texts: list[list[str]]) -> bytes:
    made = b""
    for index, pieces in enumerate(texts):
        for piece in pieces:
            choice = {"index": index, "text": piece, "finish_reason": None}
            made += frame({"object": "text_completion", "choices": [choice]})
    return made + b"data: [DONE]\n\n"  # the ends of its choices are not told


def completion_texts(data: bytes) -> list[str]:
    texts: dict[int, str] = {}
    for event in events(data):
        for choice in event["choices"]:
            texts[choice["index"]] = texts.get(choice["index"], "") + choice["text"]
    return [texts[index] for index in sorted(texts)]


def message(texts: list[list[str]]) -> bytes:
    made = frame({"type": "message_start", "message": {"content": [], "role": "assistant"}})
    for index, pieces in enumerate(texts):
        block = {"type": "text", "text": ""}
        made += frame({"type": "content_block_start", "index": index, "content_block": block})
        for piece in pieces:
            delta = {"type": "text_delta", "text": piece}
            made += frame({"type": "content_block_delta", "index": index, "delta": delta})
        made += frame({"type": "content_block_stop", "index": index})
    return made + frame({"type": "message_stop"})


def message_texts(data: bytes) -> list[str]:
    texts: dict[int, str] = {}
    for event in events(data):
        if event["type"] == "content_block_start":
            texts[event["index"]] = ""
        if event["type"] == "content_block_delta":
            texts[event["index"]] += event["delta"]["text"]
    return [texts[index] for index in sorted(texts)]


def response(texts: list[list[str]]) -> bytes:
    numbered: list[dict[str, Any]] = [{"type": "response.created", "response": {"id": "resp_1"}}]
    for index, pieces in enumerate(texts):
        at = {"item_id": f"i{index}", "output_index": index, "content_index": 0}
        numbered += [
            {"type": "response.output_text.delta", **at, "delta": piece, "logprobs": []}
            for piece in pieces
        ]
        whole = "".join(pieces)
        part = {"type": "output_text", "text": whole}
        numbered += [
            {"type": "response.output_text.done", **at, "text": whole},
            {"type": "response.content_part.done", **at, "part": part},
        ]
    output = [{"content": [{"type": "output_text", "text": "".join(each)}]} for each in texts]
    numbered.append({"type": "response.completed", "response": {"output": output}})
    return b"".join(
        b"event: %b\n" % event["type"].encode() + frame(event | {"sequence_number": number})
        for number, event in enumerate(numbered)
    )


def response_texts(data: bytes) -> list[str]:
    found = events(data)
    assert list(range(len(found))) == [event["sequence_number"] for event in found]
    texts: dict[int, str] = {}
    for event in found:
        if event["type"] == "response.output_text.delta":
            texts[event["output_index"]] = texts.get(event["output_index"], "") + event["delta"]
    done = {
        event["output_index"]: event["text"]
        for event in found
        if event["type"] == "response.output_text.done"
    }
    assert {index: texts.get(index, "") for index in done} == done
    last = [item["content"][0]["text"] for item in found[-1]["response"]["output"]]
    assert last == list(done.values())
    return last


DIALECTS = [
    (chat, chat_texts), (completion, completion_texts), (message, message_texts),
    (response, response_texts),
]  # fmt: skip
PIECES = st.lists(
    st.tuples(TEXTS.filter(bool), st.lists(st.integers(1, 300), max_size=12)),
    min_size=1,
    max_size=3,
)


@pytest.mark.parametrize(("make", "read"), DIALECTS, ids=["chat", "text", "messages", "responses"])
@settings(max_examples=40)
@given(PIECES, st.lists(st.integers(0, 4000), max_size=5))
def test_clients_see_the_redacted_whole(
    make: Callable[[list[list[str]]], bytes], read: Callable[[bytes], list[str]],
    texts: list[tuple[str, list[int]]], places: list[int],
) -> None:  # fmt: skip
    """For every split into deltas, of the deltas into packets, and for several choices."""
    data = make([cut(text, each) for text, each in texts])
    made = asyncio.run(through(data, places))

    assert [clean(text) for text, _ in texts] == read(made)


@settings(max_examples=60)
@given(st.sampled_from(THINGS), st.lists(st.integers(1, 300), max_size=12))
def test_no_part_of_a_secret_ever_leaves(thing: str, places: list[int]) -> None:
    """Not in any event, whatever comes before or after it."""
    pieces = cut(f"Here it is: {thing} and that is all of it.", places)
    made = asyncio.run(through(chat([pieces])))
    left = "".join(chat_texts(made)).replace("<PRIVATE_KEY>", "")
    kept = {"https://bob:s3cret9@host/x": "s3cret9"}.get(thing, thing)

    assert [] == [kept[at : at + 5] for at in range(len(kept) - 4) if kept[at : at + 5] in left]


def call(pieces: list[str]) -> bytes:
    made = b""
    for piece in pieces:
        calls = [{"index": 0, "function": {"arguments": piece}}]
        choice = {"index": 0, "delta": {"tool_calls": calls}, "finish_reason": None}
        made += frame({"choices": [choice]})
    return made + frame({"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]})


JSON = st.recursive(
    st.sampled_from([*THINGS, "a\nb", 'say "hi"', "\\", "ü"]) | st.integers() | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner),
    max_leaves=6,
)


@settings(max_examples=80)
@given(JSON, st.lists(st.integers(1, 300), max_size=12), st.booleans())
def test_arguments_of_tools_stay_json(value: Any, places: list[int], escaped: bool) -> None:
    """Whatever is taken out of them, and nothing else is changed."""
    text = json.dumps({"v": value}, ensure_ascii=escaped)
    made = asyncio.run(through(call(cut(text, places))))
    shown = "".join(
        each["function"]["arguments"]
        for event in events(made)
        for each in event["choices"][0]["delta"].get("tool_calls") or []
    )

    assert cleaned({"v": value}) == json.loads(shown)


def cleaned(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: cleaned(each) for key, each in value.items()}
    if isinstance(value, list):
        return [cleaned(each) for each in value]
    return clean(value) if isinstance(value, str) else value


def test_escapes_hide_nothing() -> None:
    """An address in arguments may be spelled with escapes."""
    text = r'{"to":"anna\u0040example.org","n":4111111111111111}'
    made = asyncio.run(through(call([text[:20], text[20:]])))

    assert b"anna" not in made
    assert rb"{\"to\":\"<EMAIL_ADDRESS>\"," in made


@pytest.mark.parametrize(
    ("data", "last"),
    [
        (chat([["ok ", "a@b.org "]]), [{"index": 0, "finish_reason": "content_filter"}]),
        (message([["ok ", "a@b.org "]]), "refusal"),
        (response([["ok ", "a@b.org "]]), "incomplete"),
    ],
)
async def test_how_a_stream_ends_by_policy(data: bytes, last: Any) -> None:
    """In the words of its dialect, behind what had already been judged."""
    stream = Stream(refuse, by_sentence=False)
    with pytest.raises(Refused):
        await stream.feed(data)
    found = events(stream.stopped())

    shown = json.dumps(found)
    assert "ok " in shown
    assert "b.org" not in shown
    if isinstance(last, str):
        assert last in shown
    else:
        assert [last[0] | {"delta": {}}] == found[-1]["choices"]


@pytest.mark.parametrize(
    "data", [b"data: nope\n\n", b"data: [1]\n\n", b"data: " + b"x" * MAX_FRAME_BYTES]
)
async def test_what_cannot_be_looked_at_does_not_leave(data: bytes) -> None:
    """A frame that is no JSON object, or too large to be one."""
    with pytest.raises(Unavailable):
        await Stream(judge, by_sentence=False).feed(data)


@settings(max_examples=200)
@given(st.lists(st.binary(max_size=40) | st.sampled_from([
    b"data: ", b"\n\n", b"\r\n\r\n", b'{"choices":[{}]}', b"event: x\n", b": hi\n\n",
    b'data: {"choices":[{"delta":null,"index":"a"}]}\n\n', b'data: {"type":"response.x.delta"}\n\n',
    b'data: {"type":"content_block_delta","delta":{"text":7}}\n\n', b'data: {"choices":[7]}\n\n',
    b'data: {"choices":[{"delta":{"tool_calls":[7,{"function":{"arguments":"x"}}]}}]}\n\n',
]), max_size=8))  # fmt: skip
def test_engines_may_say_anything(pieces: list[bytes]) -> None:
    """A stream is understood or refused; nothing else comes of it."""

    async def feed() -> None:
        stream = Stream(judge, by_sentence=False)
        try:
            for piece in pieces:
                await stream.feed(piece)
            await stream.finish()
        except Unavailable:
            stream.stopped()

    asyncio.run(feed())


async def _as_it_is(text: str, start: int, _quotes: Quotes | None, _plain: bool) -> str:
    return text[start:]


def test_a_frame_in_many_small_pieces_takes_linear_time() -> None:
    """Each piece is looked at once, however long the frame gets."""

    async def feed(count: int) -> None:
        stream = Stream(_as_it_is, by_sentence=False)
        piece = b'data: {"choices":[{"index":0,"delta":{"content":"' + b"x" * 64
        for _ in range(count):
            assert b"" == await stream.feed(piece)
            piece = b"x" * 64

    assert linear(lambda count: asyncio.run(feed(count)), 4000)


async def test_an_end_of_a_frame_may_be_cut_anywhere() -> None:
    """Between any two bytes, with either kind of line end."""
    for end in (b"\n\n", b"\r\n\r\n"):
        data = (b'data: {"choices":[{"index":0,"delta":{"role":"a"}}]}' + end) * 3
        stream = Stream(_as_it_is, by_sentence=False)
        made = [await stream.feed(data[index : index + 1]) for index in range(len(data))]

        assert 3 == len([piece for piece in made if piece])


async def test_too_many_texts_at_one_time() -> None:
    """No engine has so many choices; what they held would not be bounded."""
    stream = Stream(_as_it_is, by_sentence=False)
    data = [
        f"data: {json.dumps({'choices': [{'index': n, 'delta': {'content': 'a1'}}]})}\n\n"
        for n in range(MAX_CHANNELS + 1)
    ]
    with pytest.raises(Unavailable, match="more than 1024 texts"):
        await stream.feed("".join(data).encode())
