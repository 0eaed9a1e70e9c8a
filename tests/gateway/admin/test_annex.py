"""annex.py: the admin API's listener opens, gives way or says why not, and closes."""

import asyncio
import socket
from typing import Any

import httpx2
import pytest

from headrace.config import fleet
from headrace.config.schema import Config
from headrace.errors import StartError
from headrace.gateway.admin.annex import Annex
from headrace.gateway.app import Gateway


def annex(**admin: Any) -> Annex:
    return Annex(Gateway(Config.model_validate({"admin": admin})))


def busy() -> socket.socket:
    other = socket.socket()
    other.bind(("127.0.0.1", 0))
    other.listen()
    return other


async def test_opens_answers_and_closes() -> None:
    """Between start and stop it answers; nothing is left of it afterwards."""
    before = asyncio.all_tasks()
    opened = annex(port=0)
    await opened.start()
    async with httpx2.AsyncClient(trust_env=False, timeout=20) as client:
        answer = await client.get(f"{opened.url}/admin/fleet")
    await opened.stop()

    assert (200, []) == (answer.status_code, answer.json()["replicas"])
    assert before == asyncio.all_tasks()
    with pytest.raises(ConnectionRefusedError), socket.socket() as probe:
        probe.connect(("127.0.0.1", int(opened.url.rpartition(":")[2])))


async def test_nothing_is_imported_for_nobody() -> None:
    """Until somebody calls there is a port, and no task that imports what would answer."""
    opened = annex(port=0)
    before = asyncio.all_tasks()
    await opened.start()
    await asyncio.sleep(0.1)
    idle = asyncio.all_tasks()
    await opened.stop()

    assert before == idle


async def test_stop_before_it_is_imported() -> None:
    """A gateway that ends at once does not wait for the API."""
    opened = annex(port=0)
    await opened.start()
    await opened.stop()
    await opened.stop()


async def test_switched_off() -> None:
    """Disabled, it takes no port."""
    closed = annex(enabled=False)
    await closed.start()
    await closed.stop()

    assert not closed.url


async def test_a_busy_port_that_was_asked_for() -> None:
    """One sentence names the port and the setting."""
    with busy() as other:
        port = other.getsockname()[1]
        with pytest.raises(StartError, match=rf"^Port {port} on 127.0.0.1 is in use.*admin\.port"):
            await annex(port=port).start()


async def test_a_busy_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """A port that nobody asked for gives way to a free one."""
    with busy() as other:
        port = other.getsockname()[1]
        monkeypatch.setattr(fleet.Admin.model_fields["port"], "default", port)
        fleet.Admin.model_rebuild(force=True)
        try:
            given_way = Annex(Gateway(Config(admin=fleet.Admin())))
            await given_way.start()
            url = given_way.url
            await given_way.stop()
        finally:
            monkeypatch.undo()
            fleet.Admin.model_rebuild(force=True)

    assert url.startswith("http://127.0.0.1:")
    assert not url.endswith(f":{port}")


async def test_an_address_that_is_not_ours() -> None:
    """An address of another machine is named with the system's reason."""
    with pytest.raises(StartError, match=r"Cannot open the admin API on 203\.0\.113\.1:0"):
        await annex(host="203.0.113.1", port=0, token="t").start()
