"""A request as it came in, and what a connection needs to know of its surroundings. No I/O."""

import asyncio
from typing import TYPE_CHECKING, Protocol

from headrace.admission.types import NOBODY, Caller
from headrace.errors import ApiError, BadRequest, Overloaded
from headrace.gateway.clocks import now
from headrace.gateway.door.routes import Endpoint

if TYPE_CHECKING:
    from headrace.gateway.door.client import Client


class Budget:
    """Request bytes held in memory over all clients, and the most there may be."""

    __slots__ = ("limit", "used")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0


class Limits(Protocol):
    """The sizes (bytes) and pauses (seconds) that the configuration's ``server`` section sets."""

    @property
    def max_body_bytes(self) -> int: ...
    @property
    def max_header_bytes(self) -> int: ...
    @property
    def keep_alive_s(self) -> float: ...
    @property
    def read_s(self) -> float: ...


class Request:
    """A request as it came in. ``parts`` is its body; ``drop`` lets go of it."""

    __slots__ = (
        "_budget", "awaits", "begun_at", "caller", "endpoint", "expects", "headers",
        "identified_at", "keep_alive", "length", "method", "old", "parts", "path", "refusal",
        "size", "target",
    )  # fmt: skip

    def __init__(
        self, method: str, target: bytes, headers: dict[bytes, bytes], budget: Budget
    ) -> None:
        self.begun_at = now()  # its head was there (s)
        self.identified_at = 0.0  # its caller was known
        self.method = method
        self.target = target
        self.path = target.split(b"?", 1)[0].decode("latin-1")
        self.endpoint: Endpoint | None = None  # once the handler has inspected the head
        self.caller: Caller = NOBODY  # likewise
        self.awaits: asyncio.Task[None] | None = None  # before one knows who sends it
        self.headers = headers
        self.length = int(headers.get(b"content-length") or 0)
        self.expects = headers.get(b"expect", b"").lower() == b"100-continue"
        self.keep_alive = True
        self.old = False  # HTTP/1.0: no chunks
        self.parts: list[bytes] = []
        self.size = 0
        self.refusal: ApiError | None = None
        self._budget = budget

    def check_framing(self, version: str) -> None:
        """
        Refuse what two programs could read as two different requests, where the parser does not.

        Raises:
            BadRequest: chunks within another coding, or in HTTP/1.0, which has none; HTTP/0.9, and
                2.0 without its preface.

        """
        coding = self.headers.get(b"transfer-encoding")
        if version not in {"1.0", "1.1"} or (
            coding is not None and (self.old or coding.lower() != b"chunked")
        ):
            self.keep_alive = False
            raise BadRequest("The request is not valid HTTP/1.1.", code="bad_http")

    def take(self, part: bytes) -> None:
        """Keep a piece of the body."""
        self.parts.append(part)
        self.size += len(part)
        self._budget.used += len(part)

    def grow(self, size: int) -> None:
        """
        So many bytes more are held for it, such as files that it names.

        Raises:
            Overloaded: over all clients there are too many.

        """
        if self._budget.used + size > self._budget.limit:
            raise Overloaded("Too many request bytes are in flight.", retry_after_s=1)
        self.size += size
        self._budget.used += size

    def body(self) -> bytes:
        """The whole body, joined once."""
        if len(self.parts) != 1:
            self.parts = [b"".join(self.parts)]
        return self.parts[0]

    def drop(self) -> None:
        """Free the body. Safe to call twice."""
        self._budget.used -= self.size
        self.size = 0
        self.parts = []


class Listener(Protocol):
    """Whoever is answering a request and must hear of the client's pace and end."""

    def gone(self) -> None: ...

    def pause(self) -> None: ...

    def resume(self) -> None: ...


class Handler(Protocol):
    """What a connection needs to know of the gateway."""

    budget: Budget
    clients: set["Client"]
    draining: bool

    @property
    def limits(self) -> Limits: ...

    def inspect(self, request: Request) -> None:
        """Look at the head; raise an ApiError to refuse the request before its body is read."""

    def handle(self, request: Request, client: "Client") -> None:
        """Answer a whole request, now or later."""

    def refuse(self, request: Request, client: "Client", error: ApiError) -> None:
        """Answer a request with an error."""
