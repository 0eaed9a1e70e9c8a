"""
Keeps the history that `headrace why` reads: one reading of the gateway's own metrics at each step,
in a thread beside the loop. How it is kept and what it means is diagnose's.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Iterable

from headrace.diagnose.history import PER_COARSE, History
from headrace.diagnose.lens import reach_s
from headrace.diagnose.series import Key, Use, uses
from headrace.diagnose.snapshot import Snapshot, known
from headrace.telemetry.columns import Column


class Recorder:
    """Reads at every step of its history from ``start`` to ``stop``."""

    def __init__(self, history: History, columns: Callable[[], Iterable[Column]]) -> None:
        self._history = history
        self._columns = columns
        self._lock = threading.Lock()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Read from now on."""
        self._task = asyncio.get_running_loop().create_task(self._always())

    async def stop(self) -> None:
        """Read no more; what is known stays."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait({task})

    def snapshot(self, at_s: float | None = None, since_s: float = 900.0) -> Snapshot:
        """
        What was known then (s since 1970), by default now, as much as a look at a window of
        ``since_s`` takes. Any thread may ask; it may take some tens of milliseconds.
        """
        end_s = time.time() if at_s is None else at_s
        begin_s = end_s - reach_s(since_s, self._history.step_s * PER_COARSE)
        with self._lock:
            return self._history.snapshot(at_s, begin_s)

    def read(self) -> None:
        """One step, now."""
        found = reading(self._columns())
        with self._lock:
            self._history.add(time.time(), found)

    async def _always(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            await loop.run_in_executor(None, self.read)
            due = max(due + self._history.step_s, loop.time())
            await asyncio.sleep(due - loop.time())


def reading(columns: Iterable[Column]) -> dict[Key, float]:
    """
    The series of a diagnosis, from the columns of metrics.

    It runs column by column, since a gateway with hundreds of replicas has ten thousand values:
    what a metric's labels mean for a series is looked up once for all of them.
    """
    found: dict[Key, float] = {}
    for column in columns:
        for use in uses(column.metric, column.labels):
            _add(found, column, use)
    return found


def _add(found: dict[Key, float], column: Column, use: Use) -> None:
    name, places, only = use
    _, labels, values = column
    if places == (*range(len(labels)),) and not only:  # nearly all of them: nothing to sum up
        found.update({(name, key): each for key, each in values.items() if known(each)})
        return
    for key, value in values.items():
        if known(value) and all(key[place] in wanted for place, wanted in only):
            own = name, tuple([key[place] for place in places])
            found[own] = found.get(own, 0.0) + value
