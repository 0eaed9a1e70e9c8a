"""
The rig of a test: fake engines, a gateway in front of them, clients; and what every test demands.

When it is closed it checks that nothing is left: no lease, no held byte, no task.
"""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

from headrace.config.backends import Backend
from headrace.config.schema import Config
from headrace.conformance import answers
from headrace.conformance.fake import WAIT_S, FakeEngine, Script
from headrace.conformance.ports import RefusingPort, SilentPort
from headrace.conformance.wire import Answer, Client
from headrace.gateway.app import Gateway
from tests.ports import free_port

CHAT_PATH = "/v1/chat/completions"
FORM = "boundary-7"

# Every endpoint that makes an engine work, with a request that it understands.
ENDPOINTS: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "hi"}]},
    "/v1/completions": {"prompt": "hi"},
    "/v1/embeddings": {"input": "hi"},
    "/v1/responses": {"input": "hi"},
    "/v1/messages": {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 9},
    "/v1/rerank": {"query": "hi", "documents": ["a", "b"]},
    "/v1/score": {"text_1": "hi", "text_2": "ho"},
}
STREAMS = ("/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages")


def ask(path: str = CHAT_PATH, model: str = "m", **more: Any) -> dict[str, Any]:
    """A request body for an endpoint."""
    return {"model": model, **ENDPOINTS[path], **more}


def streamed(path: str = CHAT_PATH, model: str = "m", **more: Any) -> dict[str, Any]:
    """
    A request body for a streamed answer.

    With usage asked for, so that the gateway has no reason to add or strip anything.
    """
    if path in {"/v1/chat/completions", "/v1/completions"}:
        more = {"stream_options": {"include_usage": True}, **more}
    return ask(path, model, stream=True, **more)


class Rig:
    """Engines and gateways of one test, and the clients that talk to them."""

    def __init__(self) -> None:
        self.engines: list[FakeEngine] = []
        self._gateways: list[Gateway] = []
        self._clients: list[Client] = []
        self._ports: list[RefusingPort | SilentPort] = []
        self._tasks = asyncio.all_tasks()

    @property
    def gateway_now(self) -> Gateway:
        return self._gateways[-1]

    async def engine(self, script: Script = answers.like_vllm) -> FakeEngine:
        """A running fake engine; gateways started later have it as a replica."""
        engine = FakeEngine(script)
        engine.port = free_port()  # it may be killed, and come back
        await engine.start()
        self.engines.append(engine)
        return engine

    def refusing(self) -> RefusingPort:
        self._ports.append(port := RefusingPort())
        return port

    def silent(self) -> SilentPort:
        self._ports.append(port := SilentPort())
        return port

    async def gateway(
        self,
        *,
        serves: dict[str, str] | None = None,
        urls: list[str] | None = None,
        **sections: Any,
    ) -> Gateway:
        """Start a gateway in front of all engines so far (or of these URLs)."""
        replicas = [engine.url for engine in self.engines] if urls is None else urls
        serves = serves or {"m": "m"}
        tree: dict[str, Any] = {
            "server": {"port": 0} | sections.pop("server", {}),
            "models": [{"name": name} for name in serves],
            "backends": [{"url": url, "serves": serves} for url in replicas],
            "logging": {"requests": False},
        }
        gateway = Gateway(Config.model_validate(tree | sections))
        gateway.metrics.scrape.oldest_s = 0.0  # a test may scrape twice in a moment
        await gateway.start()
        self._gateways.append(gateway)
        return gateway

    def backend(self, engine: FakeEngine, **serves: str) -> Backend:
        """An engine as a backend that can be added to a running gateway."""
        return Backend.model_validate({"url": engine.url, "serves": serves or {"m": "m"}})

    def client(self, **options: Any) -> Client:
        client = Client(self.gateway_now.url, **options)
        self._clients.append(client)
        return client

    async def post(self, body: Any, path: str = CHAT_PATH, **headers: str) -> Answer:
        """One request on a connection of its own."""
        named = [(name.replace("_", "-"), value) for name, value in headers.items()]
        async with self.client() as client:
            return await client.post(path, body, named)

    async def get(self, path: str) -> Answer:
        async with self.client() as client:
            return await client.get(path)

    async def recovery(self, timeout_s: float = 10.0) -> None:
        """Ask until it works: a breaker, if there is one, may need a moment."""
        async with asyncio.timeout(timeout_s):
            while (await self.post(ask())).status != 200:  # noqa: ASYNC110 - as in eventually
                await asyncio.sleep(0.05)

    async def idle(self) -> None:
        """Wait until the gateways hold nothing: no lease and no byte."""
        await eventually(lambda: not any(map(held, self._gateways)), lambda: repr(self.leases()))

    def leases(self) -> list[tuple[int, int, int]]:
        """In-flight requests, in-flight tokens and held bytes of each gateway."""
        return [now for now in map(held, self._gateways) if now]

    async def close(self) -> None:
        """Take everything down, and demand that nothing is left."""
        for client in self._clients:
            client.close()
        try:
            await self.idle()
        finally:
            for gateway in self._gateways:
                await gateway.stop(drain_s=0.1)
            for engine in self.engines:
                await engine.stop()
            for port in self._ports:
                port.close()
        await eventually(lambda: not self._left(), lambda: repr(self._left()))

    def _left(self) -> set[asyncio.Task[Any]]:
        return {task for task in asyncio.all_tasks() - self._tasks if not _is_fixture(task)}


def held(gateway: Gateway) -> tuple[int, int, int] | None:
    """What a gateway holds: requests, tokens, bytes; None when nothing."""
    now = (gateway.fleet.inflight_requests, gateway.fleet.inflight_tokens, gateway.buffered_bytes)
    return now if any(now) else None


async def eventually(
    true: Callable[[], bool], tell: Callable[[], str] = str, timeout_s: float = WAIT_S
) -> None:
    """Wait until something the loop is about to do has happened."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            while not true():  # noqa: ASYNC110 - what is waited for is seen from outside only
                await asyncio.sleep(0.005)
    assert true(), tell()


async def turns(count: int) -> None:
    """
    Let the loop turn so many times, a millisecond apart.

    Engines, gateway and clients of a test share its loop: so often each of them has read what came
    and told the others, also when the process stood still meanwhile, which one long sleep does not
    promise (a timer that is late rings before sockets are read).
    """
    for _ in range(count):
        await asyncio.sleep(0.001)


def _is_fixture(task: asyncio.Task[Any]) -> bool:
    """Whether a task is pytest's own, that runs the test or a fixture."""
    name = getattr(task.get_coro(), "__qualname__", "")
    return task is asyncio.current_task() or "pytest" in name


# what every answer must look like


def openai_error(answer: Answer, status: int, code: str | None = None) -> dict[str, Any]:
    """Demand an error in OpenAI's shape; gives its inner object."""
    assert status == answer.status, answer
    assert (answer.header("content-type") or "").startswith("application/json"), answer
    return check_error(answer.json(), code)


def check_error(body: Any, code: str | None = None) -> dict[str, Any]:
    """Demand that a decoded body is an error in OpenAI's shape."""
    assert ["error"] == list(body), body
    error: dict[str, Any] = body["error"]
    assert {"message", "type", "param", "code"} == set(error), error
    for key in ("message", "type"):
        assert isinstance(error[key], str), error
        assert error[key], error
    if code is not None:
        assert code == error["code"], error
    return error


def anthropic_error(answer: Answer, status: int) -> dict[str, Any]:
    """Demand an error in Anthropic's shape; gives its inner object."""
    assert status == answer.status, answer
    return check_anthropic(answer.json())


def check_anthropic(body: Any) -> dict[str, Any]:
    assert {"type", "error"} <= set(body) <= {"type", "error", "request_id"}, body
    assert "error" == body["type"], body
    error: dict[str, Any] = body["error"]
    assert {"type", "message"} == set(error), error
    return error


def retry_after(answer: Answer) -> int:
    """Demand a Retry-After in whole seconds."""
    value = answer.header("retry-after")
    assert value is not None, answer.headers
    assert value.isdigit(), value
    assert int(value) >= 1
    return int(value)


def ends_with_error(answer: Answer, path: str = CHAT_PATH) -> dict[str, Any]:
    """
    Demand that a stream ended with one error frame and [DONE]; gives the error.

    On /v1/responses the frame is also an event of that API: it has a type, too.
    """
    events = [event for event in answer.events if event.data is not None]
    assert b"" == bytes(answer.body)[sum(len(event.raw) for event in answer.events) :], answer
    assert "[DONE]" == events[-1].data, events
    bodies = [event.json() for event in events[:-1]]
    errors = [body for body in bodies if "error" in body]
    assert 1 == len(errors), bodies
    assert errors[0] is bodies[-1], bodies
    if path == "/v1/responses":
        assert "error" == errors[0].get("type", "error"), errors
        return check_error({"error": errors[0]["error"]})
    return check_error(errors[0])


def form(model: str, audio: bytes, **fields: str) -> tuple[bytes, tuple[str, str]]:
    """A multipart form with a file and a model, and its content-type."""
    parts = [
        f'--{FORM}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in {"language": "en", "model": model, **fields}.items()
    ]
    file = (
        f'--{FORM}\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n'
        "Content-Type: audio/wav\r\n\r\n"
    ).encode()
    body = b"".join([parts[0], file, audio, b"\r\n", *parts[1:], f"--{FORM}--\r\n".encode()])
    return body, ("content-type", f"multipart/form-data; boundary={FORM}")


async def gather(*tasks: Any) -> list[Any]:
    """Run side by side, at most as long as anything may take."""
    async with asyncio.timeout(2 * WAIT_S):
        return list(await asyncio.gather(*tasks))
