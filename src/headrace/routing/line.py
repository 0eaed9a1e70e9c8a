"""
The line of requests that wait for one model: by class, by tenant, then by the queue's order. Pure.

Classes go strictly by their priority, but for a small part of the places, which is for requests of
lower ones that have waited long. Inside a class that tenant goes first which has had the fewest
tokens for its weight: the virtual token counter of https://arxiv.org/abs/2401.00588. With one class
and one tenant all this is one sorted list.
"""

from bisect import bisect_left, insort
from collections.abc import Container, Iterator

from headrace.routing.lane import Account, Ask

# A class whose first request has waited this long (s) gets one place in so many, whatever waits in
# front of it: no flood starves what comes after it, and 5 % is little to whom it is taken from.
AGED_S, AGED = 30.0, 20
# What a token of an answer counts, beside one of a prompt (the counter's authors take the same).
OUTPUT = 2.0


class Line:
    """
    ``first`` is the request whose turn it is; ``remove`` takes it out, and ``charge`` counts what
    its tenant gets by it.
    """

    def __init__(self) -> None:
        self._classes: dict[int, _Class] = {}  # that wait, the highest priority first
        self._count = 0
        self._places = 0  # given since somebody waited too long

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Ask]:
        """All that wait, as they would go if nobody was charged for it."""
        for each in self._classes.values():
            for queue in each.turns():
                for _, _, ask in queue.asks:
                    yield ask

    def add(self, ask: Ask) -> None:
        """Somebody waits from now on, at ``ask.place`` among those of the same tenant."""
        found = self._classes.get(ask.rank)
        if found is None:
            found = self._classes[ask.rank] = _Class()
            self._classes = dict(sorted(self._classes.items(), reverse=True))
        found.add(ask)
        self._count += 1

    def remove(self, ask: Ask) -> None:
        """It waits no more."""
        found = self._classes[ask.rank]
        found.remove(ask)
        self._count -= 1
        if not found.waiting:  # nobody is behind anybody: there is nothing to be fair about
            del self._classes[ask.rank]

    def first(self, now: float, but: Container[Ask] = ()) -> Ask | None:
        """Whose turn it is, of those that are not in ``but``; None when nobody is left."""
        classes = iter(self._classes.values())
        if len(self._classes) > 1 and self._places >= AGED:
            for found in [*self._classes.values()][1:]:
                ask = found.first(but)
                if ask is not None and now - ask.arrived_at >= AGED_S:
                    return ask
        return next((ask for found in classes if (ask := found.first(but)) is not None), None)

    def charge(self, ask: Ask, tokens: float) -> Account:
        """
        The tenant of one that waits gets so many tokens; returns where they were counted, to be
        put right at the end. When nobody waits any more all accounts are closed.
        """
        account = self._classes[ask.rank].account(ask)
        account.had += tokens / ask.weight
        return account

    def granted(self, ask: Ask) -> None:
        """A request was given its place: count it towards the next one of those that are old."""
        highest = next(iter(self._classes), ask.rank)
        self._places = self._places + 1 if ask.rank >= highest else 0


class _Queue(Account):
    """The requests of one tenant in a class, and what it has had."""

    __slots__ = ("asks",)

    def __init__(self) -> None:
        super().__init__()
        self.asks: list[tuple[float, int, Ask]] = []


class _Class:
    """The tenants of one class."""

    def __init__(self) -> None:
        self.waiting = 0
        self._tenants: dict[str, _Queue] = {}  # that wait or have waited since the class is busy

    def add(self, ask: Ask) -> None:
        queue = self._tenants.get(ask.tenant)
        if queue is None:
            queue = self._tenants[ask.tenant] = _Queue()
        if not queue.asks:  # who was away cannot have saved anything up
            others = [each.had for each in self._tenants.values() if each.asks]
            queue.had = max(queue.had, min(others, default=0.0))
        insort(queue.asks, (*_place(ask), ask))
        self.waiting += 1

    def remove(self, ask: Ask) -> None:
        asks = self._tenants[ask.tenant].asks
        del asks[bisect_left(asks, _place(ask))]
        self.waiting -= 1

    def account(self, ask: Ask) -> Account:
        return self._tenants[ask.tenant]

    def turns(self) -> list[_Queue]:
        """The tenants that wait; who has had the least goes first, of equals whose request is."""
        queues = [queue for queue in self._tenants.values() if queue.asks]
        if len(queues) > 1:
            queues.sort(key=lambda queue: (queue.had, queue.asks[0][:2]))
        return queues

    def first(self, but: Container[Ask]) -> Ask | None:
        for queue in self.turns():
            for _, _, ask in queue.asks:
                if ask not in but:
                    return ask
        return None


def _place(ask: Ask) -> tuple[float, int]:
    if ask.place is None:
        raise LookupError("This request does not wait.")
    return ask.place
