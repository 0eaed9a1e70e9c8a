"""limits.py: what passes, what is held, and that no order of requests spends more than is meant."""

import math
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from headrace.admission.limits import (
    NOTHING,
    Accounts,
    Amounts,
    Bound,
    Calendar,
    Claim,
    Kind,
    Level,
    Refusal,
    claims,
    far,
    lacking,
    left,
    never,
    share,
    window,
)

SECOND = 1_000_000
UNITS = {"requests": 0, "tokens": 3, "slots": 5}


def bound(
    kind: Kind, most: float, unit: str = "tokens", span: str = "", burst_s: float = 60
) -> Bound:
    return Bound(
        "tenant", "acme", f"{kind} of {unit}", most, kind, UNITS[unit], span, "tenant:acme",
        f"{kind}/{unit}", f"tenant:acme/{kind}/{unit}", burst_s * SECOND,
    )  # fmt: skip


def spent(tokens: int) -> Amounts:
    return (1, 0, tokens, tokens, 0, 1)


def take(accounts: Accounts, limit: Bound, cost: int, at_s: float = 0.0, day: int = 0) -> bool:
    return not isinstance(accounts.take([Claim(limit, day, cost)], at_s * SECOND), Refusal)


class TestRate:
    def test_a_burst_and_then_what_comes_back(self) -> None:
        """A full bucket passes at once; then one request for each that comes back."""
        accounts, limit = Accounts(), bound("once", 60, "requests")
        burst = [take(accounts, limit, 1) for _ in range(61)]
        later = [take(accounts, limit, 1, at_s) for at_s in (0.9, 1.0, 1.5, 2.0)]

        assert [True] * 60 + [False] == burst
        assert [False, True, False, True] == later

    def test_a_small_burst(self) -> None:
        """With a bucket of six seconds a tenth of the minute passes at once."""
        accounts, limit = Accounts(), bound("once", 60, "requests", burst_s=6)

        assert [True] * 6 + [False] == [take(accounts, limit, 1) for _ in range(7)]

    def test_what_is_held_is_kept_free(self) -> None:
        """What a request may use is kept free however full the bucket is; its end frees it."""
        accounts, limit = Accounts(), bound("rate", 1000)
        first = Claim(limit, 0, 900)
        assert not isinstance(accounts.take([first], 0), Refusal)
        meanwhile = take(accounts, limit, 200, at_s=3600)
        accounts.settle([first], spent(100), 3600 * SECOND)

        assert not meanwhile
        assert take(accounts, limit, 900, at_s=3600)
        assert not take(accounts, limit, 1, at_s=3600)

    def test_what_was_used_beyond_is_worked_off(self) -> None:
        """An answer that was longer than what was held is charged in full; others wait for it."""
        accounts, limit = Accounts(), bound("rate", 60)
        claim = Claim(limit, 0, 10)
        accounts.take([claim], 0)
        accounts.settle([claim], spent(180), 0)

        assert not take(accounts, limit, 1, at_s=120)
        assert take(accounts, limit, 1, at_s=121)

    def test_when_there_is_room(self) -> None:
        """What a request lacks is the time until it fits, to the microsecond."""
        accounts, limit = Accounts(), bound("rate", 600)
        claim = Claim(limit, 0, 600)
        accounts.take([claim], 0)
        accounts.settle([claim], spent(600), 0)
        refused = accounts.take([Claim(limit, 0, 25)], 0)

        assert isinstance(refused, Refusal)
        assert 2.5 * SECOND == refused.lacking
        assert not take(accounts, limit, 25, at_s=2.499999)
        assert take(accounts, limit, 25, at_s=2.5)

    def test_what_never_fits(self) -> None:
        """A request larger than the bucket is told so; one as large as it fits."""
        limit = bound("rate", 1000, burst_s=6)

        assert not never(limit, 100)
        assert never(limit, 101)
        assert never(bound("once", 0, "requests"), 1)
        assert 0 == lacking(bound("once", 0, "requests"), 0, 0, 0, 0)


class TestWindow:
    def test_a_day(self) -> None:
        """What is spent and held of a day is gone until the next one."""
        accounts, limit = Accounts(), bound("window", 1000, span="day")
        claim = Claim(limit, 20261121, 600)
        accounts.take([claim], 0)
        while_held = take(accounts, limit, 500, day=20261121)
        accounts.settle([claim], spent(500), 0)

        assert not while_held
        assert take(accounts, limit, 500, day=20261121)
        assert not take(accounts, limit, 1, day=20261121)
        assert take(accounts, limit, 1000, day=20261122)

    def test_the_end_of_a_request_of_yesterday(self) -> None:
        """It counts in the day in which it began, and holds nothing of today."""
        accounts, limit = Accounts(), bound("window", 1000, span="day")
        claim = Claim(limit, 20261121, 900)
        accounts.take([claim], 0)
        assert take(accounts, limit, 100, day=20261122)
        accounts.settle([claim], spent(900), 0)

        assert Level(0, 100) == accounts.level(limit, 20261122, 0)

    def test_what_somebody_else_knows(self) -> None:
        """What the ledger knows to be used is used, whichever of both is more."""
        accounts, limit = Accounts(), bound("window", 1000, span="day")
        accounts.lift(limit, 20261121, 700)
        accounts.lift(limit, 20261121, 300)
        accounts.lift(limit, 20261120, 999)

        assert Level(700, 0) == accounts.level(limit, 20261121, 0)
        assert not take(accounts, limit, 301, day=20261121)


class TestSlots:
    def test_requests_at_one_time(self) -> None:
        """As many as there are slots; each end makes room for one."""
        accounts, limit = Accounts(), bound("slots", 2, "slots")
        claim = Claim(limit, 0, 1)
        taken = [take(accounts, limit, 1) for _ in range(3)]
        accounts.settle([claim], NOTHING, 0)

        assert [True, True, False] == taken
        assert [True, False] == [take(accounts, limit, 1) for _ in range(2)]


class TestClocks:
    DAY = bound("window", 1000, span="day")

    def test_a_clock_that_goes_back_over_midnight(self) -> None:
        """What is held then is given back at its end, and nobody gets the day twice."""
        accounts = Accounts()
        assert take(accounts, self.DAY, 300, day=20261201)
        late = [Claim(self.DAY, 20261130, 600)]
        assert not isinstance(accounts.take(late, 0.0), Refusal)
        assert not take(accounts, self.DAY, 200, day=20261130)
        accounts.settle(late, spent(100), 0.0)

        assert 20261201 == late[0].window
        assert Level(100, 300) == accounts.level(self.DAY, 20261201, 0.0)
        assert take(accounts, self.DAY, 1000, day=20261202)

    @pytest.mark.parametrize(
        ("wrong", "right", "following"), [(20291231, 20261122, 20261123), (202912, 202611, 202612)]
    )
    def test_a_clock_that_was_years_ahead(self, wrong: int, right: int, following: int) -> None:
        """When it is right again the budget stays used, and is renewed when it is due."""
        accounts = Accounts()
        asked = [Claim(self.DAY, wrong, 1000)]
        accounts.take(asked, 0.0)
        accounts.settle(asked, spent(1000), 0.0)
        today = take(accounts, self.DAY, 1, day=right)

        assert not today
        assert take(accounts, self.DAY, 1000, day=following)

    @pytest.mark.parametrize(
        ("later", "window", "expected"),
        [
            (20261201, 20261130, False),
            (20270101, 20261231, False),
            (20270301, 20270228, False),
            (20261206, 20261130, True),
            (20271122, 20261122, True),
            (202701, 202612, False),
            (202702, 202612, True),
        ],
    )
    def test_how_far_is_far(self, later: int, window: int, *, expected: bool) -> None:
        """Clocks around the end of a day, month or year are near; wrong ones are not."""
        assert expected is far(later, window)


def test_all_or_none() -> None:
    """Where one limit has no room, nothing is taken of the others."""
    accounts = Accounts()
    wide, narrow = bound("window", 1000, span="day"), bound("slots", 0, "slots")
    refused = accounts.take([Claim(wide, 1, 10), Claim(narrow, 0, 1)], 0)

    assert isinstance(refused, Refusal)
    assert narrow is refused.claim.bound
    assert Level(0, 0) == accounts.level(wide, 1, 0)


def test_what_is_left() -> None:
    """What is left is in the limit's own unit, and never below nothing."""
    rate = bound("rate", 600)

    assert 600 == left(rate, Level(0, 0))
    assert 490 == left(rate, Level(10 * SECOND, 10))
    assert 0 == left(rate, Level(90 * SECOND, 10))
    assert 300 == left(bound("window", 1000, span="day"), Level(500, 200))


class TestShare:
    def test_parts_of_limits(self) -> None:
        """A gateway alone has its part: of a rate, of what is left, and at least one slot."""
        day = bound("window", 1000, span="day")
        found = [
            share(bound("rate", 900), 3, Level(0, 0)).most,
            share(bound("slots", 2, "slots"), 3, Level(0, 0)).most,
            share(bound("slots", 0, "slots"), 3, Level(0, 0)).most,
            share(day, 3, Level(400, 300)).most,
            share(day, 3, Level(900, 300)).most,
        ]

        assert [300, 1, 0, 100, 0] == found

    @given(st.integers(1, 50), st.integers(1, 10**9))
    def test_parts_are_no_more_than_the_whole(self, gateways: int, most: int) -> None:
        """All parts of a rate or a budget together are the limit."""
        for limit in (bound("rate", most), bound("window", most, span="day")):
            part = share(limit, gateways, Level(0, 0)).most
            assert math.isclose(most, part * gateways)


class TestCalendar:
    @pytest.mark.parametrize(
        ("zone", "moment", "day", "month", "hours"),
        [
            ("UTC", "2026-11-30T23:59:59+00:00", 20261130, 202611, 24),
            ("Europe/Berlin", "2026-11-30T23:30:00+00:00", 20261201, 202612, 24),
            ("Europe/Berlin", "2026-03-29T12:00:00+00:00", 20260329, 202603, 23),
            ("Europe/Berlin", "2026-10-25T12:00:00+00:00", 20261025, 202610, 25),
            ("UTC", "2026-12-31T00:00:00+00:00", 20261231, 202612, 24),
        ],
    )
    def test_days_and_months(
        self, zone: str, moment: str, day: int, month: int, hours: int
    ) -> None:
        """They are those of the zone, with the lengths that they have there."""
        calendar, at = Calendar(ZoneInfo(zone)), datetime.fromisoformat(moment).timestamp()
        period = calendar.at(at)

        assert (day, month) == (period.day, period.month)
        assert at < period.day_ends <= period.month_ends
        assert hours * 3600 == period.day_ends - calendar.begins("day", at)
        assert month != calendar.at(period.month_ends).month
        assert calendar.at(at) == period

    def test_windows_of_a_request(self) -> None:
        """Each bound gets the window of its span, and its unit's amount."""
        period = Calendar().at(0.0)
        limits = (
            bound("rate", 9),
            bound("window", 9, span="day"),
            bound("window", 9, span="month"),
        )

        assert [(0, 7), (19700101, 7), (197001, 7)] == [
            (claim.window, claim.cost) for claim in claims(limits, spent(7), period)
        ]
        assert 0 == window("", period)


class Interleavings(RuleBasedStateMachine):
    """
    Requests of any number of gateways over one set of accounts, in any order: they ask, they end
    with less than they held, with all of it, or not at all.
    """

    def __init__(self) -> None:
        super().__init__()
        self.accounts = Accounts()
        self.now_us = 0
        self.limits = (
            bound("once", 30, "requests", burst_s=20),
            bound("rate", 1000, burst_s=30),
            bound("slots", 4, "slots"),
            bound("window", 3000, span="day"),
        )
        self.running: list[list[Claim]] = []
        self.used: list[tuple[int, int]] = []  # when, tokens
        self.asked: list[int] = []

    @rule(cost=st.integers(1, 600))
    def ask(self, cost: int) -> None:
        asked = [
            Claim(limit, 1 if limit.span else 0, spent(cost)[limit.unit]) for limit in self.limits
        ]
        if not isinstance(self.accounts.take(asked, self.now_us), Refusal):
            self.running.append(asked)
            self.asked.append(self.now_us)

    @precondition(lambda self: self.running)
    @rule(which=st.integers(0, 99), part=st.floats(0, 1))
    def end(self, which: int, part: float) -> None:
        held = self.running.pop(which % len(self.running))
        tokens = int(part * held[1].cost)
        self.accounts.settle(held, spent(tokens), self.now_us)
        self.used.append((self.now_us, tokens))

    @rule(seconds=st.floats(0, 40))
    def wait(self, seconds: float) -> None:
        self.now_us += int(seconds * SECOND)

    @invariant()
    def within_limits(self) -> None:
        assert len(self.running) <= 4
        assert sum(tokens for _, tokens in self.used) <= 3000
        for index, (since, _) in enumerate(self.used):
            total = 0
            for until, tokens in self.used[index:]:
                total += tokens
                assert total <= 1000 * (30 + (until - since) / SECOND) / 60
        for index, since in enumerate(self.asked):
            for count, until in enumerate(self.asked[index:], 1):
                assert count <= 30 * (20 + (until - since) / SECOND) / 60

    @invariant()
    def nothing_is_lost(self) -> None:
        """What is held is what runs, so that nothing stays held for good."""
        for limit in self.limits[1:]:
            level = self.accounts.level(limit, 1 if limit.span else 0, self.now_us)
            held = sum(each.cost for claim in self.running for each in claim if each[0] is limit)
            assert held == level.held


TestInterleavings = Interleavings.TestCase
TestInterleavings.settings = settings(max_examples=40, stateful_step_count=50)
