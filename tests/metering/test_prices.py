"""What a request cost, in whole micro-cents."""

from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal

from hypothesis import given
from hypothesis import strategies as st

from headrace.config.prices import GpuPrice, Prices, TokenPrice
from headrace.metering.prices import Book, exact, money
from headrace.metering.rows import micros

DAY = date(2026, 11, 1)


def price(model: str, since: date, number: str, cached: str | None = None) -> TokenPrice:
    return TokenPrice.model_validate(
        {"model": model, "since": since, "input": number, "output": "2", "cached": cached}
    )


def at(day: date, hour: int = 0) -> int:
    return micros(datetime(day.year, day.month, day.day, hour, tzinfo=UTC))


numbers = st.decimals(0, 1000, places=8)
tokens = st.integers(0, 10_000_000)


@given(numbers, numbers, numbers, tokens, tokens, tokens)
def test_cost_is_what_decimals_say(
    input_: Decimal, output: Decimal, cached: Decimal, asked: int, out: int, reused: int
) -> None:
    """The cost is the exact product, rounded half to even to a micro-cent."""
    entry = TokenPrice(model="m", input=input_, output=output, cached=cached)
    book = Book(Prices(tokens=(entry,)))
    reused = min(reused, asked)
    product = (asked - reused) * input_ + reused * cached + out * output
    amount = product / 1_000_000
    whole = int((amount * 10**8).to_integral_value(ROUND_HALF_EVEN))

    assert (whole if asked or out else 0) == book.charge("m", 0, asked, out, reused)[1]


def test_one_token_of_a_small_model_costs_something() -> None:
    """At 0.15 for a million, a token is 15 micro-cents, not nothing."""
    book = Book(Prices(tokens=(price("m", DAY, "0.15"),)))

    assert 15 == book.charge("m", at(DAY), 1, 0, 0)[1]


def test_cached_tokens_cost_what_others_do_unless_told() -> None:
    """Without a price of their own they are tokens of prompts."""
    dear = Book(Prices(tokens=(price("m", DAY, "1"),)))
    cheap = Book(Prices(tokens=(price("m", DAY, "1", "0.1"),)))

    assert 1000_00 == dear.charge("m", at(DAY), 1000, 0, 600)[1]
    assert 400_00 + 60_00 == cheap.charge("m", at(DAY), 1000, 0, 600)[1]


def test_prices_hold_from_their_day_on() -> None:
    """The first microsecond of a day has its new price; before the first entry there is none."""
    later = DAY + timedelta(days=9)
    book = Book(Prices(tokens=(price("m", later, "2"), price("m", DAY, "1"))))

    assert 0 == book.charge("m", at(DAY) - 1, 1, 0, 0)[1]
    assert 100 == book.charge("m", at(later) - 1, 1, 0, 0)[1]
    assert 200 == book.charge("m", at(later), 1, 0, 0)[1]


def test_star_is_for_those_without_an_entry() -> None:
    """A model with a price of its own never has that of others."""
    book = Book(Prices(tokens=(price("*", DAY, "1"), price("m", DAY, "3"))))

    assert (300, 100) == (
        book.charge("m", at(DAY), 1, 0, 0)[1],
        book.charge("n", at(DAY), 1, 0, 0)[1],
    )


def test_version_changes_with_the_price() -> None:
    """Two prices have two versions; the same price has the same in every process."""
    one, same, other = (Book(Prices(tokens=(price("m", DAY, n),))) for n in ("1", "1.0", "1.1"))
    version = one.charge("m", at(DAY), 1, 0, 0)[0]

    assert version.startswith("2026-11-01/")
    assert version == same.charge("m", at(DAY), 1, 0, 0)[0]
    assert version != other.charge("m", at(DAY), 1, 0, 0)[0]


def test_first_pattern_prices_a_replica() -> None:
    """Of the patterns the first that fits decides, of its entries the latest that has begun."""
    gpus = (
        GpuPrice(replica="gpu-big*", per_hour=Decimal(4), gpus=2),
        GpuPrice(replica="gpu-*", per_hour=Decimal(1)),
        GpuPrice(replica="gpu-*", since=DAY, per_hour=Decimal(2)),
    )
    book = Book(Prices(gpus=gpus))
    minute = at(DAY) // 60_000_000

    assert 800_000_000 == book.hour("gpu-big-1", minute)
    assert 200_000_000 == book.hour("gpu-7", minute)
    assert 100_000_000 == book.hour("gpu-7", minute - 1)
    assert book.hour("cpu-1", minute) is None


def test_money_is_rounded_only_to_be_shown() -> None:
    """The exact amount has all decimals."""
    assert "12.35" == money(1_234_500_001)
    assert "12.34500001" == f"{exact(1_234_500_001):f}"
