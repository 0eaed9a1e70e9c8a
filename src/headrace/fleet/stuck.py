"""
Which replica accepts and never answers. Pure: ``now`` is an argument, and what is seen is given.

The rule: a replica that has work and shows no sign of life for ``stuck_s`` is stuck. Signs of life
are a byte of any of its answers, a request that ended well, and any movement of the numbers that an
engine's own loop writes: token counters, iterations, used KV blocks, preemptions, finished
requests. A long prefill is no stuck replica: chunk for chunk it takes KV blocks, and until its
first chunk is through, ``stuck_s`` grows with the prompt that waits. Without an engine's numbers
only streams can tell, and only while its peers answer theirs.
"""

from msgspec import Struct

# Slower than any GPU prefills: prompts that wait stretch the patience by their tokens over this.
PREFILL_TOKENS_PER_S = 2000.0
# A reading older than this says nothing about now (s).
FRESH_S = 4.0


class Vitals(Struct, frozen=True, gc=False):
    """
    One look at a replica. Times are monotonic (s), 0 for never.

    ``waiting_prompt`` is the longest prompt (tokens) among its requests that have no byte yet;
    ``pulse`` are the engine's own numbers, read at ``pulse_at``; None when it shows none.
    """

    inflight: int
    streams: int = 0
    waiting_prompt: int = 0
    byte_at: float = 0.0
    answered: int = 0
    pulse: tuple[float, ...] | None = None
    pulse_at: float = 0.0
    running: float = 0.0


class Finding(Struct, frozen=True, gc=False):
    """Why a replica seems stuck; ``certain``, or to be confirmed by asking it for a token."""

    reason: str
    certain: bool


class Suspect:
    """The signs of life of one replica."""

    def __init__(self, stuck_s: float) -> None:
        self._stuck_s = stuck_s
        self._busy = False
        self._answered = 0
        self._pulse: tuple[float, ...] | None = None
        self.signed_at = 0.0  # the last sign of life
        self.moved_at = 0.0  # that, or the begin of the work if it is later

    def look(self, now: float, seen: Vitals) -> float:
        """Take in one look; gives for how long (s) the replica has been busy without a sign."""
        busy = seen.inflight > 0 or (_is_fresh(now, seen) and seen.running > 0)
        signed_at = max(self.signed_at, seen.byte_at)
        if seen.answered > self._answered:
            signed_at = now
        if self._pulse is not None and seen.pulse is not None and seen.pulse != self._pulse:
            signed_at = max(signed_at, seen.pulse_at)
        self.signed_at = signed_at
        self.moved_at = max(signed_at, self.moved_at if self._busy and busy else now)
        self._busy, self._answered, self._pulse = busy, seen.answered, seen.pulse
        return now - self.moved_at if busy else 0.0

    def judge(self, now: float, seen: Vitals, *, peers_signed_at: float) -> Finding | None:
        """
        Whether the replica is stuck, after ``look`` at the same moment.

        ``peers_signed_at`` is the last sign of life of the other replicas of its models; 0 for
        never. When they all fell silent together, the cause is not one of them.
        """
        still = now - self.moved_at
        patience = self._stuck_s + seen.waiting_prompt / PREFILL_TOKENS_PER_S
        if not self._busy or still < patience:
            return None
        fresh = _is_fresh(now, seen)
        if fresh and seen.running > 0:
            text = f"{seen.running:.0f} running, and no counter moved for {still:.0f} s"
            # A gauge may be left over from requests that were aborted; our own are no such thing.
            return Finding(text, certain=seen.inflight > 0)
        if peers_signed_at <= self.moved_at or now - peers_signed_at > self._stuck_s / 2:
            return None
        if fresh:
            text = f"{seen.inflight} requests sent, none of them running for {still:.0f} s"
            return Finding(text, certain=False)
        if seen.streams:
            text = f"{seen.streams} streams without a byte for {still:.0f} s, its peers answer"
            # A model that thinks for long, or a queue, looks the same from here.
            return Finding(text, certain=False)
        return None


def _is_fresh(now: float, seen: Vitals) -> bool:
    return seen.pulse is not None and now - seen.pulse_at < FRESH_S
