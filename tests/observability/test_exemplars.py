"""Exemplars: a real Prometheus leads from a bucket to the trace of a request that is in it."""

import asyncio
import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from headrace.config.schema import Config
from headrace.config.simulator import Simulator
from headrace.engines.sim.server import Server
from headrace.gateway.app import Gateway
from tests.observability.monitor import Prometheus

TRACE = "0af7651916cd43dd8448eb211c80319c"
HEAD = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01", "x-request-id": "the-one"}
BODY = {
    "model": "chat", "stream": True, "max_tokens": 3,
    "messages": [{"role": "user", "content": "Hello."}],
}  # fmt: skip
PATIENCE_S = 60.0

pytestmark = pytest.mark.timeout(180)


async def seen(folder: Path, *names: str) -> dict[str, list[dict[str, Any]]]:
    """What Prometheus tells of these buckets, once a request with a trace was answered."""
    engines = Server(Simulator(port=0, model="chat", speed=100))
    await engines.start()
    backends = [{"url": url, "serves": ["chat"]} for url in engines.urls]
    gateway = Gateway(
        Config.model_validate(
            {"server": {"port": 0}, "backends": backends, "logging": {"requests": False}}
        )
    )
    await gateway.start()
    try:
        targets = {"headrace": [{"targets": [gateway.url.removeprefix("http://")]}]}
        with await asyncio.to_thread(Prometheus(folder, targets).__enter__) as prometheus:
            async with (
                aiohttp.ClientSession(gateway.url) as session,
                session.post("/v1/chat/completions", json=BODY, headers=HEAD) as answer,
            ):
                assert 200 == answer.status
                await answer.read()
            return {name: await asyncio.to_thread(_exemplars, prometheus, name) for name in names}
    finally:
        await gateway.stop(0)
        await engines.stop()


def test_a_bucket_leads_to_its_trace(tmp_path: Path) -> None:
    """Prometheus asks for OpenMetrics by itself, and keeps the ids of the request and its trace."""
    ttft, total = "headrace_time_to_first_token_seconds", "headrace_request_duration_seconds"
    found = asyncio.run(seen(tmp_path, ttft, total))

    for name in (ttft, total):
        [series] = found[name]
        [exemplar] = series["exemplars"]
        assert (f"{name}_bucket", "chat") == (
            series["seriesLabels"]["__name__"], series["seriesLabels"]["model"],
        )  # fmt: skip
        assert {"request_id": "the-one", "trace_id": TRACE} == exemplar["labels"]
        assert 0 < float(exemplar["value"]) <= float(series["seriesLabels"]["le"])


def _exemplars(prometheus: Prometheus, name: str) -> list[dict[str, Any]]:
    """Those of a histogram's buckets, once there are some."""
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        answer = prometheus.ask(
            "query_exemplars", query=f"{name}_bucket", start=time.time() - 600, end=time.time() + 60
        )
        assert "success" == answer["status"], answer
        if answer["data"]:
            found: list[dict[str, Any]] = answer["data"]
            return found
        time.sleep(0.2)
    return []
