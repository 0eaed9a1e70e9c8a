"""
What the gateway has in flight at one replica, as routing sees it, and the leases on it. Pure.

A lane's numbers change with three events of a request only: it is taken, its first token comes, it
ends. Each lease releases exactly once, whatever the order and however often it is told.
"""

from collections.abc import Sequence, Sized
from heapq import heappop, heappush
from typing import Protocol

from msgspec import Struct

from headrace.routing.blocks import hash_of
from headrace.routing.cost import USUAL, Fit, Rates
from headrace.routing.decision import Decision
from headrace.routing.flow import Account, Flow
from headrace.routing.stretch import Stretch

# KV in use is counted in steps of so many tokens of a prompt: exact enough, and cheap.
STRIDE = 512
# What an engine holds at most is not known (no /metrics): the cache of a usual GPU, in tokens.
USUAL_KV = 430_000
# A stretch of prefills teaches the rates at the latest after so many first tokens.
STRETCH = 16
# The oldest request is overdue after so many times its estimate plus a while: from then on its
# lane is believed to be as far behind as it has shown itself to be.
OVERDUE, GRACE_MS = 3.0, 100.0
# Seconds between two tokens of an answer, until the first answers have ended; and how fast what is
# believed of it follows what is seen.
PACE_S, FOLLOW = 0.03, 0.05
# What an engine says of its cache counts when this share of it is in use, each time a little, and
# within these bounds: what prompts share is counted here in strides only.
TELLING, HEARD, LEAST_BIAS, MOST_BIAS = 0.1, 0.2, 0.3, 2.0


class Ask(Struct, eq=False):
    """
    One request as routing sees it.

    ``tokens`` of prompt are an estimate, ``blocks`` its chained hashes, each ``grain`` tokens long;
    ``loud`` says that its first token will be told (a stream). ``number`` breaks ties, a hash of
    the prompt; ``session`` is a key of the client, "" for none; ``policy`` is empty for the usual
    one. Of those that wait a higher ``rank`` goes first, and in a rank the ``tenant`` that has had
    the least for its ``weight``. ``tried`` are replicas that may not be chosen. ``body`` is how
    many bytes it holds while it waits. ``size`` (bytes of prompt) and ``owner`` are whatever the
    caller wants to find again.
    """

    tokens: float
    blocks: list[int]
    grain: float
    max_tokens: int = 0
    loud: bool = True
    number: int = 0
    session: str = ""
    policy: str = ""
    rank: int = 0
    tenant: str = ""
    weight: float = 1.0
    size: int = 0
    body: int = 0
    tried: set[str] | None = None
    owner: object = None
    # The pool's own:
    arrived_at: float = 0.0
    place: tuple[float, int] | None = None  # in the queue
    shortest_ms: float = 0.0  # its cheapest prefill anywhere, when it arrived
    flow: Flow | None = None  # its tenant and class, where there are several
    charge: float = 0.0  # tokens that it counts in the queue, those of its answer included

    @property
    def stride(self) -> int:
        """Blocks from one mark to the next."""
        return max(1, round(STRIDE / self.grain))


class Taken(Struct, frozen=True, gc=False):
    """What is predicted of a request at the replica that was chosen: tokens and milliseconds."""

    cached: float
    prefill_ms: float
    wait_ms: float


class Lease(Struct, eq=False):
    """
    One request's share of a lane. ``Lane.first`` and ``Lane.end`` take it back in two steps.

    One that is ``counted`` only is nobody's to predict, and nothing is learned from it.
    """

    lane: "Lane | None"
    ask: Ask
    predicted: Taken
    taken_at: float
    new: float = 0.0  # tokens that are to be prefilled
    counted: bool = False
    marks: Sequence[int] = ()
    spread: float = 0.0  # tokens from one mark to the next
    depth: int = 0  # blocks that were believed to be cached
    stamp: int = 0  # of its blocks in the index
    charged: float = 0.0  # tokens that its tenant was charged with, since others wait
    account: Account | None = None  # where: of a line that is over it is nobody's any more
    held: float = 0.0  # tokens that its flow has in flight by it
    tag: str = ""  # by which the engine's events name it
    first_at: float = 0.0
    decision: Decision | None = None
    pool: "Granter | None" = None


UNKNOWN = Taken(0.0, 0.0, 0.0)


class Part(Struct, frozen=True, array_like=True, gc=False):
    """
    What a gateway has at a replica: requests, and tokens and ms as a lane counts them. Not the KV:
    gateways have the same prefixes in it, and a sum would count them once for each of them.
    """

    inflight: int = 0
    tokens: float = 0.0
    unprefilled: float = 0.0
    wait_ms: float = 0.0
    decodes: int = 0
    decode_tokens: float = 0.0


NOBODY = Part()


class Book(Protocol):
    """Who knows exactly what the replica holds; ``exact`` while it does."""

    exact: bool

    def expect(self, ask: Ask) -> str: ...

    def end(self, tag: str, tokens: int, now: float) -> None: ...


class Granter(Protocol):
    """Who grants leases to those in its ``line``, and must hear that a lane has room again."""

    @property
    def line(self) -> Sized: ...

    def pump(self, now: float) -> list[Lease]: ...

    def end(self, lease: Lease, now: float) -> list[Lease]: ...


class Lane:
    """
    One replica. ``slot`` is its place in the index, ``gate`` the tokens that may wait for prefill
    before it is full, ``kv_tokens`` what fits into its cache (0: not known). A lane that was
    replaced keeps its leases to itself. What other gateways have there is in its numbers, too;
    ``others`` is that part of them.
    """

    __slots__ = (
        "_anchor", "_count", "_stretch", "active", "ahead_at", "ahead_ms", "capacity", "closed",
        "decode_tokens", "decodes", "drag", "firsts", "fit", "gate", "inflight",
        "kv_bias", "kv_tokens", "kv_used", "learns", "ledger", "name", "others", "pace_s",
        "penalty", "pending", "pending_ms", "pools", "quiet", "rates", "reports", "reserved",
        "seed", "shrink", "sized", "slot", "tokens", "unprefilled",
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        slot: int,
        *,
        rates: Rates = USUAL,
        gate: float = 16_384,
        kv_tokens: float = 0.0,
        learns: bool = True,
    ) -> None:
        self.name = name
        self.slot = slot
        self.seed = hash_of(name)
        self.fit = Fit(rates)
        self.rates = rates
        self.learns = learns
        self.gate = gate
        self.kv_tokens = kv_tokens
        self.shrink = 1.0  # of that, what reported cached tokens bear out
        self.sized = (1.0, 0.0, 0.0)  # shrink, tokens, grain: when the index was last told
        self.ledger: Book | None = None  # of an engine that publishes KV events
        self.reports = False  # it has told cached tokens at least once
        self.closed = False
        self.drag = 0.0  # 1 / weight - 1 of a replica in slow start, 0 of any other
        self.penalty = 0  # tokens, the same for policies that compare loads
        self.inflight = 0
        self.tokens = 0.0
        self.unprefilled = 0.0
        self.decodes = 0
        self.decode_tokens = 0.0
        self.firsts = 0.0  # the sum of when those that decode began to
        self.pace_s = PACE_S
        self.kv_bias = 1.0  # what the engine says of its cache, beside what is counted here
        self.kv_used = 0.0
        self.active: dict[int, int] = {}  # marks of prompts in KV, and how many requests share them
        self.pending: dict[Lease, None] = {}  # without a first token, the oldest first
        self.pending_ms = 0.0
        self.quiet: list[tuple[float, int, Lease]] = []  # by when their prefill should be over
        self.reserved: Ask | None = None  # the only request that may come next
        self.pools: list[Granter] = []  # that may send requests here
        self.others = NOBODY
        self.ahead_ms = self.ahead_at = 0.0  # until what others have there is prefilled, and since
        self._anchor = 0.0
        self._count = 0
        self._stretch = Stretch()

    # --- what the score reads ---------------------------------------------------------------

    def wait_ms(self, now: float) -> float:
        """Until what it has taken is prefilled; the oldest counts less as time passes."""
        ahead = self.ahead_ms
        if ahead:
            ahead = max(0.0, ahead - (now - self.ahead_at) * 1000)
        return ahead + self.own_wait_ms(now)

    def own_wait_ms(self, now: float) -> float:
        """The same without what other gateways have sent there."""
        if not self.pending:
            return 0.0
        elapsed = (now - self._anchor) * 1000
        oldest = next(iter(self.pending)).predicted.prefill_ms
        if elapsed <= oldest:
            return self.pending_ms - elapsed
        late = elapsed - OVERDUE * oldest - GRACE_MS
        return self.pending_ms - oldest + (late if late > 0 else 0.0)

    def kv_need(self, ask: Ask) -> float:
        """Tokens of KV that the request needs and that no running request holds already."""
        active = self.active
        if not active:
            return ask.tokens
        shared = 0
        for mark in ask.blocks[ask.stride - 1 :: ask.stride]:
            if mark not in active:
                break
            shared += 1
        return ask.tokens - shared * ask.stride * ask.grain

    def hush(self, now: float) -> None:
        """Requests that will not tell their first token have it when it was predicted."""
        quiet = self.quiet
        while quiet and quiet[0][0] <= now:
            at, _, lease = heappop(quiet)
            if lease.lane is self and not lease.first_at:
                self._prefilled(lease, at)

    def grown(self, now: float) -> float:
        """Tokens of the answers that run, by their age: those of other gateways have none."""
        own = self.decodes - self.others.decodes
        return max(0.0, own * now - self.firsts) / self.pace_s

    def filled(self, now: float) -> float:
        """Tokens of KV in use: prompts and answers, put right by what the engine has said."""
        return (self.kv_used + self.grown(now)) * self.kv_bias

    def heard(self, usage: float, now: float) -> None:
        """The engine says that so much of its cache is in use (0 to 1)."""
        counted = self.kv_used + self.grown(now)
        if counted > TELLING * self.kv_tokens:
            seen = usage * self.kv_tokens / counted
            self.kv_bias += HEARD * (min(max(seen, LEAST_BIAS), MOST_BIAS) - self.kv_bias)

    def paced(self, seconds: float, tokens: int) -> None:
        """An answer of so many tokens took so long from its first one."""
        self.pace_s += FOLLOW * (max(seconds / tokens, 1e-4) - self.pace_s)

    @property
    def own(self) -> int:
        """Requests in flight there of this gateway alone."""
        return self.inflight - self.others.inflight

    # --- events -----------------------------------------------------------------------------

    def count(self, ask: Ask, now: float) -> Lease:
        """Count a request for a policy that predicts nothing; ``end`` takes it back."""
        self.inflight += 1
        self.tokens += ask.tokens
        return Lease(self, ask, UNKNOWN, now, counted=True)

    def take(self, ask: Ask, predicted: Taken, now: float) -> Lease:
        """Count a request as in flight here from now on."""
        lease = Lease(self, ask, predicted, now, ask.tokens - predicted.cached)
        if not self.pending:
            self._anchor = now
            self.pending_ms = 0.0
            self._stretch.begin(now)
        self.pending[lease] = None
        self.pending_ms += predicted.prefill_ms
        self.inflight += 1
        self.tokens += ask.tokens
        self.unprefilled += lease.new
        self._kv_add(lease)
        if not ask.loud:
            self._stretch.spoil()
            done_at = now + (predicted.wait_ms + predicted.prefill_ms) / 1000
            self._count += 1
            heappush(self.quiet, (done_at, self._count, lease))
        return lease

    def first(self, lease: Lease, now: float) -> None:
        """The first token has come. Only the first call counts, and none after ``end``."""
        if lease.lane is not self or lease.first_at or lease.counted:
            return
        if lease.ask.loud and self.learns:
            self._stretch.add(lease.new, lease.predicted.cached)
        self._prefilled(lease, now)
        stretch = self._stretch
        if self.learns and (not self.pending or stretch.requests >= STRETCH):
            if stretch.clean:
                took_ms = (now - stretch.began_at) * 1000
                beside = self.decodes - stretch.requests, self.decode_tokens
                self.fit.prefilled(took_ms, stretch.requests, stretch.tokens, stretch.work, beside)
            stretch.begin(now)
            if any(not other.ask.loud for other in self.pending):
                stretch.spoil()

    def end(self, lease: Lease) -> bool:
        """The request has ended, however it did. False when it had already."""
        if lease.lane is not self:
            return False
        lease.lane = None
        tokens = lease.ask.tokens
        self.inflight -= 1
        self.tokens -= tokens
        if lease.counted:
            return True
        if lease.first_at:
            self.decodes -= 1
            self.firsts = self.firsts - lease.first_at if self.decodes else 0.0
            self.decode_tokens -= tokens
        else:
            self._stretch.clean = False
            self._leave_pending(lease)
        self._kv_remove(lease)
        others = self.others
        if self.inflight == others.inflight:  # no dust of floating point
            self.tokens, self.unprefilled = others.tokens, others.unprefilled
            self.decode_tokens, self.kv_used = others.decode_tokens, 0.0
            self.quiet.clear()
        return True

    # --- below -----------------------------------------------------------------------------

    def _prefilled(self, lease: Lease, now: float) -> None:
        lease.first_at = now
        self._leave_pending(lease)
        self._anchor = now
        self.firsts += now
        self.decodes += 1
        self.decode_tokens += lease.ask.tokens

    def _leave_pending(self, lease: Lease) -> None:
        del self.pending[lease]
        self.pending_ms -= lease.predicted.prefill_ms
        self.unprefilled -= lease.new
        if not self.pending:
            self.pending_ms, self.unprefilled = 0.0, self.others.unprefilled

    def _kv_add(self, lease: Lease) -> None:
        ask, active = lease.ask, self.active
        if not ask.blocks:
            self.kv_used += ask.tokens
            return
        stride = ask.stride
        lease.marks = marks = ask.blocks[stride - 1 :: stride]
        lease.spread = each = stride * ask.grain
        need = ask.tokens - len(marks) * each
        for mark in marks:
            count = active.get(mark, 0)
            if not count:
                need += each
            active[mark] = count + 1
        self.kv_used += need

    def _kv_remove(self, lease: Lease) -> None:
        ask, active, marks = lease.ask, self.active, lease.marks
        if not marks:
            self.kv_used -= ask.tokens
            return
        each = lease.spread
        freed = ask.tokens - len(marks) * each
        for mark in marks:
            count = active[mark] - 1
            if count:
                active[mark] = count
            else:
                del active[mark]
                freed += each
        self.kv_used -= freed
