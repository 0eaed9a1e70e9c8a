"""
Several gateways before one fleet: each request comes to one of them by chance, and each decides by
itself. Those of Headrace tell each other what they did, by the gateway's own code.
"""

from collections.abc import Iterable, Mapping, Sequence
from random import Random

from headrace.routing.peers import Peers, Report, learn, part
from headrace.simulate.engine import Engine, Job
from headrace.simulate.ours import Ours
from headrace.simulate.policy import Policy

# From a report to its being heard: one way to Redis, and one from there.
TRAVEL_S = 0.01
# A gateway that was silent for so many reports counts as gone.
SILENT = 4


class Gateways(Policy):
    """
    As many gateways as there are policies, with the same policy each.

    ``share_s`` is how often each of ours reports to the others; 0: they know nothing of each other,
    as those of other routers do.
    """

    def __init__(self, each: Sequence[Policy], share_s: float = 0.0) -> None:
        self._each = each
        ours = [policy for policy in each if isinstance(policy, Ours)]
        self._talks = [Talk(policy, share_s) for policy in ours] if share_s else []
        ticks = [policy.tick_s for policy in each if policy.tick_s is not None]
        self.tick_s = min([TRAVEL_S, *ticks]) if self._talks else min(ticks, default=None)
        self._share_s = share_s

    def begin(self, fleet: Mapping[int, Engine], block_tokens: int, seed: int) -> None:
        self._random = Random(f"gateways {seed}")
        self._of: dict[int, Policy] = {}
        self._mail: list[tuple[float, Talk, Report]] = []
        self._ticked = [0.0] * len(self._each)
        for policy in self._each:
            policy.begin(fleet, block_tokens, seed)
        for place, talk in enumerate(self._talks):  # not all at the same time
            talk.next_s = self._share_s * (place + 1) / len(self._talks)

    def joined(self, number: int, now_s: float) -> None:
        for policy in self._each:
            policy.joined(number, now_s)

    def left(self, number: int, now_s: float) -> None:
        for policy in self._each:
            policy.left(number, now_s)

    def offer(self, job: Job, now_s: float) -> None:
        policy = self._of[job.request.number] = self._random.choice(self._each)
        policy.offer(job, now_s)

    def first(self, job: Job, now_s: float) -> None:
        self._of[job.request.number].first(job, now_s)

    def ended(self, job: Job, now_s: float) -> None:
        self._of[job.request.number].ended(job, now_s)

    def tick(self, now_s: float) -> None:
        for place, policy in enumerate(self._each):
            if policy.tick_s is not None and now_s >= self._ticked[place] + policy.tick_s:
                self._ticked[place] = now_s
                policy.tick(now_s)
        for talk in self._talks:
            if now_s >= talk.next_s:
                talk.next_s += self._share_s
                self._mail.append((now_s + TRAVEL_S, talk, talk.report(now_s)))
        while self._mail and self._mail[0][0] <= now_s:
            _, sender, report = self._mail.pop(0)
            for talk in self._talks:
                if talk is not sender:
                    talk.hear(report, now_s)

    def due(self, now_s: float) -> Iterable[tuple[Job, int]]:
        for policy in self._each:
            yield from policy.due(now_s)


class Talk:
    """What one gateway says and hears."""

    def __init__(self, gateway: Ours, share_s: float) -> None:
        self.next_s = 0.0
        self._gateway = gateway
        self._peers = Peers(SILENT * share_s)
        self._number = 0
        self._name = str(id(self))
        gateway.sent = []

    def report(self, now_s: float) -> Report:
        """What it has in flight now, and what it has sent since the last one."""
        self._number += 1
        sent, self._gateway.sent = self._gateway.sent or [], []
        parts = {lane.name: part(lane, now_s) for lane in self._gateway.lanes}
        return Report(self._name, self._number, parts, sent)

    def hear(self, report: Report, now_s: float) -> None:
        """Another one has said this."""
        self._peers.hear(report, now_s)
        lanes = {lane.name: lane for lane in self._gateway.lanes}
        for name, blocks in report.sent:
            if name in lanes:
                learn(self._gateway.index, lanes[name], blocks)
        self._peers.join(lanes.values(), now_s)
        self._gateway.tick(now_s)
