"""lane.py: what is in flight at one replica, when it should be done, and what it teaches."""

import pytest

from headrace.routing.cost import USUAL
from headrace.routing.lane import GRACE_MS, OVERDUE, STRETCH, STRIDE, Ask, Lane, Lease, Taken
from tests.routing.fleet import GRAIN, Stage, idle

MS = 1 / 1000


def taken(lane: Lane, tokens: float, now: float, *, loud: bool = True) -> Lease:
    ask = Ask(tokens, list(range(int(tokens // GRAIN))), GRAIN, loud=loud)
    predicted = Taken(0.0, lane.rates.prefill_ms(tokens, 0), lane.wait_ms(now))
    return lane.take(ask, predicted, now)


class TestWait:
    def test_prefills_add_up_and_pass(self) -> None:
        """The wait is the sum of what was taken, less the time that the oldest has had."""
        lane = Stage(1).lanes[0]
        each = USUAL.prefill_ms(2000, 0)
        taken(lane, 2000, 0.0)
        taken(lane, 2000, 0.0)

        assert 2 * each == pytest.approx(lane.wait_ms(0.0))
        assert 2 * each - 10 == pytest.approx(lane.wait_ms(10 * MS))
        assert each == pytest.approx(lane.wait_ms((each + 5) * MS))

    def test_first_tokens_end_it(self) -> None:
        """After the last first token there is none, and the time of the next counts from there."""
        lane = Stage(1).lanes[0]
        one, other = taken(lane, 2000, 0.0), taken(lane, 2000, 0.0)
        lane.first(one, 0.5)
        assert other.predicted.prefill_ms == pytest.approx(lane.wait_ms(0.5))
        lane.first(other, 0.6)

        assert 0.0 == lane.wait_ms(0.6)

    def test_who_is_overdue_is_behind(self) -> None:
        """A replica that is silent for long seems as far behind as it has shown itself to be."""
        lane = Stage(1).lanes[0]
        lease = taken(lane, 2000, 0.0)
        late = OVERDUE * lease.predicted.prefill_ms + GRACE_MS

        assert 0.0 == lane.wait_ms(late * MS)
        assert 2000 == pytest.approx(lane.wait_ms((late + 2000) * MS))


class TestEnds:
    @pytest.mark.parametrize("first", [True, False])
    def test_each_gives_back_once(self, first: bool) -> None:
        """First tokens and ends that are told twice, or in the wrong order, change nothing more."""
        lane = Stage(1).lanes[0]
        lease = taken(lane, 2000, 0.0)
        if first:
            lane.first(lease, 0.1)
            lane.first(lease, 0.2)

        assert [True, False] == [lane.end(lease), lane.end(lease)]
        lane.first(lease, 0.3)
        assert idle(lane)

    def test_another_lane_of_that_name_has_its_own(self) -> None:
        """A lease of a replica that was replaced never touches its successor."""
        stage = Stage(1)
        old, new = stage.lane("x"), stage.lane("x")
        lease = taken(old, 2000, 0.0)
        mine = taken(new, 1000, 0.0)

        assert not new.end(lease)
        new.first(lease, 0.1)
        assert (1, 1000.0) == (new.inflight, new.unprefilled)
        assert old.end(lease)
        assert new.end(mine)

    def test_quiet_ones_are_done_when_predicted(self) -> None:
        """A request without a first token counts as prefilled when it should be, one by one."""
        lane = Stage(1).lanes[0]
        leases = [taken(lane, 2000, 0.0, loud=False) for _ in range(2)]
        each = leases[0].predicted.prefill_ms * MS
        seen = []
        for moment in (each * 0.9, each * 1.1, each * 2.1):
            lane.hush(moment)
            seen.append(lane.decodes)

        assert [0, 1, 2] == seen


class TestKv:
    def test_shared_blocks_count_once(self) -> None:
        """Ten requests with one prompt need its KV once, and it is there until the last ends."""
        lane = Stage(1).lanes[0]
        leases = [taken(lane, 4096, 0.0) for _ in range(10)]
        assert 4096 == lane.kv_used
        for lease in leases[:-1]:
            lane.end(lease)

        assert 4096 == lane.kv_used
        assert 0 == lane.kv_need(leases[-1].ask)
        lane.end(leases[-1])
        assert idle(lane)

    def test_steps(self) -> None:
        """What is less than a step is a request's own."""
        lane = Stage(1).lanes[0]
        for _ in range(2):
            taken(lane, STRIDE + 100, 0.0)

        assert STRIDE + 200 == lane.kv_used


class TestLearning:
    @staticmethod
    def learner() -> Lane:
        return Lane("x", 0)

    def test_a_prefill_alone(self) -> None:
        """One request that took three times as long moves the level towards it."""
        lane = self.learner()
        lease = taken(lane, 2000, 0.0)
        lane.first(lease, 3 * lease.predicted.prefill_ms * MS)

        assert 1 == lane.fit.samples
        assert lane.fit.level > 0.5

    def test_a_stretch_without_a_pause_is_one_sample(self) -> None:
        """While prefills follow each other there is a sample every so many of them."""
        lane = self.learner()
        leases = [taken(lane, 2000, 0.0) for _ in range(STRETCH + 1)]
        for number, lease in enumerate(leases):
            lane.first(lease, (number + 1) * lease.predicted.prefill_ms * MS)

        assert 2 == lane.fit.samples
        assert 0.0 == pytest.approx(lane.fit.level, abs=0.3)

    @pytest.mark.parametrize("spoiler", ["quiet", "failed"])
    def test_what_was_not_seen_teaches_nothing(self, spoiler: str) -> None:
        """A stretch with a request whose prefill nobody saw end is left out."""
        lane = self.learner()
        lease = taken(lane, 2000, 0.0)
        other = taken(lane, 2000, 0.0, loud=spoiler != "quiet")
        if spoiler == "failed":
            lane.end(other)
        lane.first(lease, 5.0)

        assert 0 == lane.fit.samples
