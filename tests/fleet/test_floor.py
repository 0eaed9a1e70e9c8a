"""floor.py: what engines see of the fleet, and what the fleet knows of those that are away."""

from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from headrace.config.backends import Backend
from headrace.fleet.floor import Floor, Why
from headrace.fleet.registry import Fleet, Replica
from headrace.fleet.states import State
from headrace.telemetry.engines import EngineMetrics


class Stage:
    """A fleet for two models, with one replica of the first."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.fleet = Fleet(["m", "n"], 1.0)
        self.floor = Floor(self.fleet, EngineMetrics(self.registry, Why))
        self.add("a", "m")

    def add(self, name: str, model: str, **how: Any) -> Replica:
        backend = Backend.model_validate({"url": "http://a", "name": name, "serves": [model]})
        self.fleet.add(backend, **how)
        return self.fleet.replicas[name]


@pytest.fixture
def stage() -> Stage:
    return Stage()


def test_traffic_is_of_who_gets_requests(stage: Stage) -> None:
    """All that were sent, and those that are there; nothing of one that is set aside or unknown."""
    stage.fleet.replicas["a"].lease(1).release()
    lease = stage.fleet.replicas["a"].lease(1)
    busy = stage.floor.traffic("a")
    lease.release()
    stage.fleet.move(stage.fleet.replicas["a"], State.EJECTED, "sick")

    assert ((2, 1), None, None) == (busy, stage.floor.traffic("a"), stage.floor.traffic("b"))
    assert ("ejected", "") == (stage.floor.state("a"), stage.floor.state("b"))


def test_who_has_a_request_stays(stage: Stage) -> None:
    """It neither sleeps nor leaves; without one it does, in the very call."""
    lease = stage.fleet.replicas["a"].lease(1)
    refused = stage.floor.rest("a", "idle"), stage.floor.leave("a", "idle")
    lease.release()
    done = stage.floor.rest("a", "idle"), len(stage.fleet.groups["m"].replicas)

    assert ((False, False), (True, 0)) == (refused, done)
    assert stage.floor.leave("a", "idle")
    assert {} == stage.fleet.replicas
    assert not stage.floor.rest("a", "idle")
    assert stage.floor.leave("a", "it is gone already")


def test_a_promised_place_is_a_request(stage: Stage) -> None:
    """One that was given a place and has not been sent yet keeps its replica there."""

    class Given:
        """A place at every replica, and two that wait for one (``Places``)."""

        def queued(self, model: str) -> int:
            return 2 if model == "m" else 0

        def promised(self, replica: Replica) -> int:
            return len(replica.name)

    floor = Floor(stage.fleet, EngineMetrics(CollectorRegistry(), Why), Given())

    assert (0, 1) == floor.traffic("a")
    assert (False, False) == (floor.rest("a", "idle"), floor.leave("a", "idle"))
    assert (2, 0, 0) == (floor.queued(["m", "n"]), floor.queued([]), stage.floor.queued(["m"]))


def test_who_rises_is_warmed(stage: Stage) -> None:
    """From sleep it goes to warming, never to users; one that is unknown is fine."""
    stage.floor.rest("a", "idle")
    stage.floor.rise("a", "woken")
    stage.floor.rise("b", "woken")

    assert (State.WARMING, "woken") == (
        stage.fleet.replicas["a"].state,
        stage.fleet.replicas["a"].reason,
    )


def test_away_until_it_is_there(stage: Stage) -> None:
    """Told as away with its reason, in the metrics too; forgotten when the fleet has it."""
    stage.floor.tell("b", ("n",), "off", "idle")
    away = [(each.name, each.models, each.state, each.reason) for each in stage.floor.away]
    labels = {"replica": "b", "state": "off"}
    shown = stage.registry.get_sample_value("headrace_replica_away", labels)
    stage.add("b", "n", trusted=False)

    assert [("b", ("n",), Why.OFF, "idle")] == away
    assert ((), 1) == (stage.floor.away, shown)
    assert stage.registry.get_sample_value("headrace_replica_away", labels) is None


def test_on_demand_is_what_comes_when_asked(stage: Stage) -> None:
    """Models without a replica of which one is off or asleep; not what is broken or served."""
    stage.floor.tell("b", ("n", "m"), "off", "idle")
    served = stage.floor.on_demand
    stage.floor.rest("a", "idle")
    asleep = stage.floor.on_demand
    stage.floor.tell("b", ("n", "m"), "failed", "no GPU")

    assert (["n"], ["m", "n"], ["m"]) == (served, asleep, stage.floor.on_demand)


@pytest.mark.parametrize("why", ["died", "failed"])
def test_trouble_is_known_to_who_waits(stage: Stage, why: str) -> None:
    """Why a start went wrong stays until a replica serves the model."""
    stage.floor.tell("b", ("n", "unknown"), why, "no GPU")
    trouble = stage.fleet.groups["n"].hold.trouble
    stage.add("b", "n")

    assert ("no GPU", "") == (trouble, stage.fleet.groups["n"].hold.trouble)


def test_a_first_token_that_fails_is_trouble(stage: Stage) -> None:
    """An engine that is healthy and cannot answer is told, too."""
    replica = stage.add("b", "n", trusted=False)
    stage.fleet.move(replica, State.WARMING, "healthy")
    stage.fleet.move(replica, State.STARTING, "its first token was answered 500")

    assert "b: its first token was answered 500" == stage.fleet.groups["n"].hold.trouble


async def test_nobody_is_refused_while_another_may_come(stage: Stage) -> None:
    """A replica that is set aside may return, another engine may start: requests wait for them."""
    stage.fleet.move(stage.fleet.replicas["a"], State.EJECTED, "sick")
    stage.floor.tell("b", ("n",), "starting", "it loads")
    stage.floor.refuse(["m", "n"], "no GPU", 30)
    before = stage.fleet.groups["n"].hold.trouble
    stage.floor.tell("b", ("n",), "failed", "no GPU")
    stage.floor.refuse(["m", "n"], "no GPU", 30)

    assert "" == before
    assert ("", "No replica of `n` can be started: no GPU") == (
        stage.fleet.groups["m"].hold.trouble,
        stage.fleet.groups["n"].hold.trouble,
    )


def test_listeners_hear(stage: Stage) -> None:
    """A model that begins to be wanted, and every step of a replica."""
    wanted, moved = list[str](), list[tuple[str, str]]()
    stage.floor.listen(wanted.append, lambda name, state: moved.append((name, state)))
    hold = stage.fleet.groups["n"].hold
    assert hold.wanted is not None
    hold.wanted(True)
    hold.wanted(False)
    stage.floor.rest("a", "idle")

    assert (["n"], [("a", "sleeping")]) == (wanted, moved)
