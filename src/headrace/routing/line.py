"""
The line of requests that wait for one model: by class, by tenant, then by the queue's order. Pure.

Classes go strictly by their priority, but for a small part of the places, which is for requests of
lower ones that have waited long. Inside a class that tenant goes first which has had the fewest
tokens for its weight: the virtual token counter of https://arxiv.org/abs/2401.00588. Who comes anew
begins where the last one that went began, as in start-time fair queueing
(https://dl.acm.org/doi/10.1145/248156.248171). With one class and one tenant it is a sorted list.
"""

from bisect import bisect_left, insort
from collections.abc import Collection, Container, Iterator

from headrace.routing.flow import Account
from headrace.routing.lane import Ask

# A class whose first request has waited this long (s) gets one place in so many, whatever waits in
# front of it: no flood starves what comes after it, and 5 % is little to whom it is taken from.
AGED_S, AGED = 30.0, 20
# What a token of an answer counts, beside one of a prompt (the counter's authors take the same).
OUTPUT = 2.0

Shut = int | tuple[int, str]
"""A class by its rank, or a tenant in one."""


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
        if not found.sum.requests:  # nobody is behind anybody: there is nothing to be fair about
            del self._classes[ask.rank]

    def first(
        self, now: float, but: Container[Ask] = (), shut: Collection[Shut] = ()
    ) -> Ask | None:
        """
        Whose turn it is, of those that are not in ``but`` nor of a class or tenant that is
        ``shut``; None when nobody is left.
        """
        classes = self._classes
        if shut:
            classes = {rank: found for rank, found in classes.items() if rank not in shut}
        if len(self._classes) > 1 and self._places >= AGED:
            highest = next(iter(self._classes))
            for rank, found in classes.items():
                ask = found.first(but, shut, rank) if rank != highest else None
                if ask is not None and now - ask.arrived_at >= AGED_S:
                    return ask
        for rank, found in classes.items():
            ask = found.first(but, shut, rank)
            if ask is not None:
                return ask
        return None

    def of(self, rank: int) -> "Waiting":
        """What waits in a class."""
        found = self._classes.get(rank)
        return found.sum if found is not None else Waiting()

    def ranks(self) -> list[int]:
        """The classes that somebody waits in, the highest first."""
        return [*self._classes]

    def ahead(self, ask: Ask) -> tuple[float, float]:
        """
        Tokens that would go before a request that came now: of higher classes, and of its own. In
        its own each tenant has as much before it as itself by weight, if it waits for so much.
        """
        higher = sum(found.sum.tokens for rank, found in self._classes.items() if rank > ask.rank)
        found = self._classes.get(ask.rank)
        return higher, found.ahead(ask) if found is not None else 0.0

    def tenants(self, rank: int) -> int:
        """How many tenants wait in a class."""
        found = self._classes.get(rank)
        return len(found.turns()) if found is not None else 0

    def longest(self, rank: int) -> tuple[str, float, Ask] | None:
        """
        The tenant of a class that waits for the most tokens by its weight, how many that are, and
        the last of its requests; None where nobody waits.
        """
        found = self._classes.get(rank)
        return found.longest() if found is not None else None

    def charge(self, ask: Ask, tokens: float) -> Account:
        """
        The tenant of one that waits gets so many tokens; returns where they were counted, to be
        put right at the end. When nobody waits any more all accounts are closed.
        """
        found = self._classes[ask.rank]
        account = found.account(ask)
        found.virtual = max(found.virtual, account.had)
        account.had += tokens / ask.weight
        return account

    def granted(self, ask: Ask) -> None:
        """A request was given its place: count it towards the next one of those that are old."""
        highest = next(iter(self._classes), ask.rank)
        self._places = self._places + 1 if ask.rank >= highest else 0


class Waiting:
    """How much waits in a class: requests, bytes of bodies, tokens with those of their answers."""

    __slots__ = ("body", "requests", "tokens")

    def __init__(self) -> None:
        self.requests = self.body = 0
        self.tokens = 0.0


class _Queue(Account):
    """The requests of one tenant in a class, the tokens of these, and what it has had."""

    __slots__ = ("asks", "tokens", "weight")

    def __init__(self) -> None:
        super().__init__()
        self.asks: list[tuple[float, int, Ask]] = []
        self.tokens = 0.0
        self.weight = 1.0


class _Class:
    """The tenants of one class."""

    def __init__(self) -> None:
        self.sum = Waiting()
        self.virtual = 0.0  # what whoever went last had had before: nobody who waits has had less
        self._tenants: dict[str, _Queue] = {}  # that wait or have waited since the class is busy

    def add(self, ask: Ask) -> None:
        queue = self._tenants.get(ask.tenant)
        if queue is None:
            queue = self._tenants[ask.tenant] = _Queue()
        if not queue.asks:  # who was away cannot have saved anything up
            queue.had = max(queue.had, self.virtual)
        insort(queue.asks, (*_place(ask), ask))
        queue.weight = ask.weight
        queue.tokens += ask.charge
        self.sum.requests += 1
        self.sum.body += ask.body
        self.sum.tokens += ask.charge

    def remove(self, ask: Ask) -> None:
        queue = self._tenants[ask.tenant]
        del queue.asks[bisect_left(queue.asks, _place(ask))]
        queue.tokens = queue.tokens - ask.charge if queue.asks else 0.0
        self.sum.requests -= 1
        self.sum.body -= ask.body
        self.sum.tokens -= ask.charge

    def account(self, ask: Ask) -> Account:
        return self._tenants[ask.tenant]

    def ahead(self, ask: Ask) -> float:
        own = self._tenants.get(ask.tenant)
        mine = own.tokens if own is not None else 0.0
        if ask.place is not None:  # it waits already
            mine -= ask.charge
        level = (mine + ask.charge) / ask.weight
        others = sum(
            min(each.tokens, level * each.weight)
            for each in self._tenants.values()
            if each.asks and each is not own
        )
        return mine + others

    def longest(self) -> tuple[str, float, Ask] | None:
        queues = [queue for queue in self._tenants.values() if queue.asks]
        if not queues:
            return None
        queue = max(queues, key=lambda each: each.tokens / each.weight)
        last = queue.asks[-1][2]
        return last.tenant, queue.tokens / queue.weight, last

    def turns(self, shut: Collection[Shut] = (), rank: int = 0) -> list[_Queue]:
        """The tenants that wait; who has had the least goes first, of equals whose request is."""
        queues = [queue for queue in self._tenants.values() if queue.asks]
        if shut:
            queues = [each for each in queues if (rank, each.asks[0][2].tenant) not in shut]
        if len(queues) > 1:
            queues.sort(key=lambda queue: (queue.had, queue.asks[0][:2]))
        return queues

    def first(self, but: Container[Ask], shut: Collection[Shut], rank: int) -> Ask | None:
        for queue in self.turns(shut, rank):
            for _, _, ask in queue.asks:
                if ask not in but:
                    return ask
        return None


def _place(ask: Ask) -> tuple[float, int]:
    if ask.place is None:
        raise LookupError("This request does not wait.")
    return ask.place
