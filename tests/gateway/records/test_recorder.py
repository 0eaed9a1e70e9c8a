"""recorder.py: readings of the gateway's own metrics become a history, beside the loop."""

import asyncio

from headrace.diagnose.history import History
from headrace.diagnose.snapshot import known
from headrace.gateway.records.recorder import Recorder, reading
from tests.edge.rig import Rig, ask, eventually


def test_a_reading() -> None:
    """Samples that a diagnosis asks for are summed up; what is not a number is left out."""
    found = reading(
        [
            ("headrace_replica_state", {"replica": "a", "state": "ready"}, 1.0),
            ("headrace_replica_state", {"replica": "a", "state": "degraded"}, 0.0),
            ("headrace_replica_load_age_seconds", {"replica": "a"}, float("nan")),
            ("something_else", {}, 5.0),
        ]
    )

    assert {("r_ready", ("a",)): 1.0} == found


async def test_reads_at_each_step() -> None:
    """From start to stop there is a reading for each step, and afterwards it is still known."""
    recorder = Recorder(History(0.02), lambda: [("headrace_slow_clients", {}, 3.0)])
    recorder.start()
    await eventually(lambda: len(recorder.snapshot().fine.times) >= 3)
    await recorder.stop()
    known = recorder.snapshot()
    await asyncio.sleep(0.05)

    assert {3.0} == {*known.fine.series["slow", ()]}
    assert len(known.fine.times) == len(recorder.snapshot().fine.times)


async def test_a_gateway_keeps_its_history(rig: Rig) -> None:
    """Requests that ended are in the series of their model and their replica."""
    engine = await rig.engine()
    gateway = await rig.gateway(diagnosis={"interval_s": 0.1})
    for _ in range(3):
        await rig.post(ask())
    recorder, name = gateway.instruments.recorder, engine.url.removeprefix("http://")
    assert recorder is not None

    def ended() -> float:
        series = recorder.snapshot().fine.series
        values = series.get(("ended", ("m", "completed")), ())
        return sum(value * 0.1 for value in values if known(value))

    await eventually(lambda: ended() > 2, timeout_s=10.0)
    series = recorder.snapshot().fine.series
    assert ("r_sent", (name,)) in series
    assert ("late_n", ()) in series
    assert ("cpu", ()) in series


async def test_it_can_be_switched_off(rig: Rig) -> None:
    """Without a history nothing is read."""
    gateway = await rig.gateway(urls=[], diagnosis={"enabled": False})

    assert gateway.instruments.recorder is None
