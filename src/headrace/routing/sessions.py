"""
Where a client's session is at home: the replica that answered it last, else its rendezvous. Pure.

Several gateways that have not seen a session agree on its replica without telling each other.
"""

from collections import OrderedDict
from collections.abc import Sequence

from headrace.routing.blocks import hash_of
from headrace.routing.lane import Lane
from headrace.routing.terms import rendezvous

# Sessions remembered: a key and a name, some 200 bytes each.
MOST = 100_000


class Sessions:
    """The least recently used are forgotten; they fall back to their rendezvous."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._homes: OrderedDict[str, str] = OrderedDict()
        self.moved = 0  # sessions whose replica was no candidate any more, or not the best

    def home(self, key: str, lanes: Sequence[Lane]) -> Lane:
        """The lane that the session is used to, among at least one."""
        name = self._homes.get(key)
        if name is not None:
            for lane in lanes:
                if lane.name == name:
                    return lane
        number = hash_of(key)
        return max(lanes, key=lambda lane: rendezvous(number, lane.seed))

    def pin(self, key: str, name: str) -> None:
        """The session is answered by this replica from now on."""
        before = self._homes.get(key)
        if before is not None and before != name:
            self.moved += 1
        self._homes[key] = name
        self._homes.move_to_end(key)
        if len(self._homes) > self._most:
            self._homes.popitem(last=False)
