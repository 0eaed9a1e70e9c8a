"""
The engine that is calibrated: what it says of itself, and when each token of an answer comes.

No decisions here about what to ask; nothing is fitted.
"""

import asyncio
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urlsplit

import httpx2
import msgspec

from headrace.config.backends import Backend
from headrace.engines import remote
from headrace.errors import StartError
from headrace.telemetry.exposition import Reader, Sample
from headrace.upstream.connection import Broken, Reply
from headrace.upstream.pool import Address, Pool

ANSWER_S = 120.0  # no probe is meant to take so long: the engine is stuck
ABOUT_S = 10.0
CONNECT_S = 5.0
# What only vLLM and its like understand; others are asked without.
EXTRAS = {"ignore_eos": True}
CONTINUOUS = {"continuous_usage_stats": True}
GAUGES = ("vllm:num_requests_running", "vllm:num_requests_waiting")
CACHE = "vllm:cache_config_info"
ENDED = "vllm:request_success_total"


@dataclass(frozen=True, slots=True)
class Facts:
    """What the engine says of itself; None is what it does not tell. Lengths are in tokens."""

    kind: str
    version: str
    model: str
    max_model_len: int | None = None
    kv_tokens: int | None = None
    block_size: int | None = None


@dataclass(frozen=True, slots=True)
class Load:
    """What the engine works on, and how many requests it has ended so far."""

    running: int
    waiting: int
    ended: int


@dataclass(frozen=True, slots=True)
class Answer:
    """
    When what came, in seconds of one clock: the request was sent at ``sent``; each arrival is the
    moment, and how many tokens of the answer there were then.
    """

    sent: float
    arrivals: tuple[tuple[float, int], ...]
    prompt_tokens: int
    cached_tokens: int

    @property
    def first(self) -> float:
        """When the first token came."""
        return self.arrivals[0][0]

    @property
    def last(self) -> float:
        """When the last one came."""
        return self.arrivals[-1][0]

    @property
    def ttft_ms(self) -> float:
        """From sending to the first token."""
        return (self.first - self.sent) * 1000


class Refused(Exception):
    """The engine answered with an error; the text is its own."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(f"{status}: {reason}")
        self.status = status


class Target:
    """One engine and one of its models. Use as an async context manager."""

    def __init__(self, backend: Backend) -> None:
        parts = urlsplit(backend.url)
        tls = ssl.create_default_context() if parts.scheme == "https" else None
        port = parts.port or (443 if tls else 80)
        headers = remote.authorization(backend)
        self._url = backend.url
        self.plain = False  # it does not take vLLM's own fields
        self._pool = Pool(Address(parts.hostname or "", port, tls), CONNECT_S)
        lines = [f"host: {parts.netloc}", "accept-encoding: identity", "user-agent: headrace"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self._head = "".join(f"{line}\r\n" for line in lines).encode("latin-1")
        self._http = httpx2.AsyncClient(
            base_url=backend.url, headers=headers, timeout=ABOUT_S, trust_env=False
        )
        self._reader = Reader([*GAUGES, CACHE, ENDED])
        self._model = ""

    @property
    def url(self) -> str:
        """Where it listens."""
        return self._url

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._pool.abort()
        await self._http.aclose()

    async def facts(self, model: str | None = None) -> Facts:
        """
        What it is; from now on it is asked for this model, or else for its first.

        Raises:
            StartError: it cannot be reached, wants another key, or has no such model.

        """
        try:
            nature = await remote.ask(self._http)
            listed = (await self._http.get("/v1/models")).json()["data"]
        except remote.Refused as refused:
            raise StartError(
                f"{self.url} does not take our key ({refused}); give one with --api-key-file."
            ) from None
        except (httpx2.HTTPError, ValueError, KeyError) as error:
            raise StartError(
                f"{self.url} does not answer as an OpenAI API does ({_reason(error)});"
                " start the engine, or give another --url."
            ) from None
        entries = {str(entry.get("id")): entry for entry in listed if isinstance(entry, dict)}
        self._model = model or next(iter(entries), "")
        if self._model not in entries:
            raise StartError(
                f"{self.url} has no model {self._model!r}; it has {', '.join(entries) or 'none'}."
            )
        labels = await self._cache()
        return Facts(
            kind=nature.kind,
            version=nature.version,
            model=self._model,
            max_model_len=_whole(entries[self._model].get("max_model_len")),
            kv_tokens=_kv_tokens(labels),
            block_size=_whole(labels.get("block_size")),
        )

    async def load(self) -> Load | None:
        """What it works on now; None when it has no metrics of vLLM's."""
        samples = await self._samples()
        if not {sample.name for sample in samples} >= {*GAUGES}:
            return None
        running, waiting, ended = (
            round(sum(sample.value for sample in samples if sample.name == name))
            for name in (*GAUGES, ENDED)
        )
        return Load(running, waiting, ended)

    async def complete(self, prompt: str, tokens: int) -> Answer:
        """
        An answer of so many tokens, streamed.

        Raises:
            Refused: the engine answered with an error.
            StartError: it broke off, or fell silent.

        """
        if not self.plain:
            try:
                return await self._complete(prompt, tokens)
            except Refused as refused:
                if refused.status not in {400, 422}:
                    raise
                self.plain = True
                try:
                    return await self._complete(prompt, tokens)
                except Refused:
                    self.plain = False  # it was something else that it did not like
                    raise
        return await self._complete(prompt, tokens)

    # --- below -----------------------------------------------------------------------------

    async def _complete(self, prompt: str, tokens: int) -> Answer:
        body = msgspec.json.encode(self._body(prompt, tokens))
        head = b"POST /v1/completions HTTP/1.1\r\n%bcontent-type: application/json\r\n" % self._head
        head += b"content-length: %d\r\n\r\n" % len(body)
        sent = time.perf_counter()
        try:
            async with asyncio.timeout(ANSWER_S):
                reply = await self._pool.send(head, (body,))
                heard = _Listener(reply)
                try:
                    await heard.done
                except asyncio.CancelledError:
                    reply.connection.abort()
                    raise
        except TimeoutError:
            raise StartError(f"{self.url} did not answer within {ANSWER_S:g} s.") from None
        except Broken as broken:
            raise StartError(f"{self.url} broke off: {broken.reason}.") from None
        if reply.status != 200:
            raise Refused(reply.status, _message(b"".join(data for _, data in heard.pieces)))
        return _read(sent, heard.pieces)

    def _body(self, prompt: str, tokens: int) -> dict[str, Any]:
        options: dict[str, Any] = {"include_usage": True}
        body = {
            "model": self._model, "prompt": prompt, "max_tokens": tokens, "temperature": 0,
            "stream": True, "stream_options": options,
        }  # fmt: skip
        if self.plain:
            return body
        return {**body, **EXTRAS, "stream_options": {**options, **CONTINUOUS}}

    async def _samples(self) -> list[Sample]:
        try:
            answer = await self._http.get("/metrics")
            return self._reader.read(answer.content) if answer.status_code == 200 else []
        except (httpx2.HTTPError, ValueError):
            return []

    async def _cache(self) -> dict[str, str]:
        found = [sample.labels for sample in await self._samples() if sample.name == CACHE]
        return dict(found[0]) if found else {}


class _Listener:
    """Notes when each piece of an answer comes (``Sink``)."""

    def __init__(self, reply: Reply) -> None:
        self._connection = reply.connection
        self.pieces = [(time.perf_counter(), reply.body)]
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if reply.complete:
            self._finish()
        else:
            self._connection.attach(self)

    def data(self, data: bytes) -> None:
        self.pieces.append((time.perf_counter(), data))

    def end(self, data: bytes) -> None:
        self.data(data)
        self._finish()

    def broken(self, reason: str) -> None:
        if not self.done.done():
            self.done.set_exception(Broken(reason))

    def _finish(self) -> None:
        self._connection.release()
        if not self.done.done():
            self.done.set_result(None)


def _read(sent: float, pieces: list[tuple[float, bytes]]) -> Answer:
    """The arrivals of tokens; where chunks do not tell how many there are, one chunk is one."""
    arrivals: list[tuple[float, int]] = []
    produced = prompt = cached = 0
    for moment, event in _events(pieces):
        usage = event.get("usage") or {}
        prompt = usage.get("prompt_tokens") or prompt
        cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or cached
        if not event.get("choices"):
            continue
        counted = usage.get("completion_tokens")
        tokens = produced + 1 if counted is None else int(counted)
        if tokens > produced:
            produced = tokens
            arrivals.append((moment, produced))
    if not arrivals or not prompt:
        raise Refused(200, "its stream has no tokens, or tells no usage")
    return Answer(sent, tuple(arrivals), prompt, cached)


def _events(pieces: list[tuple[float, bytes]]) -> Iterator[tuple[float, dict[str, Any]]]:
    """The events with JSON, each at the moment when it was whole."""
    rest = b""
    for moment, data in pieces:
        *whole, rest = (rest + data).replace(b"\r\n", b"\n").split(b"\n\n")
        for event in whole:
            text = event.removeprefix(b"data:").strip()
            if not text.startswith(b"{"):
                continue
            try:
                found = msgspec.json.decode(text)
            except msgspec.DecodeError:
                raise Refused(200, "its stream is no JSON") from None
            if found.get("error"):
                raise Refused(200, _message(text))
            yield moment, found


def _message(body: bytes) -> str:
    """An error's own words, whatever its shape."""
    try:
        found = msgspec.json.decode(body)
    except msgspec.DecodeError:
        found = None
    error = found.get("error", found) if isinstance(found, dict) else None
    words = error.get("message") if isinstance(error, dict) else None
    return str(words or body[:200].decode("utf-8", "replace"))


def _kv_tokens(labels: dict[str, str]) -> int | None:
    told = _whole(labels.get("kv_cache_size_tokens"))
    blocks, size = _whole(labels.get("num_gpu_blocks")), _whole(labels.get("block_size"))
    return told or (blocks * size if blocks and size else None)


def _whole(value: object) -> int | None:
    try:
        return int(str(value))
    except ValueError:
        return None


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__
