"""Requests from a file of log lines: what a line says of one, in the shape of a decision record."""

import heapq
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path

import msgspec

from headrace.errors import StartError
from headrace.telemetry.decisions import (
    Expected,
    Facts,
    Phase,
    Story,
    Summary,
    Tried,
    story,
    summary,
)
from headrace.telemetry.records import Record

FIELDS = {"model": "served", "tenant": "tenant", "replica": "replica"}
MARK = b'"event":"request"'

_read = msgspec.json.Decoder(Record).decode


class LogFile:
    """A log (``cli.explain.Source``). Read from front to end for each question."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def requests(self, order: str, only: Mapping[str, str], most: int) -> list[Summary]:
        """
        The first of them, in this order: latest, slowest or failed.

        Raises:
            StartError: the file cannot be read.

        """
        fitting = (
            record
            for record in self._records()
            if all(getattr(record, FIELDS[name]) == value for name, value in only.items())
        )
        if order == "slowest":
            found = heapq.nlargest(most, fitting, key=lambda record: record.total_ms)
        else:
            wanted = (r for r in fitting if order == "latest" or _failed(r))
            found = heapq.nlargest(most, wanted, key=lambda record: record.time)
        return [summary(record) for record in found]

    def story(self, request_id: str) -> Story:
        """
        What its line says; of several with one id, the latest.

        Raises:
            StartError: there is none, or the file cannot be read.

        """
        found = None
        for record in self._records():
            if record.request_id == request_id:
                found = record
        if found is None:
            raise StartError(f"{self._file} has no line of a request {request_id!r}.")
        return told(found)

    def _records(self) -> Iterator[Record]:
        try:
            with self._file.open("rb") as lines:
                found = (_record(line) for line in lines if MARK in line)
                yield from (record for record in found if record is not None)
        except OSError as error:
            raise StartError(f"{self._file}: cannot be read ({error.strerror}).") from None


def _record(line: bytes) -> Record | None:
    """None for a line that is torn, or of another version."""
    try:
        return _read(line)
    except msgspec.DecodeError:
        return None


def _failed(record: Record) -> bool:
    return record.status >= 500 or record.outcome.startswith(("upstream_failed", "timed_out"))


def told(record: Record) -> Story:
    """A line as a decision record: times to the place, to the first byte, to the end."""
    total, decision = record.total_ms, record.decision
    placed = record.queue_ms
    if placed is None:
        placed = decision.queue if decision is not None else 0.0
    phases = [Phase("queue", 0.0, placed, 1)]
    if record.ttft_ms is not None:
        phases += [
            Phase("prefill", placed, record.ttft_ms, 1),
            Phase("decode", record.ttft_ms, total, 1),
        ]
    else:
        phases.append(Phase("answer", placed, total, 1))
    expected: list[Expected] = []
    if decision is not None:
        cached = None if record.estimated else float(record.tokens_cached)
        expected = [
            Expected("ttft_ms", decision.ttft, record.ttft_ms),
            Expected("cached_tokens", float(decision.cached), cached),
        ]
    facts = Facts(
        endpoint=record.endpoint,
        model=record.model,
        stream=record.stream,
        prompt_tokens=record.tokens_in,
        bytes_in=record.bytes_in,
    )
    began = record.time - timedelta(milliseconds=total)
    spent = [phase for phase in phases if phase.end_ms > phase.start_ms]
    return msgspec.structs.replace(
        story(record, began, facts, spent),
        attempts=(_attempt(record, placed),) if record.attempts else (),
        expected=tuple(expected),
    )


def _attempt(record: Record, placed: float) -> Tried:
    """The last of its attempts, all that a line knows."""
    decision = record.decision
    earlier = record.attempts - 1
    lost = f"{earlier} before it failed; the log does not say where. " if earlier else ""
    if decision is None:
        why = lost
    else:
        gap, others = decision.gap, decision.candidates - 1
        how = f"{gap:.1f} ms more" if gap >= 0 else f"{-gap:.1f} ms less, but had no room"
        best = (
            f"{decision.next} would have cost {how}" if decision.next else "No costs were weighed"
        )
        why = f"{lost}{best}; the log does not name the {others} others' terms."
    return Tried(
        replica=record.replica,
        outcome="answered" if record.outcome == "completed" else "failed",
        reason=record.reason,
        policy=decision.policy if decision is not None else "",
        why=why.strip(),
        runner_up=decision.next if decision is not None else "",
        gap_ms=decision.gap if decision is not None else None,
        cached_tokens=decision.cached if decision is not None else None,
        wait_ms=decision.wait if decision is not None else None,
        prefill_ms=decision.prefill if decision is not None else None,
        started_ms=placed,
        ended_ms=record.total_ms,
        status=record.status,
        error=record.error,
    )
