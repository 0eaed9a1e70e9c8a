"""A small fleet for the tests of the routing core: lanes with fixed rates, requests, and time."""

from itertools import count

from headrace.routing.index import Index
from headrace.routing.lane import Ask, Lane, Lease
from headrace.routing.queue import Pool
from headrace.routing.settings import Settings

GRAIN = 64.0


class Stage:
    """A pool of lanes, and a clock that only moves when told."""

    def __init__(self, lanes: int = 3, *, gate: float = 8000.0, **settings: object) -> None:
        self.index = Index()
        self.pool = Pool(self.index, Settings(**settings))  # type: ignore[arg-type]
        self.now = 100.0
        self._numbers = count(1)
        self.lanes = [self.lane(f"r{number}", gate) for number in range(lanes)]
        self.pool.seat(self.lanes, self.now)

    def lane(self, name: str, gate: float = 8000.0, kv_tokens: float = 0.0) -> Lane:
        """One more replica, not seated yet; it does not learn."""
        slot = self.index.open(10_000)
        return Lane(name, slot, gate=gate, kv_tokens=kv_tokens, learns=False)

    def ask(self, tokens: float = 1000.0, family: int = 0, *, loud: bool = True) -> Ask:
        """A request; those of one family (above 0) begin alike, block for block."""
        number = next(self._numbers)
        base = family or 1_000_000 + number
        blocks = [base * 100_000 + place for place in range(int(tokens // GRAIN))]
        return Ask(tokens, blocks, GRAIN, loud=loud, number=number)

    def offer(self, tokens: float = 1000.0, family: int = 0) -> list[Lease]:
        return self.pool.offer(self.ask(tokens, family), self.now)

    def send(self, tokens: float = 1000.0, family: int = 0) -> Lease:
        """A request that is granted at once."""
        (lease,) = self.offer(tokens, family)
        return lease


def name(lease: Lease) -> str:
    """Where it went."""
    assert lease.decision is not None
    return lease.decision.replica


def idle(lane: Lane) -> bool:
    """Whether nothing at all is left of any request."""
    return (
        0 == lane.inflight == lane.decodes == len(lane.active) == len(lane.pending)
        and 0 == lane.tokens == lane.unprefilled == lane.kv_used == lane.pending_ms
        and 0 == lane.decode_tokens
        and not [entry for entry in lane.quiet if entry[2].lane is not None]
    )
