"""
The audit log of changes that are in no book: replicas drained, shares of experiments. Keys and
tenants note theirs in the book itself (admission/book.py), and the door tells of them.
"""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Protocol

from fastapi import Request, Response

# Without a token and a key nobody says who it is; the API then answers this machine only.
SOMEBODY = "this machine"


class Log(Protocol):
    """Where events go."""

    def event(self, event: str, **fields: object) -> None: ...


def changed(request: Request, action: str, subject: str) -> None:
    """Note what a call has changed; it is told when the call has ended well."""
    request.state.changed = action, subject


class Audit:
    """Tells who changed what, as events of the log."""

    def __init__(self, log: Log) -> None:
        self._log = log

    async def __call__(
        self, request: Request, call_next: Callable[[Request], Awaitable[Response]]
    ) -> Response:
        response = await call_next(request)
        noted: tuple[str, str] | None = getattr(request.state, "changed", None)
        if noted is not None and response.status_code < 300:
            action, subject = noted
            actor, at = request.state.admin or SOMEBODY, datetime.now(UTC)
            self._log.event("audit", action=action, subject=subject, actor=actor, at=at)
        return response
