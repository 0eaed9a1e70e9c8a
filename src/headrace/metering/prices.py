"""
What a request cost: pure arithmetic in whole micro-cents. The prices themselves are
config/prices.py's.

A micro-cent is a hundred-millionth (10⁻⁸) of the currency, so that even one token of a small model
costs a whole number of them: at 0.15 for a million tokens, 15. What is left of a division is
rounded half to even, at most half a micro-cent for each request.
"""

from bisect import bisect_right
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from fnmatch import fnmatchcase
from functools import lru_cache
from hashlib import blake2b

from headrace.config.prices import DECIMALS, GpuPrice, Prices, TokenPrice

MICROCENTS = 10**DECIMALS  # of one unit of the currency
MILLION = 1_000_000
DAY_US = 86_400 * MILLION
EVERY = "*"


@dataclass(frozen=True, slots=True)
class Tariff:
    """A price of tokens: micro-cents for a million of them. ``version`` changes with any of it."""

    version: str
    currency: str
    model: str
    since: str
    input: int
    output: int
    cached: int

    def cost(self, tokens_in: int, tokens_out: int, tokens_cached: int) -> int:
        """Micro-cents for these tokens; ``tokens_cached`` are a part of ``tokens_in``."""
        cached = min(tokens_cached, tokens_in)
        exact = (tokens_in - cached) * self.input + cached * self.cached + tokens_out * self.output
        return _half_even(exact, MILLION)


class Book:
    """The price book, asked by model and time."""

    def __init__(self, prices: Prices) -> None:
        self.currency = prices.currency
        self._gpus = prices.gpus
        self._tariffs: dict[str, list[Tariff]] = {}
        self._days: dict[str, list[int]] = {}
        for each in sorted(prices.tokens, key=lambda price: price.since):
            self._tariffs.setdefault(each.model, []).append(_tariff(each, prices.currency))
            self._days.setdefault(each.model, []).append(_day(each.since))

    @property
    def tariffs(self) -> tuple[Tariff, ...]:
        """All prices of tokens."""
        return tuple(tariff for each in self._tariffs.values() for tariff in each)

    def tariff(self, model: str, at_us: int) -> Tariff | None:
        """
        The price of a model at a time (microseconds since 1970): its own, else that of ``*``; None
        where there is none yet.
        """
        name = model if model in self._tariffs else EVERY
        index = bisect_right(self._days.get(name, []), at_us // DAY_US) - 1
        return self._tariffs[name][index] if index >= 0 else None

    def charge(self, model: str, at_us: int, asked: int, out: int, cached: int) -> tuple[str, int]:
        """The version of the price and the cost in micro-cents; ``("", 0)`` without a price."""
        tariff = self.tariff(model, at_us)
        if tariff is None or not (asked or out):
            return "", 0
        return tariff.version, tariff.cost(asked, out, cached)

    def hour(self, replica: str, minute: int) -> int | None:
        """
        Micro-cents for an hour of a replica in a minute (since 1970); None where it has no price.
        """
        return _hour(self._gpus, replica, minute // 1440)


@lru_cache(maxsize=4096)
def _hour(gpus: tuple[GpuPrice, ...], replica: str, day: int) -> int | None:
    """The first pattern that fits decides; of its entries the latest that has begun."""
    fitting = [gpu for gpu in gpus if fnmatchcase(replica, gpu.replica)]
    same = [gpu for gpu in fitting if gpu.replica == fitting[0].replica and _day(gpu.since) <= day]
    if not same:
        return None
    latest = max(same, key=lambda gpu: gpu.since)
    return int(latest.per_hour * MICROCENTS) * latest.gpus


def money(microcents: int, decimals: int = 2) -> str:
    """An amount as people write it, rounded half to even: ``12.34``."""
    return str(exact(microcents).quantize(Decimal(1).scaleb(-decimals)))


def exact(microcents: int) -> Decimal:
    """An amount in the currency, to its last decimal."""
    return Decimal(microcents).scaleb(-DECIMALS)


def _tariff(price: TokenPrice, currency: str) -> Tariff:
    numbers = (price.input, price.output, price.input if price.cached is None else price.cached)
    charged = [int(number * MICROCENTS) for number in numbers]
    text = f"{currency} {price.model} {price.since} {charged}"
    digest = blake2b(text.encode(), digest_size=4).hexdigest()
    version = f"{price.since}/{digest}"
    return Tariff(version, currency, price.model, str(price.since), *charged)


def _day(since: date) -> int:
    midnight = datetime(since.year, since.month, since.day, tzinfo=UTC)
    return int(midnight.timestamp()) // 86_400


def _half_even(number: int, divisor: int) -> int:
    whole, rest = divmod(number, divisor)
    up = 2 * rest > divisor or (2 * rest == divisor and whole % 2 == 1)
    return whole + up
