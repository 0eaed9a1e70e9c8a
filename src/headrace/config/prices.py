"""
What tokens and GPUs cost, and since when. Reading a file of it is pricebook.py's; what a request
cost is reckoned in metering/prices.py.
"""

from datetime import date
from decimal import Decimal
from typing import Annotated, Self

from pydantic import Field, model_validator

from headrace.config.section import Section

# A cost is whole micro-cents (a hundred-millionth of the currency), a price a number of them for
# a million tokens: prices have as many decimals as that.
DECIMALS = 8

Price = Annotated[Decimal, Field(ge=0, le=1_000_000, decimal_places=DECIMALS)]
BEGINNING = date(1970, 1, 1)


class TokenPrice(Section):
    """What a million tokens of a model cost from a day on, until its next entry."""

    model: str = Field(
        min_length=1,
        description="The declared model; * is for all that have no entry of their own.",
    )
    since: date = Field(
        default=BEGINNING, description="First day (UTC) of the price; by default it always held."
    )
    input: Price = Field(description="For a million tokens of prompts, in the currency.")
    output: Price = Field(description="For a million tokens of answers.")
    cached: Price | None = Field(
        default=None,
        description="For a million tokens of prompts that the engine had in its cache; by default"
        " like the other tokens of prompts.",
    )


class GpuPrice(Section):
    """What an hour of a replica costs from a day on, whether or not it works."""

    replica: str = Field(
        min_length=1, description="Name of the replica; may be a pattern like gpu-* ."
    )
    since: date = Field(
        default=BEGINNING, description="First day (UTC) of the price; by default it always held."
    )
    per_hour: Price = Field(description="For an hour of one of its GPUs, in the currency.")
    gpus: int = Field(default=1, ge=1, le=1024, description="How many GPUs it has.")


class Prices(Section):
    """The price book: what is charged for tokens, and what GPUs cost."""

    currency: str = Field(
        default="USD", pattern="^[A-Z]{3}$", description="The currency of all prices, ISO 4217."
    )
    tokens: tuple[TokenPrice, ...] = Field(
        default=(), description="Prices of tokens, one entry for each model and first day."
    )
    gpus: tuple[GpuPrice, ...] = Field(
        default=(),
        description="Prices of replicas; of those that fit, the latest entry of the first pattern.",
    )

    @model_validator(mode="after")
    def _once(self) -> Self:
        seen: set[tuple[str, str, date]] = set()
        keys = [("model", each.model, each.since) for each in self.tokens]
        keys += [("replica", each.replica, each.since) for each in self.gpus]
        for kind, name, since in keys:
            if (kind, name, since) in seen:
                raise ValueError(f"has two prices of the {kind} {name!r} since {since}; keep one")
            seen.add((kind, name, since))
        return self
