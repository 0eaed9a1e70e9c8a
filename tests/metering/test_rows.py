"""What a finished request leaves in the ledger."""

from datetime import UTC, datetime
from typing import Any

import pytest

from headrace.config.prices import Prices
from headrace.metering.prices import Book
from headrace.metering.rows import LOST, Begun, lost, micros, name, row
from headrace.telemetry.records import Weighed
from tests.metering.rows import a_record

BOOK = Book(Prices.model_validate({"tokens": [{"model": "m", "input": 1, "output": 2}]}))


def test_row_has_what_the_record_says() -> None:
    """Whose, what, where, how long, how much, and by which price."""
    decision = Weighed(policy="p", candidates=2, ttft=1.0, queue=3.5)
    record = a_record(tenant="acme", key="k1", decision=decision, ttft_ms=9.5)
    found = row("id-1", record, BOOK)

    assert ("id-1", "acme", "k1", "default", "m", "gpu-1") == (
        found.id, found.tenant, found.key_id, found.asked, found.model, found.replica,
    )  # fmt: skip
    assert (100, 20, 40, 3.5, 9.5, 80.0) == (
        found.tokens_in, found.tokens_out, found.tokens_cached, found.queue_ms, found.ttft_ms,
        found.total_ms,
    )  # fmt: skip
    assert 100 * 100 + 20 * 200 == found.cost
    assert found.price.startswith("1970-01-01/")


@pytest.mark.parametrize(
    ("charged", "changes"),
    [
        (True, {}),
        (True, {"outcome": "client_gone", "status": 200}),
        (True, {"outcome": "upstream_failed_midstream", "status": 200}),
        (False, {"outcome": "upstream_failed_midstream", "status": 200, "tokens_out": 0}),
        (False, {"outcome": "upstream_failed_connect", "status": 502}),
        (False, {"outcome": "timed_out_first_byte", "status": 504, "tokens_out": 0}),
        (False, {"outcome": "rejected_model", "status": 404, "attempts": 0}),
        (False, {"outcome": "client_gone", "status": 0, "attempts": 0}),
    ],
)
def test_tokens_count_where_something_was_answered(charged: bool, changes: dict[str, Any]) -> None:
    """An error instead of an answer costs nothing, and has no tokens in any sum."""
    found = row("id", a_record(**changes), BOOK)

    assert charged == (found.tokens_in > 0) == (found.cost > 0)


def test_absurd_counts_are_bounded() -> None:
    """What an engine says by mistake fits into the columns, and so does its cost."""
    dear = Prices.model_validate({"tokens": [{"model": "m", "input": 10**6, "output": 10**6}]})
    found = row("id", a_record(tokens_in=10**30, tokens_out=-5, tokens_cached=10**40), Book(dear))

    assert (10**9, 0) == (found.tokens_in, found.tokens_out)
    assert found.cost < 2**63


def test_names_of_clients_are_as_every_database_takes_them() -> None:
    """No character of code zero, no half of a surrogate pair, no novel."""
    assert ("ab", "?", 256) == (name("a\0b"), name("\ud800"), len(name("x" * 1000)))


def test_lost_request_is_settled_by_estimate() -> None:
    """Its prompt and a mean answer, no longer than it allowed."""
    begun = Begun("id", 7, "req", "acme", "k1", "/v1/completions", "default", "m", 100, 50)

    short, long = lost(begun, 20.4, BOOK), lost(begun, None, BOOK)

    assert (100, 20, 1, LOST) == (short.tokens_in, short.tokens_out, short.estimated, short.outcome)
    assert 50 == long.tokens_out
    assert 100 * 100 + 20 * 200 == short.cost


def test_time_is_exact() -> None:
    """Microseconds are not rounded by way of floats."""
    assert 1_795_292_881_592_608 == micros(datetime(2026, 11, 21, 20, 28, 1, 592_608, tzinfo=UTC))
