"""rehearsal.py: what rules would say is what they do say, and their tests fail when they should."""

import json
from typing import Any

import pytest

from headrace.config.backends import Model
from headrace.config.rules import Rule
from headrace.errors import BadRequest, NotFound
from headrace.fleet.catalogue import Catalogue
from headrace.gateway.rules.rehearsal import Sample, failures, perceive, rehearse, shown
from headrace.routing.rules import Rulebook
from tests.edge.rig import Rig, ask

MODELS = [Model(name="small", aliases=("tiny",)), Model(name="big")]
CATALOGUE = Catalogue(MODELS)


def rules(*values: dict[str, Any]) -> list[Rule]:
    return [Rule.model_validate({"name": f"r{n}", **each}) for n, each in enumerate(values)]


def sample(path: str = "/v1/chat/completions", **body: Any) -> Sample:
    return Sample(body=json.dumps(body).encode(), at=0.0, endpoint=path)


def test_facts() -> None:
    """A sample is seen as a request is: model, sizes, messages; with what the asker claims."""
    body = json.dumps({"model": "tiny", "stream": True, "messages": [{}, {}]}).encode()

    seen = perceive(Sample(body=body, at=5.0, headers={b"X-A": b"b"}, tenant="t", classified="c"))

    assert ("tiny", True, len(body), 2, 5.0) == (
        seen.model, seen.stream, seen.prompt_bytes, seen.messages, seen.at,
    )  # fmt: skip
    assert ({b"x-a": b"b"}, "t", "c") == (seen.headers, seen.tenant, seen.tier)


@pytest.mark.parametrize(
    ("asked", "error"),
    [
        (Sample(body=b"{", at=0.0), BadRequest),
        (sample("/v2/chat"), NotFound),
        (sample("/v1/audio/transcriptions"), BadRequest),
    ],
)
def test_what_cannot_be_rehearsed(asked: Sample, error: type[Exception]) -> None:
    """Requests that would be refused before any rule are refused here, too."""
    with pytest.raises(error):
        perceive(asked)


def test_an_outcome() -> None:
    """Targets are declared models; limits show in the body; everything is told as plain values."""
    book = Rulebook(
        rules({"target": ["tiny", "big"], "parameters": {"n": {"max": 1}}, "priority": "high"})
    )

    found = rehearse(book, CATALOGUE, sample(model="x", n=3))

    assert ("r0", ("small", "big"), "", 10) == (
        found.rule, found.targets, found.error, found.priority,
    )  # fmt: skip
    plain = json.loads(json.dumps(shown(found)))
    assert {"model": "x", "n": 1} == json.loads(plain["body"])
    assert [{"rule": "r0", "matches": True, "demands": []}] == plain["verdicts"]
    assert "headers" not in plain["facts"]


@pytest.mark.parametrize(
    ("values", "body", "error"),
    [
        ([], {"model": "x"}, "The model `x` does not exist."),
        ([], {}, "The request names no `model`."),
        ([{"parameters": {"n": {"refuse": "true"}}}], {"model": "big", "n": 1}, "may not be set"),
    ],
)
def test_errors(values: list[dict[str, Any]], body: dict[str, Any], error: str) -> None:
    """What the client would be told instead of an answer."""
    assert error in rehearse(Rulebook(rules(*values)), CATALOGUE, sample(**body)).error


def test_the_class_matters() -> None:
    """Where a rule hangs on the class and nobody knows it, the answer says so."""
    book = Rulebook(rules({"match": {"classes": "hard"}, "target": "big"}))
    known = Sample(body=b'{"model":"small"}', at=0.0, classified="hard")

    unknown = rehearse(book, CATALOGUE, sample(model="small"))

    assert (True, "", ("small",)) == (unknown.class_matters, unknown.rule, unknown.targets)
    assert ("r0", ("big",)) == (rehearse(book, CATALOGUE, known).rule,
                                rehearse(book, CATALOGUE, known).targets)  # fmt: skip


async def test_it_is_what_happens(rig: Rig) -> None:
    """For the same request, a running gateway decides as the rehearsal says."""
    engine = await rig.engine()
    values = [
        {"name": "r0", "match": {"messages": ">= 2"}, "target": "big"},
        {"name": "r1", "match": {"models": "gpt-*"}, "target": "small"},
    ]
    serves = {"small": "small", "big": "big"}
    backends = [{"url": engine.url, "serves": serves}]
    gateway = await rig.gateway(
        models=[model.model_dump() for model in MODELS], backends=backends, rules=values
    )
    book = gateway.steer.book
    assert book is not None
    for body in (ask(model="tiny"), ask(model="gpt-4"), ask(model="x", messages=[{}, {}])):
        told = rehearse(book, gateway.catalogue, sample(**body))
        answer = await rig.post(body)
        assert told.rule == (answer.header("x-headrace-rule") or "")
        assert told.targets[0] == engine.exchanges[-1].json()["model"]


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ({"request": {"model": "a"}}, []),
        ({"request": {"model": "a"}, "expect": {"rule": "r1"}}, ["the rule is r0, not r1"]),
        ({"request": {"model": "small"}, "expect": {"rule": "r1", "target": "tiny"}}, []),
        ({"request": {"model": "small"}, "expect": {"rule": "none"}}, ["the rule is r1, not none"]),
        ({"request": {"model": "big"}, "expect": {"rule": "none", "target": "big"}}, []),
        ({"request": {"model": "b"}, "expect": {"rule": "none", "target": "none"}}, []),
        (
            {"request": {"model": "a"}, "expect": {"target": "big", "arm": "x"}},
            ["the target is small, not big", "the arm is none, not x"],
        ),
        ({"request": {"model": 3}}, ["the request is refused: Expected `str | null`, got"]),
        ({"endpoint": "/x", "request": {}}, ["the request is refused: There is no endpoint /x"]),
        (
            {"request": {"model": "t"}, "at": "2026-11-23T10:00:00+01:00", "headers": {"X-A": "b"},
             "tenant": "t", "key": "k", "classified": "c", "expect": {"rule": "r2"}},
            [],
        ),
    ],
)  # fmt: skip
def test_tests_of_rules(case: dict[str, Any], expected: list[str]) -> None:
    """A test fails for each thing that is not as it says, and only then."""
    every = {"times": "mon 10:00-11:00 Europe/Berlin", "headers": {"x-a": "b"}, "tenants": "t",
             "keys": "k", "classes": "c"}  # fmt: skip
    carried = rules(
        {"match": {"models": "a"}, "target": "small", "tests": [case]},
        {"match": {"models": "small"}},
        {"match": {"models": "t", **every}, "target": "big"},
    )

    found = [*failures(carried, CATALOGUE)]

    assert [(0, 0)] * len(expected) == [(each.rule, each.case) for each in found]
    for failure, text in zip(found, expected, strict=True):
        assert text in failure.text
