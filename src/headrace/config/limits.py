"""How much callers may use. Who has which limits is admission/bounds.py's, counting limits.py's."""

from decimal import Decimal
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, Field

from headrace.config.identity import Named
from headrace.config.prices import DECIMALS
from headrace.config.section import Seconds, Section

Count = Annotated[int, Field(ge=0, le=1_000_000_000_000)]
Money = Annotated[Decimal, Field(ge=0, le=10_000_000, decimal_places=DECIMALS)]


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(
            f"{name!r} is no time zone; use one such as UTC or Europe/Berlin"
        ) from None
    return name


class Allowance(Section):
    """What somebody may use. What is not given is not limited."""

    requests_per_minute: Count | None = Field(default=None, description="Requests, refused or not.")
    tokens_per_minute: Count | None = Field(
        default=None, description="Tokens of prompts and answers together."
    )
    input_tokens_per_minute: Count | None = Field(default=None, description="Tokens of prompts.")
    output_tokens_per_minute: Count | None = Field(default=None, description="Tokens of answers.")
    concurrent_requests: Count | None = Field(
        default=None, description="Requests at one time, those that wait for room included."
    )
    tokens_per_day: Count | None = Field(
        default=None, description="Tokens of prompts and answers in a calendar day."
    )
    cost_per_month: Money | None = Field(
        default=None,
        description="Money in a calendar month, in the currency of the price book"
        " (metering.prices), which it needs.",
    )
    max_tokens: Annotated[int, Field(ge=1, le=1_000_000_000)] | None = Field(
        default=None, description="The longest answer of one request."
    )


class ModelAllowance(Allowance):
    """What all tenants together may use of a model."""

    default_output: Annotated[int, Field(ge=1, le=1_000_000)] | None = Field(
        default=None, description="As limits.default_output, for this model."
    )


class TenantAllowance(Allowance):
    """What a tenant may use, of all models and of some."""

    models: dict[str, Allowance] = Field(
        default_factory=dict, description="What it may use of a model, by the model's name."
    )


class Limits(Section):
    """Limits and budgets. All that apply to a request must have room for it."""

    tenant: Allowance = Allowance()
    key: Allowance = Allowance()
    model: Allowance = Allowance()
    tenants: dict[Named, TenantAllowance] = Field(
        default_factory=dict,
        description="Tenants with limits of their own, which replace those of `tenant` one by one.",
    )
    models: dict[str, ModelAllowance] = Field(
        default_factory=dict,
        description="Models with limits of their own, which replace those of `model` one by one.",
    )
    too_long: Literal["refuse", "clamp"] = Field(
        default="refuse",
        description="Where a request asks for more than max_tokens: 400, or max_tokens instead.",
    )
    default_output: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        default=1024,
        description="Tokens reserved for an answer whose length neither the request nor max_tokens"
        " bounds.",
    )
    bytes_per_token: Annotated[float, Field(ge=0.5, le=16)] = Field(
        default=4.0,
        description="For the estimate of a prompt: with 1 no prompt is longer than estimated.",
    )
    burst_s: Annotated[float, Field(ge=1, le=3600)] = Field(
        default=60.0,
        description="Of a rate, so many seconds' worth may come at once after a pause.",
    )
    time_zone: Annotated[str, AfterValidator(_zone)] = Field(
        default="UTC", description="Whose days and months are counted."
    )
    on_loss: Literal["open", "closed"] = Field(
        default="open",
        description="While `state.url` does not answer: each gateway goes on with its share of the"
        " limits, or answers 503.",
    )
    gateways: Annotated[int, Field(ge=1, le=10_000)] | None = Field(
        default=None,
        description="Among how many the limits are shared then; by default as many as were seen.",
    )
    lease_s: Seconds = Field(
        default=30.0,
        description="What a gateway that was killed holds in `state.url` is free after this.",
    )
