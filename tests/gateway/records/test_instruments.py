"""instruments.py: where the series of a diagnosis come from is one choice."""

from headrace.config.schema import Config
from headrace.gateway.app import Gateway
from tests.telemetry.exposed import exposed


def test_a_prometheus_makes_the_history_needless() -> None:
    """With one configured, the process keeps none of its own."""
    diagnosis = {"prometheus": "http://prometheus:9090"}
    asks = Gateway(Config.model_validate({"diagnosis": diagnosis}))

    assert asks.instruments.recorder is None
    assert Gateway(Config()).instruments.recorder is not None


async def test_the_loop_is_watched() -> None:
    """Each tick of the watchdog leaves a delay in the metrics."""
    gateway = Gateway(Config())
    gateway.instruments.late(0.02)
    found = {name: value for name, _, value in exposed(gateway.metrics)}

    assert 0.02 == found["headrace_event_loop_delay_seconds_sum"]
