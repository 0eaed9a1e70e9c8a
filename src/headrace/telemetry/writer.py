"""
Takes records and events off the hot path: a queue, and one thread that counts and writes them.

The event loop only appends. The thread looks at the queue some times a second, so that a slow disk
or terminal never delays a request; when it cannot keep up, lines are dropped and the drops counted.
Nor does it delay the end: what is not written in a moment is given up, and standard error says so.
"""

import re
import sys
import threading
import time
from array import array
from collections import deque
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO, cast

import msgspec

from headrace.telemetry.metrics import Metrics
from headrace.telemetry.records import Record, percentile

FLUSH_S = 0.1
# Some 10 s of a gateway's full load; beyond it memory would grow behind a stuck disk.
MAX_QUEUED = 100_000
LEAVE_S = 5.0  # at the end, for what is queued; a service manager kills what takes much longer

# What a client or an engine wrote must not move the cursor of whoever reads it.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")

Event = dict[str, object]
Finished = tuple[Record, "array[float]"]

_encode = msgspec.json.Encoder().encode_lines


class Writer:
    """The log and its thread. ``console`` writes short lines for people instead of JSON."""

    def __init__(
        self, metrics: Metrics, *, requests: bool, console: bool, file: Path | None
    ) -> None:
        self._metrics = metrics
        self._requests = requests
        self._console = console
        self._file = file
        # Without Python's buffer: its lock would belong to a write that hangs, and whoever closes
        # the file, or ends the interpreter, would wait for it for ever.
        self._out = cast("BinaryIO", getattr(sys.stderr.buffer, "raw", sys.stderr.buffer))
        self._left: memoryview | None = None  # of the lines that are being written
        self._queue: deque[Finished | Event] = deque()
        self._lines: list[Record | Event] = []
        self._dropped = 0  # of the queue; told to the metrics when next is counted
        self._untold = 0  # told to the metrics, not yet to the log
        self._counting = threading.Lock()
        self._writing = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """
        Open the file and start the thread.

        Raises:
            OSError: the file cannot be opened.

        """
        if self._file is not None:
            self._out = cast("BinaryIO", self._file.open("ab", buffering=0))
        self._stop.clear()
        self._thread = threading.Thread(target=self._run, name="headrace-log", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Write what is queued and end the thread; after ``LEAVE_S`` without what is left."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        self._stop.set()
        thread.join(timeout=LEAVE_S)
        if thread.is_alive() and self._file is not None:  # else nobody can be told
            lost = self._unwritten()
            sys.stderr.write(f"headrace: {self._file} takes no lines; up to {lost:,} are lost.\n")

    def record(self, record: Record, times: "array[float]") -> None:
        """Queue a finished request; ``times`` (s) are when its chunks came."""
        if len(self._queue) < MAX_QUEUED:
            self._queue.append((record, times))
        else:
            self._dropped += 1

    def event(self, event: str, **fields: object) -> None:
        """Queue a lifecycle event, for example ``event("replica_ready", replica="gpu-1")``."""
        if len(self._queue) < MAX_QUEUED:
            self._queue.append({"event": event, "time": datetime.now(UTC), **fields})
        else:
            self._dropped += 1

    def _run(self) -> None:
        while not self._stop.wait(FLUSH_S):
            self.flush()
        self.flush()
        if self._file is not None:
            self._out.close()

    def flush(self) -> None:
        """Count and write what is queued, which takes as long as the disk does; for the thread."""
        with self._writing:
            self.count()
            with self._counting:
                lines, self._lines = self._lines, []
                dropped, self._untold = self._untold, 0
            if dropped:
                lines.append({"event": "log_dropped", "time": datetime.now(UTC), "lines": dropped})
            if lines:
                self._write(lines)

    def count(self) -> None:
        """Count what is queued; for a scrape, which never waits for the disk."""
        with self._counting:
            self._count()

    def _count(self) -> None:
        items: list[Record | Event] = []
        finished: list[Record] = []
        while self._queue:
            item = self._queue.popleft()
            if isinstance(item, dict):
                items.append(item)
                continue
            record, times = item
            if len(times) > 1:
                _measure(record, times)
            finished.append(record)
            if self._requests:
                items.append(record)
        if finished:
            self._metrics.observe(finished)
        room = MAX_QUEUED - len(self._lines)
        self._lines += items[:room]
        dropped, self._dropped = self._dropped, 0
        dropped += max(len(items) - room, 0)
        if dropped:
            self._metrics.dropped(dropped)
            self._untold += dropped

    def _unwritten(self) -> int:
        """How many lines wait, with those of a write that hangs."""
        self.count()
        left = self._left
        return len(self._lines) + (bytes(left).count(b"\n") if left is not None else 0)

    def _write(self, items: Sequence[Record | Event]) -> None:
        lines = b"".join(map(_line, items)) if self._console else _encode(items)
        self._left = memoryview(lines)
        try:
            while self._left:  # a pipe takes a part, or nothing (None) when it must not block
                if (taken := self._out.write(self._left)) is None:
                    time.sleep(FLUSH_S)
                else:
                    self._left = self._left[taken:]
        except (OSError, ValueError):  # a full disk or a closed pipe must not end the gateway
            self._metrics.dropped(len(items))
        finally:
            self._left = None


def _measure(record: Record, times: "array[float]") -> None:
    gaps = sorted((after - before) * 1000 for before, after in pairwise(times))
    record.itl_p50_ms = percentile(gaps, 0.5)
    record.itl_p99_ms = percentile(gaps, 0.99)


def _line(item: Record | Event) -> bytes:
    """For people, instead of JSON."""
    event: Event
    if isinstance(item, Record):
        event = {"event": "request", **msgspec.structs.asdict(item)}
    else:
        event = item
    time = event["time"]
    at = f"{time.astimezone():%H:%M:%S} " if isinstance(time, datetime) else ""
    shown = (
        f"{key}={value}"
        for key, value in event.items()
        if key not in {"time", "event"} and value is not None and value != ""
    )
    line = f"{at}{event['event']} {' '.join(shown)}"
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", line).encode() + b"\n"
