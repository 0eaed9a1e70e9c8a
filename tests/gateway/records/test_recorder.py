"""recorder.py: readings of the gateway's own metrics become a history, beside the loop."""

import asyncio

from headrace.diagnose.history import History
from headrace.diagnose.snapshot import known
from headrace.gateway.records.recorder import Recorder, reading
from headrace.telemetry.columns import Column
from tests.edge.rig import Rig, ask, eventually
from tests.telemetry.exposed import exposed


def test_a_reading() -> None:
    """Values that a diagnosis asks for are summed up; what is not a number is left out."""
    states: dict[tuple[str, ...], float]
    states = {("a", "ready"): 1.0, ("a", "degraded"): 0.0, ("a", "gone"): 1.0}
    found = reading(
        [
            Column("headrace_replica_state", ("replica", "state"), states),
            Column("headrace_replica_load_age_seconds", ("replica",), {("a",): float("nan")}),
            Column("headrace_replica_silent_seconds", ("replica",), {("a",): 2.0}),
            Column("something_else", (), {(): 5.0}),
        ]
    )

    assert {("r_ready", ("a",)): 1.0, ("r_silent", ("a",)): 2.0} == found


async def test_reads_at_each_step() -> None:
    """From start to stop there is a reading for each step, and afterwards it is still known."""
    recorder = Recorder(History(0.02), lambda: [Column("headrace_slow_clients", (), {(): 3.0})])
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


async def test_columns_are_what_a_scrape_shows(rig: Rig) -> None:
    """Of a gateway that answered requests, each metric has the same series and values in both."""
    await rig.engine()
    gateway = await rig.gateway(diagnosis={"enabled": False}, health={"interval_s": 3600})
    await rig.post(ask())
    gateway.log.count()
    samples = [*exposed(gateway.metrics)]
    columns = gateway.metrics.columns({name for name, _, _ in samples})
    found = {
        (metric, frozenset(zip(labels, key, strict=True))): value
        for metric, labels, values in columns
        for key, value in values.items()
    }
    shown = {(name, frozenset(labels.items())): value for name, labels, value in samples}
    counted = {key for key in shown if key[0].endswith("_total") and "process" not in key[0]}

    assert shown.keys() == found.keys()
    assert {key: shown[key] for key in counted} == {key: found[key] for key in counted}
    assert len(counted) > 50
