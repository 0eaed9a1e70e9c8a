"""Every case passes against Headrace, and fails against a gateway that is wrong in its matter."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import uvloop

from headrace.config.schema import Config
from headrace.conformance import answers, suite
from headrace.conformance.catalogue import CASES
from headrace.conformance.fake import Exchange, FakeEngine
from headrace.conformance.stage import Stage
from headrace.conformance.verdict import Case, Result, Verdict
from headrace.conformance.wiring import WIRINGS, Front, Names
from headrace.gateway import clocks
from headrace.gateway.app import Gateway
from headrace.routing.lane import Ask, Taken
from tests.conformance.spoiler import Spoil, Spoiler, swap

STREAM = b'"stream": true'
HOSTS = ("169.254.169.254", "127.0.0.1", "localhost", "10.0.0.1", "::1")


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run on uvloop, as the gateway does."""
    return {"uvloop": uvloop.new_event_loop}


def status(old: int, new: int) -> Spoil:
    """A gateway that says one status where another is right."""
    return Spoil(response=swap((b"HTTP/1.1 %d" % old, b"HTTP/1.1 %d" % new)))


def says(old: bytes, new: bytes) -> Spoil:
    """A gateway that changes one word of its answers."""
    return Spoil(response=swap((old, new)))


def asks(old: bytes, new: bytes) -> Spoil:
    """A gateway that changes one word of its requests."""
    return Spoil(request=swap((old, new)))


def one_id(data: bytes) -> bytes:
    """Give all answers the same id."""
    return re.sub(rb"x-request-id: [^\r]*", lambda m: b"x-request-id: " + b"0" * 32, data)


# How a gateway is made wrong so that the case must fail; what is not bytes is in `wrong`.
SPOILS: dict[str, Spoil] = {
    "1": says(b'data: {"error"', b'note: {"error"'),
    "2": status(502, 200),
    "3": Spoil(deaf=lambda sent: STREAM in sent),
    "4": Spoil(deaf=lambda sent: STREAM not in sent),
    "6": Spoil(again=b"HTTP/1.1 400"),
    "7": status(502, 404),
    "9": says(b'"object":"chat.completion.chunk"', b'"usage":{"completion_tokens":10}'),
    "10": says(b": ping", b"; ping"),
    "11": Spoil(hold=b"[DONE]"),
    "12": says(b"x-should-retry", b"x-shoult-retry"),
    "13": says(b"x-request-id", b"x-requets-id"),
    "14": says(b'"model":"conformance-alias"', b'"model":"some-other-model0"'),
    "15": status(413, 400),
    "16": says(b"retry-after", b"retry-aftex"),
    "17": says(b'"param"', b'"parem"'),
    "18": Spoil(hangs_up=True),
    "19": Spoil(deaf=lambda sent: b"GET /v1/models" in sent),
    "20": Spoil(),
    "21": status(503, 404),
    "22": asks(b'"previous_response_id"', b'"previous_response_ix"'),
    "23": asks(b'"cache_salt"', b'"cache_sale"'),
    "A1": says(b'"object":"list"', b'"object":"lisp"'),
    "A2": says(b'"finish_reason":"stop"', b'"finish_reason":"stap"'),
    "A3": says(b"data: [DONE]", b"data: [DANE]"),
    "A4": says(b"text_completion", b"text_completiom"),
    "A5": says(b'"embedding":[0.25', b'"embedding":[0.75'),
    "A6": says(b'"type":"message"', b'"type":"massage"'),
    "A7": says(b"event: message_stop", b"event: message_stap"),
    "A8": says(b'"arguments"', b'"argumentz"'),
    "A9": status(404, 400),
    "A10": status(405, 404),
    "A11": status(400, 422),
    "A12": Spoil(response=one_id),
}


class Draining:
    """The gateway of this process as the kit would stop it (``stage.Gateway``)."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._stopping: asyncio.Task[None] | None = None

    def terminate(self) -> None:
        self._stopping = asyncio.create_task(self._gateway.stop(drain_s=1.5))

    async def ended(self, timeout_s: float) -> bool:
        assert self._stopping is not None
        await asyncio.wait_for(self._stopping, timeout_s)
        return True


class Try:
    """A stage with a gateway of this process, right or spoiled."""

    def __init__(self) -> None:
        self.stage = Stage("http://127.0.0.1:1", Names())
        self.stage.idle_s = 0.2
        self._gateway: Gateway | None = None
        self._spoiler: Spoiler | None = None

    async def start(self, spoil: Spoil | None = None, **sections: Any) -> Gateway:
        await self.stage.start([0, 0])
        front = Front(0, tuple(f"127.0.0.1:{engine.port}" for engine in self.stage.engines))
        tree = json.loads(WIRINGS["headrace"].text(front)) | {"logging": {"requests": False}}
        self._gateway = gateway = Gateway(Config.model_validate(tree | sections))
        await gateway.start()
        self.stage.url = gateway.url
        self.stage.gateway, self.stage.ready_path = Draining(gateway), "/ready"
        if spoil is not None:
            self._spoiler = Spoiler(gateway.url, spoil)
            await self._spoiler.start()
            self.stage.url = self._spoiler.url
            self.stage.gateway = self._spoiler
        self.stage.metrics_url = f"{self.stage.url}/metrics"
        return gateway

    async def play(self, key: str) -> Result:
        await suite.meet(self.stage, 5.0)
        return (await suite.run(self.stage, [alone(key)], Silence()))[0]

    async def stop(self) -> None:
        if self._spoiler is not None:
            await self._spoiler.stop()
        await self.stage.stop()
        if self._gateway is not None:
            await self._gateway.stop(drain_s=0.1)


class Silence:
    """Nobody watches."""

    def begins(self, case: Case) -> None: ...
    def ended(self, result: Result) -> None: ...


def alone(key: str) -> Case:
    """A case after which nobody waits for replicas to recover: there is no case after it."""
    case = next(case for case in CASES if case.key == key)
    return Case(case.key, case.name, case.why, case.run, last=True)


@pytest.fixture
async def tried() -> AsyncIterator[Try]:
    """Engines, a gateway, perhaps a spoiler; taken down afterwards."""
    tried = Try()
    yield tried
    await tried.stop()


@pytest.mark.parametrize("key", [case.key for case in CASES])
async def test_headrace_passes(tried: Try, key: str) -> None:
    """Headrace passes each case, with the wiring that the kit prints for it."""
    await tried.start()

    result = await tried.play(key)

    assert (Verdict.PASS, ()) == (result.verdict, result.failures), result.reason


@pytest.mark.parametrize("key", SPOILS)
async def test_wrong_gateway_fails(tried: Try, key: str) -> None:
    """A gateway that is wrong in one thing fails the case that is about it."""
    await tried.start(SPOILS[key])

    result = await tried.play(key)

    assert Verdict.FAIL == result.verdict, result.checks


async def test_leaking_leases_fail(tried: Try) -> None:
    """Case 5: a gateway that keeps counting requests whose clients left is found out."""
    gateways: list[Gateway] = []

    def leak() -> None:  # so much that the replica's gate is shut for ever
        for seats in gateways[0].placement.models.values():
            for lane in seats.pool.lanes[:1]:
                lane.take(Ask(lane.gate, [], 1.0), Taken(0.0, 60_000.0, 0.0), clocks.now())

    gateways.append(await tried.start(Spoil(left=leak)))

    result = await tried.play("5")

    assert Verdict.FAIL == result.verdict, result.checks
    assert "shares" in result.failures[-1].seen


async def test_one_clock_for_all_fails(tried: Try) -> None:
    """Case 8: a gateway that ends long answers along with dead ones is found out."""
    await tried.start(timeouts={"total_s": 1})

    assert Verdict.FAIL == (await tried.play("8")).verdict


async def test_fetching_anything_fails(tried: Try) -> None:
    """Case 24: a gateway that lets engines fetch from private addresses is found out."""
    await tried.start(media={"allowed_hosts": HOSTS})

    assert Verdict.FAIL == (await tried.play("24")).verdict


async def test_unbounded_labels_fail(tried: Try) -> None:
    """Case 25: a metrics page that grows with every made-up name is found out."""
    await tried.start()
    seen: list[int] = []

    async def page(exchange: Exchange) -> None:
        seen.append(0)
        lines = [f'requests{{model="made-up-{n}"}} 1' for n in range(100 * len(seen))]
        await exchange.answer(200, "\n".join([*lines, ""]).encode(), content_type="text/plain")

    server = await FakeEngine(answers.like_vllm, probe=page).start()
    tried.stage.metrics_url = f"{server.url}/metrics"

    result = await tried.play("25")
    await server.stop()

    assert Verdict.FAIL == result.verdict, result.checks


def test_every_case_can_fail() -> None:
    """There is a wrong gateway for each case, and none for a case that is not there."""
    assert {case.key for case in CASES} == {*SPOILS, "5", "8", "24", "25"}
