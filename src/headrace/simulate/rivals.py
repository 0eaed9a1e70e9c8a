"""
Other routers' ways to choose, written anew from what their documentation and code say they do.

None of them waits: a request is sent on when it arrives. Those that follow the engines' caches are
in ``informed``; what Headrace itself does is in ``ours``; a router that knows all in ``oracle``.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from math import sqrt

from headrace.simulate.engine import Engine, Job
from headrace.simulate.informed import Blocks, Product, Sticky
from headrace.simulate.oracle import Oracle
from headrace.simulate.policy import Immediate, Policy


class RoundRobin(Immediate):
    """Each in turn."""

    def begin(self, fleet: Mapping[int, Engine], block_tokens: int, seed: int) -> None:
        super().begin(fleet, block_tokens, seed)
        self._turn = 0

    def choose(self, job: Job) -> int:
        numbers = [*self.inflight]
        self._turn += 1
        return numbers[self._turn % len(numbers)]


class LeastRequests(Immediate):
    """Fewest requests in flight; chance decides among equals."""

    def choose(self, job: Job) -> int:
        return min(self.inflight, key=lambda each: (self.inflight[each], self.random.random()))


class PowerOfTwo(Immediate):
    """
    Two by chance, of which the one with fewer requests in flight.

    https://github.com/vllm-project/router and https://github.com/sgl-project/sglang, where it is
    ``power_of_two``, fed by the routers' own counters.
    """

    def choose(self, job: Job) -> int:
        numbers = [*self.inflight]
        if len(numbers) == 1:
            return numbers[0]
        one, other = self.random.sample(numbers, 2)
        return one if self.inflight[one] <= self.inflight[other] else other


class SessionHash(Immediate):
    """
    One replica for each session, however full: rendezvous hashing, so that a change of the fleet
    moves few. https://github.com/vllm-project/router has it as ``consistent_hash``.
    """

    def choose(self, job: Job) -> int:
        session = job.request.session
        return max(self.inflight, key=lambda each: hash((session, each, 0x9E3779B9)))


class CacheAware(Immediate):
    """
    ``cache_aware`` of sglang-router 0.3.2 and vllm-router 0.1.17 with their defaults.

    The owner of the longest known prefix if that is more than 30 % of the prompt; but the replica
    with the fewest requests as soon as any has 64 more than another and half as many again. The
    tree of prefixes never hears what engines evict.
    https://github.com/sgl-project/sglang/tree/main/sgl-model-gateway
    """

    MATCH = 0.3
    ABSOLUTE = 64
    RELATIVE = 1.5

    def begin(self, fleet: Mapping[int, Engine], block_tokens: int, seed: int) -> None:
        super().begin(fleet, block_tokens, seed)
        self._owners: dict[int, int] = {}

    def left(self, number: int, now_s: float) -> None:
        super().left(number, now_s)
        self._owners = {block: owner for block, owner in self._owners.items() if owner != number}

    def choose(self, job: Job) -> int:
        most, fewest = max(self.inflight.values()), min(self.inflight.values())
        if most - fewest > self.ABSOLUTE and most > self.RELATIVE * fewest:
            return self.least()
        owner, matched = -1, 0
        for block in job.blocks:
            found = self._owners.get(block)
            if found is None:
                break
            owner = found
            matched += self.block_tokens
        if matched > self.MATCH * job.request.prompt_tokens:
            return owner
        return self.least()

    def sent(self, job: Job, number: int) -> None:
        self._owners.update(dict.fromkeys(job.blocks, number))


class Mirror:
    """What a router believes is in the caches, from what it sent there: an LRU per replica."""

    def __init__(self) -> None:
        self._held: dict[int, OrderedDict[int, None]] = {}
        self._capacity: dict[int, int] = {}

    def add(self, number: int, capacity_blocks: int) -> None:
        """A replica joined."""
        self._held[number] = OrderedDict()
        self._capacity[number] = capacity_blocks

    def drop(self, number: int) -> None:
        """A replica left."""
        del self._held[number], self._capacity[number]

    def matched(self, number: int, blocks: Sequence[int]) -> int:
        """How many blocks, from the first on, the replica has got."""
        held = self._held[number]
        found = 0
        for block in blocks:
            if block not in held:
                break
            found += 1
        return found

    def note(self, number: int, blocks: Sequence[int]) -> None:
        """The replica gets a prompt with these blocks."""
        held = self._held[number]
        for block in reversed(blocks):
            held[block] = None
            held.move_to_end(block)
        while len(held) > self._capacity[number]:
            held.popitem(last=False)


class Mirrored(Immediate):
    """A router with an approximate index, as large as the engines' caches are."""

    def begin(self, fleet: Mapping[int, Engine], block_tokens: int, seed: int) -> None:
        super().begin(fleet, block_tokens, seed)
        self.mirror = Mirror()

    def joined(self, number: int, now_s: float) -> None:
        super().joined(number, now_s)
        self.mirror.add(number, self.fleet[number].capacity // self.block_tokens)

    def left(self, number: int, now_s: float) -> None:
        super().left(number, now_s)
        self.mirror.drop(number)

    def sent(self, job: Job, number: int) -> None:
        self.mirror.note(number, job.blocks)


class Blend(Mirrored):
    """
    The Gateway API Inference Extension's blend: three parts prefix, two parts queue, two parts free
    KV cache, of which gauges are scraped every 50 ms; the largest sum wins, chance among equals.

    https://github.com/kubernetes-sigs/gateway-api-inference-extension
    """

    tick_s = 0.05
    PREFIX, QUEUE, KV = 3.0, 2.0, 2.0

    def begin(self, fleet: Mapping[int, Engine], block_tokens: int, seed: int) -> None:
        super().begin(fleet, block_tokens, seed)
        self._waiting: dict[int, int] = {}
        self._usage: dict[int, float] = {}

    def joined(self, number: int, now_s: float) -> None:
        super().joined(number, now_s)
        self.tick(now_s)

    def left(self, number: int, now_s: float) -> None:
        super().left(number, now_s)
        self.tick(now_s)

    def tick(self, now_s: float) -> None:
        self._waiting = {number: len(engine.waiting) for number, engine in self.fleet.items()}
        self._usage = {number: engine.kv_usage for number, engine in self.fleet.items()}

    def choose(self, job: Job) -> int:
        longest, shortest = max(self._waiting.values()), min(self._waiting.values())
        span = longest - shortest
        blocks = max(1, len(job.blocks))

        def score(number: int) -> tuple[float, float]:
            prefix = self.mirror.matched(number, job.blocks) / blocks
            queue = (longest - self._waiting[number]) / span if span else 1.0
            free = 1 - self._usage[number]
            total = self.PREFIX * prefix + self.QUEUE * queue + self.KV * free
            return total, self.random.random()

        return max(self.inflight, key=score)


class Matched(Mirrored):
    """
    AIBrix's ``prefix-cache``: only the least loaded when one has over 8 requests more than another;
    else the longest match among those that are not over the mean by a standard deviation.

    https://github.com/vllm-project/aibrix
    """

    IMBALANCE = 8

    def choose(self, job: Job) -> int:
        counts = self.inflight.values()
        fewest = min(counts)
        ready = [*self.inflight]
        if max(counts) - fewest > self.IMBALANCE:
            ready = [number for number in ready if self.inflight[number] == fewest]
        mean = sum(counts) / len(counts)
        limit = mean + sqrt(sum((each - mean) ** 2 for each in counts) / len(counts))
        fitting = [number for number in ready if self.inflight[number] <= limit]
        depth = {number: self.mirror.matched(number, job.blocks) for number in fitting}
        best = min(fitting, key=lambda each: (-depth[each], self.inflight[each]), default=-1)
        return best if best >= 0 and depth[best] else self.least()


RIVALS: dict[str, Callable[[], Policy]] = {
    "round_robin": RoundRobin,
    "least_requests": LeastRequests,
    "power_of_two": PowerOfTwo,
    "consistent_hash": SessionHash,
    "cache_aware": CacheAware,
    "gie": Blend,
    "aibrix": Matched,
    "dynamo": Blocks,
    "kv_aware": Product,
    "sticky": Sticky,
    "oracle": Oracle,
}
