"""Faults of the admin API itself: told in the log, and answered like any other error."""

from collections.abc import Awaitable, Callable

from fastapi import Request, Response

from headrace.gateway.admin.api import refusal
from headrace.gateway.admin.audit import Log
from headrace.telemetry.rounds import traced


class Faults:
    """The outermost step: whatever fails within has an answer, and a line that says where."""

    def __init__(self, log: Log) -> None:
        self._log = log

    async def __call__(
        self, request: Request, call_next: Callable[[Request], Awaitable[Response]]
    ) -> Response:
        try:
            return await call_next(request)
        except Exception as fault:  # noqa: BLE001 - whatever it is, the caller gets an answer
            path = getattr(request.scope.get("route"), "path", "")  # without names that were given
            self._log.event("admin_failed", method=request.method, path=path, **traced(fault))
            return refusal(500, "The admin API failed here; the gateway's log says where.")
