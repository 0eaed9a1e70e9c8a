"""Case 25: /metrics has bounded labels, and a scrape stops nobody."""

import asyncio
import re
import time

from headrace.conformance import answers
from headrace.conformance.fake import Exchange
from tests.edge.rig import CHAT_PATH, Rig, ask, eventually, streamed, turns

SERIES = re.compile(r"([a-zA-Z_:][\w:]*(?:\{.*\})?) \S+")


async def _series(rig: Rig) -> set[str]:
    """Names and labels of all series at the moment."""
    answer = await rig.get("/metrics")
    assert 200 == answer.status
    lines = answer.body.decode().splitlines()
    found = [SERIES.match(line) for line in lines if line and not line.startswith("#")]
    assert found
    assert all(found), lines
    return {match.group(1) for match in found if match}


async def _settled(rig: Rig) -> set[str]:
    """The series once they no longer change: requests may be counted a moment after they end."""
    seen, now = set[str](), await _series(rig)
    while seen != now:
        await turns(150)
        seen, now = now, await _series(rig)
    return now


async def test_case_25_metrics_are_prometheus_text(rig: Rig) -> None:
    """/metrics is text that Prometheus reads, and counts what happened."""
    await rig.engine()
    gateway = await rig.gateway()
    await rig.post(ask())
    await eventually(lambda: len(gateway.records) == 1)

    answer = await rig.get("/metrics")

    assert "text/plain" in (answer.header("content-type") or "")
    assert 'model="m"' in answer.body.decode()
    assert await _series(rig)


async def test_case_25_unknown_models_make_no_labels(rig: Rig) -> None:
    """However many models clients invent, no series is added for them, on any endpoint."""
    await rig.engine()
    await rig.gateway()
    await rig.post(ask(model="invented-first"))
    await rig.post(ask("/v1/embeddings", "invented-first"), "/v1/embeddings")
    before = await _settled(rig)
    for number in range(30):
        await rig.post(ask(model=f"invented-{number}"))
        await rig.post(ask("/v1/embeddings", f"invented-{number}"), "/v1/embeddings")

    after = await _settled(rig)

    assert before == after
    assert not any("invented" in series for series in after)


async def test_case_25_unknown_paths_and_methods_make_no_labels(rig: Rig) -> None:
    """A scanner that tries many paths and methods adds no series."""
    await rig.engine()
    await rig.gateway()
    async with rig.client() as client:
        await client.get("/scan-first")
        await client.get("/v1/responses/scan-first")
        await client.get("/v1/models/scan-first")
        await client.get("/v1/responses/scan-first")
        await client.ask("LOCK", "/v1/models")
    before = await _settled(rig)
    for number in range(30):
        await rig.get(f"/scan-{number}?q={number}")
        await rig.get(f"/v1/models/scan-{number}")
        await rig.get(f"/v1/responses/scan-{number}")
    async with rig.client() as client:
        for method in ("PROPFIND", "MKCOL", "REPORT"):
            await client.ask(method, "/v1/models")

    after = await _settled(rig)

    assert before == after
    assert not any("scan" in series or "PROPFIND" in series for series in after)


async def test_case_25_client_data_makes_no_labels(rig: Rig) -> None:
    """Request ids, users, agents and tenants that clients invent are in no label."""
    await rig.engine()
    await rig.gateway(models=[{"name": "m", "aliases": ["alias-m"]}])
    await rig.post(ask())
    await rig.post(ask(model="alias-m"))
    before = await _settled(rig)
    for number in range(20):
        await rig.post(
            ask(user=f"user-{number}"),
            x_request_id=f"id-{number}",
            user_agent=f"agent-{number}",
            x_tenant=f"tenant-{number}",
        )

    after = await _settled(rig)

    assert before == after


async def test_case_25_replicas_that_left_are_forgotten(rig: Rig) -> None:
    """A fleet that changes for ever does not leave series of replicas behind."""
    engine = await rig.engine()
    gateway = await rig.gateway()
    name = f"127.0.0.1:{engine.port}"
    await rig.post(ask())

    gateway.fleet.remove(name)

    await eventually(lambda: gateway.fleet.inflight_requests == 0)
    assert not any(name in series for series in await _series(rig))


async def test_case_25_scrape_does_not_stop_the_loop(rig: Rig) -> None:
    """While /metrics is made, streams go on: the loop never stands still for long."""
    await rig.gateway(urls=[])
    pauses: list[float] = []
    for _ in range(8):
        scrape = asyncio.create_task(rig.get("/metrics"))
        longest, last = 0.0, time.perf_counter()
        while not scrape.done():
            await asyncio.sleep(0.001)
            now = time.perf_counter()
            longest, last = max(longest, now - last), now
        pauses.append(longest)

    assert min(pauses) < 0.05, pauses  # the best of several: a busy machine is not our fault


async def test_case_25_scrape_during_a_stream(rig: Rig) -> None:
    """Scrapes are answered in the middle of a stream, which goes on between them."""
    frames = answers.chat_frames("m")
    go = asyncio.Event()

    async def script(exchange: Exchange) -> None:
        await exchange.start_stream()
        await exchange.events(frames[0])
        await go.wait()
        await exchange.events(*frames[1:])
        await exchange.end_stream()

    await rig.engine(script)
    await rig.gateway()
    async with rig.client() as client:
        answer = await client.open("POST", CHAT_PATH, streamed())
        await answer.event()
        for _ in range(3):
            assert await _series(rig)
        go.set()
        await answer.finish()

    assert b"".join(frames) == answer.body
