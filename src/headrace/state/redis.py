"""
The one client of the state that gateways share (Redis, Valkey): deadlines, health, reconnecting.
What is kept there is its users' matter; table.py has one shape for it.
"""

import asyncio
import hashlib
import importlib
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Protocol, TypeVar

from headrace.config.state import State
from headrace.errors import StateLost
from headrace.state.ending import end

T = TypeVar("T")
Word = str | bytes | int | float
Next = Callable[[float], Awaitable[bytes | None]]

# Pauses between attempts to reach a lost server: quick to notice it, slow enough to be no burden.
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 1.0
# How often a server that nobody asks is asked whether it is there.
IDLE_S = 1.0


class Script:
    """A Lua script, which servers know by its hash."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.sha = hashlib.sha1(text.encode("utf-8"), usedforsecurity=False).hexdigest()


class Meter(Protocol):
    """Where its health and its times go."""

    def up(self, state: str, now: bool) -> None: ...

    def failed(self, operation: str) -> None: ...

    def took(self, operation: str, seconds: float) -> None: ...


class Log(Protocol):
    """Where events go."""

    def event(self, event: str, **fields: object) -> None: ...


class Silent:
    """A meter and a log for those who want neither, such as a command."""

    def up(self, state: str, now: bool) -> None: ...

    def failed(self, operation: str) -> None: ...

    def took(self, operation: str, seconds: float) -> None: ...

    def event(self, event: str, **fields: object) -> None: ...


class Link:
    """
    The way to the shared state.

    ``ask`` does one command within the deadline, or raises ``StateLost``: at once while the
    server is known to be gone, which a task of its own (``start``) finds out to be over. Without
    that task each operation tries anew, as a command wants it.
    """

    def __init__(self, config: State, meter: Meter | None = None, log: Log | None = None) -> None:
        """
        Nothing is connected yet. The configuration must have a URL.

        Raises:
            StateLost: its certificate authority cannot be read.

        """
        self.prefix = config.prefix
        self.place = config.place
        self.down_since: float | None = None  # monotonic
        self._timeout_s = config.timeout_s
        self.meter = meter or Silent()
        self.meter.up(self.place, False)  # until it has answered
        self._log = log or Silent()
        self._client = _client(config)
        errors = importlib.import_module("redis.exceptions")
        self._errors: tuple[type[BaseException], ...] = errors.RedisError, OSError, TimeoutError
        self._refusal: type[BaseException] = errors.ResponseError
        self._no_script: type[BaseException] = errors.NoScriptError
        self._refused: set[str] = set()  # operations
        self._watch: asyncio.Task[None] | None = None
        self._lost = asyncio.Event()
        self._asked_at = 0.0
        self._back: list[Callable[[], None]] = []

    @property
    def up(self) -> bool:
        """Whether the last operation got an answer (True before the first)."""
        return self.down_since is None

    def key(self, group: str, *names: str) -> str:
        """
        A key of ours. All keys of one group are in one slot of a Redis Cluster, so that one
        operation may use several of them (https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#hash-tags).
        """
        return ":".join((self.prefix, f"{{{group}}}", *names))

    def when_back(self, told: Callable[[], None]) -> None:
        """Call this each time a lost server answers again: it may have forgotten everything."""
        self._back.append(told)

    async def start(self) -> None:
        """Ask whether it is there, once, and keep an eye on it from now on. Never fails."""
        await self._ping()
        self._watch = asyncio.get_running_loop().create_task(self._look())

    async def stop(self) -> None:
        """Close the connections."""
        task, self._watch = self._watch, None
        if task is not None:
            await end([task])
        await self._client.aclose()

    async def ask(self, operation: str, *command: Word) -> Any:
        """
        Do one command: ``await link.ask("keys", "GET", name)``.

        Answers are as redis-py gives them, with bytes for texts. ``operation`` is the metrics'
        label, one of a few words.

        Raises:
            StateLost: there was no answer within the deadline, or an error instead of one.

        """
        self._check(operation)
        return await self._run(operation, lambda: self._client.execute_command(*command))

    async def batch(
        self, operation: str, commands: Iterable[Sequence[Word]], *, whole: bool = False
    ) -> list[Any]:
        """
        Do several commands in one round trip; ``whole``: as one (MULTI), for which their keys must
        be of one group. Raises as ``ask`` does.
        """
        self._check(operation)
        async with self._client.pipeline(transaction=whole) as pipe:
            for command in commands:
                pipe.execute_command(*command)
            return await self._run(operation, pipe.execute)

    async def script(
        self, operation: str, script: Script, calls: Sequence[Sequence[Word]]
    ) -> list[Any]:
        """
        Run a script once for each call (how many keys, the keys, the arguments), in one round trip;
        two where the server does not have it, or has forgotten it. Raises as ``ask`` does.
        """
        self._check(operation)
        return await self._run(operation, lambda: self._scripted(script, calls))

    @asynccontextmanager
    async def subscription(self, channel: str) -> AsyncIterator[Next]:
        """
        Hear a channel; what comes with it waits so many seconds for the next message, None for
        nothing in that time. A connection of its own, which is closed at the end.

        Raises:
            StateLost: there is none, or it was lost, also in the middle of it.

        """
        self._check("listen")
        pubsub = self._client.pubsub(ignore_subscribe_messages=True)

        async def following(within_s: float) -> bytes | None:
            until = time.monotonic() + within_s
            while (left_s := until - time.monotonic()) > 0:
                message = await pubsub.get_message(timeout=left_s)
                if message is not None:
                    data: bytes = message["data"]
                    return data
            return None

        try:
            await pubsub.subscribe(channel)
            yield following
        except self._errors as error:
            self.meter.failed("listen")
            why = _why(error, self._timeout_s)
            raise StateLost(f"The shared state at {self.place}: {why}.") from error
        finally:
            await pubsub.aclose()

    # --- below ------------------------------------------------------------------------------

    async def _scripted(self, script: Script, calls: Sequence[Sequence[Word]]) -> list[Any]:
        answers = await self._each([("EVALSHA", script.sha, *call) for call in calls])
        strange = [i for i, answer in enumerate(answers) if isinstance(answer, self._no_script)]
        if strange:
            again = await self._each([("EVAL", script.text, *calls[i]) for i in strange])
            for i, answer in zip(strange, again, strict=True):
                answers[i] = answer
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
        return answers

    async def _each(self, commands: Sequence[Sequence[Word]]) -> list[Any]:
        """The answers of commands in one round trip; an error stands in the place of its answer."""
        if len(commands) == 1:  # half the time of a pipeline
            try:
                return [await self._client.execute_command(*commands[0])]
            except self._refusal as error:
                return [error]
        async with self._client.pipeline(transaction=False) as pipe:
            for command in commands:
                pipe.execute_command(*command)
            answers: list[Any] = await pipe.execute(raise_on_error=False)
            return answers

    def _check(self, operation: str) -> None:
        if self.down_since is not None and self._watch is not None:
            self.meter.failed(operation)
            raise StateLost(f"The shared state at {self.place} does not answer.")

    async def _run(self, operation: str, act: Callable[[], Awaitable[T]]) -> T:
        began = self._asked_at = time.monotonic()
        try:
            async with asyncio.timeout(self._timeout_s):
                answer = await act()
        except self._errors as error:
            why = _why(error, self._timeout_s)
            self.meter.failed(operation)
            if isinstance(error, self._refusal):
                await self._refuse(operation, error, why)
            else:
                self._down(why)
            raise StateLost(f"The shared state at {self.place}: {why}.") from error
        self.meter.took(operation, time.monotonic() - began)
        self._refused.discard(operation)
        self._up()
        return answer

    def _down(self, why: str) -> None:
        if self.down_since is None:
            self.down_since = time.monotonic()
            self.meter.up(self.place, False)
            self._lost.set()
            self._log.event("state_lost", state=self.place, reason=why)

    async def _refuse(self, operation: str, error: BaseException, why: str) -> None:
        """The server is there and well, and has only refused this command: told once."""
        if operation not in self._refused:
            self._refused.add(operation)
            self._log.event("state_refused", state=self.place, operation=operation, reason=why)
        if type(error).__name__ == "ReadOnlyError":  # it was the primary until now: ask who is
            await self._client.connection_pool.disconnect()

    def _up(self) -> None:
        self.meter.up(self.place, True)
        if self.down_since is not None:
            seconds, self.down_since = time.monotonic() - self.down_since, None
            self._lost.clear()
            self._log.event("state_back", state=self.place, seconds=round(seconds, 3))
            for told in self._back:
                told()

    async def _look(self) -> None:
        """Ask a lost server again and again, and now and then one that nobody asks."""
        pause_s = FIRST_PAUSE_S
        while True:
            if self.up:
                pause_s = FIRST_PAUSE_S
                await self._until_lost(IDLE_S)
                if time.monotonic() - self._asked_at >= IDLE_S:
                    await self._ping()
                continue
            # A little chance, so that many gateways do not all come back in one moment.
            await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))  # noqa: S311
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
            await self._ping()

    async def _until_lost(self, within_s: float) -> None:
        try:
            async with asyncio.timeout(within_s):
                await self._lost.wait()
        except TimeoutError:
            return

    async def _ping(self) -> None:
        try:
            await self._run("ping", lambda: self._client.execute_command("PING"))
        except StateLost:
            return


def connect(config: State, meter: Meter, log: Log) -> Link | None:
    """The link of a gateway; None where each gateway is alone."""
    return Link(config, meter, log) if config.url is not None else None


def _client(config: State) -> Any:
    """redis-py's, imported when it is needed: that takes a quarter of a second."""
    library = importlib.import_module("redis.asyncio")
    retry, backoff = importlib.import_module("redis.asyncio.retry"), "redis.backoff"
    if config.url is None:
        raise StateLost("There is no shared state; set `state.url`.")
    if config.tls_ca is not None and not config.tls_ca.expanduser().is_file():
        raise StateLost(f"`state.tls_ca` {config.tls_ca}: there is no such file.")
    secure = {}
    if config.place.startswith("rediss"):
        secure = {
            "ssl_cert_reqs": "required" if config.tls_verify else "none",
            "ssl_check_hostname": config.tls_verify,
            "ssl_ca_certs": str(config.tls_ca.expanduser()) if config.tls_ca else None,
        }
    return library.Redis.from_url(
        config.url.get_secret_value(),
        protocol=2,  # every server and proxy has it
        socket_timeout=config.timeout_s,
        socket_connect_timeout=config.timeout_s,
        # Once more at once: the server may have closed a connection that nobody used.
        retry=retry.Retry(
            importlib.import_module(backoff).NoBackoff(),
            1,
            (importlib.import_module("redis.exceptions").ConnectionError,),
        ),
        **secure,
    )


def _why(error: BaseException, timeout_s: float) -> str:
    """In a few words, without what a client library may put into its texts."""
    if isinstance(error, TimeoutError) or type(error).__name__ == "TimeoutError":
        return f"no answer within {timeout_s:g} s"
    name = type(error).__name__
    if name in {"AuthenticationError", "AuthenticationWrongNumberOfArgsError"}:
        return "it refuses the user or the password of `state.url`"
    if name == "NoPermissionError":
        return "its user may not use the keys or commands that are needed"
    return str(error).rstrip(".") or name
