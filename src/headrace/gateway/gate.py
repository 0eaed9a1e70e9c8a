"""
The seam between steering and dispatch: what may look at a request, change its body or refuse it
before a replica is chosen. Whoever stands there is built elsewhere.
"""

from collections.abc import Awaitable, Callable

from headrace.gateway.exchange import Exchange
from headrace.telemetry.records import Record

Gate = Callable[[Exchange, bytes], Awaitable[bytes]]
"""Gives the body to send on; raises an ApiError to refuse the request."""

Hear = Callable[[Exchange, Record], None]
"""Hears that a request has ended; never waits, never raises."""
