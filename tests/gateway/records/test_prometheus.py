"""prometheus.py: the same snapshot from a Prometheus' range queries, and what can go wrong."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from headrace.config.diagnosis import Diagnosis
from headrace.diagnose.series import TABLE
from headrace.errors import StartError
from headrace.gateway.records.prometheus import FINE_S, Prometheus

NOW_S = 1_800_000_000.0


class Server:
    """A Prometheus with one series, whose value is 7."""

    def __init__(self) -> None:
        self.queries: list[dict[str, str]] = []
        self.headers: list[str] = []
        self.answer = ""
        self.url = ""

    async def handle(self, request: web.Request) -> web.Response:
        form = {key: str(value) for key, value in (await request.post()).items()}
        self.queries.append(form)
        self.headers.append(request.headers.get("authorization", ""))
        if self.answer:
            return web.Response(text=self.answer)
        waiting = form["query"] == TABLE["waiting"].promql()
        end, step = float(form["end"]), float(form["step"])
        values = [[end - end % step - step * back, "7"] for back in range(3, -1, -1)]
        series = [{"metric": {"model": "m"}, "values": values}] if waiting else []
        return web.json_response({"status": "success", "data": {"result": series}})


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    made = Server()
    app = web.Application()
    app.router.add_post("/api/v1/query_range", made.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield made
    await runner.cleanup()


async def test_a_snapshot(server: Server) -> None:
    """Every series is asked for in both resolutions, and lands on one axis of time."""
    found = await Prometheus(Diagnosis(prometheus=server.url)).snapshot(900.0, NOW_S)

    assert 2 * len(TABLE) == len(server.queries)
    assert [7, 7, 7, 7] == list(found.fine.series["waiting", ("m",)])
    assert [NOW_S - 3 * FINE_S, NOW_S] == [found.fine.times[0], found.fine.times[-1]]
    assert {float(query["start"]) % float(query["step"]) for query in server.queries} == {0.0}
    assert NOW_S == found.at_s


async def test_selector_and_token(server: Server, tmp_path: Path) -> None:
    """Both are sent with every query."""
    file = tmp_path / "token"
    file.write_text("secret\n")
    config = Diagnosis(
        prometheus=server.url, prometheus_selector='job="h"', prometheus_token_file=file
    )
    await Prometheus(config).snapshot(900.0, NOW_S)

    assert all('job="h"' in query["query"] for query in server.queries)
    assert {"Bearer secret"} == set(server.headers)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ('{"status": "error", "error": "bad"}', "refuses sum by"),
        ("<html>", "is no Prometheus"),
        ('{"status": "success"}', "is no Prometheus"),
    ],
)
async def test_wrong_answers(server: Server, answer: str, says: str) -> None:
    """One sentence that says who and what."""
    server.answer = answer

    with pytest.raises(StartError, match=says):
        await Prometheus(Diagnosis(prometheus=server.url)).snapshot(900.0, NOW_S)


async def test_nobody_there(unused_tcp_port: int) -> None:
    """The sentence names the address and the setting."""
    config = Diagnosis(prometheus=f"http://127.0.0.1:{unused_tcp_port}")

    with pytest.raises(StartError, match=r"`diagnosis\.prometheus`"):
        await Prometheus(config).snapshot(900.0, NOW_S)


async def test_no_token(tmp_path: Path) -> None:
    """A file that cannot be read is named."""
    config = Diagnosis(prometheus="http://p", prometheus_token_file=tmp_path / "none")

    with pytest.raises(StartError, match="prometheus_token_file"):
        await Prometheus(config).snapshot(900.0, NOW_S)
