"""What a backend is found to be, and what the log says when that is not what was configured."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx2
import pytest
import trustme
from aiohttp import web

from headrace.config.backends import Backend
from headrace.engines.remote import MAX_BYTES, Nature, Prober, ask

WAIT_S = 10.0
Answers = dict[str, Any]


class Log:
    """Remembers events."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self._news = asyncio.Event()

    def event(self, event: str, **fields: object) -> None:
        """Like the gateway's."""
        self.events.append({"event": event, **fields})
        self._news.set()

    async def until(self, event: str, count: int = 1) -> dict[str, Any]:
        """Wait for so many events of a name; returns the last of them."""
        async with asyncio.timeout(WAIT_S):
            while len([entry for entry in self.events if entry["event"] == event]) < count:
                self._news.clear()
                await self._news.wait()
        return [entry for entry in self.events if entry["event"] == event][-1]


@pytest.fixture
def log() -> Log:
    return Log()


Serve = Callable[..., Awaitable[str]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Starts servers that give these JSON answers by path, to whoever has the key."""
    runners: list[web.AppRunner] = []

    async def serve(answers: Answers, key: str = "", tls: Any = None) -> str:
        async def handle(request: web.Request) -> web.Response:
            if key and request.headers.get("authorization") != f"Bearer {key}":
                return web.json_response({"error": "no"}, status=401)
            if request.path not in answers:
                return web.json_response({"error": "no"}, status=404)
            return web.json_response(answers[request.path])

        app = web.Application()
        app.router.add_get("/{path:.*}", handle)
        runner = web.AppRunner(app)
        await runner.setup()
        runners.append(runner)
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
        await site.start()
        port = runner.addresses[0][1]
        return f"{'https' if tls else 'http'}://127.0.0.1:{port}"

    yield serve
    for runner in runners:
        await runner.cleanup()


@pytest.fixture
async def probe(log: Log) -> AsyncIterator[Callable[..., None]]:
    """Asks one backend in the background until the test ends."""
    probers: list[Prober] = []

    def probe(url: str, **values: Any) -> None:
        backend = {"url": url, "name": "b", "serves": {"ours": "theirs"}, **values}
        probers.append(Prober([Backend.model_validate(backend)], log))
        probers[-1].start()

    yield probe
    for prober in probers:
        await prober.stop()


def listed(owner: str, *names: str) -> Answers:
    entries = [{"id": name, "object": "model", "owned_by": owner} for name in names]
    return {"/v1/models": {"object": "list", "data": entries}}


@pytest.mark.parametrize(
    ("answers", "kind", "version"),
    [
        ({**listed("vllm", "theirs"), "/version": {"version": "0.32.0"}}, "vllm", "0.32.0"),
        (listed("sglang", "theirs"), "sglang", ""),
        (listed("llamacpp", "theirs"), "llamacpp", ""),
        (
            {
                **listed("theirs", "theirs"),
                "/info": {"model_id": "theirs", "max_input_tokens": 9, "version": "3.0"},
            },
            "tgi",
            "3.0",
        ),
        (listed("organization-owner", "theirs"), "openai", ""),
    ],
)
async def test_kinds(
    answers: Answers, kind: str, version: str, serve: Serve, probe: Callable[..., None], log: Log
) -> None:
    """Each server is known by what it says of itself."""
    probe(await serve(answers))

    assert await log.until("backend_probed") == {
        "event": "backend_probed",
        "backend": "b",
        "kind": kind,
        "version": version,
        "models": ["theirs"],
    }
    assert len(log.events) == 1


async def test_a_model_that_is_not_there(
    serve: Serve, probe: Callable[..., None], log: Log
) -> None:
    """One event says which names are wrong, and which would be right."""
    probe(await serve(listed("vllm", "qwen", "llama")))

    told = await log.until("backend_lacks_model")

    assert (told["missing"], told["has"]) == (["theirs"], ["qwen", "llama"])


@pytest.mark.parametrize(
    ("values", "hint"),
    [({"api_key": "wrong"}, "its key is wrong"), ({}, "it wants a key")],
)
async def test_a_wrong_key(
    values: dict[str, str], hint: str, serve: Serve, probe: Callable[..., None], log: Log
) -> None:
    """The event says so, without the key."""
    probe(await serve(listed("vllm", "theirs"), key="right"), **values)

    told = await log.until("backend_unauthorized")

    assert told["reason"].startswith(f"it answered 401: {hint}")
    assert "wrong" not in told["reason"].replace(hint, "")


async def test_the_right_key(serve: Serve, probe: Callable[..., None], log: Log) -> None:
    """It is sent as a bearer token."""
    probe(await serve(listed("vllm", "theirs"), key="right"), api_key="right")

    assert (await log.until("backend_probed"))["kind"] == "vllm"


async def test_certificates_are_verified(
    serve: Serve, probe: Callable[..., None], log: Log, tmp_path: Any
) -> None:
    """By the authority that is configured, or not at all if that is configured."""
    authority = trustme.CA()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    url = await serve(listed("vllm", "theirs"), tls=tls)

    probe(url, name="unknown")
    probe(url, name="known", tls_ca=tmp_path / "ca.pem")
    await log.until("backend_probed")
    probe(url, name="unverified", tls_verify=False)
    await log.until("backend_probed", 2)

    assert [event["backend"] for event in log.events] == ["known", "unverified"]


@pytest.mark.parametrize("answer", [[], {"data": "x"}, {"data": [1]}, {}])
async def test_strange_answers_hurt_nobody(
    answer: Any, serve: Serve, probe: Callable[..., None], log: Log
) -> None:
    """A server that answers anything else is left in peace; nothing is said that is not known."""
    url = await serve({"/v1/models": answer})
    good = await serve(listed("vllm", "theirs"))

    probe(url, name="strange")
    probe(good)
    await log.until("backend_probed")

    assert {event["backend"] for event in log.events} <= {"strange", "b"}
    assert "backend_lacks_model" not in {event["event"] for event in log.events}


def saying(body: bytes) -> httpx2.AsyncClient:
    transport = httpx2.MockTransport(lambda _: httpx2.Response(200, content=body))
    return httpx2.AsyncClient(transport=transport, base_url="http://gpu:1")


@pytest.mark.parametrize(
    "body", [b'{"data":5}', b'{"data":[1,"a",{"id":null}]}', b'{"data":{"a":1}}', b"{}"]
)
async def test_lists_that_are_none(body: bytes) -> None:
    """An answer of another shape names no models, and ends nothing."""
    async with saying(body) as client:
        assert Nature("openai", "", ()) == await ask(client)


@pytest.mark.parametrize(
    "body", [b"[1]", b"\xff", b"[" * 200_000, b'{"data":[],"x":"' + b"y" * MAX_BYTES + b'"}']
)
async def test_what_cannot_be_read(body: bytes) -> None:
    """Nonsense, nested or endless, is an answer that says nothing: it is asked again later."""
    async with saying(body) as client:
        with pytest.raises(ValueError):  # noqa: PT011 - json's own text for some
            await ask(client)
