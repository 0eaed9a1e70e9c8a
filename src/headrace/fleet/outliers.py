"""
When what its requests met sets a replica aside, and for how long. Pure: ``now`` is an argument.

The ideas are Envoy's outlier detection: failures in a row, a success rate against that of the
peers, a share that is never exceeded, and ejections that grow
(https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/outlier). The rate is
compared with the pooled rate of the peers and not with a standard deviation, which says nothing
about three replicas.
"""

from collections import deque
from collections.abc import Mapping
from typing import NamedTuple

from headrace.config.fleet import Outliers


class Count(NamedTuple):
    """Requests of one replica that ended: ``answered`` well, and ``failed`` by its fault."""

    answered: int
    failed: int


class Streak:
    """Failures in a row, without a counter that successes would have to reset."""

    def __init__(self) -> None:
        self.length = 0
        self._answered = -1

    def failed(self, answered: int) -> int:
        """Count a failure; ``answered`` is how many went well before it, ever."""
        self.length = self.length + 1 if answered == self._answered else 1
        self._answered = answered
        return self.length


class Window:
    """What a replica's requests met within the last ``window_s``."""

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._looks: deque[tuple[float, Count]] = deque()

    def look(self, now: float, total: Count) -> Count:
        """Note the totals at ``now``; what was added to them since the window began."""
        looks = self._looks
        if not looks or looks[-1][1] != total:
            looks.append((now, total))
        while len(looks) > 1 and looks[1][0] <= now - self._window_s:
            looks.popleft()
        first = looks[0][1]
        return Count(max(0, total.answered - first.answered), max(0, total.failed - first.failed))

    def clear(self) -> None:
        """Forget: a replica that returns is judged by what it does from then on."""
        self._looks.clear()


def laggards(counts: Mapping[str, Count], rules: Outliers) -> dict[str, str]:
    """
    The replicas of one model whose success rate is too far below that of their peers, and why.

    Both sides need ``min_requests``. With 20 requests the noise of a rate is at most 0.11 (one
    standard deviation), so that the default margin of 0.3 is no accident.
    """
    answered = sum(count.answered for count in counts.values())
    failed = sum(count.failed for count in counts.values())
    if not failed:
        return {}
    found = {}
    for name, count in counts.items():
        own, others = sum(count), answered + failed - sum(count)
        if min(own, others) < rules.min_requests:
            continue
        rate, peers = count.answered / own, (answered - count.answered) / others
        if rate < peers - rules.margin:
            found[name] = f"success rate {rate:.0%} of {own} requests, its peers have {peers:.0%}"
    return found


def may_eject(ejected: int, replicas: int, share: float) -> bool:
    """Whether one more of a model's replicas may be set aside."""
    return ejected + 1 <= share * replicas


class Sentence:
    """
    How long ejections last: each is twice as long as the one before, unless the replica did well
    in between for as long as it had been away.
    """

    def __init__(self, rules: Outliers) -> None:
        self._rules = rules
        self.until = 0.0
        self.count = 0
        self._last_s = 0.0

    def begin(self, now: float) -> float:
        """Eject now; gives for how long (s)."""
        if now - self.until > 2 * self._last_s:
            self.count = 0
        self.count += 1
        doubled = self._rules.ejection_s * 2.0 ** min(self.count - 1, 20)
        self._last_s = min(doubled, self._rules.max_ejection_s)
        self.until = now + self._last_s
        return self._last_s
