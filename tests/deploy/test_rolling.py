"""The chart's configuration, run: engines are restarted and taken away, and nobody notices."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from deploy.kit.helm import CHART, render
from tests.deploy.cluster import WAIT_S, Cluster, cluster
from tests.edge.rig import eventually

pytestmark = pytest.mark.xdist_group("helm")

MINIMAL = CHART / "ci" / "01-minimal-cpu-values.yaml"
USERS = 12


def objects(*settings: str) -> list[dict[str, Any]]:
    """The profile without GPUs, in the namespace that the stand-in has, with four engines."""
    given = ("models[0].replicas=4", *settings)
    sets = [part for each in given for part in ("--set", each)]
    return render("--values", str(MINIMAL), "--namespace", "models", *sets)


def whole(body: bytes) -> bool:
    """Whether a stream came to its own end: after an error of ours it has an end mark, too."""
    return b'"finish_reason":"length"' in body and b'"error"' not in body


def streams(running: Cluster) -> int:
    """Requests that are at an engine."""
    return running.gateway.fleet.inflight_requests


async def load(running: Cluster, over: asyncio.Event, user: int) -> list[tuple[int, bytes]]:
    """One user asks again and again until it is over."""
    found: list[tuple[int, bytes]] = []
    while not over.is_set():
        found.append(await running.ask(user * 1000 + len(found)))
    return found


async def under_load(
    running: Cluster, happens: Callable[[], Awaitable[None]]
) -> list[tuple[int, bytes]]:
    """What all users got while something happened; it begins when all of them have a stream."""
    over = asyncio.Event()
    users = [asyncio.create_task(load(running, over, user)) for user in range(USERS)]
    try:
        await eventually(lambda: streams(running) == USERS, timeout_s=WAIT_S)
        await happens()
    finally:
        over.set()
        answers = await asyncio.gather(*users)
    return [each for found in answers for each in found]


@pytest.mark.timeout(300)
async def test_a_rolling_restart_loses_no_request(tmp_path: Path) -> None:
    """Four engines are replaced one after another; every stream is whole, through TLS and Envoy."""
    async with cluster(objects(), tmp_path, pods=4) as running:
        first = {pod.name for pod in running.pods}
        answers = await under_load(running, running.roll)
        asked = [query["labelSelector"] for query in running.api.lists]
        last = {pod.name for pod in running.pods}
        state = running.gateway.state
        assert state is not None
        await eventually(lambda: state.up, timeout_s=WAIT_S)  # Redis is used, and answers

    assert {"kubernetes.io/service-name=prod-headrace-llama-3-1-8b"} == set(asked)
    assert (4, 4, set()) == (len(first), len(last), first & last)
    assert {200} == {status for status, _ in answers}
    assert [] == [body[-300:] for _, body in answers if not whole(body)]


@pytest.mark.timeout(300)
async def test_a_spot_notice_loses_no_request(tmp_path: Path) -> None:
    """
    Karpenter ends the pods of a node that Spot takes back: their streams finish, new requests go to
    the others, and all of it fits the two minutes.
    """
    rendered = objects("models[0].spot=true", "models[0].drain.shutdownSeconds=600")
    async with cluster(rendered, tmp_path, pods=4) as running:
        grace_s = running.deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
        gone, kept = running.pods[:2], running.pods[2:]

        async def notice() -> None:
            await asyncio.gather(*(running.end_pod(pod) for pod in gone))

        answers = await under_load(running, notice)
        ready = running.ready

    assert grace_s <= 110
    assert {pod.name for pod in kept} == ready
    assert {200} == {status for status, _ in answers}
    assert [] == [body[-300:] for _, body in answers if not whole(body)]


async def test_a_killed_engine_is_noticed(tmp_path: Path) -> None:
    """What the two tests above look for is there when a pod ends without its drain."""
    async with cluster(objects(), tmp_path, pods=1, speed=4) as running:
        asking = asyncio.create_task(running.ask(1, tokens=600))
        await eventually(lambda: streams(running) == 1, timeout_s=WAIT_S)
        await asyncio.sleep(0.5)  # so that the stream has begun
        await running.pods[0].server.stop()
        _, body = await asking

    assert not whole(body)


async def test_envoy_drains_before_it_ends(tmp_path: Path) -> None:
    """The chart's preStop script against real Envoy: its probe fails, an open answer goes on."""
    script = CHART / "files" / "envoy-drain.sh"
    async with cluster(objects(), tmp_path, pods=1, speed=4) as running:
        port = running.edge._admin.rpartition(":")[2]
        async with httpx2.AsyncClient(
            verify=False, trust_env=False, timeout=30
        ) as probing:  # kept alive
            before = await probing.get(f"{running.edge.url}/edge/ready")
            asking = asyncio.create_task(running.ask(1, tokens=600))
            await eventually(lambda: streams(running) == 1, timeout_s=WAIT_S)
            drain = await asyncio.create_subprocess_exec("bash", str(script), "60", port)
            after = before
            while after.status_code == 200:
                after = await probing.get(f"{running.edge.url}/edge/ready")
            still = not asking.done()
            status, body = await asking
            code = await drain.wait()

    assert (200, 503, 0) == (before.status_code, after.status_code, code)
    assert (True, 200, True) == (still, status, whole(body))
