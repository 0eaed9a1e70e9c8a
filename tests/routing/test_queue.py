"""queue.py: late binding, the wait rule, orders, reservations, and releases exactly once."""

from collections import Counter

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.routing.cost import SHIPPED
from headrace.routing.decision import HOLDER, LOWEST, ONLY, RESERVED
from headrace.routing.lane import Ask, Lease
from headrace.routing.queue import LOOK
from headrace.routing.reservation import PATIENCE_S
from headrace.routing.settings import MODES
from headrace.types import Usage
from tests.routing.fleet import Stage, idle, name

ANSWERED = Usage(1000, 50, 0)

steps = st.lists(
    st.tuples(
        st.sampled_from(["offer", "quiet", "first", "end", "fail", "withdraw", "pump", "leave"]),
        st.integers(0, 10**6),
    ),
    max_size=80,
)


class TestOffer:
    def test_an_only_replica_gets_what_it_has_room_for(self) -> None:
        """Where there is no choice the rest waits here all the same: who goes first is ours."""
        stage = Stage(1)
        leases = [stage.send(3000) for _ in range(2)]
        full = stage.send(50_000)

        assert [ONLY] * 3 == [each.decision.reason for each in (*leases, full) if each.decision]
        assert [] == stage.offer(100)
        assert 1 == stage.pool.waiting

    def test_alike_requests_spread(self) -> None:
        """What has nothing in common goes to whoever has least to do."""
        stage = Stage(4)

        assert {2} == set(Counter(name(stage.send()) for _ in range(8)).values())

    def test_a_prefix_is_found_again(self) -> None:
        """A long prompt returns to the replica that has it cached, though that has more to do."""
        stage = Stage(4)
        first = stage.send(6000, family=1)
        stage.pool.first_token(first, stage.now + 0.2)
        stage.pool.end(first, stage.now + 0.5, ANSWERED)
        stage.now += 1
        other = stage.send(500)
        again = stage.send(6000, family=1)

        assert name(first) == name(again)
        assert again.predicted.cached > 5900
        assert name(other) in {lane.name for lane in stage.lanes}

    def test_a_burst_with_one_new_prefix_stays_together(self) -> None:
        """What is on its way counts as cached already: a burst computes its prefix once."""
        stage = Stage(4, gate=30_000)

        assert 1 == len({name(stage.send(6000, family=1)) for _ in range(6)})

    def test_tried_replicas_are_passed_over(self) -> None:
        """A retry goes elsewhere, even from where its prefix is; with no other left, anywhere."""
        stage = Stage(2)
        first = stage.send(6000, family=1)
        again = stage.ask(6000, family=1)
        again.tried = {name(first)}
        (lease,) = stage.pool.offer(again, stage.now)
        last = stage.ask()
        last.tried = {"r0", "r1"}

        assert name(first) != name(lease)
        assert 1 == len(stage.pool.offer(last, stage.now))

    def test_a_session_stays_where_it_was(self) -> None:
        """A follower goes to the replica of its session, as long as that costs little."""
        stage = Stage(4)
        homes = []
        for _ in range(6):
            ask = stage.ask(10)
            ask.session = "alice"
            (lease,) = stage.pool.offer(ask, stage.now)
            stage.pool.first_token(lease, stage.now)
            stage.pool.end(lease, stage.now, ANSWERED)
            homes.append(name(lease))

        assert 1 == len(set(homes))

    def test_a_rule_may_name_the_policy(self) -> None:
        """A request's own policy decides for it, and says so."""
        stage = Stage(3)
        ask = stage.ask()
        ask.policy = "round_robin"
        (lease,) = stage.pool.offer(ask, stage.now)

        assert lease.decision is not None
        assert "round_robin" == lease.decision.policy

    def test_bound_to_a_holder(self) -> None:
        """What only one replica can answer goes there, full or not."""
        stage = Stage(2, gate=100)
        full = stage.lanes[1]
        leases = [stage.pool.bind(stage.ask(), full, stage.now) for _ in range(3)]

        assert [(HOLDER, "r1")] * 3 == [(d.reason, d.replica) for x in leases if (d := x.decision)]


class TestLateBinding:
    def test_full_replicas_get_nothing_more(self) -> None:
        """Beyond the gate requests wait; a first token lets one go, an end without one too."""
        stage = Stage(2, gate=1000)
        one, other = stage.send(), stage.send()
        assert [] == stage.offer()
        assert [] == stage.offer()

        after_first = stage.pool.first_token(one, stage.now + 0.05)
        after_end = stage.pool.end(other, stage.now + 0.06)

        assert [name(one), name(other)] == [name(lease) for lease in after_first + after_end]
        assert 0 == stage.pool.waiting
        assert [50] == [round(lease.decision.waited_ms) for lease in after_first if lease.decision]

    def test_it_waits_for_its_prefix(self) -> None:
        """When the replica with the prefix is full, a short wait is better than computing it."""
        stage = Stage(2, gate=6000)
        owner = stage.send(6000, family=1)

        assert [] == stage.offer(6000, family=1)
        (lease,) = stage.pool.first_token(owner, stage.now + 0.15)
        assert name(owner) == name(lease)

    def test_it_does_not_wait_where_computing_is_sooner(self) -> None:
        """A short common beginning is no reason to wait for a full replica."""
        stage = Stage(2, gate=6000)
        owner = stage.send(6000, family=1)
        (lease,) = stage.offer(128, family=1)

        assert name(owner) != name(lease)

    def test_those_behind_pass_one_that_waits_for_its_prefix(self) -> None:
        """A wait for one replica does not keep the others idle."""
        stage = Stage(2, gate=6000)
        owner = stage.send(6000, family=1)
        assert [] == stage.offer(6000, family=1)
        (lease,) = stage.offer(500)

        assert name(owner) != name(lease)
        assert 1 == stage.pool.waiting

    def test_a_slow_replica_takes_what_would_wait_behind_others(self) -> None:
        """The first wait for the fast GPU; who would wait behind them goes to the slow one."""
        stage = Stage(2, gate=6000)
        _, slow = stage.lanes
        slow.rates = SHIPPED["l40s"]
        stage.send(6000)
        granted = [stage.offer(4000) for _ in range(LOOK)]

        assert [] == granted[0]
        assert {"r1"} == {name(lease) for leases in granted for lease in leases}

    def test_no_further_than_it_looks(self) -> None:
        """Only the first few of a queue are tried when there is room."""
        stage = Stage(2, gate=6000, order="fair")
        owner = stage.send(6000, family=1)
        for _ in range(LOOK):
            assert [] == stage.offer(6000, family=1)

        assert [] == stage.offer(500)
        assert LOOK + 1 == stage.pool.waiting
        assert name(owner) == name(stage.pool.first_token(owner, stage.now + 0.15)[0])

    def test_those_of_one_tenant_hide_nobody_elses(self) -> None:
        """However many of one tenant wait for their prefix, another's turn comes."""
        stage = Stage(2, gate=6000, order="fair")
        owner = stage.send(6000, family=1)
        for _ in range(LOOK):
            assert [] == stage.offer(6000, family=1)
        ask = stage.ask(500)
        ask.tenant = "other"
        (lease,) = stage.pool.offer(ask, stage.now)

        assert (ask, LOOK) == (lease.ask, stage.pool.waiting)
        assert name(owner) != name(lease)

    def test_a_new_replica_is_used_at_once(self) -> None:
        """Who waits goes to a replica that joins; who waited for the last to leave is given up."""
        stage = Stage(2, gate=1000)
        stage.send(), stage.send()
        assert [] == stage.offer()
        (lease,) = stage.pool.seat((*stage.pool.lanes, stage.lane("new", 1000)), stage.now)

        assert "new" == name(lease)
        assert [] == stage.offer()
        assert [] == stage.pool.seat([], stage.now)
        assert 1 == len(stage.pool.abandon())
        assert 0 == stage.pool.waiting

    def test_quiet_requests_make_room_when_predicted(self) -> None:
        """Without a first token to tell, prefill is over when it should be; ``due`` says when."""
        stage = Stage(2, gate=1000)
        for _ in range(2):
            stage.pool.offer(stage.ask(loud=False), stage.now)
        assert [] == stage.offer()
        due = stage.pool.due(stage.now)
        assert due is not None
        assert [] == stage.pool.pump(due - 0.001)

        assert 1 == len(stage.pool.pump(due))
        assert stage.pool.due(stage.now) is None


class TestOrder:
    @pytest.mark.parametrize(
        ("order", "granted"),
        [("fast", [500, 3000, 5000]), ("balanced", [3000, 500, 5000]), ("fair", [5000, 3000, 500])],
    )
    def test_who_goes_first(self, order: str, granted: list[int]) -> None:
        """fast: the shortest; fair: the first; balanced: the shortest, but a wait makes up."""
        stage = Stage(2, gate=1000, order=order)
        running = [stage.send(), stage.send()]
        for tokens, pause in ((5000, 0.02), (3000, 0.06), (500, 0.0)):
            assert [] == stage.offer(tokens)
            stage.now += pause
        seen = []
        while running:
            stage.now += 0.01
            leases = stage.pool.first_token(running.pop(), stage.now)
            seen += [int(lease.ask.tokens) for lease in leases]
            running = leases + running

        assert granted == seen

    def test_the_seam_of_admission(self) -> None:
        """Another order key is all that priorities need."""
        stage = Stage(2, gate=1000)
        running = [stage.send(), stage.send()]
        stage.pool.order = lambda ask: -ask.tokens
        for tokens in (500, 3000):
            assert [] == stage.offer(tokens)

        assert [3000] == [x.ask.tokens for x in stage.pool.first_token(running[0], stage.now)]


class TestReservations:
    def test_a_large_one_is_not_starved(self) -> None:
        """fast: what does not fit beside others gets a replica that is kept free for it."""
        stage = Stage(4, gate=10**6, order="fast")
        for lane in stage.lanes:
            lane.kv_tokens = 10_000
        running = [stage.send(3000) for _ in range(12)]
        for lease in running:
            stage.pool.first_token(lease, stage.now)
        large = stage.ask(9400)
        assert [] == stage.pool.offer(large, stage.now)
        granted: list[Lease] = []
        while not granted and stage.now < large.arrived_at + 60:
            stage.now += 0.5
            new = stage.pool.end(running.pop(0), stage.now, ANSWERED) + stage.offer(3000)
            for lease in new:
                stage.pool.first_token(lease, stage.now)
            granted = [lease for lease in new if lease.ask is large]
            running += new

        assert granted
        assert PATIENCE_S <= stage.now - large.arrived_at < PATIENCE_S + 10

    def test_it_is_given_back(self) -> None:
        """Who goes away takes its reservation along."""
        stage = Stage(4, gate=1000, order="fast")
        for _ in range(4):
            stage.send()
        ask = stage.ask()
        stage.pool.offer(ask, stage.now)
        stage.pool.pump(stage.now + PATIENCE_S + 1)
        assert [ask] == [lane.reserved for lane in stage.lanes if lane.reserved]
        assert stage.pool.withdraw(ask)

        assert not [lane.reserved for lane in stage.lanes if lane.reserved]
        assert not stage.pool.withdraw(ask)


def play(order: str, made: list[tuple[str, int]]) -> tuple[Stage, list[Lease], list[Ask]]:
    """Any events in any order, those that come twice or too late among them."""
    stage = Stage(3, gate=3000, order=order)
    leases: list[Lease] = []
    asks: list[Ask] = []
    for what, number in made:
        stage.now += 0.01 + number % 7 / 50
        lease = leases[number % len(leases)] if leases else None
        if what in {"offer", "quiet"}:
            ask = stage.ask(64 + number % 5000, number % 4, loud=what == "offer")
            asks.append(ask)
            leases += stage.pool.offer(ask, stage.now)
        elif what == "pump":
            leases += stage.pool.pump(stage.now)
        elif what == "leave":
            gone = stage.pool.lanes[number % len(stage.pool.lanes)]
            left = [lane for lane in stage.pool.lanes if lane is not gone]
            leases += stage.pool.seat(left, stage.now) if left else []
            back = (*stage.pool.lanes, gone)
            leases += stage.pool.seat(back, stage.now) if left else []
        elif what == "withdraw" and asks:
            stage.pool.withdraw(asks[number % len(asks)])
        elif lease is not None and what == "first":
            leases += stage.pool.first_token(lease, stage.now)
        elif lease is not None:
            usage = Usage(900, number % 500, number % 800) if what == "end" else None
            leases += stage.pool.end(lease, stage.now, usage)
    return stage, leases, asks


@given(st.sampled_from(sorted(MODES)), steps)
@settings(max_examples=150)
def test_nothing_is_lost_and_nothing_is_left(order: str, made: list[tuple[str, int]]) -> None:
    """
    Whatever happens, twice or too late: each request is granted at most once, is in the queue, at a
    lane or gone, and when all have ended no lane and no queue remembers any.
    """
    stage, leases, asks = play(order, made)

    assert len(leases) == len({id(lease.ask) for lease in leases})
    running = Counter(lease.lane.name for lease in leases if lease.lane is not None)
    assert {lane.name: lane.inflight for lane in stage.lanes if lane.inflight} == running
    while leases or stage.pool.waiting:
        stage.now += 10
        for lease in leases:
            stage.pool.withdraw(lease.ask)
        leases = [new for lease in leases for new in stage.pool.end(lease, stage.now, ANSWERED)]
        leases += stage.pool.pump(stage.now)
    assert all(idle(lane) for lane in stage.lanes)
    assert not [ask for ask in asks if ask.place is not None]
    assert not [lane for lane in stage.lanes if lane.reserved is not None]


@given(st.sampled_from(sorted(MODES)), steps)
@settings(max_examples=60)
def test_the_same_again(order: str, made: list[tuple[str, int]]) -> None:
    """The same events give the same decisions byte for byte, and each can be replayed."""
    one, other = (play(order, made)[1] for _ in range(2))

    assert [msgspec.json.encode(x.decision) for x in one] == [
        msgspec.json.encode(x.decision) for x in other
    ]
    for lease in one:
        decision = lease.decision
        assert decision is not None
        assert decision.chosen == decision.replay()
        assert decision.reason in {LOWEST, RESERVED}


def test_answers_of_a_line_that_is_over_change_nothing_in_the_next() -> None:
    """Charges are estimates; what proves wrong counts in that line, not in a later one."""
    stage = Stage(1, order="fair")
    pool = stage.pool

    def offer(tenant: str) -> list[Lease]:
        ask = stage.ask(9000)
        ask.tenant = tenant
        return pool.offer(ask, stage.now)

    (first,) = offer("old")
    assert [] == offer("old")
    (charged,) = pool.first_token(first, stage.now)  # the line is over
    assert charged.charged > 9000
    assert [] == [*offer("new"), *offer("old"), *offer("new")]
    (second,) = pool.end(charged, stage.now, Usage(9000, 1, 0))

    assert "new" == second.ask.tenant
