"""story.py: what was noted of a request, put into words and numbers."""

import math
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from headrace.admission.limits import Permit
from headrace.gateway.records.story import Entry, why
from headrace.gateway.send.attempt import Attempt, Note
from headrace.routing.decision import HOLDER, LOWEST, ONLY, RESERVED, Decision
from headrace.routing.lane import UNKNOWN, Taken
from headrace.routing.terms import Terms
from headrace.telemetry.decisions import Expected, Phase, Story
from headrace.telemetry.records import Record
from headrace.types import RequestFacts

END = datetime(2026, 11, 21, 12, 0, 10, tzinfo=UTC)


def record(total_ms: float = 1000.0, **more: object) -> Record:
    given = Record(
        time=END, request_id="r", endpoint="/v1/chat/completions", outcome="completed", status=200,
        attempts=1, stream=True, total_ms=total_ms, tokens_in=30, tokens_out=4, tokens_cached=16,
        bytes_in=5, bytes_out=6, served="m", replica="b",
    )  # fmt: skip
    return msgspec.structs.replace(given, **more)


def terms(
    cost: float, *, wait: float = 0.0, prefill: float = 0.0, cached: float = 0.0, inflight: int = 0
) -> Terms:
    other = cost - wait - prefill
    return (cost, wait, 0.0, prefill, other, 0.0, 0.0, 0.0, cached, inflight)


def decision(*each: Terms, chosen: int = 0, open_: tuple[int, ...] | None = None) -> Decision:
    names = tuple("abcd"[: len(each)])
    usual = tuple(range(len(each)))
    return Decision(
        "lowest_cost", LOWEST, names, chosen, 30.0, 7, usual, each,
        usual if open_ is None else open_,
    )  # fmt: skip


def attempt(replica: str = "b", start: float = 100.1, **more: object) -> Attempt:
    """Placed 10 ms after it came to the queue."""
    taken = Taken(16.0, 20.0, 5.0)
    given = Attempt(replica, None, taken, start - 0.01, start - 0.01, start)
    return msgspec.structs.replace(given, **more)


def entry(*tries: Attempt, **more: object) -> Entry:
    """A request whose head came at 99.9, its body at 100, and that took a second from there."""
    facts = RequestFacts("alias", "/v1/chat/completions", stream=True, prompt_tokens=30)
    given = Entry(record(), facts, 99.9, 0.0, 100.0, 100.05, tries=tries)
    return msgspec.structs.replace(given, **more)


def shown(told: Story) -> list[tuple[str, float, float, int]]:
    return [(each.what, each.start_ms, each.end_ms, each.attempt) for each in told.phases]


class TestWaterfall:
    def test_has_no_gaps(self) -> None:
        """Each moment from the head of a request to its end is in one phase, in order."""
        told = entry(
            attempt(sent_at=100.12, answered_at=100.3, status=200, fresh=True),
            first_at=100.3, identified_at=99.95,
        ).tell()  # fmt: skip

        assert [
            ("identify", 0.0, 50.0, 0), ("receive", 50.0, 100.0, 0), ("admit", 100.0, 150.0, 0),
            ("route", 150.0, 200.0, 1), ("connect", 200.0, 220.0, 1), ("prefill", 220.0, 400.0, 1),
            ("decode", 400.0, 1100.0, 1),
        ] == shown(told)  # fmt: skip
        ends = [phase.end_ms for phase in told.phases]
        assert ends[:-1] == [phase.start_ms for phase in told.phases[1:]]
        assert 1.1 == (told.ended - told.began).total_seconds()

    def test_a_retry(self) -> None:
        """What failed stands between the two choices; waiting for room is queue, not route."""
        told = entry(
            attempt("a", ended_at=100.2, error="it broke"),
            attempt(arrived_at=100.2, taken_at=100.5, placed_at=100.51, sent_at=100.51,
                    answered_at=100.7, status=200),
            first_at=100.7,
        ).tell()  # fmt: skip

        assert [
            ("failed", 200.0, 300.0, 1), ("queue", 300.0, 600.0, 2), ("route", 600.0, 610.0, 2),
            ("prefill", 610.0, 800.0, 2), ("decode", 800.0, 1100.0, 2),
        ] == shown(told)[3:]  # fmt: skip
        assert [("failed", "it broke"), ("answered", "")] == [
            (each.outcome, each.error) for each in told.attempts
        ]
        assert 300.0 == told.attempts[1].queued_ms

    def test_waits_for_a_first_replica(self) -> None:
        """A model at zero holds its requests, which is not the queue of one with replicas."""
        told = entry(attempt(start=100.9, answered_at=101.0), first_at=101.0, held_at=100.8).tell()

        assert [("hold", 150.0, 900.0, 1), ("route", 900.0, 1000.0, 1)] == shown(told)[2:4]

    @pytest.mark.parametrize("until", [101.0, math.inf])
    def test_waits_in_vain_for_a_first_replica(self, until: float) -> None:
        """Time held is no queue either when no replica came, or the client left meanwhile."""
        told = entry(held_at=until).tell()

        assert [("hold", 150.0, 1100.0, 1)] == shown(told)[2:]

    def test_another_target(self) -> None:
        """An answer that led to the rule's next target ended its attempt."""
        told = entry(
            attempt("a", sent_at=100.1, answered_at=100.4, status=503),
            attempt(start=100.5, sent_at=100.5, answered_at=100.7, status=200),
            first_at=100.7,
        ).tell()

        assert [("failed", 200.0, 500.0, 1), ("route", 500.0, 600.0, 2)] == shown(told)[3:5]
        assert [("refused", 503), ("answered", 200)] == [
            (each.outcome, each.status) for each in told.attempts
        ]

    def test_never_placed(self) -> None:
        """A request that ran out of time in the queue spent it there; one refused before, at it."""
        queued = entry(record=record(outcome="timed_out_queue")).tell()
        refused = entry(record=record(outcome="rejected_quota"), admitted_at=0.0).tell()

        assert ("queue", 150.0, 1100.0, 1) == shown(queued)[-1]
        assert ("admit", 100.0, 1100.0, 0) == shown(refused)[-1]
        assert () == queued.attempts

    def test_not_streamed(self) -> None:
        """Nobody sees the first token of an answer that comes whole."""
        facts = RequestFacts("m", "/v1/embeddings", stream=False, prompt_tokens=30)
        told = entry(attempt(sent_at=100.1, answered_at=100.9), facts=facts).tell()

        assert ("answer", 200.0, 1100.0, 1) == shown(told)[-1]

    @pytest.mark.parametrize(
        ("header", "edge_ms"),
        [(b"t=1795262408.650000", 250.0), (b"1795262408.65", 250.0), (b"t=1795262409.0", None),
         (b"t=1.0", None), (b"yesterday", None), (b"", None)],
    )  # fmt: skip
    def test_edge(self, header: bytes, edge_ms: float | None) -> None:
        """What stands before us may tell when a request reached it, if that can be true."""
        told = entry(attempt(answered_at=100.2), first_at=100.2, request_start=header).tell()
        first = told.phases[0]

        assert (Phase("edge", 0.0, 250.0) == first) is (edge_ms is not None)
        assert "receive" == told.phases[1 if edge_ms else 0].what


class TestAttempts:
    @pytest.mark.parametrize(
        ("outcome", "more", "found"),
        [
            ("completed", {"answered_at": 100.3, "status": 200}, "answered"),
            ("client_gone", {}, "aborted"),
            ("timed_out_first_byte", {}, "failed"),
            ("upstream_failed_midstream", {"answered_at": 100.3, "status": 200}, "failed"),
            ("rejected_upstream", {"answered_at": 100.3, "status": 400}, "answered"),
            ("completed", {"answered_at": 100.2, "ended_at": 100.2, "status": 503}, "refused"),
            ("completed", {"ended_at": 100.2, "error": "reset"}, "failed"),
        ],
    )
    def test_outcome(self, outcome: str, more: dict[str, Any], found: str) -> None:
        """An attempt says how it ended by itself, which may be another end than the request's."""
        told = entry(attempt(**more), record=record(outcome=outcome, error="why")).tell()

        assert found == told.attempts[0].outcome

    def test_candidates(self) -> None:
        """Every replica that could have answered, with each term of its cost."""
        chosen = decision(terms(50.0, wait=10, prefill=5, inflight=2), terms(40.0, cached=16),
                          chosen=1)  # fmt: skip
        told = entry(attempt(decision=chosen, span=255, sent_at=100.1)).tell().attempts[0]

        first, second = told.candidates
        assert ("a", True, 50.0, 10.0, 5.0, 35.0, 0, 2) == (
            first.replica, first.open, first.cost_ms, first.wait_ms, first.prefill_ms,
            first.externality_ms, first.cached_tokens, first.inflight,
        )  # fmt: skip
        assert 16 == second.cached_tokens
        assert ("a", 10.0, "00000000000000ff", "reused") == (
            told.runner_up, told.gap_ms, told.span_id, told.connection
        )  # fmt: skip

    def test_expected(self) -> None:
        """Predictions stand beside what came; what is not known is no number."""
        known = entry(
            attempt(sent_at=100.11, answered_at=100.3), first_at=100.3, record=record(ttft_ms=300.0)
        ).tell()
        blind = entry(attempt(predicted=UNKNOWN, answered_at=100.3)).tell()

        assert (
            Expected("queue_ms", None, 0.0),
            Expected("first_byte_ms", 25.0, 190.0),
            Expected("ttft_ms", 115.0, 300.0),
            Expected("cached_tokens", 16.0, 16.0),
        ) == known.expected
        assert [None] * 4 == [each.predicted for each in blind.expected]

    def test_the_door(self) -> None:
        """What was decided before placement is told with its time."""
        permit = Permit((), [], (1, 30, 50, 80, 0, 1), (1, 30, 50, 80, 0, 1), 0)
        told = entry(notes=(Note(100.02, "queue", "waited", "0.5 s"),), permit=permit).tell().told

        assert [("queue", "waited", 120.0, "0.5 s"), ("limits", "held", 150.0)] == [
            (each.who, each.outcome, each.at_ms, each.detail)[: 4 if each.who == "queue" else 3]
            for each in told
        ]
        assert told[1].detail.startswith("80 tokens at most")


class TestWhy:
    def test_names_the_terms(self) -> None:
        """The sentence names what the next best is worse in, the most important first."""
        made = decision(
            terms(100.0, wait=20, prefill=10, cached=512),
            terms(160.0, wait=12, prefill=70),
            terms(500.0, wait=450, prefill=10),
        )

        assert (
            "b would have cost 60.0 ms more: 60.0 ms more prefill (0 tokens cached there, 512"
            " here), 8.0 ms more delay of those who come next; against that 8.0 ms less wait for"
            " those before it."
        ) == why(made)

    @pytest.mark.parametrize(
        ("made", "text"),
        [
            (
                decision(terms(9.0), terms(5.0), open_=(0,)),
                "b would have cost 4.0 ms less, but had",
            ),
            (
                decision(terms(5.0), terms(9.0), open_=(0,)),
                "b would have cost 4.0 ms more, and had",
            ),
            (decision(terms(5.0), terms(5.05)), "b cost as much; the hash of the prompt decided."),
            (decision(terms(5.0), terms(5.0, inflight=2)), "b cost as much, and had 2 more in"),
            (Decision("x", ONLY, ("a",), 0, 1.0), "There was no other replica."),
            (Decision("x", HOLDER, ("a",), 0, 1.0), "Only this replica holds the response"),
            (Decision("random", "random", ("a", "b"), 0, 1.0), "random chose among 2; it weighs"),
            (
                msgspec.structs.replace(decision(terms(5.0), terms(9.0)), reason=RESERVED),
                "The request had waited so long that this replica was kept free for it. b would",
            ),
        ],
    )
    def test_says_what_decided(self, made: Decision, text: str) -> None:
        """A full replica, a tie, a policy without costs: each has its own sentence."""
        assert why(made).startswith(text)
