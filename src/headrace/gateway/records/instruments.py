"""
Joins what measures the gateway from outside its requests: live values, the loop's delay, history.
Each of them is made elsewhere; here they are put together, started and stopped.
"""

from headrace.config.diagnosis import Diagnosis
from headrace.diagnose.history import History
from headrace.diagnose.series import METRICS
from headrace.gateway.records.recorder import Recorder
from headrace.gateway.records.sight import Sight
from headrace.telemetry.live import LiveMetrics
from headrace.telemetry.loop import LoopMetrics
from headrace.telemetry.metrics import Metrics


class Instruments:
    """One gateway's."""

    def __init__(self, config: Diagnosis, metrics: Metrics, sight: Sight) -> None:
        sight.forget(metrics.forget)
        LiveMetrics(metrics.registry, sight.look)
        self.late = LoopMetrics(metrics.registry).late
        self.recorder: Recorder | None = None
        if config.enabled and config.prometheus is None:
            history = History(config.interval_s)
            self.recorder = Recorder(history, lambda: metrics.columns(METRICS))

    def start(self) -> None:
        """Keep the history from now on."""
        if self.recorder is not None:
            self.recorder.start()

    async def stop(self) -> None:
        """Read no more; what is known stays."""
        if self.recorder is not None:
            await self.recorder.stop()
