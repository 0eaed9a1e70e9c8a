"""Who holds what a request continues: stored responses, conversations. Pure."""

from collections import OrderedDict
from typing import NamedTuple

# Stored responses and conversations remembered: an id and a name, some 200 bytes each.
MAX_STICKY = 100_000


class Holder(NamedTuple):
    """The replica that keeps a stored response, and the model that made it."""

    model: str
    replica: str


class Stickiness:
    """
    Which replica holds a stored response or conversation; the least recently used are forgotten.
    """

    def __init__(self, limit: int = MAX_STICKY) -> None:
        self._limit = limit
        self._holders: OrderedDict[str, Holder] = OrderedDict()

    def remember(self, key: str, model: str, replica: str) -> None:
        """From now on requests that continue ``key`` go to ``replica``."""
        self._holders[key] = Holder(model, replica)
        self._holders.move_to_end(key)
        if len(self._holders) > self._limit:
            self._holders.popitem(last=False)

    def recall(self, key: str) -> Holder | None:
        """Who holds ``key``, if it is remembered."""
        holder = self._holders.get(key)
        if holder is not None:
            self._holders.move_to_end(key)
        return holder
