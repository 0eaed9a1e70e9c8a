"""
Where admission meets requests: who sends one, at its head, and what that caller may use. Who has
which key is admission/'s; the rest of the journey is pipeline.py's.
"""

import asyncio
import math
import time
from typing import Protocol

from headrace.admission.door import Door
from headrace.admission.store import store
from headrace.admission.types import Caller
from headrace.config.schema import Config
from headrace.errors import ApiError, Forbidden
from headrace.fleet.catalogue import Catalogue
from headrace.gateway.clocks import now as moment
from headrace.gateway.door.client import Client
from headrace.gateway.door.request import Request
from headrace.gateway.door.routes import Endpoint
from headrace.state.redis import Link
from headrace.telemetry.identity import Known
from headrace.telemetry.writer import Writer


class Host(Protocol):
    """The gateway, as a request that had to wait goes on in it."""

    def handle(self, request: Request, client: Client) -> None: ...

    def refuse(self, request: Request, client: Client, error: ApiError) -> None: ...


class _Waiter:
    """Hears that the client has left meanwhile (``Listener``)."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.left = False

    def gone(self) -> None:
        self.left = True
        self.request.drop()

    def pause(self) -> None: ...

    def resume(self) -> None: ...


def door(config: Config, link: Link | None, log: Writer) -> Door:
    """The door of a gateway; its book is in the shared state if there is one, else in a file."""
    identity = config.identity
    return Door(identity, config.tenants, store(identity, link), log)


def known(door: Door) -> Known:
    """What is known of keys and issuers now, for the metrics."""
    now = time.monotonic()
    ages = {
        name: math.nan if at is None else now - at
        for name, at in {**door.issuers, "": door.read_at}.items()
    }
    return Known(door.active, ages.pop(""), ages, door.next_expiry)


def identify(door: Door, request: Request, endpoint: Endpoint, *, last: bool = False) -> None:
    """
    Find out who sends a request. Where the public key of a token is still being read, the body is
    taken in meanwhile, and ``await_key`` goes on.

    Raises:
        Unauthorized: nobody knows.
        Forbidden: the caller may not use this endpoint.

    """
    found = door.enter(request.headers, anthropic=endpoint.dialect == "anthropic", last=last)
    if not isinstance(found, Caller):
        request.awaits = found
        return
    request.awaits = None
    request.caller = found
    request.identified_at = moment()
    if found.endpoints is not None and not found.may_call(endpoint.path):
        raise Forbidden(f"This key may not use {endpoint.path}.")


def await_key(door: Door, request: Request, client: Client, host: Host) -> None:
    """Handle a request when the public keys that it waits for have been read."""
    task, endpoint = request.awaits, request.endpoint
    assert task is not None  # noqa: S101 - else nobody calls this
    assert endpoint is not None  # noqa: S101 - identify had it
    waiter = _Waiter(request)
    client.listen(waiter)

    def go_on(_: "asyncio.Task[None]") -> None:
        if waiter.left:
            return
        try:
            identify(door, request, endpoint, last=True)
        except ApiError as error:
            host.refuse(request, client, error)
        else:
            host.handle(request, client)

    task.add_done_callback(go_on)


def check_model(caller: Caller, catalogue: Catalogue, asked: str | None) -> None:
    """
    Refuse a model that the caller may not ask for, whether or not there is one of this name. Where
    a rule sends the request is the operator's decision, not the caller's.

    Raises:
        Forbidden: it is not in the scope of the caller's key or tenant.

    """
    name = catalogue.find(asked or "") or asked or ""
    if not caller.may_use(name, asked or ""):
        said = asked or name  # an alias is not resolved for whoever may not use it
        raise Forbidden(f"This key may not use the model `{said[:256]}`.", param="model")


def owned(caller: Caller, name: str) -> str:
    """What a tenant's stored response is remembered by: another tenant's cannot be continued."""
    return f"{caller.tenant}/{name}" if caller.tenant and name else name
