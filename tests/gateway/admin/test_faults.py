"""faults.py: what fails within the admin API is answered in its one shape, and told."""

import httpx2
import pytest
from fastapi import APIRouter

from headrace.config.fleet import Admin
from headrace.config.schema import Config
from headrace.gateway.admin.parts import assemble
from headrace.gateway.app import Gateway
from tests.admission.rig import Log


async def test_a_fault_is_answered_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A route that raises gives a 500 in the errors' shape; the log says where, not what."""
    router = APIRouter()

    @router.get("/admin/broken/{name}")
    async def broken(name: str) -> None:
        raise ValueError(name)

    log, gateway = Log(), Gateway(Config())
    monkeypatch.setattr(gateway, "log", log)
    app = assemble(gateway, Admin())
    app.include_router(router)
    async with httpx2.AsyncClient(
        transport=httpx2.ASGITransport(app), base_url="http://127.0.0.1:8001"
    ) as client:
        answer = await client.get("/admin/broken/secret")

    assert (500, "internal_server_error") == (answer.status_code, answer.json()["error"]["code"])
    (told,) = log.named("admin_failed")
    assert ("GET", "/admin/broken/{name}", "ValueError") == (
        told["method"], told["path"], told["error"],
    )  # fmt: skip
    assert "secret" not in f"{answer.text} {told}"
    assert "broken:" in str(told["where"])
