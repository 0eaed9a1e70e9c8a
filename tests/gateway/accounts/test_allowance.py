"""allowance.py: what callers read of their limits, in heads and in refusals."""

import re

import pytest

from headrace.admission.bounds import SHAPES
from headrace.admission.limits import Bound, Calendar, Claim, Level, Refusal
from headrace.errors import QuotaExceeded, RateLimited
from headrace.gateway.accounts.allowance import ends, lines, refusal, span

NOW = 1_795_305_600.0  # 2026-11-22 00:00:00 UTC
PERIOD = Calendar().at(NOW)
SECOND = 1_000_000


def bound(name: str, most: float, scope: str = "tenant", whom: str = "acme") -> Bound:
    shape = SHAPES[name]
    return Bound(scope, whom, name, most, shape.kind, shape.unit, shape.span, "t", name, name, 60e6)


def read(found: bytes) -> dict[str, str]:
    assert found.endswith(b"\r\n") or not found
    return dict(line.split(": ", 1) for line in found.decode("ascii").splitlines())


def told(*each: tuple[Bound, Level], dialect: str = "openai") -> dict[str, str]:
    claims = [Claim(limit, 0, 1) for limit, _ in each]
    levels = [level for _, level in each]
    found = lines(claims, levels, PERIOD, NOW, "anthropic" if dialect == "anthropic" else "openai")
    return read(found)


def refused(
    limit: Bound, cost: int, lack: float, level: Level, *, part: bool = False
) -> RateLimited:
    return refusal(Refusal(Claim(limit, 0, cost), lack, level), PERIOD, NOW, "USD", part=part)


class TestLines:
    def test_as_openai_sends_them(self) -> None:
        """Limit, what is left, and when all of it is back, of requests and of tokens."""
        found = told(
            (bound("requests_per_minute", 60), Level(1.5 * SECOND, 0)),
            (bound("tokens_per_minute", 6000), Level(90 * SECOND / 10, 600)),
        )

        assert {
            "x-ratelimit-limit-requests": "60",
            "x-ratelimit-remaining-requests": "58",
            "x-ratelimit-reset-requests": "1.5s",
            "x-ratelimit-limit-tokens": "6000",
            "x-ratelimit-remaining-tokens": "4500",
            "x-ratelimit-reset-tokens": "15s",
        } == found

    def test_the_tightest(self) -> None:
        """Of several limits it is the one of which least is left, a day's too."""
        found = told(
            (bound("tokens_per_minute", 6000), Level(0, 0)),
            (bound("tokens_per_day", 100_000), Level(99_000, 500)),
            (bound("input_tokens_per_minute", 5000), Level(0, 0)),
        )

        assert ("100000", "500", "24h0m0s") == (
            found["x-ratelimit-limit-tokens"],
            found["x-ratelimit-remaining-tokens"],
            found["x-ratelimit-reset-tokens"],
        )

    def test_as_anthropic_sends_them(self) -> None:
        """On its endpoint its own lines stand beside, with a moment for the reset."""
        found = told((bound("requests_per_minute", 60), Level(90 * SECOND, 0)), dialect="anthropic")

        assert ("60", "0", "2026-11-22T00:01:30Z", "1m30s") == (
            found["anthropic-ratelimit-requests-limit"],
            found["anthropic-ratelimit-requests-remaining"],
            found["anthropic-ratelimit-requests-reset"],
            found["x-ratelimit-reset-requests"],
        )

    def test_what_all_share_is_not_told(self) -> None:
        """What all tenants have used of a model is nobody's to know; neither are slots or money."""
        assert {} == told(
            (bound("requests_per_minute", 60, "model", "m"), Level(0, 0)),
            (bound("concurrent_requests", 60), Level(0, 0)),
            (bound("cost_per_month", 60), Level(0, 0)),
        )


class TestRefusal:
    def test_a_rate(self) -> None:
        """It says which, whose, what is left, and when to come back, in whole seconds."""
        error = refused(bound("tokens_per_minute", 1000), 300, 11.2 * SECOND, Level(53 * SECOND, 0))

        assert (
            "The limit of the tenant acme is 1,000 tokens per minute; 116 are left now and this"
            " request may need 300. Try again in 12 s."
        ) == error.message
        assert (429, "rejected_rate", 12, False) == (
            error.status, error.outcome, error.retry_after_s, error.hopeless,
        )  # fmt: skip

    def test_requests(self) -> None:
        """Of requests it is only said how many."""
        error = refused(bound("requests_per_minute", 60, "key", "ci"), 1, 1, Level(0, 0))

        assert (
            "The limit of the key ci is 60 requests per minute. Try again in 1 s." == error.message
        )

    def test_a_day(self) -> None:
        """A budget says when it is renewed, and that trying again does not help until then."""
        limit = bound("tokens_per_day", 1000, "tenant_model", "acme m")
        error = refused(limit, 300, 200, Level(900, 0))

        assert isinstance(error, QuotaExceeded)
        assert (
            "The limit of the tenant acme for the model m is 1,000 tokens per day; 100 are left and"
            " this request may need 300. It is renewed at 2026-11-23T00:00:00Z."
        ) == error.message
        assert ("rejected_quota", 86_400, True) == (
            error.outcome, error.retry_after_s, error.hopeless,
        )  # fmt: skip

    def test_a_month(self) -> None:
        """Money is told in the currency."""
        error = refused(bound("cost_per_month", 2500_00000000), 10**8, 1, Level(249_999_000_000, 0))

        assert "is 2500.0000 USD per month; 0.0100 are left" in error.message
        assert 9 * 86_400 == error.retry_after_s

    def test_what_never_fits(self) -> None:
        """A request larger than the limit is told to be smaller, and gets no time to come back."""
        error = refused(bound("tokens_per_minute", 1000), 3000, 1, Level(0, 0))

        assert "ask for less: a shorter prompt, or a lower max_tokens" in error.message
        assert (None, True) == (error.retry_after_s, error.hopeless)

    @pytest.mark.parametrize("name", ["requests_per_minute", "concurrent_requests"])
    def test_nothing_may_pass(self, name: str) -> None:
        """A limit of nothing says so."""
        error = refused(bound(name, 0), 1, 1, Level(0, 0))

        assert error.message.endswith(": nothing may pass.")

    def test_slots(self) -> None:
        """Of requests at one time nobody knows when one ends: come back in a second."""
        error = refused(bound("concurrent_requests", 2), 1, 1, Level(0, 2))

        assert ("rejected_concurrency", 1, False) == (
            error.outcome, error.retry_after_s, error.hopeless,
        )  # fmt: skip
        assert (
            "The limit of the tenant acme is 2 requests at one time, and so many" in error.message
        )

    def test_others_are_not_told_of(self) -> None:
        """Of a limit that all tenants share it is not said what they have left of it."""
        for name in ("tokens_per_minute", "tokens_per_day"):
            error = refused(bound(name, 1000, "model", "m"), 300, 5 * SECOND, Level(900, 0))
            assert re.match(r"The limit of the model m is 1,000 tokens per \w+\. ", error.message)

    def test_a_part(self) -> None:
        """While gateways cannot ask each other, it is said that the limit is a part."""
        error = refused(bound("requests_per_minute", 20), 1, 1, Level(0, 0), part=True)

        assert "minute, as this gateway's part while it cannot ask the others. Try" in error.message

    def test_nobody(self) -> None:
        """Callers without a key are called so."""
        assert "The limit of callers without a key is" in refused(
            bound("requests_per_minute", 60, whom=""), 1, 1, Level(0, 0)
        ).message  # fmt: skip


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0, "0ms"), (0.0121, "13ms"), (1, "1s"), (1.5, "1.5s"), (59.9994, "60s"), (60, "1m0s"),
     (360, "6m0s"), (3600, "1h0m0s"), (86_399.5, "24h0m0s")],
)  # fmt: skip
def test_spans(seconds: float, expected: str) -> None:
    """As OpenAI writes them, rounded up."""
    assert expected == span(seconds).decode("ascii")


def test_ends() -> None:
    """Days and months end; minutes do not."""
    assert [NOW + 86_400, NOW + 9 * 86_400, 0] == [
        ends(bound(name, 1), PERIOD)
        for name in ("tokens_per_day", "cost_per_month", "tokens_per_minute")
    ]
