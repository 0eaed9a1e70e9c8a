"""
The metric of the event loop's delay: how late it comes to what it should do. Who measures is
gateway/clocks.py's watchdog.
"""

from prometheus_client import CollectorRegistry, Histogram

# From a timer's own coarseness (1 ms) to a loop that clients take for dead.
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)


class LoopMetrics:
    """Takes one delay at each tick of the watchdog."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._seconds = Histogram(
            "headrace_event_loop_delay_seconds",
            "How late the event loop came to a timer, ten times a second.",
            buckets=SECONDS, registry=registry,
        )  # fmt: skip

    def late(self, seconds: float) -> None:
        """The loop came so late."""
        self._seconds.observe(seconds)
