"""What the world asks of a router, and what routers that never wait have in common."""

from collections.abc import Iterable, Mapping
from random import Random

from headrace.simulate.engine import Engine, Job


class Policy:
    """What a router does, and the signals that it gets. All times are seconds."""

    tick_s: float | None = None  # how often it wants to be called without a cause

    def begin(self, fleet: Mapping[int, Engine], block_tokens: int, seed: int) -> None:
        """
        The run begins; ``fleet`` is the live replicas by number, and stays up to date.

        What of the engines it looks at, beyond their numbers, is what its router would be told.
        """
        raise NotImplementedError

    def joined(self, number: int, now_s: float) -> None:
        """A replica is ready; called for the first ones, too."""

    def left(self, number: int, now_s: float) -> None:
        """A replica died; its requests are offered again, or failed."""

    def offer(self, job: Job, now_s: float) -> None:
        """A request arrived."""
        raise NotImplementedError

    def first(self, job: Job, now_s: float) -> None:
        """A streamed request's first token went to the client."""

    def ended(self, job: Job, now_s: float) -> None:
        """A request's answer is complete."""

    def tick(self, now_s: float) -> None:
        """The time that ``tick_s`` asks for."""

    def due(self, now_s: float) -> Iterable[tuple[Job, int]]:
        """Which requests go to which replicas now; called after every other call."""
        raise NotImplementedError


class Immediate(Policy):
    """A router that sends each request on at once, and counts what it has in flight."""

    def begin(self, fleet: Mapping[int, Engine], block_tokens: int, seed: int) -> None:
        self.fleet = fleet
        self.block_tokens = block_tokens
        self.random = Random(seed)
        self.inflight: dict[int, int] = {}
        self._chosen: list[tuple[Job, int]] = []

    def joined(self, number: int, now_s: float) -> None:
        self.inflight[number] = 0

    def left(self, number: int, now_s: float) -> None:
        del self.inflight[number]

    def offer(self, job: Job, now_s: float) -> None:
        number = self.choose(job)
        self.inflight[number] += 1
        self.sent(job, number)
        self._chosen.append((job, number))

    def ended(self, job: Job, now_s: float) -> None:
        self.inflight[job.replica] -= 1

    def due(self, now_s: float) -> Iterable[tuple[Job, int]]:
        chosen, self._chosen = self._chosen, []
        return chosen

    def choose(self, job: Job) -> int:
        """The replica for a request."""
        raise NotImplementedError

    def sent(self, job: Job, number: int) -> None:
        """The request goes to this replica."""

    def least(self) -> int:
        """The replica with the fewest requests in flight, the first of equals."""
        return min(self.inflight, key=self.inflight.__getitem__)
