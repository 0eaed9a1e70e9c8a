"""
Is the harness right? The same trace through a real router in front of the HTTP fleet, and through
the discrete-event simulator, which has no HTTP, no wall clock and no cores to share.
"""

from dataclasses import dataclass

from headrace.engines.sim.presets import PRESETS
from headrace.simulate.rivals import RoundRobin
from headrace.simulate.trace import Trace
from headrace.simulate.world import Fleet, World

from .figures import Spread, spread
from .plan import Cell

TOLERANCE = 0.15


@dataclass(frozen=True, slots=True)
class Agreement:
    """TTFT in ms of both, how far they are apart, and why the harness's run may not be valid."""

    simulated: Spread
    harness: Spread
    doubts: tuple[str, ...] = ()

    @property
    def error(self) -> float:
        """Of the mean; 0.1 is a tenth too slow."""
        return self.harness.mean / self.simulated.mean - 1

    @property
    def agrees(self) -> bool:
        return abs(self.error) <= TOLERANCE


def simulate(cell: Cell, found: Trace) -> Spread:
    """TTFT of round robin in the discrete-event simulator."""
    presets = [PRESETS[group.preset] for group in cell.groups for _ in range(group.replicas)]
    outcome = World(found, Fleet(tuple(presets)), RoundRobin(), seed=0).run()
    return spread([(job.first_s - job.request.arrival_s) * 1000 for job in outcome.jobs])
