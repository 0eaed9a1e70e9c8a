"""local.py: what the gateway answers by itself."""

import json

import pytest

from headrace.config.schema import Backend, Model
from headrace.errors import ModelNotFound
from headrace.fleet.catalogue import Catalogue
from headrace.fleet.registry import Fleet
from headrace.gateway import local

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

    found, body = local.ready(fleet, draining=draining)

    assert status == found
    expected = {"status": "draining" if draining else "ready", "replicas": {"m": 1, "n": 0}}
    assert expected == json.loads(body)
