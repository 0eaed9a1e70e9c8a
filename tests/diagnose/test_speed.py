"""speed.py: slower than the work explains."""

from math import sin
from random import Random

import pytest

from headrace.diagnose.history import History
from headrace.diagnose.lens import Lens
from headrace.diagnose.series import Key
from headrace.diagnose.speed import Line, Point, excesses, felt, fit, slowness, strays

LINE = Line(0.02, 0.0005, 2e-5)


def points(seed: int, count: int, noise: float = 0.0) -> list[Point]:
    random = Random(seed)
    made = []
    for _ in range(count):
        point = Point(random.uniform(1, 60), random.uniform(0, 9000), 0.0)
        pace = LINE.at(point) * random.uniform(1 - noise, 1 + noise)
        made.append(point._replace(pace=pace))
    return made


def test_what_work_explains() -> None:
    """The line is found, within what chance adds."""
    found = fit(points(1, 80, 0.05), LINE.by_prefill)

    assert found is not None
    for point in points(2, 20):
        assert point.pace == pytest.approx(found.at(point), rel=0.1)


def test_few_points_say_only_their_median() -> None:
    """Without enough of them no influence is claimed; without any nothing is."""
    found = fit([Point(n, 0.0, 0.01 * n) for n in (1, 2, 3)])

    assert Line(0.02, 0.0, 0.0) == found
    assert fit([]) is None


def test_no_influence_is_below_zero() -> None:
    """More work never makes an engine faster."""
    falling = [Point(float(n), 0.0, 0.1 - 0.001 * n) for n in range(1, 40)]
    found = fit(falling)

    assert found is not None
    assert 0.0 == found.by_running


def fleet(slow: dict[str, float], busy: dict[str, float]) -> Lens:
    """Two minutes as usual, then a focus with these factors of pace and of work."""
    history = History()
    made = dict.fromkeys(("a", "b", "c"), 0.0)
    for step in range(60):
        now = step >= 51
        reading: dict[Key, float] = {}
        for number, name in enumerate(made):
            work = 30 + 20 * sin(step / 6 + number)
            work *= busy.get(name, 1.0) if now else 1.0
            pace = LINE.at(Point(work, 0.0, 0.0)) * (slow.get(name, 1.0) if now else 1.0)
            made[name] += 5.0 * work / pace
            reading["e_running", (name,)] = work
            reading["e_made", (name,)] = made[name]
            reading["e_prompt", (name,)] = reading["e_hits", (name,)] = 0.0
        history.add(1000.0 + 5.0 * step, reading)
    return Lens(history.snapshot(), 900.0)


def test_a_slow_replica_stands_out() -> None:
    """It takes twice as long as its work explains, its peers do not."""
    found = excesses(fleet({"b": 2.0}, {}), ["a", "b", "c"])

    assert found["b"] == pytest.approx(2.0, rel=0.1)
    assert [1.0, 1.0] == pytest.approx([found["a"], found["c"]], rel=0.1)


def test_a_busy_replica_does_not() -> None:
    """Twice the work makes a token slower, and explains it."""
    found = excesses(fleet({}, {"b": 2.0}), ["a", "b", "c"])

    assert [1.0, 1.0, 1.0] == pytest.approx([*found.values()], rel=0.15)


def test_a_fleet_is_as_slow_as_the_median_of_its_replicas() -> None:
    """What all of them take beyond their work; one that is slow does not make a slow fleet."""
    names = ["a", "b", "c"]
    slow = slowness(fleet(dict.fromkeys(names, 1.6), {}), names)
    one = slowness(fleet({"b": 3.0}, {}), names)
    busy = slowness(fleet({}, {"a": 2.0, "b": 2.0}), names)

    assert [1.6, 1.0, 1.0] == pytest.approx([slow.now, one.now, busy.now], rel=0.1)
    assert (True, False, False) == tuple(each.rose(1.35, 0.0) for each in (slow, one, busy))


def test_who_does_nothing_is_not_judged() -> None:
    """Replicas without requests have no pace."""
    assert {} == excesses(fleet({}, {}), ["x"])


def test_full_caches_explain_slow_tokens() -> None:
    """Few requests with long contexts read as much as many with short ones."""
    random = Random(3)
    made = [Point(random.uniform(1, 20), 0.0, 0.0, random.uniform(0.05, 0.9)) for _ in range(60)]
    made = [each._replace(pace=0.01 + 0.0002 * each.running + 0.03 * each.kv) for each in made]
    found = fit(made)

    assert found is not None
    assert found.at(Point(3.0, 0.0, 0.0, 0.85)) == pytest.approx(0.0361, rel=0.05)


def test_how_far_replicas_stray_by_chance() -> None:
    """Less in large batches; more where the line is a guess, beyond all that was ever seen."""
    names = ["a", "b", "c"]
    usual, busy = strays(fleet({}, {}), names), strays(fleet({}, {"a": 4.0}), names)

    assert all(0 < value < 0.1 for value in usual.values())
    assert busy["a"] > 2 * usual["a"]
    assert {} == strays(fleet({}, {}), ["x"])


def test_what_clients_felt() -> None:
    """The same of streams that have ended; nothing where none are told."""
    assert {} == felt(fleet({}, {}), ["a", "b", "c"])
