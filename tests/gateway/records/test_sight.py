"""sight.py: what a gateway sees of itself, request by request and replica by replica."""

from headrace.conformance import answers
from headrace.conformance.wire import request
from headrace.fleet.load import LoadView
from headrace.gateway.records.sight import PHASES
from headrace.telemetry.live import TABLE, Values
from headrace.telemetry.metrics import MAX_TENANTS, UNKNOWN
from tests.edge.rig import CHAT_PATH, Rig, ask, eventually, streamed
from tests.telemetry.exposed import exposed


async def test_phases_of_running_requests(rig: Rig) -> None:
    """A stream that has begun is streaming, one that has not waits for its first byte."""
    first = answers.chat_frames("m")[0]
    await rig.engine(answers.streams_then(first, then=answers.hangs))
    gateway = await rig.gateway()
    async with rig.client() as client:
        answer = await client.open("POST", "/v1/chat/completions", streamed())
        await answer.event()
        seen = gateway.sight.look()
    await rig.idle()
    after = gateway.sight.look()

    counts = {phase: seen["headrace_active_requests"]["m", phase] for phase in PHASES}
    assert {"waiting": 0, "first_byte": 0, "streaming": 1, "whole": 0} == counts
    assert 0 == sum(after["headrace_active_requests"].values())


async def test_every_row_of_the_table_is_looked_at(rig: Rig) -> None:
    """No metric of the table is forgotten, and none is there without a row."""
    await rig.engine()
    gateway = await rig.gateway()

    assert {row.name for row in TABLE} == set(gateway.sight.look())


async def test_what_replicas_did(rig: Rig) -> None:
    """Requests sent and failed, decisions, and what the engine said last."""
    engine = await rig.engine()
    gateway = await rig.gateway()
    name = engine.url.removeprefix("http://")
    await rig.post(ask())
    [replica] = gateway.fleet.replicas.values()
    ward = gateway.keeper.ward(replica)
    assert ward is not None
    ward.load, ward.probe.took_s = LoadView(running=3, preemptions=7), 0.25
    seen = gateway.sight.look()

    assert 1 == seen["headrace_replica_requests_total"][name,]
    assert 1 == seen["headrace_decisions_total"]["m",]
    assert 0 < seen["headrace_decision_seconds_total"]["m",] < 1
    assert (3, 7, 0.25) == (
        seen["headrace_engine_running_requests"][name,],
        seen["headrace_engine_preemptions_total"][name,],
        seen["headrace_health_check_seconds"][name,],
    )


async def test_what_is_held_now(rig: Rig) -> None:
    """While a request runs: its bytes, its connection, and its place at the replica."""
    engine = await rig.engine(answers.hangs)
    gateway = await rig.gateway()
    name = engine.url.removeprefix("http://")

    def look(metric: str) -> Values:
        return gateway.sight.look()[metric]

    async with rig.client() as client:
        await client.send(request("POST", CHAT_PATH, ask()))
        await eventually(lambda: sum(look("headrace_replica_inflight_requests").values()) == 1)
        seen = gateway.sight.look()
    await rig.idle()
    after = gateway.sight.look()

    assert 1 == seen["headrace_client_connections"][()] == seen["headrace_model_replicas"]["m",]
    assert seen["headrace_replica_inflight_tokens"][name,] > 0
    assert seen["headrace_inflight_bytes"][()] > 0
    assert 0 == seen["headrace_held_requests"]["m",] == seen["headrace_waiting_requests"]["m",]
    assert {(name,)} == set(seen["headrace_index_blocks"])
    assert 0 == after["headrace_replica_inflight_requests"][name,]
    assert 0 == after["headrace_inflight_bytes"][()]


async def test_tenants_are_bounded(rig: Rig) -> None:
    """Beyond the most tenants, those that come later share one series."""
    sight = (await rig.gateway(urls=[])).sight
    for number in range(MAX_TENANTS):
        assert f"t{number}" == sight.meet(f"t{number}")

    assert UNKNOWN == sight.meet("one more")
    assert "t3" == sight.meet("t3")


async def test_series_of_replicas_go_with_them(rig: Rig) -> None:
    """When a replica has left, its histograms are dropped."""
    engine = await rig.engine()
    gateway = await rig.gateway()
    await rig.post(streamed())
    name = engine.url.removeprefix("http://")

    def shown() -> bool:
        return any(labels.get("replica") == name for _, labels, _ in exposed(gateway.metrics))

    gateway.log.flush()
    await eventually(shown)
    gateway.fleet.remove(name)
    assert not any(
        labels.get("replica") == name and sample.startswith("headrace_replica_time")
        for sample, labels, _ in exposed(gateway.metrics)
    )
