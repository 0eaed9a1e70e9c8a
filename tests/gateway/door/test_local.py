"""local.py: what the gateway answers by itself."""

import asyncio
import json
import threading

import pytest
from prometheus_client import CollectorRegistry

from headrace.admission.types import NOBODY, Allow, Caller
from headrace.config.backends import Backend, Model
from headrace.errors import Forbidden, ModelNotFound
from headrace.fleet.catalogue import Catalogue
from headrace.fleet.floor import Floor, Why
from headrace.fleet.registry import Fleet
from headrace.fleet.states import State
from headrace.gateway.door import local, routes
from headrace.gateway.door.request import Budget, Request
from headrace.telemetry.engines import EngineMetrics
from headrace.telemetry.scrape import Page

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


class Asker:
    """A client that remembers its answer; ``answered`` is set by it."""

    def __init__(self) -> None:
        self.answered = asyncio.Event()
        self.said = (0, b"", b"")

    def answer(self, status: int, headers: bytes, body: bytes) -> None:
        self.said = status, headers, body
        self.answered.set()


class Surface:
    """A gateway's local endpoints over an empty fleet."""

    def __init__(self) -> None:
        self.draining = False
        self.accepted: list[tuple[str, bool]] = []
        self.budget = Budget(1000)
        fleet = Fleet(["m", "n"], 1.0)
        floor = Floor(fleet, EngineMetrics(CollectorRegistry(), Why))
        self.local = local.Local(CATALOGUE, fleet, floor, self.render, lambda: self.draining)

    def render(self, accept: str) -> Page:
        self.accepted.append((accept, threading.current_thread() is threading.main_thread()))
        return Page("text/x", b"page")

    def ask(self, path: str, caller: Caller = NOBODY, **headers: bytes) -> Asker:
        named = {name.encode(): value for name, value in headers.items()}
        request, asker = Request("GET", path.encode(), named, self.budget), Asker()
        request.caller = caller
        request.take(b"a body that nobody reads")
        self.local.answer(routes.find("GET", path), request, asker, b"x-request-id: r\r\n")
        return asker


async def test_each_endpoint_has_its_answer() -> None:
    """Status, content type, the headers that every answer carries, and a body of its own."""
    surface = Surface()

    for path, key in (
        ("/health", "status"), ("/ready", "replicas"), ("/v1/models", "data"),
        ("/v1/models/n", "root"),
    ):  # fmt: skip
        status, headers, body = surface.ask(path).said
        assert (200, b"content-type: application/json\r\nx-request-id: r\r\n") == (status, headers)
        assert key in json.loads(body)
    assert 0 == surface.budget.used


async def test_who_drains_says_when_to_come_back() -> None:
    """While draining /ready is 503 with a Retry-After; that the process lives stays certain."""
    surface = Surface()
    surface.draining = True

    status, headers, body = surface.ask("/ready").said

    assert (503, "draining") == (status, json.loads(body)["status"])
    assert b"\r\nretry-after: 1\r\n" in headers
    assert 200 == surface.ask("/health").said[0]


async def test_a_scrape_is_rendered_beside_the_loop() -> None:
    """The page of metrics is made in a thread, in the format that is accepted."""
    surface = Surface()

    asker = surface.ask("/metrics", accept=b"text/x;q=1")
    await asyncio.wait_for(asker.answered.wait(), 60)

    assert [("text/x;q=1", False)] == surface.accepted
    assert (200, b"content-type: text/x\r\nx-request-id: r\r\n", b"page") == asker.said


async def test_names_are_decoded_and_refused_ones_are_raised() -> None:
    """A model's name may be written with percent signs; what one may not use is an error."""
    surface, some = Surface(), Allow.of(["n"])
    assert some is not None

    assert "n" == json.loads(surface.ask("/v1/models/%6e").said[2])["id"]
    with pytest.raises(ModelNotFound):
        surface.ask("/v1/models/x")
    with pytest.raises(Forbidden):
        surface.ask("/v1/models/m", Caller(models=(some,)))
    listed = json.loads(surface.ask("/v1/models", Caller(models=(some,))).said[2])["data"]
    assert ["n"] == [entry["id"] for entry in listed]
