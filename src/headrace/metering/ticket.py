"""What a request holds while ``strict`` keeps the end of its answer back until its row is safe."""

import asyncio
from collections.abc import Callable


class Ticket:
    """
    Made when a request begins. ``then`` and ``release`` are called on the event loop only, in
    either order; what was given to ``then`` runs once, when both have been.
    """

    __slots__ = ("_timer", "_write", "id", "released")

    def __init__(self, identity: str) -> None:
        self.id = identity
        self.released = False
        self._write: Callable[[], None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def wait(self, timer: asyncio.TimerHandle) -> None:
        """The row is on its way; the timer ends the wait should the disk hang."""
        self._timer = timer

    def then(self, write: Callable[[], None]) -> None:
        """Send the end of the answer as soon as the row is safe."""
        if self.released:
            write()
        else:
            self._write = write

    def release(self) -> None:
        """The row is safe, or cannot be made so."""
        self.released = True
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
        write, self._write = self._write, None
        if write is not None:
            write()
