"""
The load client: reads one Job a line, plays it over raw uvloop protocols, checks every answer,
and prints one Outcome a line. It knows nothing about which proxy, if any, stands in between.
"""

import asyncio
import contextlib
import functools
import itertools
import re
import sys
import time
from collections.abc import Iterator
from typing import cast

import httptools
import msgspec
import uvloop

from . import prompts
from .jobs import HOLD_TOKENS, WORDS, Job, Outcome
from .summary import percentile

_DONE = b"data: [DONE]"
_PROMPT_TOKENS = re.compile(rb'"prompt_tokens":\s*(\d+)')
_OPENING_AT_ONCE = 64
_LARGE_MOST = 1_000
_FINISH_S = 30.0
_WHOLE_TOKENS = 16


class Answer:
    """One response as it arrives: `marks` are the times at which body bytes came in."""

    __slots__ = ("body", "end", "first", "marks", "sent_s", "status")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.status = 0
        self.body = bytearray()
        self.marks: list[float] = []
        self.first = loop.create_future()
        self.end: asyncio.Future[str] = loop.create_future()
        self.sent_s = time.perf_counter()

    @property
    def ttft_ms(self) -> float:
        return (self.marks[0] - self.sent_s) * 1e3

    def gaps_ms(self) -> Iterator[float]:
        return ((later - sooner) * 1e3 for sooner, later in itertools.pairwise(self.marks))


class Connection(asyncio.Protocol):
    """One keep-alive connection with at most one request on it."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpResponseParser(self)
        self._answer: Answer | None = None
        self.transport: asyncio.Transport | None = None

    @property
    def usable(self) -> bool:
        return self.transport is not None and not self.transport.is_closing()

    def ask(self, request: bytes) -> Answer:
        answer = self._answer = Answer(self._loop)
        assert self.transport is not None
        self.transport.write(request)
        return answer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass

    def connection_lost(self, _exc: Exception | None) -> None:
        self.transport = None
        self._finish("connection closed before the end")

    def data_received(self, data: bytes) -> None:
        answer = self._answer
        if answer is None:
            return
        now = time.perf_counter()
        had = len(answer.body)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._finish(f"broken HTTP: {error}")
            return
        if len(answer.body) > had:
            answer.marks.append(now)
            if not answer.first.done():
                answer.first.set_result(None)

    def on_headers_complete(self) -> None:
        if self._answer is not None:
            self._answer.status = self._parser.get_status_code()

    def on_body(self, data: bytes) -> None:
        if self._answer is not None:
            self._answer.body += data

    def on_message_complete(self) -> None:
        if self._answer is not None and self._answer.status >= 200:
            keep = self._parser.should_keep_alive()
            self._finish("")
            if not keep and self.transport is not None:
                self.transport.close()

    def _finish(self, reason: str) -> None:
        answer, self._answer = self._answer, None
        if answer is not None and not answer.end.done():
            answer.end.set_result(reason)
            if not answer.first.done():
                answer.first.set_result(None)


def wrong_stream(status: int, body: bytes | bytearray, chunks: int) -> str:
    """Why this streamed answer does not count; empty if it does."""
    if status != 200:
        return f"status {status}"
    got = sum(body.count(word) for word in WORDS)
    if got != chunks:
        return f"{got} of {chunks} chunks" if got < chunks else "more chunks than asked for"
    return "" if body.rstrip().endswith(_DONE) else "no [DONE]"


def wrong_whole(status: int, body: bytes | bytearray, prompt_bytes: int) -> str:
    """Why this whole answer does not count: the engine says how much of the prompt it saw."""
    if status != 200:
        return f"status {status}"
    seen = _PROMPT_TOKENS.search(body)
    if seen is None:
        return "no usage"
    return "" if int(seen[1]) >= prompt_bytes else "the prompt was cut"


class Player:
    """Plays one job. `run` for its kind returns the Outcome; cancelled work counts as failed."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._loop = asyncio.get_running_loop()
        # Encoded here, before the clock runs: 10 MB of JSON takes a while.
        streamed = job.kind != "whole"
        tokens = {"whole": _WHOLE_TOKENS, "idle": HOLD_TOKENS}.get(job.kind, job.chunks)
        self._requests = _requests(job.port, job.prompt_bytes, stream=streamed, tokens=tokens)
        self._large = (
            _requests(job.port, job.large_bytes, stream=False, tokens=_WHOLE_TOKENS)
            if job.large_bytes
            else []
        )
        self._stop_at_s = time.perf_counter() + job.max_s
        self.outcome = Outcome()
        self._latencies_ms: list[float] = []
        self._gaps_ms: list[float] = []
        self._open: list[Connection] = []

    async def run(self) -> Outcome:
        play = {"stream": self._streams, "whole": self._wholes, "stall": self._stall}
        started_s, cpu_s = time.perf_counter(), time.process_time()
        try:
            async with asyncio.timeout(self._job.max_s + _FINISH_S):
                await play[self._job.kind]()
        except TimeoutError:
            self.outcome.fail("not finished in time")
        finally:
            self.close()
        self.outcome.elapsed_s = time.perf_counter() - started_s
        self.outcome.client_cpu_s = time.process_time() - cpu_s
        self.outcome.latency_p50_ms = percentile(self._latencies_ms, 0.5)
        self.outcome.latency_p99_ms = percentile(self._latencies_ms, 0.99)
        self.outcome.gap_p99_ms = percentile(self._gaps_ms, 0.99)
        self.outcome.gap_worst_ms = max(self._gaps_ms, default=0.0)
        return self.outcome

    async def open_idle(self) -> Outcome:
        """Opens the streams that stay silent after their first chunk, and leaves them open."""
        turns = itertools.cycle(self._requests)
        gate = asyncio.Semaphore(_OPENING_AT_ONCE)

        async def one() -> None:
            async with gate:
                if time.perf_counter() > self._stop_at_s:
                    self.outcome.fail("not opened in time")
                    return
                connection = await self._connect(None)
                answer = connection.ask(next(turns))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._stop_at_s - time.perf_counter()):
                        await answer.first
                if answer.status == 200 and answer.marks and not answer.end.done():
                    self.outcome.answered += 1
                else:
                    self.outcome.fail(f"status {answer.status}" if answer.status else "no answer")

        await self._all(one() for _ in range(self._job.connections))
        return self.outcome

    def close(self) -> None:
        for connection in self._open:
            if connection.transport is not None:
                connection.transport.abort()

    async def _streams(self) -> None:
        requests = self._requests
        step_s = self._job.spread_s / max(1, self._job.connections)
        await self._all(
            self._stream_slot(requests[slot:] + requests[:slot], slot * step_s)
            for slot in range(self._job.connections)
        )

    async def _stream_slot(self, requests: list[bytes], delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        connection: Connection | None = None
        for _, request in zip(range(self._job.rounds), itertools.cycle(requests), strict=False):
            if time.perf_counter() > self._stop_at_s:
                return
            connection = await self._connect(connection)
            answer = connection.ask(request)
            reason = await answer.end or wrong_stream(answer.status, answer.body, self._job.chunks)
            if reason:
                self.outcome.fail(reason)
                continue
            self.outcome.answered += 1
            self.outcome.chunks += self._job.chunks
            self.outcome.ttft_ms.append(answer.ttft_ms)
            self._gaps_ms.extend(answer.gaps_ms())

    async def _wholes(self) -> None:
        turns = itertools.cycle(self._requests)
        await self._all(
            self._whole_slot(turns, self._job.rounds) for _ in range(self._job.connections)
        )

    async def _whole_slot(self, turns: "itertools.cycle[bytes]", rounds: int) -> None:
        connection: Connection | None = None
        for _ in range(rounds):
            if time.perf_counter() > self._stop_at_s:
                return
            connection = await self._connect(connection)
            answer = connection.ask(next(turns))
            reason = await answer.end or wrong_whole(
                answer.status, answer.body, self._job.large_bytes or self._job.prompt_bytes
            )
            if reason:
                self.outcome.fail(reason)
                continue
            self.outcome.answered += 1
            self._latencies_ms.append((answer.marks[-1] - answer.sent_s) * 1e3)

    async def _stall(self) -> None:
        async def keep_sending() -> None:
            await asyncio.sleep(self._job.spread_s * 2)
            await self._whole_slot(itertools.cycle(self._large), _LARGE_MOST)

        sender = asyncio.create_task(keep_sending())
        await self._streams()
        sender.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await sender
        self.outcome.large_answered = len(self._latencies_ms)

    async def _connect(self, connection: Connection | None) -> Connection:
        """Keeps a usable connection; opens another where a proxy closed the last one."""
        if connection is not None and connection.usable:
            return connection
        try:
            _, fresh = await self._loop.create_connection(Connection, "127.0.0.1", self._job.port)
        except OSError as error:
            raise Refused(str(error)) from error
        self._open.append(fresh)
        return fresh

    async def _all(self, slots: "Iterator[asyncio._CoroutineLike[None]]") -> None:
        for result in await asyncio.gather(*slots, return_exceptions=True):
            if isinstance(result, Refused):
                self.outcome.fail("connection refused")
            elif isinstance(result, BaseException):
                raise result


@functools.lru_cache(maxsize=12)  # the same jobs come again for every proxy
def _requests(port: int, size: int, *, stream: bool, tokens: int) -> list[bytes]:
    bodies = prompts.bodies(size, stream=stream, tokens=tokens)
    return [prompts.request(port, body) for body in bodies]


class Refused(Exception):
    """The proxy does not accept connections (any more)."""


async def play(line: bytes) -> None:
    """One job. An idle one is answered when open, and closed when the next line comes."""
    job = msgspec.json.decode(line, type=Job)
    player = Player(job)
    if job.kind != "idle":
        _print(await player.run())
        return
    _print(await player.open_idle())
    await asyncio.to_thread(sys.stdin.buffer.readline)
    player.close()
    _print(player.outcome)


def _print(outcome: Outcome) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(outcome) + b"\n")
    sys.stdout.buffer.flush()


def main() -> None:
    """`python -m benchmarks.overhead.client`, driven over stdin."""
    for line in sys.stdin.buffer:
        uvloop.run(play(line))


if __name__ == "__main__":
    main()
