"""What was decided for one request, before a replica is chosen. Deciding is steer.py's."""

from collections.abc import Sequence

from msgspec import Struct

from headrace.config.schema import Timeouts
from headrace.routing.rules import Ruling

NO_WEIGHTS: Sequence[float] = ()


class Plan(Struct, frozen=True, gc=False):
    """
    A rule's word on a request.

    ``targets`` are declared models, none where the client's choice stands. ``priority`` is higher
    for those that go first, None for the tenant's own; ``policy`` is empty for the usual one;
    ``queue_s`` is None for the usual patience, ``guards`` for the tenant's own.
    ``line`` goes into the answer's head; ``weights`` are the shares by which the arm was drawn.
    """

    ruling: Ruling
    targets: tuple[str, ...]
    timeouts: Timeouts
    queue_s: float | None
    priority: int | None
    policy: str
    line: bytes
    weights: Sequence[float] = NO_WEIGHTS
    guards: tuple[str, ...] | None = None
