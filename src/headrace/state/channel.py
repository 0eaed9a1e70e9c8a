"""
What gateways say to all others at once, and never keep: a channel of the shared state. What they
say is their own matter.
"""

import asyncio
from collections.abc import Awaitable, Callable

from headrace.errors import StateLost
from headrace.state.redis import Link, Next, Word

Heard = Callable[[bytes], Awaitable[None]]

# Who speaks hears himself. After so long without a word the connection is taken for dead.
SILENT_S = 5.0
# How often a lost channel is looked for again, at the most.
AGAIN_S = 0.25


class Channel:
    """Everybody who listens hears what is said meanwhile, in order; nothing is said twice."""

    def __init__(self, link: Link, name: str) -> None:
        self._link = link
        self._key = link.key(name, "channel")

    def word(self, message: bytes) -> tuple[Word, ...]:
        """The command that says it, for ``Link.batch``."""
        return "PUBLISH", self._key, message

    async def listen(self, heard: Heard) -> None:
        """Hear everything from now on, until cancelled; a lost connection is made again."""
        while True:
            try:
                async with self._link.subscription(self._key) as messages:
                    await self._follow(messages, heard)
            except StateLost:
                pass
            await asyncio.sleep(AGAIN_S)

    @staticmethod
    async def _follow(next_one: Next, heard: Heard) -> None:
        while True:
            message = await next_one(SILENT_S)
            if message is None:
                return
            await heard(message)
