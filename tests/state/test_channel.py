"""What is said to everybody at once, over a real server."""

import asyncio
from collections.abc import Awaitable, Callable

from headrace.errors import StateLost
from headrace.state.channel import Channel
from headrace.state.redis import Link
from tests.state.server import RedisServer
from tests.state.test_redis import until


class Ear:
    """Listens, and remembers."""

    def __init__(self, link: Link) -> None:
        self.heard: list[bytes] = []
        channel = Channel(link, "peers")
        self._task = asyncio.get_running_loop().create_task(channel.listen(self._hear))

    async def _hear(self, message: bytes) -> None:
        self.heard.append(message)

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.wait({self._task})


async def said(link: Link, message: bytes) -> None:
    """Say it, if there is a server."""
    try:
        await link.batch("share", [Channel(link, "peers").word(message)])
    except StateLost:
        return


async def saying(link: Link, message: bytes, done: Callable[[], bool]) -> None:
    """Say it again until it was heard: a listener needs a moment to be there."""
    async with asyncio.timeout(30.0):
        while not done():
            await said(link, message)
            await asyncio.sleep(0.02)


async def test_all_hear_in_order(server: RedisServer) -> None:
    """Everybody who listens hears all that is said, in its order; who speaks hears it, too."""
    one, other = Link(server.config()), Link(server.config())
    ears = [Ear(one), Ear(other)]
    await saying(one, b"?", lambda: all(ear.heard for ear in ears))
    for number in range(5):
        await said(one, b"%d" % number)
    await until(lambda: all(ear.heard[-1] == b"4" for ear in ears))

    for ear in ears:
        assert [b"0", b"1", b"2", b"3", b"4"] == [word for word in ear.heard if word != b"?"]
        await ear.stop()
    await closed(one.stop(), other.stop())


async def test_a_lost_channel_is_found_again(server: RedisServer) -> None:
    """After the server was away everything is heard again, by itself."""
    link = Link(server.config())
    await link.start()
    ear = Ear(link)
    await saying(link, b"before", lambda: b"before" in ear.heard)
    server.kill()
    await said(link, b"lost")
    server.start()
    await saying(link, b"after", lambda: b"after" in ear.heard)

    assert b"lost" not in ear.heard
    await ear.stop()
    await link.stop()


async def closed(*ends: Awaitable[None]) -> None:
    for end in ends:
        await end
