"""feeds.py: simulated engines that publish their caches, and what routing then knows of them."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from headrace.config.schema import Config
from headrace.conformance.fake import Exchange
from headrace.engines.sim.replica import Replica as Simulated
from headrace.engines.sim.server import Server
from headrace.errors import StartError
from headrace.gateway.app import Gateway
from headrace.routing.blocks import chain, hash_of, join
from headrace.routing.ledger import Ledger
from tests.edge.rig import Rig, turns
from tests.edge.rig import ask as ask_body
from tests.engines.sim.rig import ask, simulator

WAIT_S = 30.0
KV_TOKENS = 4096
PATH = "/v1/completions"


def prompt(topic: str, words: int = 700) -> str:
    """Some 4 kB, or so many words, about one topic: nothing of it occurs under another."""
    return " ".join(f"{topic}{place % 97:02d}" for place in range(words))


def body(topic: str, words: int = 700) -> dict[str, Any]:
    return {"model": "sim", "prompt": prompt(topic, words), "max_tokens": 2, "ignore_eos": True}


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not true():  # noqa: ASYNC110 - nobody tells when this comes
            await asyncio.sleep(0.01)


class Fleet:
    """Two engines with caches of 4,096 tokens, and a gateway that follows the events of both."""

    def __init__(self, gateway: Gateway, server: Server) -> None:
        self.gateway = gateway
        self.server = server

    @property
    def ledgers(self) -> list[Ledger]:
        return [*self.gateway.placement.ledgers.values()]

    async def send(self, topic: str, words: int = 700) -> None:
        """A request through the gateway, and the moment until its blocks are known."""
        answer = await ask(self.gateway.url, PATH, body(topic, words))
        assert 200 == answer.status, answer.body

    async def settled(self) -> None:
        """All requests that have ended are related to the engines' blocks."""
        await until(lambda: all(not each._stories for each in self.ledgers))

    def believed(self, topic: str) -> int:
        """Blocks of the prompt that routing predicts to be cached where most of it is."""
        return max(self.depths(topic), default=0)

    def depths(self, topic: str) -> list[int]:
        found = self.gateway.placement.index.match(self.blocks_of(topic))
        return [*found.values()]

    def blocks_of(self, topic: str) -> list[int]:
        text = join([f'"{prompt(topic)}"'.encode()])
        return chain(text, hash_of("sim"))


@asynccontextmanager
async def fleet() -> AsyncIterator[Fleet]:
    """Engines, then a gateway that has heard of them."""
    settings = {
        "replicas": 2, "kv_tokens": KV_TOKENS, "max_model_len": KV_TOKENS,
        "surface": {"kv_events": True},
    }  # fmt: skip
    async with simulator(model="sim", **settings) as server:
        backends = [
            {"url": url, "serves": ["sim"], "kv_events": await events_of(url)}
            for url in server.urls
        ]
        config = {
            "server": {"port": 0}, "backends": backends, "logging": {"requests": False},
            "load": {"interval_s": 0.05}, "health": {"interval_s": 0.05},
        }  # fmt: skip
        gateway = Gateway(Config.model_validate(config))
        await gateway.start()
        try:
            yield Fleet(gateway, server)
        finally:
            await gateway.stop(0)


async def events_of(url: str) -> str:
    found = (await ask(url, "/kv_event_sources")).json()
    return str(found["0"]["endpoint"])


async def heard(fleet: Fleet) -> None:
    """Both subscriptions have arrived: something of each engine was heard, by all means."""
    for url in fleet.server.urls:
        name = url.removeprefix("http://")
        for turn in range(200):
            await ask(url, PATH, body(f"warm{turn}x", 100))
            seen = {each.replica: each.events for each in fleet.gateway.feeds.seen()}
            if seen[name]:
                break
            await asyncio.sleep(0.01)
        else:
            raise AssertionError(f"nothing was heard of {url}")


async def test_what_is_evicted_is_not_predicted() -> None:
    """An engine's own traffic pushes a prompt out, and routing knows without having sent it."""
    async with fleet() as each:
        await heard(each)
        await each.send("alpha")
        await each.settled()
        before = each.believed("alpha")
        for number in range(6):
            for url in each.server.urls:
                await ask(url, PATH, body(f"other{number}q"))
        await until(lambda: not each.believed("alpha"))

    assert before >= 7


async def test_what_is_held_is_predicted_and_found() -> None:
    """A prompt that comes again is where routing believes it to be."""
    async with fleet() as each:
        await heard(each)
        await each.send("alpha")
        await each.settled()
        believed = each.believed("alpha")
        await each.send("alpha")
        cached = [record.tokens_cached for record in each.gateway.records]
        prompts = [record.tokens_in for record in each.gateway.records]

    assert believed >= 7
    assert 0 == cached[0]
    assert prompts[1] - cached[1] < 32


async def test_only_what_is_gone_is_forgotten() -> None:
    """A prompt that is used again and again outlives others: the engine says so, not its age."""
    async with fleet() as each:
        await heard(each)
        await each.send("alpha")
        await each.settled()
        holder = next(r for r in each.gateway.fleet.replicas.values() if r.sent)
        url = holder.backend.url
        for number in range(6):
            await ask(url, PATH, body(f"other{number}q", 300))
            await ask(url, PATH, body("alpha"))
        await turns(100)
        believed = each.believed("alpha")

    assert believed >= 7


async def test_a_gap_makes_it_a_guess_until_the_cache_has_turned_over() -> None:
    """Lost batches are seen by their numbers; admin, log and metrics say what is known how."""
    async with fleet() as each:
        await heard(each)
        replica = next(iter(each.gateway.fleet.replicas.values()))
        await turn_over(each, replica.backend.url)
        await until(lambda: replica.cache == "exact")
        publisher_of(each.server.replicas[0])._number += 3
        await ask(replica.backend.url, PATH, body("gap", 100))
        await until(lambda: replica.cache == "approximate")
        lost = next(iter(each.gateway.feeds.seen()))
        page = (await ask(each.gateway.url, "/metrics")).body.decode()
        await turn_over(each, replica.backend.url)
        await until(lambda: replica.cache == "exact")

    assert lost.gaps >= 1
    assert f'headrace_kv_events_exact{{replica="{replica.name}"}} 0.0' in page
    assert f'headrace_kv_events_lost_total{{cause="gap",replica="{replica.name}"}}' in page


async def turn_over(fleet: Fleet, url: str) -> None:
    """Store more blocks than the engine has, once its size is known."""
    await until(lambda: all(ledger.capacity for ledger in fleet.ledgers))
    for number in range(8):
        await ask(url, PATH, body(f"turn{number}t"))


async def test_an_engine_that_starts_anew_has_nothing() -> None:
    """Numbers from 0 again: what was believed of it is dropped, and what follows is exact."""
    async with fleet() as each:
        await heard(each)
        await each.send("alpha")
        await each.settled()
        before = each.believed("alpha")
        for simulated, url in zip(each.server.replicas, each.server.urls, strict=True):
            publisher_of(simulated)._number = 0
            await ask(url, PATH, body("new", 100))
        await until(lambda: not each.believed("alpha"))
        replicas = each.gateway.fleet.replicas.values()
        await until(lambda: all(replica.cache == "exact" for replica in replicas))

    assert before >= 7


def publisher_of(simulated: Simulated) -> Any:
    return simulated._front.publisher


async def test_nothing_is_left_of_those_that_have_gone() -> None:
    """A replica that is removed takes its feed, its ledger and its blocks along."""
    async with fleet() as each:
        await heard(each)
        await each.send("alpha")
        gateway = each.gateway
        for name in [*gateway.fleet.replicas]:
            gateway.fleet.remove(name)
        await until(lambda: not gateway.feeds._ending)
        left = [*gateway.feeds.seen()], gateway.placement.ledgers, len(gateway.placement.index)

    assert ([], {}, 0) == left


def tags_of(exchange: Exchange) -> list[str]:
    return [value for name, value in exchange.headers if name == "x-session-id"]


async def test_only_engines_with_events_get_a_tag(rig: Rig) -> None:
    """Without events nothing is added; with them each request has a tag of its own."""
    engines = [await rig.engine(), await rig.engine()]
    await rig.gateway()
    long = ask_body(messages=[{"role": "user", "content": prompt("alpha")}])
    await rig.post(long)
    silent = {"kv_events": "tcp://127.0.0.1:9"}  # nobody publishes there
    backends = [{"url": engine.url, "serves": ["m"], **silent} for engine in engines]
    await rig.gateway(backends=backends)
    await rig.post(long)
    await rig.post(long)
    exchanges = [each for engine in engines for each in engine.exchanges if each.method == "POST"]
    tags = [tags_of(exchange) for exchange in exchanges]

    assert [0, 1, 1] == sorted(map(len, tags))
    assert 2 == len({tag for each in tags for tag in each})


async def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway whose backend has events does not start without pyzmq, and says what to install."""
    monkeypatch.setitem(sys.modules, "zmq.asyncio", None)
    backend = {"url": "http://127.0.0.1:9", "serves": ["m"], "kv_events": "tcp://127.0.0.1:9"}
    gateway = Gateway(Config.model_validate({"server": {"port": 0}, "backends": [backend]}))
    with pytest.raises(StartError, match="pip install 'headrace\\[kv-events\\]'"):
        await gateway.start()
