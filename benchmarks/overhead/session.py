"""
One run from beginning to end: which peer plays which scene, in which order.
Repetitions are interleaved (A B C A B C), and every one gets a freshly started peer.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from . import plan as plans
from .install import Missing
from .peers import Peer
from .plan import Plan
from .process import Tree
from .results import DIRECT, Results
from .rig import Rig, Sample

# The peers whose cost is followed as the fleet grows: ours, and the cheapest policy of a router.
_GROWING = ("headrace", "headrace-rr", "vllm-router")
_BUSY = 0.85


class Session:
    """Plays a plan on a rig and fills Results; `say` is told what happens."""

    def __init__(
        self,
        rig: Rig,
        plan: Plan,
        peers: Sequence[Peer],
        env_dir: Path,
        say: Callable[[str], None],
    ) -> None:
        self._rig = rig
        self._plan = plan
        self._peers = peers
        self._env_dir = env_dir
        self._say = say
        self.results = Results(
            plan=plan,
            labels={peer.name: peer.label for peer in peers},
            kinds={peer.name: peer.kind for peer in peers},
        )

    def prepare(self) -> None:
        """Installs what is missing, so that no download happens between two measurements."""
        for peer in self._peers:
            try:
                peer.prepare(self._env_dir)
            except Missing as reason:
                self.results.missing[peer.name] = str(reason)
                self._say(f"{peer.label}: not measured: {reason}")

    def rounds(self) -> None:
        """Streams, whole requests, bodies of every size, and what those do to other streams."""
        for turn in range(self._plan.rounds):
            self._direct(turn)
            # Another peer begins each time: nobody always runs on a cool machine.
            first = turn % max(1, len(self._peers))
            for peer in (*self._peers[first:], *self._peers[:first]):
                self._with(peer, self._plan.replicas, turn, self._round)

    def memory(self) -> None:
        """Idle streams, on fresh processes: memory freed by 10 MB bodies would be used again."""
        for peer in self._peers:
            self._with(peer, self._plan.replicas, 0, self._idle)

    def growth(self) -> None:
        """The same whole requests in front of more and more replicas."""
        growing = [peer for peer in self._peers if peer.name in _GROWING]
        for turn in range(self._plan.replica_rounds):
            for count in self._plan.replica_counts:
                for peer in growing:
                    self._with(peer, count, turn, self._grown)

    def _with(
        self, peer: Peer, replicas: int, turn: int, play: Callable[[Peer, Tree, int, int], None]
    ) -> None:
        if peer.name in self.results.missing:
            return
        self._say(f"round {turn + 1}: {peer.label}, {replicas} replicas")
        port = self._rig.layout.proxy_port
        try:
            with self._rig.running(peer, self._env_dir, replicas) as tree:
                for job in plans.warm(self._plan, port, replicas):
                    self._rig.play(job)
                play(peer, tree, turn, replicas)
        except Missing as reason:
            self._say(f"{peer.label}: not measured: {reason}")
            if peer.name in self.results.samples:
                self._warn(f"{peer.label}: {reason}")
            else:
                self.results.missing[peer.name] = str(reason)

    def _round(self, peer: Peer, tree: Tree, turn: int, _replicas: int) -> None:
        port = self._rig.layout.proxy_port
        for scene, job in plans.load(self._plan, port).items():
            self._keep(peer, self._rig.measure(tree, job, scene, turn))

    def _idle(self, peer: Peer, tree: Tree, turn: int, _replicas: int) -> None:
        job = plans.idle(self._plan, self._rig.layout.proxy_port)
        self._keep(peer, self._rig.hold(tree, job, self._plan.idle_settle_s, turn))

    def _grown(self, peer: Peer, tree: Tree, turn: int, replicas: int) -> None:
        port = self._rig.layout.proxy_port
        job = plans.whole(port, self._plan.whole_connections, self._plan.replica_s)
        self._keep(peer, self._rig.measure(tree, job, f"{replicas} replicas", turn))

    def _direct(self, turn: int) -> None:
        """The same load without a proxy: what the harness itself takes."""
        self._say(f"round {turn + 1}: direct")
        port = self._rig.layout.engine_port
        for scene, job in plans.load(self._plan, port).items():
            self.results.add(DIRECT, self._rig.measure(None, job, scene, turn))

    def _keep(self, peer: Peer, sample: Sample) -> None:
        self.results.add(peer.name, sample)
        where = f"{peer.label}, {sample.scene}, round {sample.round + 1}"
        if sample.outcome.failures:
            reasons = ", ".join(f"{n} x {text}" for text, n in sample.outcome.failures.items())
            self._warn(f"{where}: failed: {reasons}")
        # Whole requests are meant to use up one of the two cores; streams come at a fixed pace.
        if sample.scene == "stream" and sample.harness_share > _BUSY:
            self._warn(f"{where}: the harness's own core was {sample.harness_share:.0%} busy")

    def _warn(self, text: str) -> None:
        if text not in self.results.warnings:
            self.results.warnings.append(text)
