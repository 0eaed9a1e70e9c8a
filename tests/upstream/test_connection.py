"""connection.py: what each byte of an engine means; its transport is a fake that records."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.upstream.connection import (
    GARBAGE,
    MAX_HEAD_BYTES,
    MAX_HELD_BYTES,
    OVERSIZED,
    Broken,
    Connection,
    Reply,
)
from tests.gateway.spelling import pieces

HEAD = b"POST / HTTP/1.1\r\ncontent-length: 4\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class Wire(asyncio.Transport):
    """A transport without a network."""

    def __init__(self, protocol: Connection) -> None:
        super().__init__()
        self.protocol = protocol
        self.written: list[bytes] = []
        self.reading = True
        self.closing = False

    def write(self, data: Any) -> None:
        self.written.append(bytes(data))

    def is_closing(self) -> bool:
        return self.closing

    def abort(self) -> None:
        self.closing = True

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


class Drain:
    """A sink that remembers."""

    def __init__(self) -> None:
        self.body = b""
        self.ends = 0
        self.reasons: list[str] = []

    def data(self, data: bytes) -> None:
        assert not self.ends
        assert not self.reasons
        self.body += data

    def end(self, data: bytes) -> None:
        self.body += data
        self.ends += 1

    def broken(self, reason: str) -> None:
        self.reasons.append(reason)


class Line:
    """A connection, its wire, and who heard of it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.idle: list[Connection] = []
        self.lost: list[Connection] = []
        self.connection = Connection(loop, self.idle.append, self.lost.append)
        self.wire = Wire(self.connection)
        self.connection.connection_made(self.wire)

    async def asks(
        self, *answer: bytes, body: tuple[bytes, ...] = (b"body",)
    ) -> asyncio.Task[Reply]:
        task = asyncio.ensure_future(self.connection.send(HEAD, body))
        await asyncio.sleep(0)
        for part in answer:
            self.connection.data_received(part)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return task

    def hangs_up(self, error: Exception | None = None) -> None:
        self.connection.connection_lost(error)


@pytest.fixture
async def line() -> Line:
    return Line(asyncio.get_running_loop())


async def reason(task: asyncio.Task[Reply]) -> str:
    with pytest.raises(Broken) as caught:
        await task
    return caught.value.reason


FRAMED: list[tuple[str, Callable[[bytes], bytes]]] = [
    ("length", lambda body: b"content-length: %d\r\n\r\n%b" % (len(body), body)),
    ("chunks", lambda body: b"transfer-encoding: chunked\r\n\r\n" + chunked(body)),
    ("trailers", lambda body: b"transfer-encoding: chunked\r\n\r\n" + chunked(body, b"x-a: 1\r\n")),
]  # fmt: skip


def chunked(body: bytes, trailers: bytes = b"") -> bytes:
    cut = len(body) // 3 + 1
    parts = [body[start : start + cut] for start in range(0, len(body), cut)]
    return b"".join(b"%x\r\n%b\r\n" % (len(p), p) for p in parts) + b"0\r\n" + trailers + b"\r\n"


@settings(max_examples=200)
@given(
    st.sampled_from(FRAMED),
    st.sampled_from([200, 203, 400, 404, 503]),
    st.binary(max_size=60) | st.just(b'data: {"x":1}\n\n' * 9),
    st.lists(st.integers(0, 400), max_size=12),
    st.booleans(),
)
def test_pieces_do_not_matter(
    framed: tuple[str, Callable[[bytes], bytes]],
    status: int,
    body: bytes,
    cuts: list[int],
    hints: bool,
) -> None:
    """However TCP cuts an answer: the same status and body, one end, and a reusable connection."""
    wire = b"HTTP/1.1 %d X\r\n%b" % (status, framed[1](body))
    if hints:
        wire = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nlink: a\r\n\r\n" + wire

    async def play() -> None:
        line = Line(asyncio.get_running_loop())
        sink = Drain()
        parts = pieces(wire, cuts)
        task = await line.asks()
        for part in parts:
            line.connection.data_received(part)
            await asyncio.sleep(0)
            if task.done() and not sink.ends and line.connection._sink is None:
                sink.body = task.result().body
                line.connection.attach(sink)
        reply = await task
        line.connection.release()

        assert (status, body, 1, []) == (reply.status, sink.body, sink.ends, sink.reasons)
        assert b"" == reply.header(b"link")
        assert [line.connection] == line.idle

    asyncio.run(play())


@settings(max_examples=200)
@given(
    st.binary(max_size=80), st.sampled_from([b"", b"HTTP/1.1 ", b"HTTP/1.1 200 OK\r\n", OK[:-2]])
)
def test_any_bytes_end_well(noise: bytes, start: bytes) -> None:
    """Whatever comes, ``send`` returns or raises Broken once the engine is gone; nothing hangs."""

    async def play() -> None:
        line = Line(asyncio.get_running_loop())
        task = await line.asks(start + noise)
        line.hangs_up()
        [ended] = await asyncio.gather(task, return_exceptions=True)
        if isinstance(ended, Reply):
            assert 200 <= ended.status < 1000
        else:
            assert isinstance(ended, Broken), repr(ended)
            assert ended.untouched == (not start + noise)
        assert [line.connection] == line.lost

    asyncio.run(play())


class TestSend:
    async def test_a_small_request_is_one_write(self, line: Line) -> None:
        """Head and body leave in one segment; a large body is not copied."""
        await (await line.asks(OK))
        other = Line(asyncio.get_running_loop())
        large = b"x" * MAX_HEAD_BYTES
        await (await other.asks(OK, body=(large,)))

        assert [HEAD + b"body"] == line.wire.written
        assert [HEAD, large] == other.wire.written

    async def test_after_the_connection_closed(self, line: Line) -> None:
        """A closed connection says so: it is nobody's answer and no failure of the replica."""
        line.wire.closing = True
        with pytest.raises(Broken) as closing:
            await line.connection.send(HEAD, ())
        line.hangs_up()
        with pytest.raises(Broken) as closed:
            await line.connection.send(HEAD, ())

        assert (True, True) == (closing.value.untouched, closed.value.untouched)
        assert not closed.value.reused

    async def test_cancelled(self, line: Line) -> None:
        """Whoever stops waiting closes the connection, so that the engine stops working."""
        task = await line.asks()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

        assert line.wire.closing

    @pytest.mark.parametrize("reused", [False, True])
    async def test_died_while_idle(self, line: Line, reused: bool) -> None:
        """No byte came: the error tells whether the connection had answered before."""
        if reused:
            await (await line.asks(OK))
            line.connection.release()
        task = await line.asks()
        line.hangs_up(ConnectionResetError("reset"))

        with pytest.raises(Broken) as caught:
            await task
        assert (True, reused) == (caught.value.untouched, caught.value.reused)
        assert "the replica closed the connection (reset)" == caught.value.reason

    async def test_one_byte_is_an_answer(self, line: Line) -> None:
        """After a byte of an answer the request was taken: it must not be sent again."""
        task = await line.asks(b"H")
        line.hangs_up()

        with pytest.raises(Broken) as caught:
            await task
        assert not caught.value.untouched


class TestHead:
    async def test_headers(self, line: Line) -> None:
        """Names in lower case, in order, twice when sent twice; absent is empty."""
        answer = b"HTTP/1.1 200 OK\r\nX-A: 1\r\nx-a: 2\r\nContent-Length: 0\r\n\r\n"

        reply = await (await line.asks(answer))

        assert [(b"x-a", b"1"), (b"x-a", b"2"), (b"content-length", b"0")] == reply.headers
        assert (b"1", b"", True) == (reply.header(b"x-a"), reply.header(b"x-b"), reply.complete)

    @pytest.mark.parametrize(
        ("answer", "expected"),
        [
            (b"nonsense\r\n\r\n", GARBAGE),
            (b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n", GARBAGE),
            (b"HTTP/1.1 200 OK\r\nx: " + b"x" * 2 * MAX_HEAD_BYTES, OVERSIZED),
            (b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * MAX_HEAD_BYTES, OVERSIZED),
            (b"HTTP/1.1 200 OK\r\nx: " + b"x" * 2 * MAX_HEAD_BYTES + b"\r\n\r\n", OVERSIZED),
            (b"HTTP/1.1 100 Continue\r\n\r\n" * 9000, OVERSIZED),
        ],
    )
    async def test_refused(self, line: Line, answer: bytes, expected: str) -> None:
        """What is no HTTP, or a head without end, breaks the connection and says why."""
        task = await line.asks(answer)

        assert expected == await reason(task)
        assert line.wire.closing

    async def test_an_upgrade_is_garbage(self, line: Line) -> None:
        """Nobody asked for another protocol."""
        answer = b"HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n"

        assert GARBAGE == await reason(await line.asks(answer))

    async def test_the_first_body_byte_is_waited_for(self, line: Line) -> None:
        """Engines send their head before they work: only the body's first byte is an answer."""
        head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
        task = await line.asks(head)
        waits = not task.done()
        line.connection.data_received(b"1\r\nx\r\n")

        assert waits
        assert (b"x", False) == ((await task).body, (await task).complete)

    async def test_errors_are_held_until_they_are_whole(self, line: Line) -> None:
        """An error may be retried, or put into another shape: it must be there in one piece."""
        task = await line.asks(b"HTTP/1.1 503 No\r\ncontent-length: 4\r\n\r\nhal")
        waits = not task.done()
        line.connection.data_received(b"f")

        assert waits
        assert (b"half", True) == ((await task).body, (await task).complete)

    async def test_large_errors_are_not_held(self, line: Line) -> None:
        """An error without end is passed on like any other answer."""
        head = b"HTTP/1.1 500 No\r\ncontent-length: 9999999\r\n\r\n"
        task = await line.asks(head, b"x" * (MAX_HELD_BYTES + 1))

        assert not (await task).complete


class TestBody:
    async def test_until_the_end_of_the_connection(self, line: Line) -> None:
        """Without length or chunks the end is the end; the connection cannot be used again."""
        reply = await (await line.asks(b"HTTP/1.1 200 OK\r\n\r\nab"))
        line.connection.attach(sink := Drain())
        line.connection.data_received(b"cd")
        line.hangs_up()
        line.connection.release()

        assert (b"ab", b"cd", 1) == (reply.body, sink.body, sink.ends)
        assert [] == line.idle

    @pytest.mark.parametrize("error", [None, ConnectionResetError("reset")])
    async def test_cut_short(self, line: Line, error: Exception | None) -> None:
        """A body that ends before its length is broken, once, with the reason."""
        await (await line.asks(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nab"))
        line.connection.attach(sink := Drain())
        line.hangs_up(error)

        assert (0, 1) == (sink.ends, len(sink.reasons))
        assert ("reset" in sink.reasons[0]) == (error is not None)

    async def test_reset_is_not_an_end(self, line: Line) -> None:
        """A body without length that is reset is not whole."""
        await (await line.asks(b"HTTP/1.1 200 OK\r\n\r\nab"))
        line.connection.attach(sink := Drain())
        line.hangs_up(ConnectionResetError("reset"))

        assert (0, 1) == (sink.ends, len(sink.reasons))

    async def test_garbage_in_the_body(self, line: Line) -> None:
        """Chunks that are none break the answer."""
        await (await line.asks(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n"))
        line.connection.attach(sink := Drain())
        line.connection.data_received(b"zz\r\n")

        assert ([GARBAGE], True) == (sink.reasons, line.wire.closing)

    @pytest.mark.parametrize("status", [204, 304])
    async def test_no_body(self, line: Line, status: int) -> None:
        """Some statuses have none, whatever follows."""
        reply = await (await line.asks(b"HTTP/1.1 %d X\r\n\r\n" % status))

        assert (True, b"") == (reply.complete, reply.body)


class TestReuse:
    @pytest.mark.parametrize(
        "answer",
        [
            b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
            b"HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n",
            OK + OK,
            OK + b"nonsense",
            OK + b"HTTP/1.1 200 OK\r\n",
        ],
    )
    async def test_not_again(self, line: Line, answer: bytes) -> None:
        """What the engine will close, or what holds bytes that nobody asked for, is closed."""
        reply = await (await line.asks(answer))
        line.connection.release()

        assert reply.complete
        assert ([], True) == (line.idle, line.wire.closing)

    async def test_half_an_answer_is_not_the_next_one(self, line: Line) -> None:
        """Half an answer that nobody asked for never becomes the answer to the next request."""
        await (await line.asks(OK + b"HTTP/1.1 200 OK\r\ncontent-len"))
        line.connection.release()
        poison = b"gth: 6\r\n\r\nsecret"
        try:
            reply = await (await line.asks(poison + OK))
        except Broken:
            return

        assert b"secret" != reply.body

    async def test_not_when_unfinished(self, line: Line) -> None:
        """A connection whose answer was left in the middle is never somebody else's."""
        await (await line.asks(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nab"))
        line.connection.release()

        assert ([], True) == (line.idle, line.wire.closing)

    async def test_again(self, line: Line) -> None:
        """The next answer on the connection is a fresh one."""
        await (await line.asks(OK))
        line.connection.release()
        reply = await (await line.asks(b"HTTP/1.1 404 No\r\ncontent-length: 1\r\n\r\nx"))

        assert (404, b"x", 1) == (reply.status, reply.body, len(reply.headers))
        assert [line.connection] == line.idle

    async def test_bytes_on_an_idle_connection(self, line: Line) -> None:
        """An answer that comes before the question is no answer: the connection ends."""
        await (await line.asks(OK))
        line.connection.release()
        line.connection.data_received(OK)

        assert line.wire.closing


class TestPace:
    async def test_pause_and_resume(self, line: Line) -> None:
        """A slow client stops the reading, and starts it again; not on a closed connection."""
        line.connection.pause()
        paused = line.wire.reading
        line.connection.resume()
        resumed = line.wire.reading
        line.wire.closing = True
        line.connection.pause()

        assert (False, True, True) == (paused, resumed, line.wire.reading)

    async def test_after_the_end(self, line: Line) -> None:
        """Nothing of this can fail once the connection is gone."""
        line.hangs_up()
        line.connection.pause()
        line.connection.resume()
        line.connection.abort()
        line.connection.release()

        assert (True, []) == (line.wire.reading, line.idle)
