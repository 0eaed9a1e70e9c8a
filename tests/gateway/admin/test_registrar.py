"""registrar.py: keys and tenants by the admin API, who may, and what each change leaves behind."""

from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI

from headrace.admission.types import Caller
from headrace.config.schema import Config
from headrace.errors import Unauthorized
from headrace.gateway.admin.api import build
from headrace.gateway.admin.registrar import registrar
from headrace.gateway.app import Gateway
from tests.admission.rig import bearer

TOKEN = {"authorization": "Bearer right"}


class Api:
    """A gateway's admin API, called without a socket."""

    def __init__(self, folder: Path, queue: Any = None, **admin: Any) -> None:
        identity = {"file": folder / "keys.json", "pepper_file": folder / "pepper"}
        tree = {"identity": identity, "tenants": [{"name": "acme"}], "admin": admin}
        tree["queue"] = queue or {}
        self.gateway = Gateway(Config.model_validate(tree))
        gateway = self.gateway
        self.app: FastAPI = build(
            gateway.fleet,
            gateway.keeper,
            gateway.config.admin,
            gateway.floor,
            registrar(gateway),
            admits=gateway.door.admin,
        )

    async def call(
        self, method: str, path: str, body: Any = None, headers: Any = None
    ) -> httpx2.Response:
        transport = httpx2.ASGITransport(self.app)
        async with httpx2.AsyncClient(
            transport=transport, base_url="http://127.0.0.1:8001"
        ) as client:
            given = TOKEN if headers is None else headers
            return await client.request(method, path, json=body, headers=given)

    async def key(self, name: str = "app", **more: Any) -> str:
        answer = await self.call("POST", "/admin/keys", {"name": name, **more})
        assert 201 == answer.status_code, answer.text
        return str(answer.json()["secret"])

    def who(self, secret: str) -> Caller:
        found = self.gateway.door.enter(bearer(secret))
        assert isinstance(found, Caller)
        return found


@pytest.fixture
def api(tmp_path: Path) -> Api:
    return Api(tmp_path, token="right")


async def test_life_of_a_key(api: Api) -> None:
    """Made, shown, changed, rotated, revoked: each in force at once, each in the audit log."""
    secret = await api.key(tenant="acme", models=["m"])
    scopes = [api.who(secret).may_use(name) for name in ("m", "x")]
    await api.call(
        "PATCH", "/admin/keys/app", {"models": ["x"], "limits": {"requests_per_minute": 5}}
    )
    scopes += [api.who(secret).may_use(name) for name in ("m", "x")]
    rotated = (await api.call("POST", "/admin/keys/app/rotate", {"overlap_s": 60})).json()
    both = [api.who(each).key for each in (secret, rotated["secret"])]
    revoked = (await api.call("POST", "/admin/keys/app/revoke", {})).json()
    shown = (await api.call("GET", "/admin/keys/app")).json()
    audit = (await api.call("GET", "/admin/audit")).json()

    assert [True, False, False, True] == scopes
    assert ["app", "app"] == both
    assert ("revoked", "revoked") == (revoked["state"], shown["state"])
    assert ("acme", ["x"], {"requests_per_minute": 5.0}, 2) == (
        shown["tenant"], shown["models"], shown["limits"], len(shown["secrets"]),
    )  # fmt: skip
    assert ["key_created", "key_changed", "key_rotated", "key_revoked"] == [
        note["action"] for note in audit
    ]
    assert {("admin token", "app")} == {(note["actor"], note["subject"]) for note in audit}
    with pytest.raises(Unauthorized):
        api.who(rotated["secret"])


async def test_nothing_secret_is_shown(api: Api) -> None:
    """Neither hash nor secret is in any later answer."""
    secret = await api.key()
    texts = [(await api.call("GET", path)).text for path in ("/admin/keys", "/admin/keys/app")]

    for text in texts:
        assert secret not in text
        assert "hash" not in text
        assert secret[:11] in text


async def test_life_of_a_tenant(api: Api) -> None:
    """Put, used, kept while it has keys, removed; those of the configuration stay as they are."""
    put = await api.call("PUT", "/admin/tenants/guest", {"priority": "batch", "models": ["m"]})
    secret = await api.key(tenant="guest")
    listed = (await api.call("GET", "/admin/tenants")).json()
    refused = await api.call("DELETE", "/admin/tenants/guest")
    await api.call("POST", "/admin/keys/app/revoke", {})
    removed = await api.call("DELETE", "/admin/tenants/guest")
    left = (await api.call("GET", "/admin/tenants")).json()

    assert (200, False) == (put.status_code, put.json()["declared"])
    assert {"default": True, "guest": False, "acme": True} == {
        each["name"]: each["declared"] for each in listed
    }
    assert (409, 204) == (refused.status_code, removed.status_code)
    assert {"default", "acme"} == {each["name"] for each in left}
    assert secret


async def test_a_tenant_has_a_class_that_there_is(api: Api, tmp_path: Path) -> None:
    """One of the configuration's; another is refused with the names that there are."""
    refused = await api.call("PUT", "/admin/tenants/guest", {"priority": "premium"})
    odd = await api.call("PUT", "/admin/tenants/guest", {"priority": "no class"})
    own = Api(tmp_path, token="right", queue={"classes": {"premium": {"rank": 20}}})
    put = await own.call("PUT", "/admin/tenants/guest", {"priority": "premium"})

    assert (422, 422) == (refused.status_code, odd.status_code)
    assert "There is no class 'premium' in the queue; there are interactive, batch" in refused.text
    assert (200, "premium") == (put.status_code, put.json()["priority"])
    assert "premium" == own.who(await own.key(tenant="guest")).priority


class TestWhoMay:
    async def test_not_everybody_on_this_machine(self, tmp_path: Path) -> None:
        """Without a token the fleet can be seen from this machine; keys cannot be made."""
        api = Api(tmp_path)
        fleet = await api.call("GET", "/admin/fleet", headers={})
        made = await api.call("POST", "/admin/keys", {"name": "app"}, headers={})

        assert (200, 401) == (fleet.status_code, made.status_code)
        assert "headrace keys create" in made.json()["error"]["message"]

    async def test_keys_with_the_scope(self, api: Api) -> None:
        """A key with the admin scope opens all of it, and is named in the audit log."""
        admin, other = await api.key("ops", admin=True), await api.key("app")
        answers = [
            await api.call(
                "POST", "/admin/keys", {"name": f"n{i}"}, {"authorization": f"Bearer {s}"}
            )
            for i, s in enumerate((admin, other, "wrong", ""))
        ]
        fleet = await api.call("GET", "/admin/fleet", headers={"authorization": f"Bearer {admin}"})
        audit = (await api.call("GET", "/admin/audit")).json()

        assert [201, 401, 401, 401] == [answer.status_code for answer in answers]
        assert 200 == fleet.status_code
        assert ("key ops", "n0") == (audit[-1]["actor"], audit[-1]["subject"])

    async def test_a_revoked_admin(self, api: Api) -> None:
        """A key that revokes itself is an admin no more."""
        head = {"authorization": f"Bearer {await api.key('ops', admin=True)}"}
        first = await api.call("POST", "/admin/keys/ops/revoke", {}, head)
        second = await api.call("GET", "/admin/keys", headers=head)

        assert (200, 401) == (first.status_code, second.status_code)


WRONG: list[tuple[str, str, Any, int]] = [
    ("GET", "/admin/keys/nobody", None, 404),
    ("POST", "/admin/keys/nobody/revoke", {}, 404),
    ("POST", "/admin/keys/nobody/rotate", {}, 404),
    ("PATCH", "/admin/keys/nobody", {}, 404),
    ("POST", "/admin/keys", {"name": "app"}, 409),
    ("POST", "/admin/keys", {"name": "a b"}, 422),
    ("POST", "/admin/keys", {"name": "b", "tenant": "ghost"}, 404),
    ("POST", "/admin/keys", {"name": "b", "expires_at": "2030-01-01T00:00:00"}, 422),
    ("POST", "/admin/keys", {"name": "b", "limits": {"a": -1}}, 422),
    ("POST", "/admin/keys", {"name": "b", "secret": "mine"}, 422),
    ("POST", "/admin/keys", {"name": "b", "limits": {"a": True}}, 422),
    ("POST", "/admin/keys", {"name": "b", "limits": {"rpm": 5}}, 422),
    ("PATCH", "/admin/keys/app", {"limits": {"max_tokens": 0}}, 422),
    ("PUT", "/admin/tenants/guest", {"limits": {"rpm": 5}}, 422),
    ("POST", "/admin/keys", {"name": "b", "admin": "yes"}, 422),
    ("POST", "/admin/keys", {"name": "b", "expires_at": 0}, 422),
    ("TRACE", "/admin/keys", None, 405),
    ("POST", "/admin/keys/app/rotate", {"overlap_s": -1}, 422),
    ("PATCH", "/admin/keys/app", {"name": "b"}, 422),
    ("PUT", "/admin/tenants/acme", {}, 422),
    ("PUT", "/admin/tenants/a%20b", {}, 422),
    ("DELETE", "/admin/tenants/ghost", None, 404),
    ("DELETE", "/admin/tenants/acme", None, 422),
]


@pytest.mark.parametrize(("method", "path", "body", "status"), WRONG)
async def test_wrong_calls(api: Api, method: str, path: str, body: Any, status: int) -> None:
    """What cannot be done is said in the one shape, and changes nothing."""
    await api.key()
    answer = await api.call(method, path, body)
    audit = (await api.call("GET", "/admin/audit")).json()

    assert (status, "admin_error") == (answer.status_code, answer.json()["error"]["type"])
    assert 1 == len(audit)


async def test_a_form_cannot_change_anything(api: Api) -> None:
    """Bodies must be JSON."""
    transport = httpx2.ASGITransport(api.app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        for method, path in (("PUT", "/admin/tenants/x"), ("PATCH", "/admin/keys/x")):
            answer = await client.request(method, path, data={"a": "b"}, headers=TOKEN)
            assert 422 == answer.status_code


async def test_a_book_that_cannot_be_written(api: Api) -> None:
    """Is 503, and says which file."""
    api.gateway.config.identity.file.mkdir()
    answer = await api.call("GET", "/admin/keys")

    assert 503 == answer.status_code
    assert "keys.json: cannot be read" in answer.json()["error"]["message"]
