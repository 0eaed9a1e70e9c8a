"""
The admin API's part about who may call: keys, tenants, and who changed them. Only for the admin
token and for keys with the admin scope; what can be done is admission/office.py's.
"""

from collections.abc import Awaitable
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, TypeVar

import msgspec
from fastapi import APIRouter, Depends, HTTPException, Request
from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
)

from headrace.admission.book import Book, Conflict, Unknown
from headrace.admission.book import Tenant as Kept
from headrace.admission.door import Door
from headrace.admission.keys import Key
from headrace.admission.office import NAME, Office, Order
from headrace.admission.store import store
from headrace.config.identity import DEFAULT, Priority
from headrace.errors import ConfigError, StartError, StateLost
from headrace.gateway.app import Gateway

T = TypeVar("T")

MAX_OVERLAP_S = 365 * 86_400.0

Name = Annotated[str, Field(pattern=f"^{NAME.pattern}$")]
Limits = dict[str, Annotated[float, Field(ge=0, allow_inf_nan=False, strict=True)]]


def _text(value: object) -> object:
    if isinstance(value, int | float):
        raise ValueError("must be a date with a time and a zone")  # noqa: TRY004 - Pydantic's way
    return value


Moment = Annotated[AwareDatetime, BeforeValidator(_text)]


class Scopes(BaseModel):
    """What a key may do. An empty list allows everything; patterns with `*` and `?` are fine."""

    model_config = ConfigDict(extra="forbid")

    tenant: Name = DEFAULT
    models: tuple[str, ...] = ()
    endpoints: tuple[str, ...] = ()
    admin: StrictBool = False
    expires_at: Moment | None = None
    limits: Limits = Field(default_factory=dict)


class NewKey(Scopes):
    """A key to be made."""

    name: Name


class Rotation(BaseModel):
    """How long the present secret stays good."""

    model_config = ConfigDict(extra="forbid")

    overlap_s: Annotated[float, Field(ge=0, le=MAX_OVERLAP_S, strict=True)] = 86_400.0


class Nothing(BaseModel):
    """Nothing to say."""

    model_config = ConfigDict(extra="forbid")


class Visible(BaseModel):
    """The visible beginning of a secret, and the end of its overlap after a rotation."""

    prefix: str
    until: datetime | None


class KeyView(BaseModel):
    """A key as it is kept, without what could be used."""

    name: str
    tenant: str
    state: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    used_at: datetime | None
    models: list[str]
    endpoints: list[str]
    admin: bool
    limits: dict[str, float]
    secrets: list[Visible]


class IssuedView(BaseModel):
    """A key, and its secret: it is not shown again."""

    key: KeyView
    secret: str


class TenantBody(BaseModel):
    """A tenant but for its name."""

    model_config = ConfigDict(extra="forbid")

    priority: Priority = "interactive"
    group: Annotated[str, Field(max_length=64)] = ""
    models: tuple[str, ...] = ()
    metadata: dict[str, str] = Field(default_factory=dict)
    limits: Limits = Field(default_factory=dict)
    weight: Annotated[float, Field(ge=0.01, le=1000)] = 1.0


class TenantView(TenantBody):
    """A tenant. Those of the configuration can only be changed there."""

    name: str
    declared: bool


class Inner(BaseModel):
    """What is wrong, in one sentence."""

    message: str
    type: str
    param: str | None
    code: str


class Problem(BaseModel):
    """An error, in the one shape."""

    error: Inner


PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem} for status in (400, 401, 404, 409, 415, 422, 503)
}


class Note(BaseModel):
    """A change: who did what to which key or tenant, and when."""

    at: datetime
    actor: str
    action: str
    subject: str


def registrar(gateway: Gateway) -> APIRouter:
    """The routes of one gateway."""
    identity, tenants = gateway.config.identity, gateway.config.tenants
    classes = gateway.config.queue.classes
    office = Office(store(identity, gateway.state), identity, tenants, classes)
    router = APIRouter(dependencies=[Depends(scope)], responses=PROBLEMS)
    _keys(router, gateway.door, office)
    _tenants(router, gateway.door, office)
    return router


def _keys(router: APIRouter, door: Door, office: Office) -> None:
    @router.get("/admin/keys")
    async def read_keys() -> list[KeyView]:
        book = await _done(office.read())
        return [_key(book, key) for key in book.keys.values()]

    @router.post("/admin/keys", status_code=201)
    async def create_key(order: NewKey, request: Request) -> IssuedView:
        made = await _changed(door, office.create(_actor(request), Order(**order.model_dump())))
        return IssuedView(key=_key(Book(), made.key), secret=made.secret)

    @router.get("/admin/keys/{name}")
    async def read_key(name: str) -> KeyView:
        book = await _done(office.read())
        if name not in book.keys:
            raise HTTPException(404, f"There is no key {name!r}.")
        return _key(book, book.keys[name])

    @router.patch("/admin/keys/{name}")
    async def change_key(name: str, scopes: Scopes, request: Request) -> KeyView:
        values = scopes.model_dump(exclude_unset=True)
        key = await _changed(door, office.alter(_actor(request), name, values))
        return _key(door.book, key)

    @router.post("/admin/keys/{name}/rotate")
    async def rotate_key(name: str, order: Rotation, request: Request) -> IssuedView:
        overlap = timedelta(seconds=order.overlap_s)
        made = await _changed(door, office.rotate(_actor(request), name, overlap))
        return IssuedView(key=_key(door.book, made.key), secret=made.secret)

    @router.post("/admin/keys/{name}/revoke")
    async def revoke_key(name: str, _order: Nothing, request: Request) -> KeyView:
        return _key(door.book, await _changed(door, office.revoke(_actor(request), name)))


def _tenants(router: APIRouter, door: Door, office: Office) -> None:
    @router.get("/admin/tenants")
    async def read_tenants() -> list[TenantView]:
        await door.look()
        return [_tenant(each, office) for each in door.register.tenants.values()]

    @router.put("/admin/tenants/{name}")
    async def put_tenant(name: Name, body: TenantBody, request: Request) -> TenantView:
        kept = Kept(name=name, **body.model_dump())
        return _tenant(await _changed(door, office.keep(_actor(request), kept)), office)

    @router.delete("/admin/tenants/{name}", status_code=204)
    async def drop_tenant(name: Name, request: Request) -> None:
        await _changed(door, office.drop(_actor(request), name))

    @router.get("/admin/audit")
    async def read_audit() -> list[Note]:
        book = await _done(office.read())
        return [Note(**msgspec.structs.asdict(each)) for each in book.audit]


async def _changed(door: Door, change: Awaitable[T]) -> T:
    """Make a change, and put it in force here at once."""
    done = await _done(change)
    await door.look()
    return done


async def _done(work: Awaitable[T]) -> T:
    try:
        return await work
    except Unknown as error:
        raise HTTPException(404, str(error)) from None
    except Conflict as error:
        raise HTTPException(409, str(error)) from None
    except ConfigError as error:
        raise HTTPException(422, str(error)) from None
    except (StartError, StateLost) as error:
        raise HTTPException(503, str(error)) from None


def scope(request: Request) -> None:
    """Let in only who has shown the admin token or a key with the admin scope."""
    if not getattr(request.state, "admin", ""):
        raise HTTPException(
            401,
            "Keys, tenants and the configuration need the admin token (`admin.token`) or a key with"
            " the admin scope (`headrace keys create NAME --admin`).",
        )


def _actor(request: Request) -> str:
    return str(request.state.admin)


def _key(book: Book, key: Key) -> KeyView:
    return KeyView(
        name=key.name,
        tenant=key.tenant,
        state=key.state(datetime.now(UTC)),
        created_at=key.created_at,
        expires_at=key.expires_at,
        revoked_at=key.revoked_at,
        used_at=book.used.get(key.name),
        models=[*key.models],
        endpoints=[*key.endpoints],
        admin=key.admin,
        limits=key.limits,
        secrets=[Visible(prefix=each.prefix, until=each.until) for each in key.secrets],
    )


def _tenant(tenant: Kept, office: Office) -> TenantView:
    return TenantView(**msgspec.structs.asdict(tenant), declared=tenant.name in office.declared)
