"""
What callers are told of their limits: the lines of an answer's head, and why a request is refused.
What they have left is counted in admission/limits.py.
"""

import math
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from headrace.admission.bounds import SHAPES, spoken
from headrace.admission.limits import (
    COST,
    INPUT,
    MINUTE_US,
    OUTPUT,
    REQUESTS,
    SECOND_US,
    TOKENS,
    Bound,
    Claim,
    Level,
    Period,
    Refusal,
    left,
    never,
)
from headrace.errors import QuotaExceeded, RateLimited
from headrace.gateway.answers import Dialect
from headrace.metering.prices import money

COUNTED = frozenset({INPUT, OUTPUT, TOKENS})
Tightest = tuple[int, Bound, Level]
OF_A_PART = ", as this gateway's part while it cannot ask the others,"


def lines(
    claims: Sequence[Claim], levels: Iterable[Level], period: Period, now_s: float, dialect: Dialect
) -> bytes:
    """
    Lines as OpenAI sends them, on /v1/messages also as Anthropic does: of the requests and of the
    tokens that limit of which least is left. What all tenants share is nobody's to know.

    https://platform.openai.com/docs/guides/rate-limits#rate-limits-in-headers
    https://docs.claude.com/en/api/rate-limits#response-headers
    """
    requests: Tightest | None = None
    tokens: Tightest | None = None
    for claim, level in zip(claims, levels, strict=True):
        bound = claim.bound
        if bound.scope == "model":
            continue
        if bound.unit == REQUESTS:
            remaining = left(bound, level)
            if requests is None or remaining < requests[0]:
                requests = remaining, bound, level
        elif bound.unit in COUNTED:
            remaining = left(bound, level)
            if tokens is None or remaining < tokens[0]:
                tokens = remaining, bound, level
    found = _lines(b"requests", requests, period, now_s, dialect)
    return found + _lines(b"tokens", tokens, period, now_s, dialect)


def refusal(
    refused: Refusal, period: Period, now_s: float, currency: str, *, part: bool
) -> RateLimited:
    """
    The error of a request that does not fit: which limit of whom, and what would be right. ``part``
    says that the limit is this gateway's part of one.
    """
    (bound, _, cost), lacking, level = refused
    words = SHAPES[bound.name].words.format(currency=currency)
    first = (
        f"The limit of {spoken(bound.scope, bound.whom)} is {_shown(bound, bound.most)} {words}"
        f"{OF_A_PART if part else ''}"
    )
    first = first.rstrip(",")
    needs = f"this request may need {_shown(bound, cost)}"
    room = f"{_shown(bound, left(bound, level))} are left"
    if bound.kind == "slots" and bound.most >= 1:
        message = f"{first}, and so many are there; try again when one of them has ended."
        return RateLimited(message, outcome="rejected_concurrency", retry_after_s=1)
    if never(bound, cost):
        if bound.kind in {"once", "slots"}:
            return QuotaExceeded(f"{first}: nothing may pass.")
        return QuotaExceeded(
            f"{first}, and {needs}; ask for less: a shorter prompt, or a lower max_tokens."
        )
    if bound.kind == "window":
        end = ends(bound, period)
        moment = datetime.fromtimestamp(end, UTC)
        known = f"; {room} and {needs}" if bound.scope != "model" else ""
        message = f"{first}{known}. It is renewed at {moment:%Y-%m-%dT%H:%M:%SZ}."
        return QuotaExceeded(message, retry_after_s=max(1, math.ceil(end - now_s)))
    wait_s = max(1, math.ceil(lacking / SECOND_US))
    known = f"; {room} now and {needs}" if bound.kind == "rate" and bound.scope != "model" else ""
    return RateLimited(f"{first}{known}. Try again in {wait_s} s.", retry_after_s=wait_s)


def span(seconds: float) -> bytes:
    """A span as OpenAI writes it: ``12ms``, ``1.5s``, ``6m0s``, ``23h59m1s``."""
    if seconds < 1:
        return b"%dms" % math.ceil(seconds * 1000)
    if seconds < 60:
        return b"%gs" % (math.ceil(seconds * 1000) / 1000)
    minutes, rest = divmod(math.ceil(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return b"%dh%dm%ds" % (hours, minutes, rest) if hours else b"%dm%ds" % (minutes, rest)


def ends(bound: Bound, period: Period) -> float:
    """When a limit of a day or month is renewed, in s since 1970; 0 for the others."""
    return {"day": period.day_ends, "month": period.month_ends}.get(bound.span, 0.0)


def _lines(
    name: bytes, tightest: Tightest | None, period: Period, now_s: float, dialect: Dialect
) -> bytes:
    if tightest is None:
        return b""
    remaining, bound, level = tightest
    most, reset_s = int(bound.most), _reset_s(bound, level, period, now_s)
    found = (
        b"x-ratelimit-limit-%b: %d\r\nx-ratelimit-remaining-%b: %d\r\nx-ratelimit-reset-%b: %b\r\n"
        % (name, most, name, remaining, name, span(reset_s))
    )
    if dialect == "openai":
        return found
    moment = datetime.fromtimestamp(math.ceil(now_s + reset_s), UTC)
    return found + (
        b"anthropic-ratelimit-%b-limit: %d\r\nanthropic-ratelimit-%b-remaining: %d\r\n"
        b"anthropic-ratelimit-%b-reset: %b\r\n"
        % (name, most, name, remaining, name, f"{moment:%Y-%m-%dT%H:%M:%SZ}".encode("ascii"))
    )


def _reset_s(bound: Bound, level: Level, period: Period, now_s: float) -> float:
    """When all of a limit is there again, if nothing else is asked for."""
    if bound.kind == "window":
        return max(0.0, ends(bound, period) - now_s)
    return (level.used + level.held * MINUTE_US / max(bound.most, 1e-9)) / SECOND_US


def _shown(bound: Bound, amount: float) -> str:
    return money(int(amount), 4) if bound.unit == COST else f"{amount:,.0f}"
