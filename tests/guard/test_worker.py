"""worker.py: processes look, are bounded, and come back when they die."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from headrace.config.guards import GuardPolicy
from headrace.errors import StartError
from headrace.guard.types import Finding, Unavailable
from headrace.guard.worker import Workers, check, look, prepare, ready
from tests.guard import stuck

PII = GuardPolicy(name="p", kind="pii")
SHAPE = GuardPolicy(name="s", kind="json_schema")


@pytest.fixture
async def workers() -> AsyncIterator[Workers]:
    made = Workers([PII, SHAPE], 1, 1, None)
    await made.start()
    yield made
    made.stop()


async def test_it_looks(workers: Workers) -> None:
    """At several texts in one go, and at schemas."""
    assert [[Finding("EMAIL_ADDRESS", 0, 7)], []] == await workers.find("p", ["a@b.org", "x"])
    assert "NOT_VALID" == await workers.fault("s", {"type": "string"}, "7")
    assert "" == await workers.fault("s", {"type": "nope"}, "7")


async def test_few_wait(workers: Workers) -> None:
    """More than may wait are told so at once, and places come back."""
    texts = ["x 1 " * 50_000]
    asked = [asyncio.ensure_future(workers.find("p", texts)) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(Unavailable, match="2 looks wait already"):
        await workers.find("p", texts)
    await asyncio.gather(*asked)
    assert 0 == workers.waiting


async def test_the_dead_are_replaced(workers: Workers) -> None:
    """Who finds it out has no answer, later ones have."""
    workers.kill()
    with pytest.raises(Unavailable, match="died"):
        await workers.find("p", ["x"])
    assert [[]] == await workers.find("p", ["x"])


async def test_a_look_that_is_given_up_frees_its_place(workers: Workers) -> None:
    """When it has ended: a worker cannot be interrupted."""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await workers.find("p", ["x"])
    async with asyncio.timeout(40):
        while workers.waiting:  # noqa: ASYNC110 - the worker tells nobody else
            await asyncio.sleep(0.01)


async def test_one_that_is_stuck_is_ended() -> None:
    """In its own process, which another replaces; whoever waits behind it is served by that."""
    attack = GuardPolicy.model_validate(
        {"name": "a", "kind": "injection", "deadline_s": 5, "injection": {"threshold": 0.9}}
    )
    workers = Workers([attack], 1, 4, stuck.load, stuck_s=2)
    ended: list[tuple[str, str]] = []
    workers.ended = lambda reason, guard: ended.append((reason, guard))
    await workers.start()
    try:
        lost = asyncio.ensure_future(workers.find("a", [stuck.TEXT]))
        await asyncio.sleep(0)
        given_up = asyncio.ensure_future(workers.find("a", [stuck.TEXT]))
        behind = asyncio.ensure_future(workers.find("a", ["Good morning."]))
        await asyncio.sleep(0)
        given_up.cancel()
        with pytest.raises(Unavailable, match="a worker process died"):
            await lost

        assert [[]] == await behind
        assert ([("stuck", "a")], 0) == (ended, workers.waiting)
    finally:
        workers.stop()


async def test_who_waits_when_they_end_is_told() -> None:
    """Nobody waits for a process that never comes."""
    workers = Workers([PII], 1, 4, None)
    await workers.start()
    asked = [asyncio.ensure_future(workers.find("p", ["x 1 " * 50_000])) for _ in range(3)]
    await asyncio.sleep(0)
    workers.stop()

    outcomes = await asyncio.gather(*asked, return_exceptions=True)
    assert {Unavailable} == {type(each) for each in outcomes}
    assert 0 == workers.waiting


async def test_what_cannot_start_says_why() -> None:
    """In the words of the guard, from the worker."""
    policy = GuardPolicy(name="p", kind="pii", pii={"engine": "presidio", "model": "nope_sm"})  # type: ignore[arg-type]
    with pytest.raises(StartError, match="The spaCy model 'nope_sm' is not installed"):
        await Workers([policy], 1, 1, None).start()
    with pytest.raises(Unavailable, match="no worker process runs"):
        await Workers([PII], 1, 1, None).find("p", ["x"])


def test_in_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its functions, in this process: of a fault only the kind is told, never the text."""
    monkeypatch.setattr("signal.signal", lambda *_: None)
    prepare([PII, SHAPE], None)
    assert "" == ready()
    assert [[]] == look("p", ["x"])
    assert "NOT_JSON" == check("s", {}, "{")
    with pytest.raises(Unavailable, match=r"^it failed with TypeError$"):
        look("p", [7])  # type: ignore[list-item]


def test_vectors_are_made_in_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """By what the gateway names; if that lacks something, the worker says so."""
    monkeypatch.setattr("signal.signal", lambda *_: None)
    problems: list[str] = []
    monkeypatch.setattr("headrace.guard.worker._problems", problems)

    def load() -> Any:
        raise StartError("It needs the package x.")

    prepare([PII], load)
    assert "It needs the package x." == ready()
