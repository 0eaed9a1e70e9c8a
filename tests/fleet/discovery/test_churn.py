"""Replicas that come and go by the hundred while streams run: none of the streams may notice."""

import asyncio
import contextlib
import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from headrace.conformance import answers
from headrace.conformance.fake import Exchange, FakeEngine
from headrace.conformance.wire import Answer
from headrace.fleet.discovery.source import pauses
from tests.edge.rig import Rig, eventually, streamed, turns
from tests.fleet.discovery.apiserver import ApiServer, a_slice, endpoint

CHANGES = 150
STREAMS = 24
WORDS = [f"word-{number} " for number in range(30)]
FRAMES = answers.chat_frames("m", WORDS, usage=True)

Publish = Callable[[Sequence[FakeEngine]], Awaitable[None]]


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    rig = Rig()
    yield rig
    await rig.close()


async def talks(exchange: Exchange) -> None:
    """A stream that lasts long enough to see several changes; the warm-up is no stream."""
    if not exchange.json().get("stream"):
        await answers.like_vllm(exchange)
        return
    await exchange.start_stream()
    for frame in FRAMES:
        await exchange.events(frame)
        await asyncio.sleep(0.004)
    await exchange.end_stream()


@contextlib.asynccontextmanager
async def by_file(folder: Path) -> AsyncIterator[tuple[dict[str, Any], Publish]]:
    path = folder / "backends.json"

    async def publish(engines: Sequence[FakeEngine]) -> None:
        new = path.with_suffix(".new")
        new.write_text(json.dumps([{"url": engine.url, "serves": ["m"]} for engine in engines]))
        new.replace(path)

    yield {"type": "file", "path": str(path), "poll_s": 0.005}, publish


@contextlib.asynccontextmanager
async def by_kubernetes(folder: Path) -> AsyncIterator[tuple[dict[str, Any], Publish]]:
    """Each publication has new pods: new uids behind the old addresses; and the server flaps."""
    async with ApiServer() as server:
        chance = random.Random(3)

        async def publish(engines: Sequence[FakeEngine]) -> None:
            kept = {f"s{urlsplit(engine.url).port}": engine for engine in engines}
            for name in server.objects.keys() - kept.keys():
                await server.delete(name)
            for name, engine in kept.items():
                if name not in server.objects:
                    uid = f"{name}-{server.version}"
                    ports = [{"name": "http", "port": urlsplit(engine.url).port}]
                    await server.put(a_slice(name, endpoint("127.0.0.1", name, uid), ports=ports))
            if chance.random() < 0.05:
                server.cut()
            if chance.random() < 0.05:
                await server.forget()

        section = {
            "type": "kubernetes",
            "selector": "app=m",
            "namespace": "models",
            "serves": ["m"],
            "kubeconfig": str(server.kubeconfig(folder)),
        }
        yield section, publish


@pytest.mark.parametrize("how", [by_file, by_kubernetes])
async def test_streams_survive_churn(
    rig: Rig, tmp_path: Path, how: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every stream is whole, byte for byte, however often its replica was removed meanwhile."""
    quick = partial(pauses, 0.01, 0.05)
    monkeypatch.setattr("headrace.fleet.discovery.kubernetes.pauses", quick)
    chance = random.Random(11)
    engines = [await rig.engine(talks) for _ in range(8)]
    async with how(tmp_path) as (section, publish):
        await publish(engines[:4])
        gateway = await rig.gateway(urls=[], discovery=[section], retries={"attempts": 5})
        await eventually(lambda: len(gateway.fleet.groups["m"].replicas) == 4)
        steps: list[str] = []
        gateway.fleet.watch(lambda _, step: steps.append(step.reason))
        changing = asyncio.create_task(_churn(publish, engines, chance))
        rounds: list[Answer] = []
        while not changing.done():
            rounds += await asyncio.gather(*(rig.post(streamed()) for _ in range(STREAMS)))
        await changing
        final = changing.result()
        await eventually(lambda: _names(gateway) == final, lambda: repr(_names(gateway)))
        await gateway._discovery.stop()

    expected = b"".join(FRAMES)
    assert {200} == {answer.status for answer in rounds}
    assert [] == [answer for answer in rounds if bytes(answer.body) != expected]
    assert len(rounds) >= 4 * STREAMS
    assert sum(reason in {"added", "removed", "replaced"} for reason in steps) >= 200
    assert sum(len(engine.exchanges) for engine in engines) >= len(rounds)


async def _churn(publish: Publish, engines: list[FakeEngine], chance: random.Random) -> set[int]:
    """Publish random sets, at last a known one; gives its ports."""
    for _ in range(CHANGES):
        await publish(chance.sample(engines, chance.randint(2, 6)))
        await turns(20)
    await publish(engines[2:5])
    return {urlsplit(engine.url).port or 0 for engine in engines[2:5]}


def _names(gateway: Any) -> set[int]:
    return {urlsplit(r.backend.url).port or 0 for r in gateway.fleet.groups["m"].replicas}
