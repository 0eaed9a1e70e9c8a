"""
Keeps the history that `headrace why` reads: one reading of the gateway's own metrics at each step,
in a thread beside the loop. How it is kept and what it means is diagnose's.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache

from headrace.diagnose.history import History
from headrace.diagnose.series import Key, keys
from headrace.diagnose.snapshot import Snapshot, known

Samples = Iterable[tuple[str, Mapping[str, str], float]]
"""Name, labels and value of everything that a scrape would show."""


class Recorder:
    """Reads at every step of its history from ``start`` to ``stop``."""

    def __init__(self, history: History, samples: Callable[[], Samples]) -> None:
        self._history = history
        self._samples = samples
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

    def snapshot(self, at_s: float | None = None) -> Snapshot:
        """What was known then (s since 1970), by default now. Any thread may ask."""
        with self._lock:
            return self._history.snapshot(at_s)

    def read(self) -> None:
        """One step, now."""
        found = reading(self._samples())
        with self._lock:
            self._history.add(time.time(), found)

    async def _always(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            await loop.run_in_executor(None, self.read)
            due = max(due + self._history.step_s, loop.time())
            await asyncio.sleep(due - loop.time())


def reading(samples: Samples) -> dict[Key, float]:
    """The series of a diagnosis, from everything that a scrape would show."""
    found: dict[Key, float] = {}
    for metric, labels, value in samples:
        for key in _keys(metric, tuple(labels.items())):
            if known(value):
                found[key] = found.get(key, 0.0) + value
    return found


@lru_cache(65_536)
def _keys(metric: str, labels: tuple[tuple[str, str], ...]) -> tuple[Key, ...]:
    return tuple(keys(metric, dict(labels)))
