"""Differences between what sources know and what the fleet has."""

import random
from pathlib import Path

from headrace.config.backends import Backend
from headrace.fleet.discovery.reconciler import Reconciler
from headrace.fleet.discovery.source import Found
from headrace.fleet.registry import Fleet
from tests.fleet.discovery.recorder import Log, Replicas, found


def reconciler(*reserved: str) -> tuple[Reconciler, Replicas, Log]:
    fleet, log = Replicas(), Log()
    return Reconciler(fleet, log, ["m", "n"], reserved), fleet, log


def test_only_differences_reach_the_fleet() -> None:
    """What stays is not touched, so that nothing it does is disturbed."""
    it, fleet, log = reconciler()
    it.update(0, "s", [found("a"), found("b")])
    it.update(0, "s", [found("b"), found("c")])
    it.update(0, "s", [found("c"), found("b")])

    assert ["+a", "+b", "-a", "+c"] == fleet.done
    assert ["replica_found", "replica_found", "replica_left", "replica_found"] == log.names()


def test_a_new_incarnation_is_another_replica() -> None:
    """Another pod at the same name and address gets a fresh start."""
    it, fleet, log = reconciler()
    it.update(0, "s", [found("a", "uid-1")])
    it.update(0, "s", [found("a", "uid-2")])

    assert ["+a", "+a"] == fleet.done
    assert ["replica_found", "replica_replaced"] == log.names()


def test_a_changed_entry_is_replaced() -> None:
    """Another address, another key or other models: the fleet hears it."""
    it, fleet, _ = reconciler()
    it.update(0, "s", [found("a", url="http://gpu:1")])
    it.update(0, "s", [found("a", url="http://gpu:2")])

    assert ["+a", "+a"] == fleet.done
    assert "http://gpu:2" == fleet.now["a"].url


def test_the_first_source_owns_a_name() -> None:
    """Two sources that know the same name do not fight; when the first forgets it, it moves on."""
    it, fleet, log = reconciler()
    it.update(1, "second", [found("a", url="http://second:1")])
    it.update(0, "first", [found("a", url="http://first:1")])
    it.update(1, "second", [found("a", url="http://second:1")])
    owner = fleet.now["a"].url
    it.update(0, "first", [])

    assert "http://first:1" == owner
    assert "http://second:1" == fleet.now["a"].url
    assert 1 == log.names().count("replica_skipped")


def test_static_backends_are_not_taken_over() -> None:
    """A name of `backends` belongs to it, and its removal does not follow a source."""
    it, fleet, log = reconciler("static")
    it.update(0, "s", [found("static"), found("a")])
    it.update(0, "s", [])

    assert ["+a", "-a"] == fleet.done
    reasons = [fields["reason"] for name, fields in log.events if name == "replica_skipped"]
    assert ["another replica has this name"] == reasons


def test_undeclared_models() -> None:
    """A replica of which no request could ever be routed is told, once, and left out."""
    it, fleet, log = reconciler()
    for _ in range(3):
        it.update(0, "s", [found("a", model="other")])

    assert [] == fleet.done
    assert ["replica_skipped"] == log.names()


def test_any_history_ends_where_the_sources_are() -> None:
    """After hundreds of random changes of three sources the fleet is exactly their union."""
    chance = random.Random(7)
    it, fleet, _ = reconciler()
    known: dict[int, list[str]] = {}
    for _ in range(500):
        order = chance.randrange(3)
        known[order] = chance.sample("abcdefgh", chance.randrange(8))
        it.update(order, f"s{order}", [found(name) for name in known[order]])

        assert {name for names in known.values() for name in names} == set(fleet.now)


def test_a_replica_that_cannot_be_added() -> None:
    """Certificates that cannot be read cost that replica only, and the log says which."""

    class Strict(Replicas):
        def add(self, backend: Backend, *, trusted: bool | None = None) -> None:
            if backend.name == "bad":
                raise FileNotFoundError(2, "No such file or directory")
            super().add(backend, trusted=trusted)

        def remove(self, name: str) -> None:
            self.done.append(f"-{name}")

    fleet, log = Strict(), Log()
    it = Reconciler(fleet, log, ["m"], [])
    it.update(0, "s", [found("bad"), found("good")])
    it.update(0, "s", [found("bad"), found("good")])

    assert ["+good"] == fleet.done
    assert ["replica_skipped", "replica_found"] == log.names()
    assert "it cannot be added" in str(log.events[0][1]["reason"])


def test_one_that_cannot_be_added_yet(tmp_path: Path) -> None:
    """A key that is not there is told once, costs no other replica, and is looked for again."""
    fleet, log = Fleet(["m"], 1.0), Log()
    it, file = Reconciler(fleet, log, ["m"], []), tmp_path / "key"
    keyed = {"url": "http://gpu:1", "name": "a", "serves": ["m"], "api_key_file": file}
    both = [Found(Backend.model_validate(keyed)), found("b")]
    it.update(0, "s", both)
    it.update(0, "s", both)
    without = [*fleet.replicas]
    file.write_text("sk-1")
    it.update(0, "s", both)

    assert (["b"], {"a", "b"}) == (without, {*fleet.replicas})
    assert ["replica_skipped", "replica_found", "replica_found"] == log.names()
