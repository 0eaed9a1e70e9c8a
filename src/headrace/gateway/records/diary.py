"""
Who hears how requests went and keeps it: for `explain`, for traces, for the archive. It only notes;
story.py puts into words, telemetry/ and metering/ carry it away.
"""

import asyncio
import random
from collections.abc import Callable, Sequence
from typing import Protocol

from headrace.config.schema import Config
from headrace.gateway.door.request import Request
from headrace.gateway.exchange import NO_FACTS, Exchange
from headrace.gateway.gate import Gate
from headrace.gateway.records.story import Entry
from headrace.metering.archive import Archive, Stored
from headrace.telemetry.context import HEADER, Context, Sampler, trace_of
from headrace.telemetry.decisions import Kept, Ring
from headrace.telemetry.kept import KeptMetrics, KeptSeen
from headrace.telemetry.metrics import Metrics
from headrace.telemetry.records import Record
from headrace.telemetry.tracing import Sent, Tracing
from headrace.telemetry.writer import Writer

REQUEST_START = b"x-request-start"

# What an entry holds, in bytes, as sys.getsizeof says: itself with its record and facts, each
# attempt, each candidate of a decision.
ENTRY_BYTES, ATTEMPT_BYTES, CANDIDATE_BYTES = 1400, 450, 390


class Taker(Protocol):
    """Who carries records away; never waits, never raises."""

    def offer(self, kept: Kept, why: str) -> None:
        """Take one; ``why`` is notable (failed, retried, slow), empty for a usual one."""


class Diary:
    """What is kept of requests. ``ring`` is None where nothing is."""

    def __init__(self, config: Config, metrics: Metrics, log: Writer) -> None:
        decisions, tracing, event = config.decisions, config.tracing, log.event
        chance = random.Random()  # noqa: S311 - ids of spans need to differ, not to be secret
        self.ring: Ring | None = None
        if decisions.requests:
            self.ring = Ring(decisions.requests, decisions.bytes, decisions.notable)
        self.archive: Archive | None = None
        if decisions.archive.url is not None:
            self.archive = Archive(decisions.archive, event, chance)
        self._slow_ms = decisions.slow_s * 1000
        trusted = decisions.trust_request_start
        self._trusts = config.edge.enabled if trusted is None else trusted
        self._sampler: Sampler | None = None
        self.tracing: Tracing | None = None
        if tracing.endpoint is not None:
            self._sampler = Sampler(
                tracing.share, follow_parent=tracing.follow_parent, chance=chance
            )
            self.tracing = Tracing(tracing, event)
        self.takers: Sequence[Taker] = [
            each for each in (self.archive, self.tracing) if each is not None
        ]
        KeptMetrics(metrics.registry, self.seen)

    # --- life ------------------------------------------------------------------------------

    async def open(self) -> None:
        """
        Get ready, off the loop: libraries are imported, a database is opened.

        Raises:
            StartError: a package is missing, or a database is of a newer Headrace.

        """
        loop = asyncio.get_running_loop()
        for each in (self.archive, self.tracing):
            if each is not None:
                await loop.run_in_executor(None, each.open)

    def start(self) -> None:
        """Start the threads of one that is open."""
        for each in (self.archive, self.tracing):
            if each is not None:
                each.start()

    async def stop(self) -> None:
        """Write and send what waits, within a moment, and end the threads."""
        loop = asyncio.get_running_loop()
        for each in (self.archive, self.tracing):
            if each is not None:
                await loop.run_in_executor(None, each.stop)

    def seen(self) -> KeptSeen:
        """What is kept now, for the metrics."""
        ring, archive, tracing = self.ring, self.archive, self.tracing
        stored = archive.seen() if archive is not None else Stored()
        return KeptSeen(
            records=len(ring) if ring is not None else 0,
            record_bytes=ring.bytes if ring is not None else 0,
            archive_up=stored.up,
            archived=stored.written,
            archive_dropped=stored.dropped,
            sent=tracing.seen() if tracing is not None else Sent(),
        )

    # --- what requests tell ----------------------------------------------------------------

    @property
    def gates(self) -> tuple[Gate, ...]:
        """Who stands before placement: with traces on, a request has its context from here on."""
        return () if self._sampler is None else (self._begin,)

    @property
    def hears(self) -> tuple[Callable[[Exchange, Record], None], ...]:
        """Who hears the end of requests."""
        return (self.ended,)

    async def _begin(self, exchange: Exchange, body: bytes) -> bytes:
        if self._sampler is not None:
            exchange.trace = self._sampler.begin(exchange.request.headers)
        return body

    def ended(self, exchange: Exchange, record: Record) -> None:
        """A request has ended (``Hear``)."""
        request, trace, tries = exchange.request, exchange.trace, exchange.tries
        headers = request.headers
        if self._sampler is not None and trace is None:  # it ended before it could be placed
            trace = self._sampler.begin(headers)
        if trace is not None or HEADER in headers:
            _sign(record, headers, trace)
        if self.ring is None and not self.takers:
            return
        size = ENTRY_BYTES
        for each in tries:
            size += ATTEMPT_BYTES
            if each.decision is not None:
                size += CANDIDATE_BYTES * len(each.decision.terms)
        notes = exchange.notes
        self._keep(Entry(
            record,
            exchange.facts,
            request.begun_at,
            request.identified_at,
            exchange.started_at,
            exchange.admitted_at,
            exchange.held_at,
            exchange.first_at,
            tuple(tries),
            tuple(notes) if notes is not None else (),
            exchange.traits,
            exchange.media,
            headers.get(REQUEST_START, b"") if self._trusts else b"",
            trace,
            size,
            request.method,
            exchange.permit,
        ))  # fmt: skip

    def refused(self, request: Request, record: Record, now: float) -> None:
        """A request was refused at ``now`` (monotonic, s), before it became one."""
        headers = request.headers
        trace = self._sampler.begin(headers) if self._sampler is not None else None
        if trace is not None or HEADER in headers:
            _sign(record, headers, trace)
        if self.ring is None and not self.takers:
            return
        start = headers.get(REQUEST_START, b"") if self._trusts else b""
        keep = self._keep if record.tenant else self._keep_stranger
        keep(
            Entry(
                record,
                NO_FACTS,
                request.begun_at,
                request.identified_at,
                now,
                request_start=start,
                trace=trace,
                size=ENTRY_BYTES,
                method=request.method,
            )
        )

    # --- below -----------------------------------------------------------------------------

    def _keep(self, entry: Entry) -> None:
        why = notable(entry.record, self._slow_ms)
        if self.ring is not None:
            self.ring.add(entry, notable=bool(why))
        for taker in self.takers:
            taker.offer(entry, why)

    def _keep_stranger(self, entry: Entry) -> None:
        """Of an unknown caller: it has a room of its own, and none in the database."""
        if self.ring is not None:
            self.ring.add_stranger(entry)
        if self.tracing is not None:
            self.tracing.offer(entry, notable(entry.record, self._slow_ms))


def _sign(record: Record, headers: dict[bytes, bytes], trace: Context | None) -> None:
    """Put the trace's id into the record, whoever's it is."""
    if trace is not None:
        record.trace_id = trace.trace.decode("ascii")
        record.span_id = f"{trace.span:016x}"
    else:
        record.trace_id = trace_of(headers[HEADER])


def notable(record: Record, slow_ms: float) -> str:
    """
    Why somebody may ask for this request: error, retried or slow; empty for the usual one. What a
    client did wrong, or ended itself, is no error here.
    """
    well = record.outcome == "completed" and record.status == 200
    if well and record.attempts == 1 and record.total_ms <= slow_ms:
        return ""  # nearly all of them
    if record.status >= 500 or record.outcome.startswith(("upstream_failed", "timed_out")):
        return "error"
    if record.attempts > 1:
        return "retried"
    took_ms = record.ttft_ms if record.stream else record.total_ms
    return "slow" if took_ms is not None and took_ms > slow_ms else ""
