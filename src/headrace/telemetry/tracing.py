"""
Sends traces to a collector: which requests are told, a bounded queue, and one thread that makes
spans and exports them. How a request becomes spans is spans.py's.

The event loop only appends. The OpenTelemetry SDK is imported when there is a collector.
"""

import importlib
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

from headrace import __version__
from headrace.config.tracing import Tracing as Config
from headrace.errors import StartError
from headrace.telemetry.decisions import Kept, Story
from headrace.telemetry.rounds import Rounds

BATCH = 128  # requests in one export: some thousand spans, half a MB
STOP_S = 2.0  # for the last export, when the gateway stops
LIBRARY = "opentelemetry"  # the root of its loggers


class Sent(NamedTuple):
    """What became of spans, and of requests that were to be traced."""

    exported: int = 0
    failed: int = 0
    queue: int = 0
    limit: int = 0


class Exporter(Protocol):
    """Who takes spans away (``SpanExporter``); ``export`` waits, and gives a result."""

    def export(self, spans: Sequence[Any]) -> Any: ...

    def shutdown(self) -> None: ...


class Tracing:
    """One gateway's traces. ``event`` writes to the log, and may be called from any thread."""

    def __init__(
        self,
        config: Config,
        event: Callable[..., None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config = config
        self._event = event
        self._clock = clock
        self._queue: deque[Kept] = deque()
        self._allowed, self._seen_at = config.notable_per_s, clock()
        self._words = _Words()
        self._up = True
        self._exporter: Exporter | None = None
        self._spans: Callable[[Story], list[Any]] = lambda _: []
        self._rounds = Rounds("headrace-traces", config.interval_s, self._empty, self._fault)
        self._exported = self._failed = self._full = self._limited = 0

    def open(self) -> None:
        """
        Import what is needed.

        Raises:
            StartError: a package is missing, or a file cannot be read.

        """
        try:
            library = importlib.import_module("headrace.telemetry.spans")
            http = importlib.import_module("opentelemetry.exporter.otlp.proto.http.trace_exporter")
        except ModuleNotFoundError as error:
            raise StartError(
                f"`tracing.endpoint` needs the package {error.name}; install `headrace[otlp]`."
            ) from error
        ca = self._config.ca
        if ca is not None and not ca.expanduser().is_file():
            raise StartError(f"`tracing.ca`: there is no file {ca}.")
        kinds = importlib.import_module("opentelemetry.exporter.otlp.proto.http")
        headers = {name: value.get_secret_value() for name, value in self._config.headers.items()}
        self._exporter = http.OTLPSpanExporter(
            endpoint=self._config.address,
            certificate_file=str(ca.expanduser()) if ca is not None else None,
            headers=headers,
            timeout=self._config.timeout_s,
            compression=kinds.Compression.Gzip,
        )
        self._spans = library.Spans(self._config.service, __version__).of

    def start(self) -> None:
        """Start the thread of one that is open."""
        if self._exporter is None:
            return
        logging.getLogger(LIBRARY).addHandler(self._words)
        self._rounds.start()

    def stop(self) -> None:
        """Send what waits, within a moment, and end the thread."""
        if not self._rounds.running or self._exporter is None:
            return
        self._rounds.end()
        self._rounds.wait(STOP_S)
        self._exporter.shutdown()  # which ends an export that waits for a retry
        self._rounds.wait(STOP_S)
        logging.getLogger(LIBRARY).removeHandler(self._words)

    def offer(self, kept: Kept, why: str) -> None:
        """
        A request has ended (``Taker``). It is told if its trace is sampled; else if it is notable,
        some a second.
        """
        if not kept.sampled and (not why or not self._allows()):
            return
        if len(self._queue) >= self._config.queue:
            self._full += 1
            return
        self._queue.append(kept)

    def seen(self) -> Sent:
        """The counts now."""
        return Sent(self._exported, self._failed, self._full, self._limited)

    # --- below -----------------------------------------------------------------------------

    def _allows(self) -> bool:
        """A token bucket that holds a second's worth."""
        now, rate = self._clock(), self._config.notable_per_s
        self._allowed = min(self._allowed + (now - self._seen_at) * rate, max(rate, 1.0))
        self._seen_at = now
        if self._allowed < 1:
            self._limited += 1
            return False
        self._allowed -= 1
        return True

    def _empty(self) -> None:
        while self._queue:
            self._send()

    def _fault(self, **traced: object) -> None:
        self._event("tracing_fault", **traced)

    def _send(self) -> None:
        spans: list[Any] = []
        for _ in range(min(BATCH, len(self._queue))):
            spans += self._spans(self._queue.popleft().tell())
        if self._exporter is None:
            return
        if self._exporter.export(spans).name == "SUCCESS":
            self._exported += len(spans)
            if not self._up:
                self._event("traces_back", collector=self._config.address)
            self._up = True
            return
        self._failed += len(spans)
        if self._up:
            reason = self._words.latest
            self._event("traces_lost", collector=self._config.address, reason=reason)
        self._up = False


class _Words(logging.Handler):
    """Keeps the library's latest complaint, which would else go to standard error as it is."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.latest = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.latest = record.getMessage()[:500]
