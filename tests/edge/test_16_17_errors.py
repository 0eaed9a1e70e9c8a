"""Cases 16 and 17: one error shape for everything, the right status, and Retry-After where due."""

import pytest

from headrace.conformance import answers
from tests.edge.rig import (
    CHAT_PATH,
    ENDPOINTS,
    Rig,
    anthropic_error,
    ask,
    openai_error,
    retry_after,
)


async def test_case_16_no_replica_is_503_and_never_429(rig: Rig) -> None:
    """No capacity is 503 with Retry-After: 429 would blame the client."""
    await rig.gateway(urls=[], timeouts={"queue_s": 0.1})

    answer = await rig.post(ask())

    openai_error(answer, 503, "no_replica")
    retry_after(answer)


async def test_case_16_no_replica_on_messages(rig: Rig) -> None:
    """On /v1/messages no capacity is Anthropic's overloaded_error, with Retry-After."""
    await rig.gateway(urls=[], timeouts={"queue_s": 0.1})

    answer = await rig.post(ask("/v1/messages"), "/v1/messages")

    assert "overloaded_error" == anthropic_error(answer, 503)["type"]
    retry_after(answer)


@pytest.mark.parametrize("status", [429, 503])
async def test_case_16_engines_answer_keeps_its_hints(rig: Rig, status: int) -> None:
    """The engine's own 429 and 503 keep their status, body, Retry-After and x-should-retry."""
    hints = [("retry-after", "3"), ("x-should-retry", "false")]
    await rig.engine(answers.says(status, answers.error(status), *hints))
    await rig.gateway()

    answer = await rig.post(ask())

    assert (status, answers.error(status)) == (answer.status, bytes(answer.body))
    assert [value for _, value in hints] == [answer.header(name) for name, _ in hints]


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_case_17_unknown_path_is_404(rig: Rig, method: str) -> None:
    """What is no endpoint of ours is 404 in OpenAI's shape; an engine's admin paths are none."""
    engine = await rig.engine()
    await rig.gateway()
    async with rig.client() as client:
        for path in ("/", "/nowhere", "/v1", "/v1/", "/v1/chat", "/sleep", "/wake_up"):
            answer = await client.ask(method, path, ask() if method == "POST" else None)
            openai_error(answer, 404, "not_found")

    assert [] == engine.exchanges


@pytest.mark.parametrize(
    "path",
    [
        "/v1/chat/completions/../../../sleep",
        "/v1/chat/completions%2f..%2fsleep",
        "//v1/chat/completions",
        "/v1//chat/completions",
        "/V1/chat/completions",
        "/v1/chat/completions/",
        "http://evil.example/v1/chat/completions",
    ],
)
async def test_case_17_odd_paths_do_not_reach_other_endpoints(rig: Rig, path: str) -> None:
    """A path is matched as it is written; whatever happens, the engine sees no other one."""
    engine = await rig.engine()
    await rig.gateway()

    answer = await rig.post(ask(), path)

    if answer.status != 200:
        openai_error(answer, answer.status)
        assert 400 <= answer.status < 500
    assert {CHAT_PATH} >= {exchange.target for exchange in engine.exchanges}


@pytest.mark.parametrize("path", [CHAT_PATH, "/v1/embeddings"])
async def test_case_17_wrong_method_is_405(rig: Rig, path: str) -> None:
    """A wrong method is 405 with Allow, in OpenAI's shape (HEAD: without a body)."""
    await rig.gateway(urls=[])
    async with rig.client() as client:
        for method in ("GET", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE"):
            answer = await client.ask(method, path)
            after = await client.get("/v1/models")

            assert (405, "POST") == (answer.status, answer.header("allow")), method
            assert 200 == after.status
            if method != "HEAD":
                openai_error(answer, 405, "method_not_allowed")


async def test_case_17_wrong_method_on_messages(rig: Rig) -> None:
    """On /v1/messages the 405 is in Anthropic's shape."""
    await rig.gateway(urls=[])
    async with rig.client() as client:
        answer = await client.get("/v1/messages")

    anthropic_error(answer, 405)
    assert "POST" == answer.header("allow")


@pytest.mark.parametrize("path", ["/health", "/ready", "/v1/models", "/metrics"])
async def test_case_17_small_endpoints_refuse_post(rig: Rig, path: str) -> None:
    """The small endpoints answer 405 with Allow to what they do not serve."""
    await rig.gateway(urls=[])

    answer = await rig.post({}, path)

    openai_error(answer, 405, "method_not_allowed")
    assert "GET" in (answer.header("allow") or "")


BROKEN = [
    b"",
    b"{",
    b"null",
    b"[]",
    b'"m"',
    b"17",
    b'{"model":}',
    b'{"model":7,"messages":[]}',
    b'{"model":["m"],"messages":[]}',
    b'{"model":{"a":"m"},"messages":[]}',
    b'{"model":"m","messages":[]',
    b'{"model":"m","messages":[]} x',
    b'{"model":"m","messages":[],}',
    b"{'model':'m'}",
    b'{"model":"\xff"}',
    b"\xef\xbb\xbf{",
    b'{"model":"m","stream":tru}',
    b"[" * 100_000,
    b'{"a":' * 50_000,
]


async def test_case_17_broken_body_is_400(rig: Rig) -> None:
    """What is no JSON object with a model is 400 in OpenAI's shape, never 500."""
    engine = await rig.engine()
    await rig.gateway()
    asked = [(body[:50], await rig.post(body)) for body in BROKEN]

    assert [] == [(body, answer) for body, answer in asked if answer.status != 400]
    assert [] == engine.exchanges
    for _, answer in asked:
        openai_error(answer, 400)


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"model":7}'])
async def test_case_17_broken_body_on_messages(rig: Rig, body: bytes) -> None:
    """On /v1/messages the 400 is an invalid_request_error in Anthropic's shape."""
    await rig.gateway(urls=[])

    answer = await rig.post(body, "/v1/messages")

    assert "invalid_request_error" == anthropic_error(answer, 400)["type"]


@pytest.mark.parametrize("path", ENDPOINTS)
async def test_case_17_unknown_model_on_every_endpoint(rig: Rig, path: str) -> None:
    """An undeclared model is 404 in the endpoint's shape, everywhere."""
    await rig.gateway(urls=[])

    answer = await rig.post(ask(path, "nope"), path)

    if path == "/v1/messages":
        assert "not_found_error" == anthropic_error(answer, 404)["type"]
    else:
        openai_error(answer, 404, "model_not_found")


MALFORMED = [
    b"NONSENSE\r\n\r\n",
    b"GET\r\n\r\n",
    b"GET /\r\n\r\n",
    b"GET / HTTP/9.9\r\nhost: h\r\n\r\n",
    b"GET /\x00 HTTP/1.1\r\nhost: h\r\n\r\n",
    b"GET / HTTP/1.1\r\nhost: h\r\nbad header\r\n\r\n",
    b"GET / HTTP/1.1\r\nhost: h\r\nx: a\x00b\r\n\r\n",
    b"POST /v1/completions HTTP/1.1\r\nhost: h\r\ncontent-length: -1\r\n\r\n",
    b"POST /v1/completions HTTP/1.1\r\nhost: h\r\ncontent-length: 1, 2\r\n\r\n{}",
    (
        b"POST /v1/completions HTTP/1.1\r\nhost: h\r\ncontent-length: 2\r\n"
        b"content-length: 3\r\n\r\n{} "
    ),
    (
        b"POST /v1/completions HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n"
        b"content-length: 4\r\n\r\n0\r\n\r\n"
    ),
    b"POST /v1/completions HTTP/1.1\r\nhost: h\r\ntransfer-encoding: gzip\r\n\r\n",
    b"POST /v1/completions HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # a TLS hello
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
]


async def test_case_17_malformed_http_is_400(rig: Rig) -> None:
    """What is no HTTP/1.1 is 400 (or 505, or 501) in OpenAI's shape, and the connection ends."""
    engine = await rig.engine()
    await rig.gateway()
    for sent in MALFORMED:
        async with rig.client() as client:
            await client.send(sent)
            answer = await (await client.answer()).finish()
            rest = await client.read_to_end()

        openai_error(answer, answer.status)
        assert answer.status in {400, 404, 501, 505}, sent
        assert ("close", b"") == (answer.header("connection"), rest), sent
        assert answer.header("x-request-id"), sent
    assert [] == engine.exchanges


async def test_case_17_smuggled_request_is_not_served(rig: Rig) -> None:
    """Two framings in one request: the second reading of the bytes is never a request."""
    engine = await rig.engine()
    await rig.gateway()
    inner = b"GET /v1/models HTTP/1.1\r\nhost: h\r\n\r\n"
    async with rig.client() as client:
        await client.send(
            b"POST /v1/completions HTTP/1.1\r\nhost: h\r\ncontent-length: "
            + str(len(inner) + 5).encode()
            + b"\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"
            + inner
        )
        seen = await client.read_to_end()

    assert 1 == seen.count(b"HTTP/1.1 ")
    assert seen.startswith(b"HTTP/1.1 400 ")
    assert [] == engine.exchanges


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, answers.ERR_CONTEXT),
        (400, answers.ERR_TEMPERATURE),
        (404, answers.ERR_MODEL),
        (500, answers.error(500)),
    ],
)
async def test_case_17_engine_errors_are_not_wrapped(
    rig: Rig, status: int, body: bytes, stream: bool
) -> None:
    """An error of the engine passes once, as it is: not wrapped, not reworded."""
    await rig.engine(answers.says(status, body))
    await rig.gateway()

    answer = await rig.post(ask(stream=stream))

    assert (status, body) == (answer.status, bytes(answer.body))


@pytest.mark.parametrize("status", [404, 500])
async def test_case_17_engine_errors_of_other_shapes(rig: Rig, status: int) -> None:
    """An error of the engine's web framework keeps its status, and what it says is not lost."""
    await rig.engine(answers.says(status, answers.ERR_ROUTE))
    await rig.gateway()

    answer = await rig.post(ask())

    assert status == answer.status
    assert b"Not Found" in answer.body


@pytest.mark.parametrize("path", ["/health", "/v1/models"])
async def test_case_17_health_and_models_work(rig: Rig, path: str) -> None:
    """The small endpoints are 200 with and without replicas."""
    await rig.gateway(urls=[])

    assert 200 == (await rig.get(path)).status


async def test_case_17_ready_tells_whether_requests_can_be_taken(rig: Rig) -> None:
    """/ready is 200 on a gateway with a replica."""
    await rig.engine()
    await rig.gateway()

    assert 200 == (await rig.get("/ready")).status


async def test_case_17_errors_leave_the_connection_usable(rig: Rig) -> None:
    """After an error that was about the request, not the framing, the connection serves on."""
    await rig.engine()
    await rig.gateway()
    async with rig.client() as client:
        seen = [
            (await client.post(CHAT_PATH, b"{")).status,
            (await client.post("/nowhere", ask())).status,
            (await client.post(CHAT_PATH, ask(model="nope"))).status,
            (await client.get(CHAT_PATH)).status,
            (await client.post(CHAT_PATH, ask())).status,
        ]

    assert [400, 404, 404, 405, 200] == seen


async def test_case_17_odd_targets_are_404(rig: Rig) -> None:
    """Paths with raw bytes, broken escapes or great length are 4xx in OpenAI's shape, never 500."""
    await rig.gateway(urls=[])
    targets = [
        b"/v1/models/\xc3\xa4",
        b"/v1/models/%ff%fe",
        b"/v1/models/%",
        b"/v1/models/" + b"m" * 5000,
        b"/v1/models/a?b=%00",
        b"/%2e%2e/metrics",
        b"/v1/models/<script>",
        b"/v1/models/%22%7d%0d%0ax:1",
        b"*",
    ]
    for target in targets:
        async with rig.client() as client:
            await client.send(b"GET " + target + b" HTTP/1.1\r\nhost: h\r\n\r\n")
            answer = await (await client.answer("GET")).finish()

        openai_error(answer, answer.status)
        assert 400 <= answer.status < 500, target
        assert answer.header("x") is None
