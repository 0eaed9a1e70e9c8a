"""
What tenants have: in flight, by class, and of a line while others wait. Who goes first by it is
line.py's, who has to leave room for others crowd.py's. Pure.
"""


class Account:
    """What a tenant has had while it and others wait: tokens by its weight."""

    __slots__ = ("had",)

    def __init__(self) -> None:
        self.had = 0.0


class Group:
    """All tenants of a class that were seen lately: their weights, and what they have in flight."""

    __slots__ = ("tokens", "weight")

    def __init__(self) -> None:
        self.tokens = self.weight = 0.0


class Flow:
    """A tenant in a class: what it has in flight, and when it was last seen."""

    __slots__ = ("group", "requests", "seen_at", "tokens", "weight")

    def __init__(self, group: Group) -> None:
        self.group = group
        self.requests = 0
        self.tokens = self.weight = self.seen_at = 0.0

    def take(self, tokens: float) -> None:
        """One more request, of so many tokens."""
        self.requests += 1
        self.tokens += tokens
        self.group.tokens += tokens

    def give(self, tokens: float) -> None:
        """It has ended."""
        self.requests -= 1
        self.tokens = self.tokens - tokens if self.requests else 0.0
        self.group.tokens = max(0.0, self.group.tokens - tokens)
