"""
What gateways tell each other of the replicas that they share, and what one makes of it: how much
the others have in flight, which prompts they sent where, which sessions. Pure: how it travels is
gateway/peers.py's.

Each gateway reports its own numbers only, all of them each time. So nothing is counted twice, a
lost report costs nothing once the next is there, and who falls silent is taken out by its age.
"""

from collections.abc import Iterable, Sequence
from typing import Annotated

from msgspec import Meta, Struct

from headrace.routing.index import Index
from headrace.routing.lane import NOBODY, Lane, Part

Block = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Pins = dict[int, str]
"""The replica of each session, by the hash of its key."""


class Report(Struct, array_like=True):
    """
    What a gateway says: ``parts`` by replica; the blocks of prompts that it ``sent`` since its last
    report, in their order; sessions' replicas by model. ``number`` grows; the last one is
    ``leaving``.
    """

    gateway: str
    number: int
    parts: dict[str, Part]
    sent: list[tuple[str, Sequence[Block]]] = []
    pins: dict[str, Pins] = {}
    leaving: bool = False


class Peers:
    """The other gateways, as far as they were heard within ``stale_s``."""

    def __init__(self, stale_s: float) -> None:
        self._stale_s = stale_s
        self._heard: dict[str, tuple[float, Report]] = {}

    @property
    def names(self) -> frozenset[str]:
        """Who is heard."""
        return frozenset(self._heard)

    def __len__(self) -> int:
        return len(self._heard)

    def hear(self, report: Report, now: float) -> bool:
        """What another gateway says now. False for what is older than what it has said."""
        _, last = self._heard.get(report.gateway, (0.0, None))
        if last is not None and report.number <= last.number:
            return False
        if report.leaving:
            self._heard.pop(report.gateway, None)
        else:
            self._heard[report.gateway] = now, report
        return True

    def forget(self, now: float) -> None:
        """Drop those that have not been heard for too long."""
        for name in [name for name, (at, _) in self._heard.items() if now - at > self._stale_s]:
            del self._heard[name]

    def oldest(self, now: float) -> float:
        """Seconds since the report of the one that was not heard for the longest time; 0: alone."""
        return max((now - at for at, _ in self._heard.values()), default=0.0)

    def join(self, lanes: Iterable[Lane], now: float) -> None:
        """Add what the others have in flight to the lanes, in the place of what they had."""
        self.forget(now)
        for lane in lanes:
            total = self._total(lane.name, now)
            if total is not NOBODY or lane.others is not NOBODY:
                join(lane, total, now)

    def _total(self, replica: str, now: float) -> Part:
        parts = [
            (at, report.parts[replica])
            for at, report in self._heard.values()
            if replica in report.parts
        ]
        if not parts:
            return NOBODY
        return Part(
            sum(each.inflight for _, each in parts),
            sum(each.tokens for _, each in parts),
            sum(each.unprefilled for _, each in parts),
            sum(max(0.0, each.wait_ms - (now - at) * 1000) for at, each in parts),
            sum(each.decodes for _, each in parts),
            sum(each.decode_tokens for _, each in parts),
        )


def part(lane: Lane, now: float) -> Part:
    """What this gateway alone has at the lane."""
    others = lane.others
    return Part(
        lane.own,
        lane.tokens - others.tokens,
        lane.unprefilled - others.unprefilled,
        lane.own_wait_ms(now),
        lane.decodes - others.decodes,
        lane.decode_tokens - others.decode_tokens,
    )


def join(lane: Lane, others: Part, now: float) -> None:
    """Other gateways have this at the lane now, in the place of what they had."""
    before, lane.others = lane.others, others
    lane.inflight += others.inflight - before.inflight
    lane.tokens += others.tokens - before.tokens
    lane.unprefilled += others.unprefilled - before.unprefilled
    lane.decodes += others.decodes - before.decodes
    lane.decode_tokens += others.decode_tokens - before.decode_tokens
    lane.ahead_ms, lane.ahead_at = others.wait_ms, now


def learn(index: Index, lane: Lane, blocks: Sequence[int]) -> None:
    """Another gateway has sent this prompt to the lane: its replica has it cached from now on."""
    if blocks and not lane.closed:
        index.hold(lane.slot, [*blocks])
