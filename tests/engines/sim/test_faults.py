"""Which faults are in force when, and how they are written."""

import pytest

from headrace.config.simulator import FAULT_KINDS, Fault
from headrace.engines.sim.faults import Faults, after, parse
from headrace.errors import ConfigError


class Clock:
    now = 0.0

    def time(self) -> float:
        return self.now


@pytest.mark.parametrize("kind", sorted({*FAULT_KINDS} - {"start"}))
def test_a_kind_alone_is_a_fault(kind: str) -> None:
    """Each kind can be written without values."""
    assert kind == parse(kind).kind


def test_values_are_read() -> None:
    """Values have the names and types of the configuration."""
    expected = Fault(kind="die", share=0.25, after_tokens=7, duration_s=1.5)

    assert expected == parse("die:share=0.25,after_tokens=7, duration_s=1.5")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("explode", "'explode' is no fault; use slow, "),
        ("slow:5", "'5' is not key=value"),
        ("slow:speed=5", "'speed' is not known; use share, "),
        ("slow:factor=x", "factor: Input should be a valid number"),
        ("error:status=200", "status: Input should be greater than or equal to 500"),
        ("start", "a slow start needs `duration_s`"),
    ],
)
def test_what_is_wrong_is_told(text: str, told: str) -> None:
    """One sentence with the words that are wrong."""
    with pytest.raises(ConfigError) as caught:
        parse(text)

    assert str(caught.value).startswith(f"--fault {text}: ")
    assert told in str(caught.value)


def test_faults_begin_and_end() -> None:
    """A fault is in force from its beginning, for its duration; then it hits nobody."""
    clock = Clock()
    faults = Faults("0", clock.time)
    faults.add(Fault(kind="error", begin_s=2, duration_s=3))
    seen = []
    for clock.now in (0.0, 1.9, 2.0, 4.9, 5.0):
        seen.append(faults.for_request() is not None)

    assert [False, False, True, True, False] == seen
    assert [2.0, 5.0] == [*faults.changes_at()]


def test_dice_are_the_same_for_the_same_seed() -> None:
    """The requests that are hit depend on the seed, and on nothing else."""

    def drawn(seed: str) -> list[bool]:
        faults = Faults(seed, Clock().time)
        faults.add(Fault(kind="die", share=0.5))
        return [faults.for_request() is not None for _ in range(64)]

    assert drawn("1") == drawn("1")
    assert drawn("1") != drawn("2")


def test_engine_faults_hit_no_request() -> None:
    """What is wrong with the engine is not drawn for requests."""
    faults = Faults("0", Clock().time)
    for kind in ("slow", "hang", "full", "stale"):
        faults.add(Fault.model_validate({"kind": kind}))

    assert faults.for_request() is None
    assert (10.0, True, True) == (faults.slowness(), faults.hangs(), faults.full())
    assert 4 == faults.clear()
    assert (1.0, False, False) == (faults.slowness(), faults.hangs(), faults.full())


def test_frozen_connections_are_let_go_when_the_last_freeze_ends() -> None:
    """Not while one is in force."""
    clock, thawed = Clock(), list[int]()
    faults = Faults("0", clock.time)
    faults.add(Fault(kind="freeze", duration_s=5))
    faults.frozen.append(lambda: thawed.append(1))
    faults.thaw()
    assert [] == thawed
    clock.now = 5.0
    faults.thaw()
    faults.thaw()

    assert [1] == thawed


def test_tokens_before_it_happens() -> None:
    """Three by default, none for a reset, or as many as is said."""
    assert (3, 0, 9) == (
        after(Fault(kind="die")),
        after(Fault(kind="reset")),
        after(Fault(kind="reset", after_tokens=9)),
    )
