"""
Prefills of one replica without a pause between them: what was done, and since when. What is learned
from it is cost.py's. Pure.
"""


class Stretch:
    """Sums up first tokens, from ``begin`` on; ``clean`` while every prefill in it told its own."""

    __slots__ = ("began_at", "clean", "requests", "tokens", "work")

    def __init__(self) -> None:
        self.begin(0.0)

    def begin(self, now: float) -> None:
        self.began_at = now
        self.clean = True
        self.requests = 0
        self.tokens = 0.0
        self.work = 0.0

    def spoil(self) -> None:
        self.clean = False

    def add(self, new: float, cached: float) -> None:
        """One prompt's first token has come: so many tokens were computed behind those cached."""
        self.requests += 1
        self.tokens += new
        self.work += new * (cached + new / 2)
