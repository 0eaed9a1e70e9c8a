"""settings.py: the configuration in force, for admins, without its secrets."""

from typing import Any

import httpx2
import pytest

from headrace.config.schema import Config
from headrace.gateway.admin.api import build
from headrace.gateway.admin.settings import settings
from headrace.gateway.app import Gateway

SECRETS = {
    "admin": {"token": "token-of-the-admin"},
    "identity": {"pepper": "pepper-of-32-letters-that-nobody-knows"},
    "state": {"url": "redis://gateway:password-of-redis@127.0.0.1:1/0"},
    "backends": [{"url": "http://gpu:1", "serves": ["m"], "api_key": "key-of-the-engine"}],
}


async def ask(tree: dict[str, Any], **headers: str) -> httpx2.Response:
    gateway = Gateway(Config.model_validate(tree))
    app = build(
        gateway.fleet, gateway.keeper, gateway.config.admin, gateway.floor, settings(gateway.config)
    )
    transport = httpx2.ASGITransport(app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:8001") as client:
        return await client.get("/admin/config", headers=headers)


async def test_what_is_in_force() -> None:
    """Values of the file and defaults are there; no secret is."""
    answer = await ask(SECRETS, authorization="Bearer token-of-the-admin")

    assert 200 == answer.status_code
    assert ["m"] == list(answer.json()["backends"][0]["serves"])
    assert 3 == answer.json()["retries"]["attempts"]
    for secret in ("token-of", "pepper-of", "password-of", "key-of"):
        assert secret not in answer.text


@pytest.mark.parametrize("tree", [{}, SECRETS])
async def test_strangers(tree: dict[str, Any]) -> None:
    """Nobody without the admin's token or key sees it, on this machine either."""
    assert 401 == (await ask(tree)).status_code
