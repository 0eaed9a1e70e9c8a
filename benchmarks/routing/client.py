"""
The load client: a process that plays one job and writes its outcome. Raw protocols on uvloop with
httptools, because a client that is late measures itself.
"""

import asyncio
import gc
import resource
import sys
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import httptools
import msgspec
import uvloop

from . import prompts
from .jobs import MODEL, Ask, Job, Outcome, Script, Turn

_HEAD = (
    "POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
    "x-session-id: {session}\r\ncontent-length: {length}\r\n\r\n"
)
_LEAD_S = 0.3  # from the start of the loop to the first request
_DONE = b"data: [DONE]"


class Usage(msgspec.Struct):
    """The end of a stream, as OpenAI's API tells it."""

    class Details(msgspec.Struct):
        cached_tokens: int = 0

    prompt_tokens: int = 0
    completion_tokens: int = 0
    prompt_tokens_details: Details | None = None


class Delta(msgspec.Struct):
    content: str | None = None


class Choice(msgspec.Struct):
    delta: Delta | None = None


class Chunk(msgspec.Struct):
    choices: list[Choice] = []
    usage: Usage | None = None
    error: Any = None


_chunk = msgspec.json.Decoder(Chunk)


class Exchange(asyncio.Protocol):
    """A connection to the router, and the one request that is on it."""

    def __init__(self, idle: deque["Exchange"]) -> None:
        self._idle = idle
        self._transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpResponseParser(self)
        self._ended: Callable[[Exchange, str], None] | None = None
        self.first_at = 0.0
        self.last_at = 0.0
        self.gap_s = 0.0
        self.chunks = 0
        self.body: list[bytes] = []

    @property
    def usable(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def ask(self, data: bytes, ended: "Callable[[Exchange, str], None]") -> None:
        """Send a request; ``ended`` is called once, with the reason if it failed."""
        self._ended = ended
        self.first_at = self.last_at = self.gap_s = 0.0
        self.chunks = 0
        self.body = []
        cast(asyncio.Transport, self._transport).write(data)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._finish(f"not HTTP: {error}")

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._finish("reset" if exc else "closed")

    def on_body(self, body: bytes) -> None:
        # A comment (": …") that keeps a stream alive is no token; what is not 200 is an error.
        if b"data:" not in body and self._parser.get_status_code() == 200 and not self.chunks:
            return
        now = self._loop.time()
        if self.chunks:
            self.gap_s = max(self.gap_s, now - self.last_at)
        else:
            self.first_at = now
        self.last_at = now
        self.chunks += 1
        self.body.append(body)

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        said = b"".join(self.body)
        if status != 200:
            failure = f"{status} {said[:120].decode(errors='replace')}"
        else:
            failure = "" if _DONE in said[-64:] else "no end of the stream"
        keep = self._parser.should_keep_alive()
        self._parser = httptools.HttpResponseParser(self)
        self._finish(failure)
        if not keep and self._transport is not None:
            self._transport.close()
        elif self.usable:
            self._idle.append(self)

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _finish(self, failure: str) -> None:
        ended, self._ended = self._ended, None
        if ended is not None:
            ended(self, failure)


class Player:
    """Plays the scripts of a job."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._loop = asyncio.get_running_loop()
        self._idle: deque[Exchange] = deque()
        self._open: set[asyncio.Task[None]] = set()
        self._left = len(job.scripts)
        self._over = asyncio.Event()
        self._began = self._loop.time() + _LEAD_S
        self.cpu_s = 0.0  # used before the load began
        self.asks: list[Ask] = []

    async def play(self) -> None:
        """Until every script is over, or the job's time is."""
        users = [(user := User(script, self._job), user.request()) for script in self._job.scripts]
        self._began = self._loop.time() + _LEAD_S
        self.cpu_s = _cpu_s()
        began = time.monotonic() + _LEAD_S
        print(began, flush=True)  # the harness waits for it
        for user, data in users:
            due = self._began + user.script.due_s
            self._loop.call_at(due, self._send, user, data, due)
        try:
            async with asyncio.timeout(self._job.max_s):
                await self._over.wait()
        except TimeoutError:
            return

    def unfinished(self) -> int:
        """Scripts that did not come to their end."""
        return self._left

    @property
    def began(self) -> float:
        return self._began

    def _send(self, user: "User", data: bytes, due: float) -> None:
        late_s = self._loop.time() - due

        def ended(exchange: Exchange, failure: str) -> None:
            self._ended(user, exchange, failure, due, late_s)

        while self._idle:
            exchange = self._idle.pop()
            if exchange.usable:
                exchange.ask(data, ended)
                return
        task = self._loop.create_task(self._connect(data, ended))
        self._open.add(task)
        task.add_done_callback(self._open.discard)

    async def _connect(self, data: bytes, ended: Callable[[Exchange, str], None]) -> None:
        try:
            _, exchange = await self._loop.create_connection(
                lambda: Exchange(self._idle), "127.0.0.1", self._job.port
            )
        except OSError as error:
            ended(Exchange(self._idle), f"no connection: {error.strerror}")
        else:
            exchange.ask(data, ended)

    def _ended(
        self, user: "User", exchange: Exchange, failure: str, due: float, late_s: float
    ) -> None:
        now = self._loop.time()
        usage, said, error = read(exchange.body, user.script.chat and not failure)
        details = usage.prompt_tokens_details or Usage.Details()
        self.asks.append(
            Ask(
                user.script.number,
                user.turn,
                due - self._began,
                late_s,
                (exchange.first_at or now) - due,
                now - due,
                exchange.gap_s,
                usage.prompt_tokens,
                usage.completion_tokens,
                details.cached_tokens,
                exchange.chunks,
                failure or error,
            )
        )
        if failure or error or not user.more(said):
            self._left -= 1
            if not self._left:
                self._over.set()
            return
        due = now + user.now.think_s
        self._loop.call_at(due, self._send, user, user.request(), due)


class User:
    """Where somebody is in their script, and what was said so far."""

    def __init__(self, script: Script, job: Job) -> None:
        self.script = script
        self.turn = 0
        self._job = job
        self._messages: list[dict[str, str]] = []

    @property
    def now(self) -> Turn:
        return self.script.turns[self.turn]

    def more(self, answer: str) -> bool:
        """Whether there is another turn after this answer; go on to it."""
        if self.script.chat:
            self._messages.append({"role": "assistant", "content": answer})
        if self.turn + 1 >= len(self.script.turns):
            return False
        self.turn += 1
        return True

    def request(self) -> bytes:
        """The request of this turn."""
        turn, script, words = self.now, self.script, self._job.block_words
        own = f"{script.number}/{self.turn}"
        body: dict[str, Any] = {
            "model": MODEL,
            "max_tokens": turn.output_tokens,
            "ignore_eos": True,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if not script.chat:
            body["prompt"] = prompts.text(turn.blocks, words, own, turn.tail)
            return _request("/v1/completions", script.session, body)
        if turn.blocks:
            system = prompts.text(turn.blocks, words, "", 0)
            self._messages.append({"role": "system", "content": system})
        self._messages.append({"role": "user", "content": prompts.block(own, turn.tail)})
        body["messages"] = self._messages
        return _request("/v1/chat/completions", script.session, body)


def _request(path: str, session: str, body: dict[str, Any]) -> bytes:
    payload = msgspec.json.encode(body)
    head = _HEAD.format(path=path, session=session, length=len(payload))
    return head.encode() + payload


def read(body: list[bytes], whole: bool) -> tuple[Usage, str, str]:
    """What a stream said: usage, text (only if ``whole``, since that costs), an error's event."""
    lines = b"".join(body).split(b"\n\n")
    usage, said = Usage(), []
    for line in lines if whole else lines[-4:]:
        if not line.startswith(b"data: {"):
            continue
        try:
            chunk = _chunk.decode(line[6:])
        except msgspec.MsgspecError:
            return usage, "", "not an event"
        if chunk.error is not None:
            return usage, "", f"event: {str(chunk.error)[:120]}"
        usage = chunk.usage or usage
        said += [c.delta.content for c in chunk.choices if c.delta and c.delta.content]
    return usage, "".join(said), ""


async def _play(job: Job) -> Outcome:
    player = Player(job)
    await player.play()
    loop_s = asyncio.get_running_loop().time()
    asks = player.asks
    if player.unfinished():
        missing = Ask(-1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, f"{player.unfinished()} never ended")
        asks = [*asks, missing]
    elapsed_s = loop_s - player.began
    began_s = time.monotonic() - elapsed_s
    return Outcome(began_s, elapsed_s, _cpu_s() - player.cpu_s, asks)


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """``client.py JOB OUTCOME``: files in MessagePack."""
    source, target = Path(sys.argv[1]), Path(sys.argv[2])
    job = msgspec.msgpack.decode(source.read_bytes(), type=Job)
    # A collection in the middle of a run is a pause that would count as lateness.
    gc.freeze()
    gc.disable()
    target.write_bytes(msgspec.msgpack.encode(uvloop.run(_play(job))))


if __name__ == "__main__":
    main()
