"""Cases 22 and 23: what belongs to one replica goes there; what looks alike does not pile up."""

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from headrace.conformance import answers
from headrace.conformance.fake import Exchange, FakeEngine, Script, chunk
from headrace.conformance.wire import request
from tests.edge.rig import CHAT_PATH, Rig, ask, eventually

PATH = "/v1/responses"
SYSTEM = {"role": "system", "content": "You are a helpful assistant. " * 200}


def _responder() -> Script:
    """An engine that keeps its responses: it knows its own ids, and no others."""
    counter = itertools.count()

    async def script(exchange: Exchange) -> None:
        mine = f"resp_{exchange.link.transport.get_extra_info('sockname')[1]}_"
        if exchange.method != "POST" or exchange.path.endswith("/cancel"):
            identity = exchange.path.split("/")[3]
        else:
            identity = exchange.json().get("previous_response_id") or mine
        if not identity.startswith(mine):
            await exchange.answer(404, answers.error(404, f"{identity} is not mine"))
            return
        new = f"{mine}{next(counter)}"
        if exchange.body and exchange.json().get("stream"):
            await exchange.start_stream()
            sent = b"".join(answers.response_frames("m", new))
            await exchange.write_slowly(*(chunk(sent[n : n + 40]) for n in range(0, len(sent), 40)))
            await exchange.end_stream()
        else:
            await exchange.answer(200, answers.dump(answers.response_body("m", new)))

    return script


def _id(answer: Any) -> str:
    if answer.events:
        return str(answer.events[0].json()["response"]["id"])
    return str(answer.json()["id"])


async def _made(rig: Rig, engines: int = 3, **more: Any) -> list[str]:
    """Responses made on different replicas; their ids."""
    for _ in range(engines):
        await rig.engine(_responder())
    await rig.gateway()
    return [_id(await rig.post(ask(PATH, **more), PATH)) for _ in range(12)]


@pytest.mark.parametrize("stream", [True, False])
async def test_case_22_next_response_goes_where_the_last_was_made(rig: Rig, stream: bool) -> None:
    """previous_response_id leads to the replica that made it, and so on along the conversation."""
    identities = await _made(rig, stream=stream)
    assert len({identity.rsplit("_", 1)[0] for identity in identities}) > 1, "all on one replica"

    for _ in range(3):
        seen = [
            await rig.post(ask(PATH, previous_response_id=identity, stream=stream), PATH)
            for identity in identities
        ]
        assert [200] * 12 == [answer.status for answer in seen]
        following = [_id(answer) for answer in seen]
        assert [i.rsplit("_", 1)[0] for i in identities] == [i.rsplit("_", 1)[0] for i in following]
        identities = following


@pytest.mark.parametrize(("method", "suffix"), [("GET", ""), ("DELETE", ""), ("POST", "/cancel")])
async def test_case_22_response_is_found_again(rig: Rig, method: str, suffix: str) -> None:
    """GET, DELETE and cancel of a response go to the replica that made it."""
    identities = await _made(rig)

    for identity in identities:
        async with rig.client() as client:
            answer = await client.ask(method, f"{PATH}/{identity}{suffix}")
        assert 200 == answer.status, answer


async def test_case_22_busy_replica_is_still_the_one(rig: Rig) -> None:
    """Stickiness is stronger than load: the replica that holds the response gets the request."""
    identities = await _made(rig, engines=2)
    owner = next(e for e in rig.engines if f"_{e.port}_" in identities[0])
    responder, owner.script = owner.script, answers.hangs
    busy = len(owner.exchanges)
    while len(owner.exchanges) == busy:  # others are answered; one of these hangs at the owner
        client = await rig.client().__aenter__()
        await client.send(request("POST", CHAT_PATH, ask()))
        await asyncio.sleep(0.01)
    owner.script = responder

    answer = await rig.post(ask(PATH, previous_response_id=identities[0]), PATH)

    assert 200 == answer.status
    assert PATH == owner.exchanges[-1].path


async def test_case_22_unknown_response_is_the_engines_matter(rig: Rig) -> None:
    """An id that nobody here made: an answer in the right shape, and never 500."""
    await _made(rig, engines=1)
    async with rig.client() as client:
        seen = [
            await client.get(f"{PATH}/resp_of_someone_else"),
            await client.post(PATH, ask(PATH, previous_response_id="resp_of_someone_else")),
        ]

    for answer in seen:
        assert 404 == answer.status
        assert "message" in answer.json()["error"]


async def test_case_22_response_of_a_gone_replica(rig: Rig) -> None:
    """When the replica is gone, the answer is an error in OpenAI's shape, in time."""
    identities = await _made(rig, engines=2)
    gone = next(e for e in rig.engines if f"_{e.port}_" in identities[0])
    rig.gateway_now.fleet.remove(f"127.0.0.1:{gone.port}")
    async with rig.client() as client:
        seen = [
            await client.get(f"{PATH}/{identities[0]}"),
            await client.post(PATH, ask(PATH, previous_response_id=identities[0])),
        ]

    for answer in seen:
        assert 400 <= answer.status < 600
        assert "message" in answer.json()["error"]


def _spread(engines: list[FakeEngine]) -> Counter[int]:
    return Counter({engine.port: len(engine.exchanges) for engine in engines})


ALIKE: dict[str, tuple[str, Callable[[int], dict[str, Any]]]] = {
    "token ids of equal length": ("/v1/completions", lambda n: {"prompt": [n, *range(511)]}),
    "the very same request": (CHAT_PATH, lambda n: {}),
    "user inside the prompt": (
        "/v1/completions",
        lambda n: {"prompt": f'{{"user": "alice", "session_id": "1"}} {n}'},
    ),
}


@pytest.mark.parametrize("kind", ALIKE)
async def test_case_23_alike_requests_spread_side_by_side(rig: Rig, kind: str) -> None:
    """Requests that a naive key makes equal are spread evenly when they run side by side."""
    path, body = ALIKE[kind]
    engines = [await rig.engine(answers.hangs) for _ in range(4)]
    await rig.gateway()
    for number in range(40):
        client = await rig.client().__aenter__()
        await client.send(request("POST", path, ask(path, **body(number))))
    await eventually(lambda: sum(_spread(engines).values()) == 40)

    seen = _spread(engines).values()

    assert max(seen) - min(seen) <= 2, seen


@pytest.mark.parametrize("kind", ALIKE)
async def test_case_23_alike_requests_spread_one_by_one(rig: Rig, kind: str) -> None:
    """One after the other they do not all land on one replica either."""
    path, body = ALIKE[kind]
    engines = [await rig.engine() for _ in range(4)]
    await rig.gateway()
    async with rig.client() as client:
        for number in range(40):
            await client.post(path, ask(path, **body(number)))

    seen = _spread(engines).values()

    assert min(seen) >= 3, seen


@pytest.mark.parametrize(
    ("policy", "used"), [("lowest_cost", 1), ("prefix", 1), ("least_tokens", 4)]
)
async def test_case_23_a_shared_prefix_is_no_lookalike(rig: Rig, policy: str, used: int) -> None:
    """What truly begins alike goes to where it is cached, unless the policy is blind."""
    engines = [await rig.engine() for _ in range(4)]
    await rig.gateway(routing={"policy": policy})
    async with rig.client() as client:
        for number in range(12):
            question = {"role": "user", "content": f"question {number}"}
            await client.post(CHAT_PATH, ask(CHAT_PATH, messages=[SYSTEM, question]))

    assert used == sum(count > 0 for count in _spread(engines).values())


async def test_case_23_burst_does_not_herd(rig: Rig) -> None:
    """A burst in one moment is spread too: what was just sent counts at once."""
    engines = [await rig.engine(answers.hangs) for _ in range(4)]
    await rig.gateway()
    clients = [await rig.client().__aenter__() for _ in range(40)]
    await asyncio.gather(*(client.send(request("POST", CHAT_PATH, ask())) for client in clients))
    await eventually(lambda: sum(_spread(engines).values()) == 40)

    seen = _spread(engines).values()

    assert max(seen) - min(seen) <= 2, seen
