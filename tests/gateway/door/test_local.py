"""local.py: what the gateway answers by itself."""

import json

import pytest
from prometheus_client import CollectorRegistry

from headrace.config.backends import Backend, Model
from headrace.errors import ModelNotFound
from headrace.fleet.catalogue import Catalogue
from headrace.fleet.floor import Floor, Why
from headrace.fleet.registry import Fleet
from headrace.fleet.states import State
from headrace.gateway.door import local
from headrace.telemetry.engines import EngineMetrics

CATALOGUE = Catalogue([Model(name="m", aliases=("a", "b")), Model(name="n", context_length=99)])


def test_models_lists_every_name() -> None:
    """Names and aliases, in the order of the catalogue, whether or not a replica serves them."""
    listed = json.loads(local.models(CATALOGUE, 7))

    assert "list" == listed["object"]
    shown = [(entry["id"], entry["root"], entry.get("max_model_len")) for entry in listed["data"]]
    assert [("m", "m", None), ("a", "m", None), ("b", "m", None), ("n", "n", 99)] == shown
    assert {7} == {entry["created"] for entry in listed["data"]}


@pytest.mark.parametrize("name", ["m", "a", "b", "n"])
def test_one_model_is_its_entry_of_the_list(name: str) -> None:
    """What is said of a model alone is what the list says."""
    listed = json.loads(local.models(CATALOGUE, 7))["data"]

    assert json.loads(local.model(CATALOGUE, name, 7)) in listed


@pytest.mark.parametrize("name", ["x", ""])
def test_one_model_that_is_none(name: str) -> None:
    """A name that is not declared is none, and no name is never the only model."""
    for catalogue in (CATALOGUE, Catalogue([Model(name="m")])):
        with pytest.raises(ModelNotFound):
            local.model(catalogue, name, 7)


@pytest.mark.parametrize(("draining", "status"), [(False, 200), (True, 503)])
def test_ready(draining: bool, status: int) -> None:
    """Only draining makes unready; the replicas of each model are told, none included."""
    fleet = Fleet(["m", "n"], 1.0)
    fleet.add(Backend.model_validate({"url": "http://a", "serves": ["m"]}))

    floor = Floor(fleet, EngineMetrics(CollectorRegistry(), Why))

    found, body = local.ready(floor, fleet, draining=draining)

    assert status == found
    expected = {"status": "draining" if draining else "ready", "replicas": {"m": 1, "n": 0}}
    assert expected == json.loads(body)


def test_a_model_at_zero_is_no_error() -> None:
    """What starts or wakes when it is asked for is told as such, and the gateway is ready."""
    fleet = Fleet(["m", "n", "o"], 1.0)
    floor = Floor(fleet, EngineMetrics(CollectorRegistry(), Why))
    fleet.add(Backend.model_validate({"url": "http://a", "serves": ["m"], "name": "a"}))
    floor.tell("b", ("n",), Why.OFF, "idle")
    floor.tell("c", ("o",), Why.FAILED, "no GPU")
    fleet.move(fleet.replicas["a"], State.SLEEPING, "idle")

    found, body = local.ready(floor, fleet, draining=False)

    assert (200, ["m", "n"]) == (found, json.loads(body)["on_demand"])
