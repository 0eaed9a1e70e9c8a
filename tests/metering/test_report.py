"""What the ledger says: sums, statements, and what the GPUs cost."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from headrace.config.metering import Metering
from headrace.config.prices import Prices
from headrace.metering import report
from headrace.metering.prices import Book, Tariff
from headrace.metering.report import Span, Usage, month
from headrace.metering.rows import Row, micros
from headrace.metering.statements import INSERT_PRICE, INSERT_USAGE, UPSERT_PRESENCE
from headrace.metering.stores import Statement, Store, open_store
from tests.metering.conftest import settings
from tests.metering.rows import NOON, a_row, values

HOUR = micros(NOON) // 60_000_000  # in minutes


@pytest.fixture
def store(ledger: Metering) -> Iterator[Store]:
    store = open_store(ledger)
    yield store
    store.close()


def keep(store: Store, *rows: Row) -> None:
    store.write([Statement(INSERT_USAGE, [values(row) for row in rows])])


def at(day: int, hour: int = 0) -> int:
    return micros(datetime(2026, 11, day, hour, tzinfo=UTC))


def test_usage_is_summed_by_what_is_asked_for(store: Store) -> None:
    """By tenant and day, in their order, with exact sums."""
    keep(
        store,
        a_row("1", tenant="a", at_us=at(2) - 1, cost=3),
        a_row("2", tenant="a", at_us=at(2), cost=5, estimated=1),
        a_row("3", tenant="a", at_us=at(2, 23), cost=2**53 + 1),
        a_row("4", tenant="b", at_us=at(2), cost=11),
    )

    assert [
        Usage(("a", "2026-11-01"), 1, 100, 40, 20, 0, 3),
        Usage(("a", "2026-11-02"), 2, 200, 80, 40, 1, 2**53 + 6),
        Usage(("b", "2026-11-02"), 1, 100, 40, 20, 0, 11),
    ] == report.usage(store, ("tenant", "day"), Span())


def test_usage_of_a_part(store: Store) -> None:
    """Filters and the span leave what fits; the end is not included."""
    keep(
        store,
        a_row("1", tenant="a", model="m", at_us=at(2)),
        a_row("2", tenant="a", model="n", at_us=at(3)),
        a_row("3", tenant="o'b", model="m", at_us=at(4)),
    )

    assert [1] == [u.requests for u in report.usage(store, (), Span(), {"tenant": "o'b"})]
    assert [2] == [u.requests for u in report.usage(store, (), Span(at(2), at(4)))]
    assert [1] == [
        u.requests for u in report.usage(store, (), Span(), {"tenant": "a", "model": "n"})
    ]
    assert [0] == [u.requests for u in report.usage(store, (), Span(at(9), at(10)))]


def test_statement_has_a_line_for_each_price(store: Store) -> None:
    """With the prices that were charged, from the ledger, whatever the price book says now."""
    tariff = Tariff("2026-11-01/aa", "USD", "m", "2026-11-01", 100, 200, 50)
    store.write([Statement(INSERT_PRICE, [
        (tariff.version, tariff.currency, tariff.model, tariff.since, 100, 200, 50)
    ])])  # fmt: skip
    keep(
        store,
        a_row("1", price=tariff.version, cost=7),
        a_row("2", price=tariff.version, cost=8),
        a_row("3", price=""),
        a_row("4", tenant="other", cost=99),
        a_row("5", at_us=micros(datetime(2026, 12, 1, tzinfo=UTC)), cost=99),
    )
    lines = report.statement(store, "acme", month("2026-11"))

    assert [("m", None, 1, 0), ("m", tariff, 2, 15)] == [
        (line.model, line.tariff, line.usage.requests, line.usage.cost) for line in lines
    ]
    assert ["acme", "other"] == report.tenants(store, month("2026-11"))


def test_month_ends_with_its_last_microsecond() -> None:
    """Of UTC, leap years and December included."""
    assert at(1) == month("2026-11").since_us
    assert month("2026-12").until_us == month("2027-01").since_us
    assert 29 * 86_400_000_000 == month("2028-02").until_us - month("2028-02").since_us
    with pytest.raises(ValueError, match=r"does not match|unconverted"):
        month("November")


def test_gpus_cost_what_they_cost_while_idle(store: Store) -> None:
    """Cost of all time for tokens achieved; idle time by what was not busy."""
    book = Book(Prices.model_validate({"gpus": [{"replica": "gpu-*", "per_hour": 6}]}))
    minutes = [(HOUR + n, "gpu-1", 60.0, 15.0) for n in range(60)]
    minutes += [(HOUR + n, "gpu-2", 30.0, 0.0) for n in range(60)]
    store.write([Statement(UPSERT_PRESENCE, minutes)])
    keep(store, a_row("1", replica="gpu-1", tokens_in=2000, tokens_out=1000, cost=77))
    one, two = report.worked(store, book, Span())

    assert ("gpu-1", 1.0, 0.25, 0.25) == (one.replica, one.up_h, one.busy_h, one.utilisation)
    assert (600_000_000, 450_000_000) == (one.cost, one.idle_cost)
    assert (200_000_000, 77) == (one.per_1k, one.charged)
    assert (300_000_000, 300_000_000, None) == (two.cost, two.idle_cost, two.per_1k)

    fleet = report.together([one, two])
    assert (900_000_000, 300_000_000, 1.5) == (fleet.cost, fleet.per_1k, fleet.up_h)


def test_replicas_without_a_price_have_times_only(store: Store) -> None:
    """Nobody guesses what they cost, nor what the fleet does with them in it."""
    store.write([Statement(UPSERT_PRESENCE, [(HOUR, "cpu", 60.0, 60.0)])])
    (found,) = report.worked(store, Book(Prices()), Span())

    assert (1.0, None, None) == (found.utilisation, found.cost, found.per_1k)
    assert report.together([found]).cost is None


def test_reports_do_not_stop_writers(tmp_path: Path) -> None:
    """While somebody reads, rows are written."""
    config = settings(tmp_path)
    writer, reader = open_store(config), open_store(config)
    assert 0 == report.usage(reader, (), Span())[0].requests
    keep(writer, a_row("1"))

    assert 1 == report.usage(reader, (), Span())[0].requests
    writer.close()
    reader.close()
