"""stuck.py: who accepts and never answers, and who only has a long prefill."""

from collections.abc import Callable, Sequence

import pytest

from headrace.fleet.stuck import Finding, Suspect, Vitals

STUCK_S = 7.0
Script = Callable[[float], Vitals]


def found_at(script: Script, *, peers: Callable[[float], float] = lambda _: 0.0) -> float | None:
    """When (s) a replica that shows these vitals is found stuck, looked at twice a second."""
    finding = findings(script, peers=peers)
    return finding[0][0] if finding else None


def findings(
    script: Script, *, peers: Callable[[float], float] = lambda _: 0.0, until: int = 120
) -> Sequence[tuple[float, Finding]]:
    suspect = Suspect(STUCK_S)
    found = []
    for half in range(until):
        now = 1000 + half / 2
        seen = script(now - 1000)
        suspect.look(now, seen)
        finding = suspect.judge(now, seen, peers_signed_at=peers(now))
        if finding is not None:
            found.append((half / 2, finding))
    return found


def scraped(t: float, *pulse: float, **more: float) -> Vitals:
    """Vitals with engine metrics that were read just now."""
    fields = {"inflight": 1, "running": 1.0, **more}
    return Vitals(pulse=pulse, pulse_at=1000 + t, **fields)  # type: ignore[arg-type]


def test_flat_counters_are_found_in_time() -> None:
    """Requests run, and no number of the engine moves: found within 10 s, for certain."""
    (at, finding), *_ = findings(lambda t: scraped(t, 100, 27))

    assert at <= 8
    assert finding.certain
    assert "no counter moved for 7 s" in finding.reason


def test_flat_from_the_middle() -> None:
    """An engine that worked and then hangs is found as fast."""
    at = found_at(lambda t: scraped(t, min(t, 20.0)))

    assert at is not None
    assert 27 <= at <= 28


@pytest.mark.parametrize("moving", range(3))
def test_any_number_that_moves_is_life(moving: int) -> None:
    """One of the engine's numbers is enough, used KV blocks during a long prefill for one."""

    def prefill(t: float) -> Vitals:
        pulse = [5.0, 5.0, 5.0]
        pulse[moving] += t
        return scraped(t, *pulse)

    assert found_at(prefill) is None


def test_bytes_are_life() -> None:
    """Metrics that stand still do not matter as long as answers come."""
    assert found_at(lambda t: scraped(t, 1, byte_at=1000 + t)) is None


def test_answers_are_life() -> None:
    """Answers that are not streamed count when they are finished."""
    assert found_at(lambda t: scraped(t, 1, answered=int(t // 5))) is None


def test_a_long_prompt_stretches_patience() -> None:
    """One huge chunk moves nothing until it is through: 2,000 tokens buy a second."""
    at = found_at(lambda t: scraped(t, 1, waiting_prompt=20_000))

    assert at is not None
    assert 17 <= at <= 17.5


def test_idle_is_not_stuck() -> None:
    """An engine without work has nothing to show."""
    assert found_at(lambda t: scraped(t, 1, inflight=0, running=0)) is None


def test_work_begins_late() -> None:
    """The time without work does not count."""
    at = found_at(lambda t: scraped(t, 1, inflight=int(t >= 30), running=float(t >= 30)))

    assert at is not None
    assert 37 <= at <= 37.5


def test_a_gauge_that_was_left_over_is_not_certain() -> None:
    """Requests that are not ours may have been aborted: the engine is asked first."""
    (_, finding), *_ = findings(lambda t: scraped(t, 1, inflight=0))

    assert not finding.certain


class TestWithoutMetrics:
    """Engines that tell nothing of themselves."""

    @staticmethod
    def silent(_t: float) -> Vitals:
        return Vitals(inflight=2, streams=2)

    def test_silent_while_peers_answer(self) -> None:
        """Streams without a byte, beside peers that stream: it is asked for a token of its own."""
        (at, finding), *_ = findings(self.silent, peers=lambda now: now)

        assert (7.0, False) == (at, finding.certain)
        assert "2 streams without a byte for 7 s" in finding.reason

    def test_all_are_silent(self) -> None:
        """When no peer lives either, the cause is not this one."""
        assert found_at(self.silent) is None

    def test_all_fell_silent_together(self) -> None:
        """A peer that was the last to fall silent does not make the first one stuck."""
        assert found_at(self.silent, peers=lambda _now: 1001.0) is None

    def test_whole_answers_cannot_be_judged(self) -> None:
        """An answer that is not streamed may take as long as it takes."""
        assert found_at(lambda _: Vitals(inflight=3), peers=lambda now: now) is None

    def test_old_readings_count_as_none(self) -> None:
        """Metrics that stopped coming are no evidence that nothing moved."""
        old = Vitals(inflight=3, pulse=(1.0,), pulse_at=1000.0, running=3.0)

        assert found_at(lambda _: old) is None

    def test_engine_that_runs_nothing(self) -> None:
        """Requests of ours of which a living engine knows nothing: it is asked first."""
        (_, finding), *_ = findings(
            lambda t: scraped(t, 1, inflight=2, running=0), peers=lambda now: now
        )

        assert not finding.certain
        assert "none of them running" in finding.reason
