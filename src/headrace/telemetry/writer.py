"""
Takes records and events off the hot path: a queue, and one thread that counts and writes them.

The event loop only appends. The thread looks at the queue some times a second, so that a slow disk
or terminal never delays a request; when it cannot keep up, lines are dropped and the drops counted.
"""

import sys
import threading
import time
from collections import deque
from datetime import UTC, datetime
from io import TextIOBase
from pathlib import Path
from typing import TextIO

import msgspec

from headrace.telemetry.metrics import Metrics
from headrace.telemetry.records import Record, percentile

FLUSH_S = 0.1
# Some 10 s of a gateway's full load; beyond it memory would grow behind a stuck disk.
MAX_QUEUED = 100_000

Event = dict[str, object]


class Writer:
    """The log and its thread."""

    def __init__(
        self, metrics: Metrics, *, requests: bool, console: bool, file: Path | None
    ) -> None:
        self._metrics = metrics
        self._requests = requests
        self._console = console
        self._file = file
        self._out: TextIO | TextIOBase = sys.stderr
        self._queue: deque[Record | Event] = deque()
        self._dropped = 0
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """
        Open the file and start the thread.

        Raises:
            OSError: the file cannot be opened.

        """
        if self._file is not None:
            self._out = self._file.open("a", encoding="utf-8")
        self._stop.clear()
        self._thread = threading.Thread(target=self._run, name="headrace-log", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Write what is queued and end the thread."""
        if self._thread is not None:
            self._stop.set()
            self._thread.join(timeout=5)
            self._thread = None
        if self._file is not None and not self._out.closed:
            self._out.close()

    def record(self, record: Record) -> None:
        """Queue a finished request."""
        if len(self._queue) < MAX_QUEUED:
            self._queue.append(record)
        else:
            self._dropped += 1

    def event(self, event: str, **fields: object) -> None:
        """Queue a lifecycle event, for example ``event("replica_ready", replica="gpu-1")``."""
        self._queue.append({"at": time.time(), "event": event, **fields})

    def _run(self) -> None:
        while not self._stop.wait(FLUSH_S):
            self._flush()
        self._flush()

    def _flush(self) -> None:
        lines = []
        while self._queue:
            item = self._queue.popleft()
            if isinstance(item, Record):
                line = self._count(item)
                if not self._requests:
                    continue
            else:
                line = item
            lines.append(_console(line) if self._console else _json(line))
        if self._dropped:
            dropped, self._dropped = self._dropped, 0
            self._metrics.dropped(dropped)
            lines.append(_json({"at": time.time(), "event": "log_dropped", "lines": dropped}))
        if lines:
            self._write("\n".join(lines) + "\n")

    def _count(self, record: Record) -> Event:
        """Count the record; return the fields of its log line."""
        ordered = sorted(record.gaps)
        self._metrics.observe(record, ordered)
        fields = msgspec.structs.asdict(record)
        del fields["gaps"]
        fields["itl_p50_ms"] = percentile(ordered, 0.5)
        fields["itl_p99_ms"] = percentile(ordered, 0.99)
        return {"at": fields.pop("at"), "event": "request", **_rounded(fields)}

    def _write(self, text: str) -> None:
        try:
            self._out.write(text)
            self._out.flush()
        except (OSError, ValueError):  # a full disk or a closed pipe must not end the gateway
            self._metrics.dropped(text.count("\n"))


def _rounded(fields: Event) -> Event:
    return {
        key: round(value, 3) if isinstance(value, float) else value
        for key, value in fields.items()
        if value not in {None, ""}
    }


def _json(event: Event) -> str:
    at = datetime.fromtimestamp(float(str(event["at"])), UTC)
    stamped = {"time": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"), **event}
    del stamped["at"]
    return msgspec.json.encode(stamped).decode()


def _console(event: Event) -> str:
    at = datetime.fromtimestamp(float(str(event["at"]))).astimezone()
    rest = " ".join(f"{key}={value}" for key, value in event.items() if key not in {"at", "event"})
    return f"{at:%H:%M:%S} {event['event']} {rest}"
