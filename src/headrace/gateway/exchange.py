"""
One request on its journey: what is known of it, its clock, and the settling that happens exactly
once.

Whatever ends a request (answer, error, disconnect, time-out, shutdown) ends in ``settle``, which
never awaits: leases, connections and bytes are given back in the same turn of the event loop.
"""

import asyncio
from array import array
from datetime import UTC, datetime
from typing import Protocol

from headrace.admission.limits import Permit
from headrace.errors import ApiError, TimedOut
from headrace.fleet.registry import Lease, Replica
from headrace.gateway import answers, clocks
from headrace.gateway.body.scan import Prompt
from headrace.gateway.body.traits import Traits
from headrace.gateway.clocks import NEVER
from headrace.gateway.door.client import Client
from headrace.gateway.door.request import Request
from headrace.gateway.door.routes import Endpoint
from headrace.gateway.guards.watch import Watch
from headrace.gateway.place.placement import Place
from headrace.gateway.plan import Plan
from headrace.gateway.send.attempt import Attempt, Note
from headrace.metering.ticket import Ticket
from headrace.telemetry.context import HEADER, Context, trace_of
from headrace.telemetry.records import Record
from headrace.types import Class, RequestFacts, Usage
from headrace.upstream.connection import Connection

# Arrival times of chunks that are kept for percentiles, 8 bytes each: the latest minute or two.
MAX_TIMES = 8192

EVENT_STREAM = b"content-type: text/event-stream; charset=utf-8\r\n"
NO_FACTS = RequestFacts(model="", endpoint="", stream=False, prompt_tokens=0)


class Gone(Exception):
    """The client hung up; there is nobody to answer."""


class Settler(Protocol):
    """Who must hear that a request has ended."""

    def settled(self, exchange: "Exchange", record: Record) -> None: ...


class Exchange:
    """Mutable, owned by one task; the watchdog and the client may interrupt it."""

    __slots__ = (
        "_began", "_chunk_s", "_settled", "admitted_at", "answer_id", "attempts", "begun",
        "bytes_in", "bytes_out", "caller", "cause", "client", "clock", "connection", "deadline",
        "endpoint", "error", "events", "facts", "first_at", "forgotten", "held_at", "id_line",
        "judged", "lease", "lines", "media", "notes", "outcome", "permit", "place", "plan",
        "prompt", "reason", "replica", "request", "request_id", "resumed_at", "served", "settler",
        "span", "started_at", "status", "streaming", "task", "ticket", "times", "total_at", "trace",
        "traits", "tries", "usage", "watch",
    )  # fmt: skip

    def __init__(
        self,
        request: Request,
        client: Client,
        endpoint: Endpoint,
        request_id: str,
        settler: Settler,
    ) -> None:
        self.request = request
        self.client = client
        self.endpoint, self.caller = endpoint, request.caller
        self.request_id = request_id
        self.id_line = answers.request_id(request_id)
        self.answer_id = (
            self.id_line
            if endpoint.dialect == "openai"
            else answers.request_id(request_id, endpoint.dialect)
        )
        self.settler = settler
        self.facts = NO_FACTS
        self.served, self.lines = "", b""  # the declared model's name; of the head, see put
        self.span: tuple[int, int] | None = None  # where a form's `model` stands
        self.prompt: Prompt | None = None
        self.traits: Traits | None = None  # what rules ask of its body
        self.plan: Plan | None = None  # what a rule says about it
        self.judged: Class | None = None  # what it is, where a rule asked
        self.bytes_in, self.bytes_out = request.size, 0
        self.attempts = self.media = 0  # ... and images and sounds in the prompt
        self.replica: Replica | None = None
        self.lease: Lease | None = None
        self.place: Place | None = None  # the latest
        self.connection: Connection | None = None
        self.outcome = "client_gone"
        self.reason = self.error = ""
        self.usage: Usage | None = None
        self.status = self.events = self.forgotten = 0  # times before those that are kept
        self.times: array[float] = array("d")  # when chunks came, the latest of them
        self.started_at = clocks.now()
        self.first_at = self.resumed_at = self.admitted_at = self.held_at = 0.0
        self.tries: list[Attempt] = []
        self.notes: list[Note] | None = None
        self.trace: Context | None = None  # where requests are traced
        self.total_at = self.deadline = NEVER
        self.clock = "total"
        self.begun = self.streaming = False  # its head was sent; its first byte was there
        self.cause: Exception | None = None
        self.task: asyncio.Task[None] | None = None
        self.ticket: Ticket | None = None  # where the end of the answer waits for its row
        self.permit: Permit | None = None  # what it holds of limits
        self.watch: Watch | None = None  # its guards
        self._chunk_s = NEVER
        self._began = self._settled = False

    # --- the clocks -----------------------------------------------------------------------

    def begin(self, now: float, total_s: float) -> None:
        """The task runs: from here on its own ``finally`` settles."""
        self._began = True
        self.total_at = self.deadline = self.started_at + total_s
        self.resumed_at = now

    def wait(self, clock: str, until: float) -> None:
        """Run another clock until ``until``, or the total one if that is sooner."""
        if until < self.total_at:
            self.clock, self.deadline = clock, until
        else:
            self.clock, self.deadline = "total", self.total_at

    def stream(self, now: float, chunk_s: float) -> None:
        """The first byte is there: from now on each chunk has its own time to come."""
        self.first_at = now
        self.times.append(now)
        self.streaming = True
        if self.place is not None:
            self.place.first(now)
        self._chunk_s = chunk_s
        self.wait("chunk", now + chunk_s)

    def expire(self, now: float) -> None:
        """The watchdog saw the deadline pass; a chunk may have come since it was set."""
        if self.streaming and self.clock == "chunk":
            self._forget()
            last = now if self.client.choked else self._last_at  # a slow client is not its fault
            if last + self._chunk_s > now:
                self.wait("chunk", last + self._chunk_s)
                return
        self.deadline = NEVER
        waited = now - (self._last_at if self.streaming else self.started_at)
        what = _CLOCKS[self.clock]
        message = f"{what} within {waited:.0f} s ({self.clock} time-out)."
        if self.clock != "total" or not self.first_at:  # a long answer is no failure
            self.blame(f"{self.clock} time-out")
        self.interrupt(TimedOut(message, outcome=f"timed_out_{self.clock}"))

    @property
    def _last_at(self) -> float:
        return max(self.times[-1] if self.times else self.started_at, self.resumed_at)

    def _forget(self) -> None:
        extra = len(self.times) - MAX_TIMES
        if extra > 0:
            del self.times[:extra]
            self.forgotten += extra

    def comfort(self) -> None:
        """Tell the client of a stream that waits, and whoever is between, that we are here."""
        if not self.begun:
            self.begun, self.status = True, 200
            self.client.start(200, EVENT_STREAM + answers.SSE + self.answer_id)
        self.client.write(b": waiting for a replica\n\n")

    # --- ends -----------------------------------------------------------------------------

    def interrupt(self, cause: Exception) -> None:
        """End the request for this cause, in whatever phase it is."""
        if self._settled or self.cause is not None:
            return
        self.cause = cause
        if self.connection is not None:
            self.connection.splice = None
        if self.task is not None:
            self.task.cancel()
        if not self._began:
            self.settle()  # a task that is cancelled before its first step never runs its finally

    def gone(self) -> None:
        """The client hung up (``Listener``)."""
        if self.cause is None and self.lease is not None:
            self.lease.abandon()
        self.interrupt(Gone())

    def pause(self) -> None:
        """The client does not keep up (``Listener``)."""
        if self.connection is not None and self.streaming:
            self.connection.pause()

    def resume(self) -> None:
        """The client has caught up (``Listener``)."""
        if self.connection is not None and self.streaming:
            self.resumed_at = clocks.now()
            self.connection.resume()

    def sign(self, line: bytes) -> None:
        """Put this line into the answer's head, beside the request's id; replaces the last one."""
        dialect = self.endpoint.dialect
        self.answer_id = answers.request_id(self.request_id, dialect) + line + self.lines

    def put(self, lines: bytes) -> None:
        """Put more lines into the answer's head, which stay there."""
        self.lines += lines
        self.answer_id += lines

    def note(self, who: str, outcome: str, detail: str = "") -> None:
        """Keep for its decision record what ``who`` (limits, guard…) decided; no words of it."""
        if self.notes is None:
            self.notes = []
        self.notes.append(Note(clocks.now(), who, outcome, detail))

    @property
    def ids(self) -> dict[str, str]:
        """What an event says that is about this request: its id, and that of its trace."""
        trace = self.trace.trace if self.trace is not None else b""
        given = self.request.headers.get(HEADER, b"")
        known = trace.decode("ascii") or trace_of(given)
        return {"request_id": self.request_id, **({"trace_id": known} if known else {})}

    def blame(self, kind: str) -> None:
        """The replica that has the request failed it; ``kind`` says how."""
        if self.lease is not None:
            self.lease.fail(kind)

    def failed(self, error: ApiError) -> None:
        """Remember how it failed, for the record."""
        self.outcome = error.outcome
        self.error = error.message

    def let_go(self) -> None:
        """Give back the lease and the connection; a finished one is pooled, any other closed."""
        lease, self.lease = self.lease, None
        if lease is not None:
            lease.release()
        if self.place is not None:
            self.place.end(self.usage)
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.release()

    def settle(self) -> None:
        """
        End the request: give everything back and write its record. Only the first call counts.
        """
        if self._settled:
            return
        self._settled = True
        self.deadline = NEVER
        self.let_go()
        self.request.drop()
        self.task = None
        self.settler.settled(self, self._record())

    def _record(self) -> Record:
        started = self.started_at
        facts = self.facts
        usage = self.usage
        ruling = self.plan.ruling if self.plan is not None else None
        estimated = usage is None and self.attempts > 0
        if usage is None:
            usage = Usage(facts.prompt_tokens, max(0, self.events - 1))
        return Record(  # by their places: names cost 0.7 us a request
            datetime.now(UTC),
            self.request_id,
            self.endpoint.path,
            self.outcome,
            self.status,
            self.attempts,
            facts.stream,
            int((clocks.now() - started) * 1e6) / 1000,
            usage.prompt,
            usage.completion,
            usage.cached,
            self.bytes_in,
            self.bytes_out,
            facts.model,
            self.served,
            self.replica.name if self.replica is not None else "",
            self.reason,
            self.error,
            ruling.rule if ruling is not None else "",
            f"{ruling.experiment}/{ruling.arm}" if ruling is not None and ruling.arm else "",
            self.judged,
            self.caller.tenant,
            self.caller.key,
            estimated,
            int((self.first_at - started) * 1e6) / 1000 if self.first_at else None,
            self.place.weighed(started) if self.place is not None else None,
            int((self.place.lease.taken_at - started) * 1e6) / 1000 if self.place else None,
        )


_CLOCKS = {
    "queue": "No replica had room for it",
    "first_byte": "The replica sent no first byte",
    "chunk": "The replica sent no further chunk",
    "total": "The request was not finished",
}
