"""What a run measured, and the questions that tables and bars ask of it. Pure: no I/O, no clock."""

from dataclasses import dataclass, field

from .plan import Plan
from .rig import Sample
from .summary import Spread, median, percentile, spread

DIRECT = "direct"


@dataclass(slots=True, kw_only=True)
class Startup:
    """Seconds from the start of the process, one per try; a reason where there is none."""

    serve_ready_s: list[float] = field(default_factory=list)
    up_first_token_s: list[float] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class Results:
    """One run. `samples` by peer; `direct` is the same load without a proxy."""

    plan: Plan
    machine: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    kinds: dict[str, str] = field(default_factory=dict)
    samples: dict[str, list[Sample]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    startup: Startup = field(default_factory=Startup)
    elapsed_s: float = 0.0

    def add(self, peer: str, sample: Sample) -> None:
        self.samples.setdefault(peer, []).append(sample)

    def of(self, peer: str, scene: str) -> list[Sample]:
        return [sample for sample in self.samples.get(peer, []) if sample.scene == scene]

    def clean(self, peer: str, scene: str) -> list[Sample]:
        return [sample for sample in self.of(peer, scene) if sample.clean]

    def cpu_us(self, peer: str, scene: str) -> Spread | None:
        """CPU time of the proxy per unit, over the repetitions in which nothing failed."""
        return spread([sample.cpu_us for sample in self.clean(peer, scene)])

    def complete(self, peer: str, scene: str, rounds: int) -> bool:
        """Whether it served the scene without a failure in every round."""
        return len(self.clean(peer, scene)) >= rounds

    @property
    def foreign_cores(self) -> float:
        """
        How many cores other processes kept busy in a bad measurement: the 90th percentile.

        Not the median: load that comes and goes hits one peer and spares another, and a run whose
        median was quiet has compared a disturbed peer with an undisturbed one (seen: 0.8 cores
        beside both streams of a run whose median was 0.02).
        """
        every = [one for all_ in self.samples.values() for one in all_ if one.scene != "idle"]
        return percentile([one.foreign_cores for one in every], 0.9)

    def ratio(self, peer: str, scene: str, other: str, other_scene: str = "") -> float | None:
        """
        The median over rounds of peer / other, both taken from the same round.

        Pairing by round takes out what the machine did to all of them at that moment.
        """
        of_other = {s.round: s.cpu_us for s in self.clean(other, other_scene or scene)}
        ratios = [
            sample.cpu_us / of_other[sample.round]
            for sample in self.clean(peer, scene)
            if of_other.get(sample.round)
        ]
        return median(ratios) if ratios else None

    def ttft_ms(self, peer: str, share: float) -> float | None:
        """Time to first token over the streams of all rounds."""
        pooled = [ms for sample in self.clean(peer, "stream") for ms in sample.outcome.ttft_ms]
        return percentile(pooled, share) if pooled else None

    def added_ttft_ms(self, peer: str, share: float) -> float | None:
        """What the proxy adds: its percentile less that of the same load without a proxy."""
        with_proxy, without = self.ttft_ms(peer, share), self.ttft_ms(DIRECT, share)
        if with_proxy is None or without is None:
            return None
        return with_proxy - without

    def stall_ms(self, peer: str) -> float | None:
        """The worst gap between two chunks beside 10 MB bodies, less the worst without a proxy."""
        own, base = self.worst_gap_ms(peer), self.worst_gap_ms(DIRECT)
        return None if own is None or base is None else own - base

    def worst_gap_ms(self, peer: str) -> float | None:
        """The worst gap of a round beside 10 MB bodies; the median over rounds."""
        gaps = [sample.outcome.gap_worst_ms for sample in self.clean(peer, "stall")]
        return median(gaps) if gaps else None

    def idle_kb(self, peer: str) -> Spread | None:
        return spread([sample.kb_each for sample in self.clean(peer, "idle")])

    def measured(self, kind: str, scene: str) -> list[str]:
        """Peers of a kind with a clean sample of a scene, cheapest first."""
        costs = {
            peer: cost.median
            for peer, its_kind in self.kinds.items()
            if its_kind == kind and (cost := self.cpu_us(peer, scene)) is not None
        }
        return sorted(costs, key=lambda peer: costs[peer])
