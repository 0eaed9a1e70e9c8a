"""explain.py: single requests by the admin API, from a real gateway."""

import asyncio
from pathlib import Path
from typing import Any

import httpx2
import pytest

from headrace.gateway.admin.api import build
from headrace.gateway.admin.explain import explain
from headrace.gateway.app import Gateway
from tests.edge.rig import CHAT_PATH, Rig, ask, eventually, streamed


async def ask_admin(gateway: Gateway, path: str) -> Any:
    """What the admin API of this gateway answers."""
    admin = gateway.config.admin
    app = build(gateway.fleet, gateway.keeper, admin, gateway.floor, explain(gateway))
    transport = httpx2.ASGITransport(app=app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        return await client.get(path)


async def test_a_request_is_told(rig: Rig) -> None:
    """Facts, phases, candidates and predictions of a request, by the id that its client has."""
    await rig.engine()
    await rig.engine()
    gateway = await rig.gateway()
    answer = await rig.post(streamed(), x_request_id="team/1")
    given = answer.header("x-request-id")
    await rig.idle()
    told = (await ask_admin(gateway, f"/admin/requests/{given}")).json()

    assert (given, "completed", 200, "m") == (
        told["request_id"], told["outcome"], told["status"], told["served"]
    )  # fmt: skip
    assert ["receive", "admit", "route", "connect", "prefill", "decode"] == [
        phase["what"] for phase in told["phases"]
    ]
    [attempt] = told["attempts"]
    assert 2 == len(attempt["candidates"])
    assert attempt["replica"] == told["replica"]
    assert attempt["why"]
    assert told["phases"][-1]["end_ms"] == pytest.approx(told["total_ms"], abs=100)


async def test_retries_are_told(rig: Rig) -> None:
    """Both attempts with their replicas, and how the first failed."""
    await rig.engine()
    gateway = await rig.gateway(urls=[rig.refusing().url, rig.engines[0].url])
    for _ in range(50):  # until the first choice is the one that refuses
        await rig.post(ask())
        if gateway.records[-1].attempts > 1:
            break
    found = (await ask_admin(gateway, "/admin/requests?limit=1")).json()["requests"]
    told = (await ask_admin(gateway, f"/admin/requests/{found[0]['request_id']}")).json()

    assert ["failed", "answered"] == [each["outcome"] for each in told["attempts"]]
    assert "Connection refused" in told["attempts"][0]["error"]
    assert told["attempts"][0]["replica"] != told["attempts"][1]["replica"]


async def test_lists(rig: Rig) -> None:
    """The latest, the slowest and the failed, of one model, tenant, replica or outcome only."""
    await rig.engine()
    gateway = await rig.gateway(serves={"m": "m", "n": "n"})
    await rig.post(ask(), x_request_id="first")
    await rig.post(ask(model="n"), x_request_id="second")
    await rig.post(ask(model="nobody"), x_request_id="third")

    async def listed(query: str) -> list[str]:
        found = (await ask_admin(gateway, f"/admin/requests?{query}")).json()
        return [each["request_id"] for each in found["requests"]]

    assert ["third", "second", "first"] == await listed("")
    assert ["third"] == await listed("limit=1")
    assert ["second"] == await listed("model=n")
    assert ["third"] == await listed(f"outcome={gateway.records[-1].outcome}")
    assert [] == await listed("tenant=acme")
    assert 2 == len(await listed(f"replica={gateway.records[0].replica}"))
    assert [] == await listed("order=failed")
    slowest = max(gateway.records, key=lambda record: record.total_ms)
    assert slowest.request_id == (await listed("order=slowest"))[0]
    assert 422 == (await ask_admin(gateway, "/admin/requests?order=best")).status_code


async def test_failed_ones_are_listed(rig: Rig) -> None:
    """What failed by a replica's fault can be asked for; a client's mistake is not among it."""
    gateway = await rig.gateway(urls=[rig.refusing().url])
    await rig.post(ask(), x_request_id="broken")
    await rig.post(ask(model="nobody"), x_request_id="mistaken")
    found = (await ask_admin(gateway, "/admin/requests?order=failed")).json()

    assert ["broken"] == [each["request_id"] for each in found["requests"]]
    assert (2, 5000) == (found["kept"], found["room"])
    assert found["since"] is not None


async def test_what_was_refused_is_told(rig: Rig) -> None:
    """A request that never became one is there, too: its client has its id."""
    await rig.engine()
    gateway = await rig.gateway()
    async with rig.client() as client:
        answer = await client.post("/v1/nothing", {})
    given = answer.header("x-request-id")
    told = (await ask_admin(gateway, f"/admin/requests/{given}")).json()

    assert ("rejected_not_found", 404) == (told["outcome"], told["status"])


@pytest.mark.parametrize(
    ("decisions", "text"),
    [
        ({}, "There is no request 'gone' among the 1 that are kept, since "),
        ({"requests": 0}, "No decision records are kept here: `decisions.requests` is 0."),
    ],
)
async def test_unknown(rig: Rig, decisions: dict[str, int], text: str) -> None:
    """An id that nobody knows: what may be the matter, and what would help."""
    await rig.engine()
    gateway = await rig.gateway(decisions=decisions)
    await rig.post(ask())
    answer = await ask_admin(gateway, "/admin/requests/gone")

    assert 404 == answer.status_code
    assert answer.json()["error"]["message"].startswith(text)
    assert 200 == (await ask_admin(gateway, "/admin/requests")).status_code


async def test_an_abort_is_told(rig: Rig) -> None:
    """A client that hangs up while the replica prefills: the attempt is aborted, not failed."""
    asked = asyncio.Event()

    async def silent(_exchange: Any) -> None:
        asked.set()
        await asyncio.sleep(30)

    await rig.engine(silent)
    gateway = await rig.gateway()
    async with rig.client() as client:
        post = asyncio.ensure_future(client.post(CHAT_PATH, streamed(), [("x-request-id", "left")]))
        await asked.wait()
        client.close()
        post.cancel()  # nobody tells it that its own socket is closed
        await asyncio.gather(post, return_exceptions=True)
    await rig.idle()
    told = (await ask_admin(gateway, "/admin/requests/left")).json()

    assert "client_gone" == told["outcome"]
    assert ["aborted"] == [each["outcome"] for each in told["attempts"]]
    assert "prefill" == told["phases"][-1]["what"]


async def test_the_archive_is_asked(rig: Rig, tmp_path: Path) -> None:
    """What memory has forgotten is still found where records are kept, also by another gateway."""
    await rig.engine()
    kept = {"archive": {"url": f"sqlite:{tmp_path}/records.db", "interval_s": 0.02}}
    first = await rig.gateway(decisions={"requests": 1, "notable": 0, **kept})
    for name in ("first", "second"):
        await rig.post(ask(), x_request_id=name)
    await eventually(lambda: first.diary.seen().archived == 2, timeout_s=20)
    other = await rig.gateway(decisions={"requests": 0, **kept})
    found = [await ask_admin(each, "/admin/requests/first") for each in (first, other)]
    nobody = [await ask_admin(each, "/admin/requests/nobody") for each in (first, other)]

    assert ["first", "first"] == [each.json()["request_id"] for each in found]
    assert [404, 404] == [each.status_code for each in nobody]
    assert "in the archive" in nobody[1].json()["error"]["message"]
    assert "`decisions.archive.url`" not in nobody[0].json()["error"]["message"]


async def test_an_archive_that_cannot_be_read(rig: Rig, tmp_path: Path) -> None:
    """It is said that it is not there, which is not that there is no such request."""
    gateway = await rig.gateway(
        urls=[rig.refusing().url], decisions={"archive": {"url": f"sqlite:{tmp_path}/records.db"}}
    )
    for file in tmp_path.iterdir():  # noqa: ASYNC240 - a moment
        file.unlink()
    answer = await ask_admin(gateway, "/admin/requests/r")

    assert 503 == answer.status_code
    assert "records.db" in answer.json()["error"]["message"]
