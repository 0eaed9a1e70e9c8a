"""Case 14: an alias is rewritten in the request and in the answer, and not one other byte is."""

import json
from typing import Any

import pytest

from headrace.conformance import answers
from headrace.conformance.fake import Exchange, chunk
from tests.edge.rig import ENDPOINTS, STREAMS, Rig, ask, eventually, form, openai_error, streamed

MODELS = [{"name": "m", "aliases": ["alias-m", "gpt-4o"]}]
SERVES = {"m": "upstream-m"}


async def _gateway(rig: Rig, **more: Any) -> None:
    await rig.gateway(serves=SERVES, models=MODELS, **more)


@pytest.mark.parametrize("asked", ["m", "alias-m"])
@pytest.mark.parametrize("path", ENDPOINTS)
async def test_case_14_alias_in_whole_answers(rig: Rig, path: str, asked: str) -> None:
    """The engine hears its own name; the client hears the name it used."""
    engine = await rig.engine()
    await _gateway(rig)

    answer = await rig.post(ask(path, asked), path)

    expected = answers.body_for(path.removeprefix("/v1/"), asked)
    assert "upstream-m" == engine.exchanges[0].json()["model"]
    assert expected == answer.body
    assert answer.ended


@pytest.mark.parametrize("asked", ["m", "alias-m"])
@pytest.mark.parametrize("path", STREAMS)
async def test_case_14_alias_in_streams(rig: Rig, path: str, asked: str) -> None:
    """Every event of a stream names the model as the client did; all else is as the engine sent."""
    engine = await rig.engine()
    await _gateway(rig)

    answer = await rig.post(streamed(path, asked), path)

    expected = answers.stream_for(path.removeprefix("/v1/"), asked, usage=True)
    assert "upstream-m" == engine.exchanges[0].json()["model"]
    assert b"".join(expected) == answer.body


@pytest.mark.parametrize("size", [1, 3, 50, 1000])
async def test_case_14_alias_across_segments(rig: Rig, size: int) -> None:
    """The engine's name is found when TCP or HTTP chunks cut through it."""
    sent = b"".join(answers.chat_frames("upstream-m"))

    async def script(exchange: Exchange) -> None:
        await exchange.start_stream()
        pieces = [sent[start : start + size] for start in range(0, len(sent), size)]
        await exchange.write_slowly(*map(chunk, pieces))
        await exchange.end_stream()

    await rig.engine(script)
    await _gateway(rig)

    answer = await rig.post(streamed(model="alias-m"))

    assert b"".join(answers.chat_frames("alias-m")) == answer.body


async def test_case_14_alias_in_a_whole_answer_across_segments(rig: Rig) -> None:
    """A whole answer that comes byte by byte is rewritten too, and its length is right."""
    body = answers.chat_body("upstream-m")

    async def script(exchange: Exchange) -> None:
        start = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: "
        whole = start + str(len(body)).encode() + b"\r\n\r\n" + body
        await exchange.write_slowly(*(bytes([byte]) for byte in whole))

    await rig.engine(script)
    await _gateway(rig)

    answer = await rig.post(ask(model="alias-m"))

    assert (answers.chat_body("alias-m"), True) == (bytes(answer.body), answer.ended)


# Bodies whose only rewritten bytes are those between the marks.
SPLICED = [
    '{"model":«"alias-m"»,"messages":[]}',
    '{ "messages" : [ ] ,\r\n\t"model"\t:  «"alias-m"»  }',
    '{"messages":[{"role":"user","content":"\\"model\\": \\"alias-m\\""}],"model":«"alias-m"»}',
    '{"messages":[],"metadata":{"model":"alias-m"},"model":«"alias-m"»,"user":"alias-m"}',
    (
        '{"tools":[{"function":{"parameters":{"properties":{"model":{"const":"alias-m"}}}}}],'
        '"model":«"alias-m"»,"messages":[{"content":"\\u00e4\\ud83d\\ude00 ä😀"}]}'
    ),
    '{"temperature":1.0e0,"seed":12345678901234567890123,"model":«"alias-m"»,"messages":[]}',
    '{"\\u006dodel":«"alias-m"»,"messages":[]}',
    '{"model":«"\\u0061lias-m"»,"messages":[]}',
    '{"model":«"alias\\u002dm"»,"model_":"alias-m","messages":[]}',
]


@pytest.mark.parametrize("marked", SPLICED)
async def test_case_14_alias_is_spliced(rig: Rig, marked: str) -> None:
    """Spaces, key order, escapes, nested keys and strings that say "model" stay as they are."""
    engine = await rig.engine(answers.says(200, answers.chat_body("upstream-m")))
    await _gateway(rig)
    before, _, rest = marked.partition("«")
    after = rest.partition("»")[2]

    answer = await rig.post(marked.replace("«", "").replace("»", "").encode())

    assert 200 == answer.status
    assert f'{before}"upstream-m"{after}'.encode() == engine.exchanges[0].body
    assert str(len(engine.exchanges[0].body)) == engine.exchanges[0].header("content-length")


@pytest.mark.parametrize(
    "body",
    [
        '{"model":"alias-m","messages":[],"model":"elsewhere"}',
        '{"model":"elsewhere","messages":[],"model":"alias-m"}',
        '{"model":"alias-m","messages":[],"\\u006dodel":"elsewhere"}',
    ],
)
async def test_case_14_model_said_twice(rig: Rig, body: str) -> None:
    """Two model keys: what was checked is what the engine obeys, or the request is refused."""
    engine = await rig.engine(answers.says(200, answers.chat_body("upstream-m")))
    await _gateway(rig)

    answer = await rig.post(body.encode())

    assert answer.status in {200, 400, 404}
    for exchange in engine.exchanges:  # python's json, as vLLM: the last one counts
        assert "upstream-m" == exchange.json()["model"]


async def test_case_14_text_is_not_rewritten(rig: Rig) -> None:
    """The engine's name in generated text, tool arguments or ids is text, in both answer kinds."""
    text = 'I am "upstream-m", {"model":"upstream-m"}'
    frames = [
        answers.chat_chunk("upstream-m", {"content": text}),
        answers.chat_chunk("upstream-m", {"tool_calls": [{"function": {"arguments": text}}]}),
    ]
    expected = [
        answers.chat_chunk("alias-m", {"content": text}),
        answers.chat_chunk("alias-m", {"tool_calls": [{"function": {"arguments": text}}]}),
    ]
    engine = await rig.engine(answers.streams(*frames, answers.DONE))
    await _gateway(rig)
    stream = await rig.post(streamed(model="alias-m"))
    engine.script = answers.says(200, answers.chat_body("upstream-m", text))
    whole = await rig.post(ask(model="alias-m"))

    assert b"".join([*expected, answers.DONE]) == stream.body
    assert answers.chat_body("alias-m", text) == whole.body


async def test_case_14_answer_without_a_model(rig: Rig) -> None:
    """An answer that names no model is left alone."""
    await rig.engine(answers.says(200, b'{"input_tokens": 33}'))
    await _gateway(rig)
    path = "/v1/messages/count_tokens"

    answer = await rig.post({"model": "alias-m", "messages": []}, path)

    assert (200, b'{"input_tokens": 33}') == (answer.status, bytes(answer.body))


async def test_case_14_records_have_all_names(rig: Rig) -> None:
    """The record has the name that was asked for and the name that was served."""
    await rig.engine()
    gateway = await rig.gateway(serves=SERVES, models=MODELS)

    await rig.post(ask(model="alias-m"))

    await eventually(lambda: len(gateway.records) == 1)
    record = gateway.records[-1]
    assert {record.model, record.served} <= {"alias-m", "m", "upstream-m"}
    assert record.model != record.served


@pytest.mark.parametrize("asked", ["upstream-m", "nope", "M", "m ", "x" * 5000, "../m"])
async def test_case_14_unknown_model_is_404(rig: Rig, asked: str) -> None:
    """A name that is not declared is 404 model_not_found; no engine hears of it."""
    engine = await rig.engine()
    await _gateway(rig)

    answer = await rig.post(ask(model=asked))

    error = openai_error(answer, 404, "model_not_found")
    assert "model" == error["param"]
    assert [] == engine.exchanges


NAMELESS = ['{"messages":[]}', '{"model":null,"messages":[]}', '{"model":"","messages":[]}']


@pytest.mark.parametrize("body", NAMELESS)
async def test_case_14_no_model_is_the_only_one(rig: Rig, body: str) -> None:
    """As in vLLM, a request that names no model means the only one; it is asked by its name."""
    engine = await rig.engine(answers.says(200, answers.chat_body("upstream-m")))
    await _gateway(rig)

    answer = await rig.post(body.encode())

    assert 200 == answer.status
    assert "upstream-m" == engine.exchanges[0].json()["model"]


@pytest.mark.parametrize("body", NAMELESS)
async def test_case_14_no_model_of_several_is_refused(rig: Rig, body: str) -> None:
    """With more than one model, a request must name the one it means."""
    engine = await rig.engine()
    await rig.gateway(serves={"m": "m", "n": "n"})

    answer = await rig.post(body.encode())

    assert answer.status in {400, 404}
    assert "model" == openai_error(answer, answer.status)["param"]
    assert [] == engine.exchanges


async def test_case_14_replicas_with_different_names(rig: Rig) -> None:
    """Each replica is asked by its own name, also when the second one is a retry."""
    first = await rig.engine(answers.says(503, answers.error(503)))
    second = await rig.engine(answers.says(503, answers.error(503)))
    backends = [
        {"url": engine.url, "serves": {"m": f"name-on-{engine.port}"}} for engine in rig.engines
    ]
    await rig.gateway(backends=backends)

    await rig.post(ask())

    for engine in (first, second):
        assert [f"name-on-{engine.port}"] == [e.json()["model"] for e in engine.exchanges]


@pytest.mark.parametrize("asked", ["m", "alias-m"])
async def test_case_14_alias_in_a_form(rig: Rig, asked: str) -> None:
    """A multipart upload is routed by its model field; all other bytes are as they were."""
    audio = bytes(range(256)) * 300 + b'\r\n--boundary-\r\nname="model"\r\n\r\nalias-m\r\n'
    engine = await rig.engine()
    await _gateway(rig)
    body, kind = form(asked, audio, prompt="alias-m")
    expected, _ = form("upstream-m", audio, prompt="alias-m")
    async with rig.client() as client:
        answer = await client.post("/v1/audio/transcriptions", body, [kind])

    seen = engine.exchanges[0]
    assert (200, "Hello!") == (answer.status, answer.json()["text"])
    assert expected == seen.body
    assert kind[1] == seen.header("content-type")


async def test_case_14_form_before_the_model(rig: Rig) -> None:
    """A form whose model comes first, or in quotes around its boundary, is understood as well."""
    engine = await rig.engine()
    await _gateway(rig)
    body, _ = form("alias-m", b"RIFF")
    quoted = ("content-type", 'multipart/form-data; charset=utf-8; boundary="boundary-7"')
    async with rig.client() as client:
        answer = await client.post("/v1/audio/transcriptions", body, [quoted])

    assert 200 == answer.status
    assert form("upstream-m", b"RIFF")[0] == engine.exchanges[0].body


@pytest.mark.parametrize("kind", ["multipart/form-data", "multipart/form-data; boundary=other"])
async def test_case_14_form_that_is_none(rig: Rig, kind: str) -> None:
    """A form without a boundary, or with another one, names no model: it is refused."""
    engine = await rig.engine()
    await rig.gateway(serves={"alias-m": "m", "n": "n"})
    body, _ = form("alias-m", b"RIFF")
    async with rig.client() as client:
        answer = await client.post("/v1/audio/transcriptions", body, [("content-type", kind)])

    assert answer.status in {400, 404}
    openai_error(answer, answer.status)
    assert [] == engine.exchanges


async def test_case_14_models_are_listed(rig: Rig) -> None:
    """/v1/models lists the declared names in OpenAI's shape, whether or not a replica is there."""
    await rig.gateway(urls=[], models=[*MODELS, {"name": "org/other", "context_length": 4096}])
    listed = await rig.get("/v1/models")
    one = await rig.get("/v1/models/org/other")
    missing = await rig.get("/v1/models/nope")

    shown = listed.json()
    assert (200, "list") == (listed.status, shown["object"])
    names = [model["id"] for model in shown["data"]]
    assert {"m", "org/other"} <= set(names)
    assert len(names) == len(set(names))
    for model in shown["data"]:
        assert "model" == model["object"]
        assert isinstance(model["created"], int)
        assert isinstance(model["owned_by"], str)
    assert (200, "org/other", "model") == (one.status, one.json()["id"], one.json()["object"])
    openai_error(missing, 404, "model_not_found")
    assert "upstream-m" not in json.dumps(shown)


@pytest.mark.parametrize(
    "name", ["org/model.v2+(x)", 'quo"te\\back', "模型-ü", "a b", "\\1\\g<0>", "m$", "<b>&"]
)
async def test_case_14_names_with_special_characters(rig: Rig, name: str) -> None:
    """Names are names, on both sides, whatever characters they have."""
    engine = await rig.engine()
    await rig.gateway(serves={"m": f"up:{name}"}, models=[{"name": "m", "aliases": [name]}])

    whole = await rig.post(ask(model=name))
    stream = await rig.post(streamed(model=name))

    assert [f"up:{name}"] * 2 == [exchange.json()["model"] for exchange in engine.exchanges]
    assert name == whole.json()["model"]
    assert {name} == {event.json()["model"] for event in stream.events[:-1]}


@pytest.mark.parametrize("cut", range(0, 36, 5))
async def test_case_14_alias_in_a_long_event(rig: Rig, cut: int) -> None:
    """An event of a megabyte is renamed too, wherever it is cut, also when the name comes last."""

    def event(model: str) -> bytes:
        return answers.frame({"choices": [{"delta": {"content": "x" * 900_000}}], "model": model})

    sent = event("upstream-m")

    async def script(exchange: Exchange) -> None:
        await exchange.start_stream()
        edge = len(sent) - cut
        await exchange.write_slowly(*map(chunk, filter(None, (sent[:edge], sent[edge:]))))
        await exchange.events(answers.DONE)
        await exchange.end_stream()

    await rig.engine(script)
    await _gateway(rig)

    answer = await rig.post(streamed(model="alias-m"))

    assert event("alias-m") + answers.DONE == answer.body


PARTS = [
    'Content-Disposition: form-data; name="model"\r\nContent-Type: text/plain; charset=utf-8',
    "Content-Type: text/plain\r\nContent-Disposition: form-data; name=model",
    'content-disposition:form-data;name="model"',
]


@pytest.mark.parametrize("part", PARTS)
async def test_case_14_forms_of_other_clients(rig: Rig, part: str) -> None:
    """Parts may have more headers, in other orders and spellings; the model is found."""
    engine = await rig.engine()
    await _gateway(rig)
    body, kind = form("alias-m", b"RIFF")
    usual = b'Content-Disposition: form-data; name="model"'
    assert usual in body
    async with rig.client() as client:
        sent = body.replace(usual, part.encode())
        answer = await client.post("/v1/audio/transcriptions", sent, [kind])

    expected = form("upstream-m", b"RIFF")[0].replace(usual, part.encode())
    assert 200 == answer.status
    assert expected == engine.exchanges[0].body


@pytest.mark.parametrize("names", [("alias-m", "elsewhere"), ("elsewhere", "alias-m")])
async def test_case_14_form_with_two_models(rig: Rig, names: tuple[str, str]) -> None:
    """A form that names two models: refused, or what the engine takes is what was checked."""
    engine = await rig.engine()
    await _gateway(rig)
    body, kind = form(names[0], b"RIFF")
    more, _ = form(names[1], b"RIFF")
    last = more[more.index(b'--boundary-7\r\nContent-Disposition: form-data; name="model"') :]
    async with rig.client() as client:
        sent = body.removesuffix(b"--boundary-7--\r\n") + last
        answer = await client.post("/v1/audio/transcriptions", sent, [kind])

    assert answer.status in {200, 400, 404}
    for exchange in engine.exchanges:  # frameworks take the last one
        assert exchange.body.rstrip().endswith(b"\r\n\r\nupstream-m\r\n--boundary-7--")
