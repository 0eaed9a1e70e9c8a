"""
A thread that does the same thing again and again, and outlives what fails in it. What it does is
its owner's.
"""

import threading
import traceback
from collections.abc import Callable


class Rounds:
    """
    ``turn`` is called every ``interval_s`` until the end, and once more then, or ``last`` instead;
    ``fault`` hears of what they raise.
    """

    def __init__(
        self,
        name: str,
        interval_s: float,
        turn: Callable[[], None],
        fault: Callable[..., None],
        last: Callable[[], None] | None = None,
    ) -> None:
        self._name = name
        self._interval_s = interval_s
        self._turn = turn
        self._fault = fault
        self._last = last or turn
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def running(self) -> bool:
        """Whether it was started, and nobody has ended it."""
        return self._thread is not None and not self._stop.is_set()

    def start(self) -> None:
        """Start the thread."""
        self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Let the turn be the last one; ``wait`` waits for it."""
        self._stop.set()

    def wait(self, within_s: float) -> None:
        """Until the thread has ended, so long at most; at once where none was started."""
        if self._thread is not None:
            self._thread.join(timeout=within_s)

    def once(self) -> None:
        """A turn now, in the caller's thread."""
        self._safely(self._turn)

    def _run(self) -> None:
        while not self._stop.wait(self._interval_s):
            self.once()
        self._safely(self._last)

    def _safely(self, turn: Callable[[], None]) -> None:
        try:
            turn()
        except Exception as fault:  # noqa: BLE001 - the thread must go on, or nothing is done
            self._fault(**traced(fault))


def traced(fault: Exception) -> dict[str, object]:
    """What a log may say of a fault of ours: no text, which may hold a client's words."""
    frames = traceback.extract_tb(fault.__traceback__)
    return {
        "error": type(fault).__name__,
        "where": [f"{frame.name}:{frame.lineno}" for frame in frames],
    }
