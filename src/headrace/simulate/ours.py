"""Headrace's own routing core before simulated replicas: the very code that the gateway runs."""

from collections.abc import Iterable, Mapping, Sequence

from headrace.routing.blocks import BLOCK, USUAL_BYTES
from headrace.routing.index import Index
from headrace.routing.lane import Ask, Lane, Lease
from headrace.routing.policies import POLICIES
from headrace.routing.queue import AGAIN_S, Pool
from headrace.routing.settings import MODES, Settings
from headrace.simulate.engine import Engine, Job
from headrace.simulate.policy import Policy
from headrace.types import Usage

# As the gateway's blocks of prompts: larger ones of a trace are cut into those.
GRAIN = round(BLOCK / USUAL_BYTES)
WORD = (1 << 64) - 1
HEAR_S = 0.5  # how often engines are asked what their caches hold
LATE = "lowest_cost"  # the policy that has an order of waiting requests


class Ours(Policy):
    """
    A pool of the gateway with a lane for each replica.

    It is told what the gateway hears from the engines: their KV capacity, first tokens, ends, and
    the cached tokens in the usage. How fast they are it learns, from the same start values for all;
    what they have cached it must guess. Sizes of prompts it knows exactly, the gateway by estimate.
    """

    tick_s = AGAIN_S

    def __init__(self, policy: str = LATE, order: str = "balanced") -> None:
        self._policy = policy
        self._order = order
        self.sent: list[tuple[str, Sequence[int]]] | None = None  # prompts, for other gateways

    def begin(self, fleet: Mapping[int, Engine], block_tokens: int, seed: int) -> None:
        self._fleet = fleet
        self._parts = max(1, block_tokens // GRAIN)
        self._grain = block_tokens / self._parts
        self.index = Index()
        settings = Settings(policy=self._policy, order=self._order, seed=seed)
        self._pool = Pool(self.index, settings)
        self._lanes: dict[int, Lane] = {}
        self._numbers: dict[Lane, int] = {}
        self._leases: dict[int, Lease] = {}  # by request
        self._granted: list[Lease] = []
        self._heard_s = 0.0

    @property
    def lanes(self) -> Iterable[Lane]:
        """Its lanes."""
        return self._lanes.values()

    def joined(self, number: int, now_s: float) -> None:
        kv_tokens = self._fleet[number].capacity
        slot = self.index.open(int(kv_tokens / self._grain))
        lane = Lane(f"replica-{number}", slot, kv_tokens=kv_tokens)
        self._lanes[number] = lane
        self._numbers[lane] = number
        self._granted += self._pool.seat((*self._pool.lanes, lane), now_s)

    def left(self, number: int, now_s: float) -> None:
        lane = self._lanes.pop(number)
        others = [other for other in self._pool.lanes if other is not lane]
        self._granted += self._pool.seat(others, now_s)
        for lease in [each for each in self._leases.values() if each.lane is lane]:
            self._granted += self._pool.end(lease, now_s)
        self.index.close(lane.slot)
        del self._numbers[lane]

    def offer(self, job: Job, now_s: float) -> None:
        request = job.request
        ask = Ask(
            float(request.prompt_tokens),
            _cut(request.blocks, self._parts),
            self._grain,
            loud=request.streamed,
            number=hash((request.number, 0x9E3779B9)),
            rank=request.rank,
            tenant=request.tenant,
            weight=request.weight,
        )
        ask.owner = job
        self._granted += self._pool.offer(ask, now_s)

    def first(self, job: Job, now_s: float) -> None:
        self._granted += self._pool.first_token(self._leases[job.request.number], now_s)

    def ended(self, job: Job, now_s: float) -> None:
        request = job.request
        usage = Usage(request.prompt_tokens, request.output_tokens, max(job.cached, 0))
        lease = self._leases.pop(request.number)
        self._granted += self._pool.end(lease, now_s, usage)

    def tick(self, now_s: float) -> None:
        if now_s >= self._heard_s + HEAR_S:
            self._heard_s = now_s
            for number, lane in self._lanes.items():
                lane.heard(self._fleet[number].kv_usage, now_s)
        self._granted += self._pool.pump(now_s)

    def due(self, now_s: float) -> Iterable[tuple[Job, int]]:
        granted, self._granted = self._granted, []
        for lease in granted:
            job, lane = lease.ask.owner, lease.lane
            if isinstance(job, Job) and lane is not None:  # else the replica died in this instant
                self._leases[job.request.number] = lease
                if self.sent is not None:
                    self.sent.append((lane.name, lease.ask.blocks))
                yield job, self._numbers[lane]


def names() -> list[str]:
    """What the command line may call a policy of Headrace's: its name, or its name and order."""
    return [*POLICIES, *(f"{LATE}:{order}" for order in MODES)]


def named(name: str) -> Ours:
    """The policy of that name; KeyError if there is none."""
    policy, _, order = name.partition(":")
    if policy not in POLICIES or order not in {"", *MODES} or (order and policy != LATE):
        raise KeyError(name)
    return Ours(policy, order or "balanced")


def _cut(blocks: Sequence[int], parts: int) -> list[int]:
    """Each block as so many smaller ones; equal blocks give equal ones, as 64-bit hashes are."""
    return [(block * parts + part) & WORD for block in blocks for part in range(parts)]
