"""
A database that may be away: the one connection to it, and when it is tried again. What is written,
and what becomes of what cannot be, is its owner's.
"""

import time
from collections.abc import Callable

from headrace.errors import StartError
from headrace.metering.stores import Store, StoreLost

RETRY_S = (0.25, 10.0)  # between attempts: the first pause, and the longest


class Link:
    """For one thread. Pauses between attempts double until one succeeds."""

    def __init__(
        self, connect: Callable[[], Store], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._connect = connect
        self._clock = clock
        self._store: Store | None = None
        self._pause_s, self._retry_at = RETRY_S[0], 0.0

    @property
    def is_open(self) -> bool:
        """Whether there is a connection, as far as is known."""
        return self._store is not None

    def adopt(self, store: Store | None) -> None:
        """A connection that somebody else made, if he could."""
        self._store = store

    def open(self) -> Store:
        """
        Connect, however long ago the last attempt was.

        Raises:
            StoreLost: it is away.
            StartError: no attempt will help, for example since it is of a newer Headrace.

        """
        now = self._clock()
        try:
            self._store = self._connect()
        except StoreLost:
            self._retry_at = now + self._pause_s
            self._pause_s = min(2 * self._pause_s, RETRY_S[1])
            raise
        self._pause_s = RETRY_S[0]
        return self._store

    def reach(self) -> Store:
        """
        The open database.

        Raises:
            StoreLost: it is away, or was so a moment ago.

        """
        if self._store is not None:
            return self._store
        now = self._clock()
        if now < self._retry_at:
            raise StoreLost("")
        try:
            return self.open()
        except StartError as error:  # no attempt helps, but somebody may put it right
            self._retry_at = now + RETRY_S[1]
            raise StoreLost(str(error)) from error

    def drop(self) -> None:
        """It failed: the next one is a new connection, after a pause."""
        if self._store is not None:
            self.close()
            self._retry_at = self._clock() + self._pause_s

    def hurry(self) -> None:
        """The next attempt is at once, since it is the last."""
        self._retry_at = 0.0

    def close(self) -> None:
        """Safe to call twice."""
        store, self._store = self._store, None
        if store is not None:
            store.close()
