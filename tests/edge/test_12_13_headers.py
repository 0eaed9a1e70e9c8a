"""Cases 12 and 13: which headers pass, in each direction, and the id that every answer has."""

import re

import pytest

from headrace.conformance import answers
from headrace.conformance.fake import Exchange
from tests.edge.rig import CHAT_PATH, STREAMS, Rig, ask, eventually, streamed

SAFE_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")

PASSED = [
    ("accept", "text/event-stream"),
    ("user-agent", "OpenAI/Python 3.54.0"),
    ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
    ("tracestate", "vendor=1"),
    ("anthropic-version", "2023-06-01"),
    ("anthropic-beta", "tools"),
    ("openai-organization", "org-1"),
    ("openai-project", "proj-1"),
]
SECRET = "sk-of-the-client-31337"
STRIPPED = [
    ("authorization", f"Bearer {SECRET}"),
    ("x-api-key", SECRET),
    ("api-key", SECRET),
    ("cookie", f"session={SECRET}"),
    ("proxy-authorization", f"Basic {SECRET}"),
    ("x-headrace-tenant", "root"),
    ("x-headrace-replica", "127.0.0.1:1"),
    ("x-headrace-priority", "background"),
    ("x-tenant", "root"),
    ("x-tenant-id", "root"),
    ("x-priority", "0"),
    ("x-gateway-destination-endpoint", "127.0.0.1:1"),
    ("x-session-id", "s"),
    ("cache-salt", "mine"),
    ("x-forwarded-for", "10.0.0.1"),
    ("x-forwarded-host", "evil.example"),
    ("forwarded", "for=10.0.0.1"),
    ("x-original-url", "/admin"),
    ("x-http-method-override", "DELETE"),
    ("keep-alive", "timeout=100"),
    ("te", "trailers"),
    ("upgrade", "h2c"),
    ("accept-encoding", "gzip"),
    ("origin", "https://evil.example"),
    ("referer", "https://evil.example/"),
]


async def test_case_12_headers_that_reach_the_engine(rig: Rig) -> None:
    """Content negotiation, tracing and the SDKs' own headers reach the engine."""
    engine = await rig.engine()
    await rig.gateway()
    async with rig.client() as client:
        await client.post(CHAT_PATH, ask(), [(name.title(), value) for name, value in PASSED])

    seen = engine.exchanges[0]
    assert PASSED == [(name, seen.header(name)) for name, _ in PASSED]


async def test_case_12_headers_that_do_not_reach_the_engine(rig: Rig) -> None:
    """Keys, cookies, control headers, hop-by-hop headers: nothing of them reaches the engine."""
    engine = await rig.engine()
    await rig.gateway()
    async with rig.client() as client:
        assert 200 == (await client.post(CHAT_PATH, ask(), STRIPPED)).status

    seen = engine.exchanges[0]
    assert SECRET.encode() not in seen.head + seen.body
    for name, value in STRIPPED:
        assert value != seen.header(name), name


async def test_case_12_only_known_headers_reach_the_engine(rig: Rig) -> None:
    """What reaches the engine is a short list; a header nobody thought of is not on it."""
    engine = await rig.engine()
    await rig.gateway()
    unknown = [("x-brand-new", "1"), ("x_under_score", "1"), *PASSED, *STRIPPED]
    async with rig.client() as client:
        await client.post(CHAT_PATH, ask(), unknown)

    allowed = {"host", "content-type", "content-length", "x-request-id", "connection"}
    names = [name for name, _ in engine.exchanges[0].headers]
    assert set(names) <= allowed | {name for name, _ in PASSED} | {"accept-encoding"}
    assert len(names) == len(set(names))


@pytest.mark.parametrize("connection", ["keep-alive, Traceparent", "traceparent , close"])
async def test_case_12_headers_named_in_connection(rig: Rig, connection: str) -> None:
    """A header that the client names in Connection is for this hop only."""
    engine = await rig.engine()
    await rig.gateway()
    trace = ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
    async with rig.client() as client:
        await client.post(CHAT_PATH, ask(), [trace, ("connection", connection)])

    assert engine.exchanges[0].header("traceparent") is None


async def test_case_12_host_is_the_backends(rig: Rig) -> None:
    """The engine sees its own name as Host, never the client's."""
    engine = await rig.engine()
    await rig.gateway()
    async with rig.client() as client:
        await client.post(CHAT_PATH, ask(), [("host", "evil.example")])

    assert f"127.0.0.1:{engine.port}" == engine.exchanges[0].header("host")


async def test_case_12_backends_key_is_sent(rig: Rig) -> None:
    """The backend's own key goes to the backend, and only that; it never comes back."""
    engine = await rig.engine()
    backend = {"url": engine.url, "serves": ["m"], "api_key": "sk-of-the-backend"}
    await rig.gateway(backends=[backend])

    answer = await rig.post(ask(), authorization=f"Bearer {SECRET}")

    assert "Bearer sk-of-the-backend" == engine.exchanges[0].header("authorization")
    assert b"sk-of-the-backend" not in answer.head + answer.body


@pytest.mark.parametrize("stream", [True, False])
async def test_case_12_hop_by_hop_headers_of_the_engine(rig: Rig, stream: bool) -> None:
    """The engine's connection headers, and those it names in Connection, stay on its side."""
    extra = [
        ("connection", "keep-alive, x-only-here"),
        ("x-only-here", "1"),
        ("keep-alive", "timeout=5"),
        ("proxy-authenticate", "Basic"),
        ("upgrade", "h2c"),
        ("x-kept", "yes"),
    ]

    async def script(exchange: Exchange) -> None:
        if stream:
            await exchange.start_stream(*extra)
            await exchange.events(*answers.chat_frames("m"))
            await exchange.end_stream()
        else:
            await exchange.answer(200, answers.chat_body("m"), *extra)

    await rig.engine(script)
    await rig.gateway()

    answer = await rig.post(streamed() if stream else ask())

    gone = {"x-only-here", "proxy-authenticate", "upgrade"} & {n for n, _ in answer.headers}
    assert set() == gone
    assert answer.header("keep-alive") != "timeout=5"
    assert answer.header("connection") in {None, "keep-alive"}
    assert 200 == answer.status


@pytest.mark.parametrize("name", ["retry-after", "x-should-retry"])
async def test_case_12_retry_headers_pass_back(rig: Rig, name: str) -> None:
    """What the SDKs read to decide on a retry passes back, whatever the status."""
    value = "7" if name == "retry-after" else "false"
    engine = await rig.engine()
    await rig.gateway()
    for status in (200, 400, 429, 500, 503):
        engine.script = answers.says(status, answers.error(status), (name, value))

        answer = await rig.post(ask())

        assert (status, value) == (answer.status, answer.header(name))


async def test_case_12_lengths_are_stated_once(rig: Rig) -> None:
    """An answer has one framing: a length or chunks, and one of them only."""
    await rig.engine()
    await rig.gateway(serves={"m": "an-upstream-name-that-is-longer"})
    whole, stream = await rig.post(ask()), await rig.post(streamed())

    for answer in (whole, stream):
        names = [name for name, _ in answer.headers]
        assert 1 == names.count("content-length") + names.count("transfer-encoding"), names
        assert answer.ended
        assert len(names) == len(set(names)), names


@pytest.mark.parametrize("given", ["a", "req_123.4:5-6", "x" * 128])
async def test_case_13_safe_request_id_is_kept(rig: Rig, given: str) -> None:
    """A safe id of the client is the id of the request everywhere: answer, engine, record."""
    engine = await rig.engine()
    gateway = await rig.gateway()
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

    answer = await rig.post(ask(), x_request_id=given, traceparent=trace)

    assert given == answer.header("x-request-id") == engine.exchanges[0].header("x-request-id")
    await eventually(lambda: len(gateway.records) == 1)
    assert given == gateway.records[-1].request_id


UNSAFE = ["", "x" * 129, "a b", 'a"b', "a{b}", "a%0d%0ab", "a\tb", "a;b", "<script>", "\xe4"]


async def test_case_13_unsafe_request_id_is_replaced(rig: Rig) -> None:
    """An id that could break a log line or a label is replaced by one of ours."""
    engine = await rig.engine()
    await rig.gateway()
    for given in UNSAFE:
        answer = await rig.post(ask(), x_request_id=given)

        seen = answer.header("x-request-id")
        assert 200 == answer.status, given
        assert seen is not None, given
        assert SAFE_ID.fullmatch(seen), given
        assert seen != given
        assert seen == engine.exchanges[-1].header("x-request-id")


async def test_case_13_request_ids_differ(rig: Rig) -> None:
    """Generated ids are unique, also on one connection."""
    await rig.engine()
    await rig.gateway()
    async with rig.client() as client:
        seen = {(await client.post(CHAT_PATH, ask())).header("x-request-id") for _ in range(20)}

    assert 20 == len(seen)
    assert all(each and SAFE_ID.fullmatch(each) for each in seen)


@pytest.mark.parametrize("path", STREAMS)
async def test_case_13_streams_have_an_id(rig: Rig, path: str) -> None:
    """Streams have the id too, before their first byte."""
    await rig.engine()
    await rig.gateway()

    assert "id-1" == (await rig.post(streamed(path), path, x_request_id="id-1")).header(
        "x-request-id"
    )


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_case_13_errors_have_an_id(rig: Rig, method: str) -> None:
    """404, 405 and the small endpoints have the id as well."""
    await rig.gateway(urls=[])
    async with rig.client() as client:
        for path in ("/nowhere", CHAT_PATH, "/health", "/ready", "/v1/models", "/metrics"):
            answer = await client.ask(method, path, None, [("x-request-id", "id-1")])

            assert "id-1" == answer.header("x-request-id"), path


MALFORMED = [
    b"NONSENSE\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"POST /v1/completions HTTP/1.1\r\nhost: h\r\ncontent-length: x\r\n\r\n",
    b"POST /v1/completions HTTP/1.1\r\nhost: h\r\ncontent-length: 3\r\n\r\n{,}",
    b"GET /v1/models HTTP/1.1\r\nhost: h\r\nbad header\r\n\r\n",
]


async def test_case_13_malformed_requests_have_an_id(rig: Rig) -> None:
    """What cannot be parsed is answered with an id and a JSON error, too."""
    await rig.gateway(urls=[])
    for sent in MALFORMED:
        async with rig.client() as client:
            await client.send(sent)
            answer = await (await client.answer()).finish()

        seen = answer.header("x-request-id")
        assert seen is not None, sent
        assert SAFE_ID.fullmatch(seen), sent
        assert "error" in answer.json(), sent


async def test_case_13_failures_have_an_id(rig: Rig) -> None:
    """502 and 503 of the gateway have the client's id."""
    await rig.engine(answers.resets)
    await rig.gateway(models=[{"name": "m"}, {"name": "nobody"}], timeouts={"queue_s": 0.1})

    seen = [await rig.post(ask(model=name), x_request_id="id-1") for name in ("m", "nobody")]

    assert [502, 503] == [answer.status for answer in seen]
    assert ["id-1"] * 2 == [answer.header("x-request-id") for answer in seen]


@pytest.mark.parametrize("value", ["a\r\nx-evil: 1", "a\nx-evil: 1"])
async def test_case_13_engine_headers_cannot_be_injected(rig: Rig, value: str) -> None:
    """Two ids, or one that spans lines, never become a header of their own upstream."""
    engine = await rig.engine()
    await rig.gateway()
    async with rig.client() as client:
        await client.send(
            b"POST /v1/completions HTTP/1.1\r\nhost: h\r\nx-request-id: "
            + value.encode()
            + b"\r\ncontent-type: application/json\r\ncontent-length: 26\r\n\r\n"
            + b'{"model":"m","prompt":"p"}'
        )
        answer = await (await client.answer()).finish()

    assert "1" != answer.header("x-evil")
    for exchange in engine.exchanges:
        assert exchange.header("x-evil") is None


async def test_case_12_two_connection_headers(rig: Rig) -> None:
    """Connection may come in several lines: what each of them names stays on its hop."""
    hop = [("connection", "x-only-here"), ("x-only-here", "1"), ("connection", "keep-alive")]
    engine = await rig.engine(answers.says(200, answers.chat_body("m"), *hop))
    await rig.gateway()
    trace = ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
    named = [("connection", "traceparent"), trace, ("connection", "keep-alive")]
    async with rig.client() as client:
        answer = await client.post(CHAT_PATH, ask(), named)

    assert engine.exchanges[0].header("traceparent") is None
    assert answer.header("x-only-here") is None


async def test_case_12_keys_in_odd_spellings(rig: Rig) -> None:
    """Keys in odd spellings do not get through either."""
    engine = await rig.engine()
    await rig.gateway()
    odd = [
        ("AUTHORIZATION", f"Bearer {SECRET}"),
        ("X-Api-Key", SECRET),
        ("Cookie2", SECRET),
        ("X_Api_Key", SECRET),
    ]
    async with rig.client() as client:
        await client.post(CHAT_PATH, ask(), odd)

    assert SECRET.encode() not in engine.exchanges[0].head
