"""
Where a client's session is at home: the replica that answered it last, else its rendezvous. Pure.

Several gateways that have not seen a session agree on its replica without telling each other; what
they have seen they do tell, by hashes of the sessions' keys (gateway/peers.py).
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence

from headrace.routing.blocks import hash_of
from headrace.routing.lane import Lane
from headrace.routing.terms import heaviest

# Sessions remembered: a number and a name, some 150 bytes each.
MOST = 100_000


class Sessions:
    """The least recently used are forgotten; they fall back to their rendezvous."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._homes: OrderedDict[int, str] = OrderedDict()
        self.moved = 0  # sessions that another replica answered than the last time
        self.repinned = 0  # of them, those whose replica was gone
        self.fresh: dict[int, str] | None = None  # pinned since they were taken; None: no matter

    def __len__(self) -> int:
        return len(self._homes)

    def home(self, key: str, lanes: Sequence[Lane]) -> Lane:
        """The lane that the session is used to, among at least one."""
        number = hash_of(key)
        name = self._homes.get(number)
        if name is not None:
            for lane in lanes:
                if lane.name == name:
                    return lane
        return lanes[heaviest(number, [lane.seed for lane in lanes], range(len(lanes)))]

    def pin(self, key: str, name: str, names: Sequence[str] = ()) -> None:
        """The session is answered by this replica from now on; ``names`` are all that serve."""
        number = hash_of(key)
        before = self._homes.get(number)
        if before is not None and before != name:
            self.moved += 1
            self.repinned += before not in names
        self._keep(number, name)
        if self.fresh is not None:
            self.fresh[number] = name

    def take(self) -> dict[int, str]:
        """Those that were pinned since the last call; from the first one on they are kept."""
        taken, self.fresh = self.fresh or {}, {}
        return taken

    def adopt(self, pins: Mapping[int, str]) -> None:
        """Other gateways have pinned these, by the hashes of their keys: the newer pin counts."""
        for number, name in pins.items():
            self._keep(number, name)

    def seed(self, pins: Mapping[int, str]) -> None:
        """These were pinned before this gateway began: what it has seen itself is newer."""
        self.adopt({number: name for number, name in pins.items() if number not in self._homes})

    def _keep(self, number: int, name: str) -> None:
        self._homes[number] = name
        self._homes.move_to_end(number)
        if len(self._homes) > self._most:
            self._homes.popitem(last=False)
