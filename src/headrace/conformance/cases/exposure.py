"""Case 25: the metrics page stays quick and bounded, whatever clients send."""

import asyncio
import time
from urllib.parse import urlsplit

from headrace.conformance import answers
from headrace.conformance.stage import WAIT_S, Stage, held, until
from headrace.conformance.verdict import NotApplicable
from headrace.conformance.wire import Answer

MADE_UP = 40
GROWTH = 20  # series that may appear by then: new statuses, new reasons
QUICK_S = 2.0
STREAMS = 8


async def metrics(stage: Stage) -> None:
    """Made-up models, paths and ids leave no series behind; streams do not slow the page."""
    before = await _page(stage)
    if before.status != 200 or not _series(before):
        raise NotApplicable(f"there are no metrics at {stage.metrics_url} ({before.status})")
    await _make_up(stage)
    after = await _page(stage)
    body = bytes(after.body)
    grown = len(_series(after)) - len(_series(before))
    told = f"{MADE_UP} made-up models, paths and ids: new series"
    stage.check(told, f"at most {GROWTH}", grown, passed=grown <= GROWTH)
    echoed = body.count(b"made-up-")
    stage.equal(f"{MADE_UP} made-up models, paths and ids: found in labels", 0, echoed)
    await _busy(stage)


async def _make_up(stage: Stage) -> None:
    for number in range(MADE_UP):
        name = f"made-up-{number}"
        body = stage.ask(stage.play()) | {"model": name}
        await stage.post(body, headers=[("x-request-id", name), ("user-agent", name)])
        await stage.send("GET", f"/v1/{name}")


async def _busy(stage: Stage) -> None:
    go, frames = asyncio.Event(), answers.chat_frames(stage.model, usage=True)
    plays = [stage.play(lambda exchange: held(exchange, go, frames)) for _ in range(STREAMS)]
    running = [asyncio.ensure_future(stage.post(stage.streamed(play))) for play in plays]
    try:
        await until(lambda: all(play.exchanges for play in plays))
        started = time.monotonic()
        page = await _page(stage)
        took = time.monotonic() - started
    finally:
        go.set()
        await asyncio.gather(*running)
    told = f"the page while {STREAMS} streams run"
    passed = page.status == 200 and took < QUICK_S
    stage.check(told, f"200 within {QUICK_S:g} s", f"{page.status} in {took:.2f} s", passed=passed)


async def _page(stage: Stage) -> Answer:
    parts = urlsplit(stage.metrics_url)
    client = await stage.client(WAIT_S, stage.metrics_url)
    return await client.ask("GET", parts.path or "/metrics", None, stage.headers())


def _series(page: Answer) -> set[bytes]:
    """The names and labels on the page, in Prometheus' text format."""
    lines = bytes(page.body).splitlines()
    found = {line.rpartition(b" ")[0] for line in lines if line and not line.startswith(b"#")}
    return {series for series in found if series and not series.startswith((b"<", b"{"))}
