"""Sends one request to an endpoint and tells how it went. Never retries: what fails is counted."""

import asyncio
import ssl
from dataclasses import dataclass
from itertools import pairwise
from time import perf_counter
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec

from headrace.bench.answer import Answer
from headrace.bench.plan import Job
from headrace.errors import ConfigError
from headrace.upstream.connection import Broken, ConnectTimeout
from headrace.upstream.pool import Address, Exhausted, Pool
from headrace.upstream.whole import whole

Kind = Literal["chat", "completions"]
PATHS: dict[str, bytes] = {"chat": b"/v1/chat/completions", "completions": b"/v1/completions"}
CONNECT_S = 10.0
LARGEST = 64 * 1024 * 1024
TOLD = 160  # characters of a refusal that are kept


@dataclass(frozen=True, slots=True)
class Target:
    """Where requests go, and what all of them say."""

    url: str
    model: str
    kind: Kind = "chat"
    api_key: str | None = None
    timeout_s: float = 600.0
    ignore_eos: bool = True
    tls: ssl.SSLContext | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """
    How one request went. Times are s: ``sent_s`` since the step began, the others since it was
    sent. ``late_s`` is how long after it was due it was sent: the load generator's own fault.
    """

    number: int
    sent_s: float
    late_s: float
    latency_s: float
    ttft_s: float | None
    gaps_s: tuple[float, ...]
    prompt_tokens: int
    output_tokens: int
    status: int
    error: str = ""

    @property
    def good(self) -> bool:
        """Whether it was answered as asked."""
        return not self.error

    @property
    def tpot_s(self) -> float | None:
        """Seconds per output token after the first; None for answers of one token."""
        if self.ttft_s is None or self.output_tokens < 2:
            return None
        return (self.latency_s - self.ttft_s) / (self.output_tokens - 1)


class Client:
    """An endpoint and the connections to it."""

    def __init__(self, target: Target) -> None:
        self.target = target
        parts = urlsplit(target.url if "://" in target.url else f"http://{target.url}")
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ConfigError(f"--url: {target.url} is no address; write http://host:port.")
        tls = target.tls if parts.scheme == "https" else None
        port = parts.port or (443 if parts.scheme == "https" else 80)
        path = parts.path.rstrip("/").removesuffix("/v1").encode()
        self._pool = Pool(Address(parts.hostname, port, tls, path), CONNECT_S)
        key = f"authorization: Bearer {target.api_key}\r\n" if target.api_key else ""
        self._fields = (
            f"host: {parts.netloc.rpartition('@')[2]}\r\naccept: text/event-stream\r\n"
            f"user-agent: headrace-bench\r\n{key}"
        ).encode()
        self._encode = msgspec.json.Encoder().encode

    async def models(self) -> list[str]:
        """
        The models that the endpoint names.

        Raises:
            ConfigError: it does not answer, or not as the OpenAI API does.

        """
        head = b"GET /v1/models HTTP/1.1\r\n" + self._fields + b"\r\n"
        try:
            async with asyncio.timeout(CONNECT_S):
                reply = await self._pool.send(head, ())
                body = await whole(reply, LARGEST)
        except (Broken, ConnectTimeout, Exhausted, TimeoutError, OSError) as error:
            raise ConfigError(f"--url: {self.target.url} does not answer: {error}.") from error
        try:
            return [str(model["id"]) for model in msgspec.json.decode(body)["data"]]
        except (msgspec.DecodeError, KeyError, TypeError) as error:
            raise ConfigError(
                f"--url: {self.target.url}/v1/models answered {reply.status}, not a list of models;"
                " is the key right? Else name one with --model."
            ) from error

    async def send(self, job: Job, began: float) -> Record:
        """Send a request, read its answer; ``began`` is when its step did (perf_counter)."""
        body = self._encode(self._body(job))
        path = PATHS[self.target.kind]
        head = b"POST %b HTTP/1.1\r\n%bcontent-type: application/json\r\n" % (path, self._fields)
        head += b"content-length: %d\r\n\r\n" % len(body)
        answer, status, error = Answer(), 0, ""
        sent = perf_counter()
        try:
            async with asyncio.timeout(self.target.timeout_s):
                status, error = await self._exchange(head, body, answer)
        except TimeoutError:
            error = f"no whole answer within {self.target.timeout_s:g} s"
        except (Broken, ConnectTimeout, Exhausted, OSError) as failure:
            error = str(failure) or type(failure).__name__
        end = perf_counter()
        error = error or answer.error or _incomplete(answer)
        marks = answer.marks
        usage = answer.usage
        return Record(
            number=job.number,
            sent_s=sent - began,
            late_s=max(0.0, sent - began - job.due_s),
            latency_s=end - sent,
            ttft_s=marks[0] - sent if marks else None,
            gaps_s=tuple(later - sooner for sooner, later in pairwise(marks)),
            prompt_tokens=usage.prompt_tokens if usage else 0,
            output_tokens=usage.completion_tokens if usage else len(marks),
            status=status,
            error=error,
        )

    async def _exchange(self, head: bytes, body: bytes, answer: Answer) -> tuple[int, str]:
        reply = await self._pool.send(head, (body,))
        if reply.status != 200:
            text = (await whole(reply, LARGEST)).decode("utf-8", "replace")
            return reply.status, f"{reply.status}: {' '.join(text.split())[:TOLD]}"
        answer.feed(reply.body)
        if not reply.complete:
            sink = _Sink(answer)
            reply.connection.attach(sink)
            try:
                await sink.done
            except asyncio.CancelledError:
                reply.connection.abort()
                raise
        return reply.status, ""

    def _body(self, job: Job) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self.target.model,
            "stream": True,
            "stream_options": {"include_usage": True},
            "max_tokens": job.output_tokens,
        }
        if self.target.kind == "chat":
            body["messages"] = [{"role": "user", "content": job.prompt}]
        else:
            body["prompt"] = job.prompt
        if self.target.ignore_eos:
            body["ignore_eos"] = True  # vLLM's: answers are as long as was asked for
        return body

    def close(self) -> None:
        """Close the connections."""
        self._pool.abort()


class _Sink:
    """The rest of an answer, as it comes (``upstream.connection.Sink``)."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def data(self, data: bytes) -> None:
        self._answer.feed(data)

    def end(self, data: bytes) -> None:
        self._answer.feed(data)
        if not self.done.done():
            self.done.set_result(None)

    def broken(self, reason: str) -> None:
        if not self.done.done():
            self.done.set_exception(Broken(reason))


def _incomplete(answer: Answer) -> str:
    if not answer.done:
        return "the stream ended without [DONE]"
    return "" if answer.marks else "an answer without output"
