"""pool.py: which connection a request gets, how long one may rest, and whom TLS trusts."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import trustme

from headrace.config.backends import Backend
from headrace.conformance import answers
from headrace.conformance.fake import FakeEngine
from headrace.fleet.registry import Replica
from headrace.upstream.connection import Broken, Reply
from headrace.upstream.pool import IDLE_S, MAX_IDLE, Address, Pool

ENGINE_CLOSES_S = 5.0  # uvicorn's default, and so vLLM's
HEAD = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Listen = Callable[..., Awaitable[int]]


class Engine:
    """Answers every request with ``ok``; counts its connections."""

    def __init__(self) -> None:
        self.connections = 0
        self.open: set[asyncio.StreamWriter] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open.add(writer)
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(ANSWER)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.open.discard(writer)
            writer.close()

    async def until_open(self, count: int) -> None:
        async with asyncio.timeout(20):
            while len(self.open) != count:  # noqa: ASYNC110 - the loop is about to notice
                await asyncio.sleep(0.001)


@pytest.fixture
async def engine() -> Engine:
    return Engine()


@pytest.fixture
async def listen(engine: Engine) -> AsyncIterator[Listen]:
    servers: list[asyncio.Server] = []

    async def start(tls: ssl.SSLContext | None = None) -> int:
        servers.append(await asyncio.start_server(engine.serve, "127.0.0.1", 0, ssl=tls))
        port: int = servers[-1].sockets[0].getsockname()[1]
        return port

    yield start
    for server in servers:
        server.close()
    for writer in tuple(engine.open):
        writer.transport.abort()
    await engine.until_open(0)


@pytest.fixture
async def pool(listen: Listen) -> AsyncIterator[Pool]:
    pool = Pool(Address("127.0.0.1", await listen()), 5.0)
    yield pool
    pool.abort()


async def asked(pool: Pool) -> Reply:
    async with asyncio.timeout(20):
        return await pool.send(HEAD, ())


def test_the_pool_is_ahead_of_the_engine() -> None:
    """A connection rests for less long than engines let it, with room for a slow tick."""
    assert 4.0 == IDLE_S
    assert IDLE_S + 0.5 < ENGINE_CLOSES_S


class TestReuse:
    async def test_one_after_the_other(self, engine: Engine, pool: Pool) -> None:
        """A connection that was given back serves the next request."""
        for _ in range(3):
            (await asked(pool)).connection.release()

        assert 1 == engine.connections

    async def test_side_by_side(self, engine: Engine, pool: Pool) -> None:
        """A connection in use is nobody else's."""
        first, second = await asked(pool), await asked(pool)

        assert first.connection is not second.connection
        assert 2 == engine.connections

    async def test_the_latest_first(self, engine: Engine, pool: Pool) -> None:
        """The connection used last is used again, so that the others can grow old."""
        first, second = await asked(pool), await asked(pool)
        first.connection.release()
        second.connection.release()

        assert second.connection is (await asked(pool)).connection

    async def test_no_more_than_enough(self, engine: Engine, pool: Pool) -> None:
        """Beyond MAX_IDLE, what is given back is closed."""
        replies = [await asked(pool) for _ in range(3)]
        pool._idle = [replies[0].connection] * MAX_IDLE  # 1,024 sockets would cost a second
        replies[1].connection.release()
        await engine.until_open(2)
        pool._idle = []

        assert MAX_IDLE >= 1000


class TestIdle:
    """The clock is an argument of ``sweep``: these tests say what time it is."""

    async def test_kept_until_4_s(self, engine: Engine, pool: Pool) -> None:
        """A connection that rests for IDLE_S is still good."""
        connection = (await asked(pool)).connection
        connection.release()

        pool.sweep(connection.idle_since + IDLE_S)

        assert connection is (await asked(pool)).connection

    async def test_closed_before_5_s(self, engine: Engine, pool: Pool) -> None:
        """Once it has rested for longer it is closed by us, before the engine does it."""
        connection = (await asked(pool)).connection
        connection.release()

        pool.sweep(connection.idle_since + IDLE_S + 0.001)
        await engine.until_open(0)

        assert connection is not (await asked(pool)).connection

    async def test_only_the_old(self, engine: Engine, pool: Pool) -> None:
        """Each connection has its own age."""
        old, young = (await asked(pool)).connection, (await asked(pool)).connection
        old.release()
        young.release()
        young.idle_since = old.idle_since + 1

        pool.sweep(old.idle_since + IDLE_S + 0.5)
        await engine.until_open(1)

        assert young is (await asked(pool)).connection

    async def test_never_taken_when_old(self, engine: Engine, pool: Pool) -> None:
        """Between two sweeps, too, a request never gets a connection that is too old."""
        old = (await asked(pool)).connection
        old.release()
        old.idle_since -= IDLE_S + 1

        assert old is not (await asked(pool)).connection
        await engine.until_open(1)

    async def test_a_busy_connection_has_no_age(self, engine: Engine, pool: Pool) -> None:
        """A request that runs for an hour is not idle."""
        busy = (await asked(pool)).connection

        pool.sweep(busy.idle_since + 1e9)
        busy.release()

        assert busy is (await asked(pool)).connection

    async def test_one_that_the_engine_closed(self, engine: Engine, pool: Pool) -> None:
        """A connection that ends while it rests is no longer offered."""
        (await asked(pool)).connection.release()
        for writer in tuple(engine.open):
            writer.close()
        await engine.until_open(0)

        assert b"ok" == (await asked(pool)).body
        assert 2 == engine.connections


class TestClose:
    async def test_close_spares_the_busy(self, engine: Engine, pool: Pool) -> None:
        """Idle ones go at once, a busy one when it is given back."""
        idle, busy = (await asked(pool)).connection, (await asked(pool)).connection
        idle.release()
        pool.close()
        await engine.until_open(1)
        busy.release()
        await engine.until_open(0)

    async def test_abort_spares_none(self, engine: Engine, pool: Pool) -> None:
        """At shutdown all go, answered or not; a second time is fine."""
        (await asked(pool)).connection.release()
        await asked(pool)
        pool.abort()
        pool.abort()
        await engine.until_open(0)


class TestUnreachable:
    async def test_nobody_listens(self, unused_tcp_port: int) -> None:
        """The reason names the address and what the system said."""
        pool = Pool(Address("127.0.0.1", unused_tcp_port), 5.0)

        with pytest.raises(Broken) as caught:
            await asked(pool)

        assert f"no connection to 127.0.0.1:{unused_tcp_port}: " in caught.value.reason
        assert "efused" in caught.value.reason
        assert (False, False) == (caught.value.untouched, caught.value.reused)

    async def test_no_such_host(self) -> None:
        """A name that does not resolve is a broken replica, not a crash."""
        with pytest.raises(Broken, match=r"no connection to nowhere\.invalid:80: "):
            await asked(Pool(Address("nowhere.invalid", 80), 5.0))


class TestTLS:
    """The certificate is for ``localhost``; what a backend demands of it is its configuration."""

    @pytest.fixture
    def authority(self) -> trustme.CA:
        return trustme.CA()

    @pytest.fixture
    async def port(self, listen: Listen, authority: trustme.CA) -> int:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost").configure_cert(context)
        return await listen(context)

    @pytest.fixture
    def trusted(self, authority: trustme.CA, tmp_path: Path) -> Path:
        authority.cert_pem.write_to_path(path := tmp_path / "ca.pem")
        return path

    async def ask(self, port: int, host: str = "localhost", **tls: object) -> bytes:
        tree = {"url": f"https://{host}:{port}", "serves": ["m"], **tls}
        pool = Replica(Backend.model_validate(tree), 5.0).pool
        try:
            return (await asked(pool)).body
        finally:
            pool.abort()

    async def test_own_authority(self, port: int, trusted: Path) -> None:
        """With the authority's file the replica is trusted."""
        assert b"ok" == await self.ask(port, tls_ca=trusted)

    async def test_unknown_authority(self, engine: Engine, port: int) -> None:
        """Without it the replica is refused, and no byte of a request is sent to it."""
        with pytest.raises(Broken, match=r"(?i)certificate"):
            await self.ask(port)

        assert 0 == engine.connections

    async def test_another_authority(self, port: int, tmp_path: Path) -> None:
        """A file that names somebody else does not help."""
        trustme.CA().cert_pem.write_to_path(path := tmp_path / "other.pem")

        with pytest.raises(Broken, match=r"(?i)certificate"):
            await self.ask(port, tls_ca=path)

    async def test_wrong_host(self, engine: Engine, port: int, trusted: Path) -> None:
        """A certificate for another name is refused, whoever signed it."""
        with pytest.raises(Broken, match=r"(?i)certificate"):
            await self.ask(port, host="127.0.0.1", tls_ca=trusted)

        assert 0 == engine.connections

    @pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
    async def test_unverified(self, port: int, host: str) -> None:
        """With tls_verify off nothing is checked."""
        assert b"ok" == await self.ask(port, host, tls_verify=False)

    async def test_no_tls_there(self) -> None:
        """A replica that speaks plain HTTP is broken; it is not asked in plain HTTP."""

        async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(1)
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            writer.close()

        async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
            with pytest.raises(Broken, match="no connection to localhost"):
                await self.ask(server.sockets[0].getsockname()[1], tls_verify=False)


class TestCut:
    """A replica that is given up by us, not by itself."""

    async def test_cut_breaks_what_waits(self) -> None:
        """A request without an answer is broken with our reason, and so is each that follows."""
        hanging = await FakeEngine(answers.hangs).start()
        pool = Pool(Address("127.0.0.1", hanging.port), 1.0)
        waiting = asyncio.create_task(pool.send(HEAD, (b"",)))
        await hanging.exchange()
        pool.cut("we said so")
        with pytest.raises(Broken, match="we said so"):
            await waiting
        with pytest.raises(Broken, match="we said so"):
            await pool.send(HEAD, (b"",))
        await hanging.stop()

        assert set() == pool._all

    async def test_give_up_spares_answers(self, engine: Engine, listen: Listen) -> None:
        """Only what has no answer yet is broken; the pool goes on."""
        pool = Pool(Address("127.0.0.1", await listen()), 1.0)
        reply = await pool.send(HEAD, (b"",))
        pool.give_up("stuck")
        reply.connection.release()
        again = await pool.send(HEAD, (b"",))
        again.connection.release()
        pool.abort()

        assert (200, b"ok", 1) == (again.status, again.body, engine.connections)
