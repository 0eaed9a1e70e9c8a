"""lens.py: the focus, the usual, and when a number has risen."""

import math

import pytest

from headrace.diagnose.history import History
from headrace.diagnose.lens import NAN, Lens, Seen, shares
from headrace.diagnose.series import Key
from headrace.diagnose.snapshot import Snapshot

QUEUE: tuple[Key, Key] = (("queue_sum", ("m",)), ("queue_n", ("m",)))
WAITING: Key = ("waiting", ("m",))


def snapshot(steps: int, since: int = 9, **then: float) -> Snapshot:
    """Steps of five seconds; in the last ``since`` of them the numbers of ``then`` hold."""
    usual = {"each": 0.1, "rate": 4.0, "waiting": 1.0}
    history, sum_s, count = History(), 0.0, 0.0
    for number in range(steps):
        now = usual | then if number >= steps - since else usual
        sum_s += now["each"] * now["rate"] * 5
        count += now["rate"] * 5
        reading = {QUEUE[0]: sum_s, QUEUE[1]: count, WAITING: now["waiting"]}
        history.add(1000.0 + 5.0 * number, reading)
    return history.snapshot()


def test_a_mean_is_that_of_its_requests() -> None:
    """Sums over counts: a rare slow request in a quiet step weighs as one."""
    seen = Lens(snapshot(60, each=0.3), 900.0).mean("queue", "m")

    assert pytest.approx((0.3, 0.1), rel=1e-3) == (seen.now, seen.usual)


def test_the_window_begins_with_the_usual() -> None:
    """While there is no hour before it, the window's own beginning is compared."""
    seen = Lens(snapshot(60, waiting=9.0), 900.0).level("waiting", "m")

    assert (9.0, 1.0, 1.0, 1.0) == seen[:4]


def test_the_hour_before_the_window_is_the_usual() -> None:
    """A fault that fills the window is seen, since what was before it is known."""
    seen = Lens(snapshot(400, since=170, waiting=9.0), 900.0).level("waiting", "m")

    assert (9.0, 1.0) == seen[:2]


@pytest.mark.parametrize("steps", [100, 400])
def test_a_short_window_has_the_same_usual(steps: int) -> None:
    """A fault that fills the window is seen all the same, by what was before it."""
    taken = snapshot(steps, since=45, waiting=9.0)
    short, long = (Lens(taken, since_s).level("waiting", "m") for since_s in (240.0, 900.0))

    assert short == long
    assert (9.0, 1.0) == short[:2]


def test_the_past_has_a_focus_of_its_own() -> None:
    """A look at an earlier moment does not see what came after it."""
    taken = snapshot(100, since=9, waiting=9.0)

    assert 1.0 == Lens(taken, 900.0, taken.at_s - 60).level("waiting", "m").now


def test_the_past_of_small_steps_is_seen_in_large_ones() -> None:
    """Hours ago there are minutes: three of them are the focus, the hour before is the usual."""
    history = History()
    for number in range(3 * 720):
        began_s, now_s = 3600.0 * 1.5, 5.0 * number
        history.add(now_s, {WAITING: 9.0 if began_s <= now_s < began_s + 300 else 1.0})
    then = Lens(history.snapshot(3600.0 * 1.5 + 290), 900.0)
    later = Lens(history.snapshot(), 3600.0).before(3600.0 * 2.25)
    never = Lens(history.snapshot(-60.0), 900.0)

    assert (60.0, 180.0) == (then.focus.grid.step_s, then.focus.seconds)
    assert (9.0, 1.0) == then.level("waiting", "m")[:2]
    assert 60.0 == later.focus.grid.step_s
    assert 1.0 == later.level("waiting", "m").now
    assert never.blind


def test_too_little_is_known() -> None:
    """Without anything to compare with, nothing is said."""
    assert Lens(snapshot(12), 900.0).blind
    assert not Lens(snapshot(40), 900.0).blind


def test_sums_over_labels() -> None:
    """A label that is None stands for all of its values; what is not there is unknown."""
    history = History()
    for at_s in (0.0, 5.0, 10.0):
        history.add(at_s, {("active", ("m", phase)): 2.0 for phase in ("waiting", "whole")})
    lens = Lens(history.snapshot(), 900.0)

    assert 4.0 == lens.total(lens.focus, "active", "m", None)
    assert 2.0 == lens.total(lens.focus, "active", None, "whole")
    assert math.isnan(lens.total(lens.focus, "active", "n", None))


@pytest.mark.parametrize(
    ("seen", "rose"),
    [
        (Seen(2.0, 1.0, 0.9, 1.1), True),
        (Seen(1.4, 1.0, 0.9, 1.1), False),  # not 1.5 times
        (Seen(2.0, 1.0, 0.9, 1.95), False),  # such stretches are usual
        (Seen(0.02, 0.01, 0.0, 0.01), False),  # too little to matter
        (Seen(NAN, 1.0, 0.9, 1.1), False),
        (Seen(2.0, NAN, NAN, NAN), False),
    ],
)
def test_rose(seen: Seen, *, rose: bool) -> None:
    """So many times the usual, so much more, and above what it varies; else not."""
    assert rose is seen.rose(1.5, 0.1)


def test_an_unknown_usual_can_count_as_nothing() -> None:
    """What was never there has risen when it comes, where the caller says so."""
    assert Seen(0.2, NAN, NAN, NAN).rose(2.0, 0.1, blank=True)


@pytest.mark.parametrize(
    ("seen", "fell"),
    [
        (Seen(0.3, 0.9, 0.8, 0.95), True),
        (Seen(0.8, 0.9, 0.8, 0.95), False),
        (Seen(0.3, 0.9, 0.2, 0.95), False),
        (Seen(0.3, NAN, NAN, NAN), False),
    ],
)
def test_fell(seen: Seen, *, fell: bool) -> None:
    """The same downwards."""
    assert fell is seen.fell(0.75, 0.1)


def test_shares() -> None:
    """Parts of the whole; of nothing they are 0."""
    assert {"a": 0.25, "b": 0.75} == shares({"a": 1.0, "b": 3.0})
    assert {"a": 0.0} == shares({"a": 0.0})


def test_a_mean_of_few_requests_must_change_more() -> None:
    """The error of a mean is that of its steps: where they differ much, a change says little."""
    even, uneven = (means(spread).mean("ttft", "m") for spread in (0.0, 2.0))

    assert even.error < uneven.error
    assert (True, False) == (even.rose(1.3, 0.1), uneven.rose(1.3, 0.1))


def means(spread: float) -> Lens:
    """First tokens of a second, and of 1.5 seconds in the last 45 s; steps differ by ``spread``."""
    history = History()
    took = 0.0
    for step in range(100):
        usual = 1.0 if step < 90 else 1.5
        took += 5.0 * (usual + (spread if step % 7 == 0 else 0.0))
        history.add(
            1000.0 + 5.0 * step, {("ttft_sum", ("m",)): took, ("ttft_n", ("m",)): 5.0 * step}
        )
    return Lens(history.snapshot(), 900.0)


@pytest.mark.parametrize(("swing", "far"), [(1.05, True), (2.0, False)])
def test_how_far_a_number_moves_by_itself(swing: float, far: bool) -> None:
    """A number that is doubled is far from usual only where it does not double by itself."""
    history = History()
    for number in range(100):
        level = swing if number // 20 % 2 else 1.0
        history.add(1000.0 + 5.0 * number, {WAITING: 2.2 if number >= 91 else level})
    lens = Lens(history.snapshot(), 900.0)

    assert far == (lens.beyond(lambda span: lens.total(span, "waiting", "m")) >= 3.0)
