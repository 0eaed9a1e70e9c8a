"""table.py: from keys and tenants to callers, and the salts that keep their prompts apart."""

import math
from datetime import UTC, datetime

from headrace.admission.book import Book, Tenant
from headrace.admission.keys import Key, Secret
from headrace.admission.table import Register, Salts, passes
from headrace.admission.types import NOBODY
from headrace.config import identity as config

NOW = datetime(2026, 11, 21, tzinfo=UTC)
OFF = Salts("off", b"")


def key(name: str, *secrets: Secret, tenant: str = "acme", **more: object) -> Key:
    values = {"name": name, "tenant": tenant, "created_at": NOW, "secrets": secrets}
    return Key(**values | more)  # type: ignore[arg-type]


def register(*kept: Tenant, salts: Salts = OFF) -> Register:
    declared = config.Tenant.model_validate(
        {"name": "acme", "priority": "batch", "group": "g", "models": ["m*"]}
    )
    return Register([declared], {each.name: each for each in kept}, salts)


def test_a_key_becomes_a_caller() -> None:
    """The caller has what its tenant and its key say."""
    made = key(
        "app", models=("m1", "x"), endpoints=("/v1/embeddings",), admin=True, limits={"a": 1}
    )
    caller = register().caller("acme", made)

    assert caller is not None
    assert ("acme", "app", "batch", "g") == (
        caller.tenant, caller.key, caller.priority, caller.group,
    )  # fmt: skip
    assert [True, False, False] == [caller.may_use(name) for name in ("m1", "m2", "x")]
    assert (caller.admin, caller.limits) == (True, {"a": 1})
    assert not caller.may_call("/v1/completions")


def test_tenants() -> None:
    """Declared ones win over kept ones, the default one is always there, others are nobody's."""
    found = register(Tenant("acme", priority="background"), Tenant("kept"))

    assert {"default", "acme", "kept"} == set(found.tenants)
    assert "batch" == found.tenants["acme"].priority
    assert None is found.caller("other")


def test_anonymous_callers_may_have_a_tenant() -> None:
    """They belong to the tenant of that name if there is one, else they are nobody."""
    assert NOBODY == register().anonymous
    assert "anonymous" == register(Tenant("anonymous")).anonymous.tenant


def test_passes() -> None:
    """Each secret of a key that is not revoked has a pass, until the earliest of its ends."""
    soon, late = NOW.replace(day=22), NOW.replace(day=23)
    book = Book(
        keys={
            "both": key("both", Secret("p", "01"), Secret("q", "02", soon), expires_at=late),
            "free": key("free", Secret("r", "03")),
            "gone": key("gone", Secret("s", "04"), revoked_at=NOW),
            "lost": key("lost", Secret("t", "05"), tenant="nobody's"),
        }
    )
    found, homeless = passes(book, register())

    assert ["lost"] == homeless
    assert {
        b"\x01": late.timestamp(), b"\x02": soon.timestamp(), b"\x03": math.inf,
    } == {digest: each.until for digest, each in found.items()}  # fmt: skip


def test_salts() -> None:
    """By tenant each has its own; by group they share within, but not with a tenant so named."""
    pepper = b"pepper"
    tenant, group = Salts("tenant", pepper), Salts("group", pepper)

    assert "" == OFF.of("a", "g")
    assert 2 == len({tenant.of("a", "g"), tenant.of("b", "g")})
    assert group.of("a", "g") == group.of("b", "g")
    assert 4 == len({group.of("a", ""), group.of("b", ""), group.of("a", "b"), group.of("", "")})
    assert tenant.of("a", "g") != Salts("tenant", b"other").of("a", "g")
    assert 24 == len(tenant.of("a", ""))
