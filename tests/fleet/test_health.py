"""health.py: replicas that get sick, are set aside, prove themselves and return."""

import asyncio
import errno
from typing import Any

import pytest

from headrace.config.backends import Backend
from headrace.conformance import answers
from headrace.conformance.fake import WAIT_S, Exchange, FakeEngine, Script
from headrace.conformance.wire import request
from headrace.fleet import health, pace
from headrace.fleet.registry import Replica
from headrace.fleet.states import State
from headrace.gateway.app import Gateway
from tests.edge.rig import CHAT_PATH, Rig, ask, eventually, gather, streamed

FAST: dict[str, Any] = {"interval_s": 0.05, "timeout_s": 3.0}  # a late probe is one that hangs
FLAT = b'vllm:num_requests_running{engine="0"} 1.0\nvllm:generation_tokens_total{engine="0"} 5.0\n'


def replica_of(gateway: Gateway, engine: FakeEngine) -> Replica:
    return gateway.fleet.replicas[f"127.0.0.1:{engine.port}"]


async def reaches(gateway: Gateway, engine: FakeEngine, *states: State) -> str:
    """Wait until a replica has passed through these states; gives the reason of the last one."""

    def passed() -> bool:
        steps = iter(step.after for step in replica_of(gateway, engine).history)
        return all(state in steps for state in states)

    await eventually(passed, lambda: repr(replica_of(gateway, engine).history))
    history = replica_of(gateway, engine).history
    return next(step.reason for step in reversed(history) if step.after is states[-1])


def unwell(status: int = 503) -> Script:
    async def script(exchange: Exchange) -> None:
        await exchange.answer(status, b"")

    return script


def with_metrics(text: bytes) -> Script:
    async def script(exchange: Exchange) -> None:
        await exchange.answer(200, text if exchange.path == "/metrics" else b"")

    return script


class TestProbes:
    async def test_trusted_at_once(self, rig: Rig) -> None:
        """A configured backend answers its first request before any probe."""
        engine = await rig.engine()
        gateway = await rig.gateway()

        assert 200 == (await rig.post(ask())).status
        assert ([], State.READY) == (engine.probes, replica_of(gateway, engine).state)

    async def test_untrusted_is_warmed_first(self, rig: Rig) -> None:
        """Its own token comes before any user's request, which waits for it."""
        engine = await rig.engine()
        gateway = await rig.gateway(health=FAST | {"trust_static": False})

        answer = await rig.post(ask())

        assert 200 == answer.status
        assert ["/v1/completions", CHAT_PATH] == [seen.path for seen in engine.exchanges]
        assert 1 == engine.exchanges[0].json()["max_tokens"]
        assert [None, State.STARTING, State.WARMING] == [
            step.before for step in replica_of(gateway, engine).history
        ]

    async def test_our_own_requests_are_nobodys(self, rig: Rig) -> None:
        """Probes and first tokens hold no lease and have no record."""
        engine = await rig.engine()
        gateway = await rig.gateway(health=FAST | {"trust_static": False})
        await reaches(gateway, engine, State.READY)

        assert ([], 0) == ([*gateway.records], replica_of(gateway, engine).sent)

    async def test_a_model_that_completes_nothing(self, rig: Rig) -> None:
        """4xx on every endpoint is a model that cannot be warmed so; it is ready all the same."""
        engine = await rig.engine(answers.says(404, answers.ERR_ROUTE))
        gateway = await rig.gateway(health=FAST | {"trust_static": False})
        await reaches(gateway, engine, State.READY)

        paths = [seen.path for seen in engine.exchanges]
        assert ["/v1/completions", "/v1/chat/completions", "/v1/embeddings"] == paths

    async def test_a_first_token_that_fails(self, rig: Rig) -> None:
        """A replica that cannot answer one token gets no requests until it can."""
        engine = await rig.engine(unwell(500))
        gateway = await rig.gateway(health=FAST | {"trust_static": False})
        reason = await reaches(gateway, engine, State.WARMING, State.STARTING)
        engine.script = answers.like_vllm
        await reaches(gateway, engine, State.READY)

        assert "was answered 500" in reason

    async def test_asleep_it_is_left_alone_and_warmed_when_woken(self, rig: Rig) -> None:
        """No probe disturbs it, however sick it looks; woken, it answers a token at once."""
        engine = await rig.engine()
        gateway = await rig.gateway(health=FAST)
        replica = replica_of(gateway, engine)
        gateway.fleet.move(replica, State.SLEEPING, "idle")
        await asyncio.sleep(0.1)
        probes = len(engine.probes)
        engine.probe, healthy = unwell(), engine.probe
        await asyncio.sleep(0.3)
        during = len(engine.probes), replica.state
        engine.probe = healthy
        gateway.fleet.move(replica, State.WARMING, "woken")
        await reaches(gateway, engine, State.SLEEPING, State.WARMING, State.READY)

        assert (probes, State.SLEEPING) == during
        assert ["/v1/completions"] == [seen.path for seen in engine.exchanges]

    async def test_the_last_one_awake_is_not_ejected_for_failures(self, rig: Rig) -> None:
        """Who sleeps cannot stand in: it does not count among those that are left."""
        sick, asleep = await rig.engine(unwell(500)), await rig.engine()
        gateway = await rig.gateway(health={"enabled": False}, outliers={"consecutive": 2})
        gateway.fleet.move(replica_of(gateway, asleep), State.SLEEPING, "idle")
        for _ in range(3):
            await rig.post(ask())

        assert State.DEGRADED is replica_of(gateway, sick).state

    async def test_out_and_back(self, rig: Rig) -> None:
        """Three failed probes eject a replica, two good ones and a token bring it back."""
        sick, well = await rig.engine(), await rig.engine()
        gateway = await rig.gateway(health=FAST)
        healthy, sick.probe = sick.probe, unwell()
        reason = await reaches(gateway, sick, State.DEGRADED, State.EJECTED)
        before = len(sick.exchanges)
        seen = [await rig.post(ask()) for _ in range(4)]
        sick.probe = healthy
        await reaches(gateway, sick, State.EJECTED, State.WARMING, State.READY)

        assert "3 health checks failed, the last: GET /health was answered 503" == reason
        assert [200] * 4 == [answer.status for answer in seen]
        assert (before, 4) == (len(sick.exchanges) - 1, len(well.exchanges))

    async def test_a_hanging_health_check(self, rig: Rig) -> None:
        """A front end that hangs is as bad as one that is gone."""
        engine = await rig.engine()
        gateway = await rig.gateway(health=FAST | {"timeout_s": 0.05})
        engine.probe = answers.hangs

        assert "not answered within 0.05 s" in await reaches(gateway, engine, State.EJECTED)

    async def test_a_slow_health_check_of_a_busy_replica(self, rig: Rig) -> None:
        """A replica whose streams go on is not taken out for a late /health."""
        enough = asyncio.Event()

        async def streams(exchange: Exchange) -> None:
            await exchange.start_stream()
            while not enough.is_set():
                await exchange.events(answers.chat_chunk("m", {"content": "a"}))
                await asyncio.sleep(0.02)
            await exchange.end_stream()

        engine = await rig.engine(streams)
        gateway = await rig.gateway(health=FAST | {"timeout_s": 1.0})
        stream = asyncio.create_task(rig.post(streamed()))
        await engine.exchange()
        await asyncio.sleep(0.6)  # one tick, which sees the bytes
        engine.probe = answers.hangs
        reason = await reaches(gateway, engine, State.DEGRADED)
        enough.set()
        await stream

        assert "though it answers requests" in reason
        assert State.EJECTED not in {s.after for s in replica_of(gateway, engine).history}

    async def test_a_busy_fleet_is_not_emptied(self, rig: Rig) -> None:
        """All front ends are too busy for /health: half of them stay, since load would do that."""
        engines = [await rig.engine(answers.hangs) for _ in range(4)]
        gateway = await rig.gateway(health=FAST | {"timeout_s": 0.05, "stuck_s": 0})
        clients = [await rig.client().__aenter__() for _ in range(4)]
        for client in clients:
            await client.send(request("POST", CHAT_PATH, ask()))
        await eventually(lambda: gateway.fleet.inflight_requests == 4)
        for engine in engines:
            engine.probe = answers.hangs
        replicas = gateway.fleet.replicas.values()
        await eventually(lambda: all(r.state is not State.READY for r in replicas))
        await asyncio.sleep(0.5)

        states = sorted(replica.state for replica in replicas)
        assert [State.DEGRADED] * 2 + [State.EJECTED] * 2 == states

    async def test_deaf_for_long(self, rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
        """Load explains silence for a minute; after it the last replica is ejected, too."""
        monkeypatch.setattr(health, "DEAF_S", 1.5)
        engine = await rig.engine(answers.hangs)
        gateway = await rig.gateway(health=FAST | {"timeout_s": 0.05})
        async with rig.client() as client:
            await client.send(request("POST", CHAT_PATH, ask()))
            await engine.exchange()
            engine.probe = answers.hangs
            reason = await reaches(gateway, engine, State.DEGRADED, State.EJECTED)

        assert "not answered within 0.05 s" in reason

    async def test_a_dead_fleet_returns(self, rig: Rig) -> None:
        """When all are out, requests wait; the first one that is back answers them."""
        engine = await rig.engine()
        gateway = await rig.gateway(health=FAST)
        await engine.kill()
        await reaches(gateway, engine, State.EJECTED)
        held = asyncio.create_task(rig.post(ask()))
        await eventually(lambda: gateway.buffered_bytes > 0)
        await engine.start()

        assert 200 == (await held).status

    async def test_a_path_before_the_endpoints(self, rig: Rig) -> None:
        """An engine behind a path gets requests, probes and its first token there."""
        engine = await rig.engine(answers.says(200, b'{"choices": []}'))
        gateway = await rig.gateway(
            backends=[{"url": f"{engine.url}/llm/v1", "serves": ["m"]}],
            health=FAST | {"trust_static": False},
            load={"interval_s": 0.05},
        )
        answer = await rig.post(ask())
        await reaches(gateway, engine, State.READY)
        await eventually(lambda: "/llm/metrics" in {seen.path for seen in engine.exchanges})

        paths = {seen.path for seen in engine.exchanges}
        assert 200 == answer.status
        assert {"/llm/health", "/llm/metrics", "/llm/v1/completions", f"/llm{CHAT_PATH}"} == paths

    async def test_an_unprobed_backend(self, rig: Rig) -> None:
        """A hosted API is never asked anything of our own."""
        engine = await rig.engine()
        backend = {"url": engine.url, "serves": ["m"], "probe": False}
        await rig.gateway(
            backends=[backend], health=FAST | {"trust_static": False}, load={"interval_s": 0.05}
        )
        await rig.post(ask())
        await asyncio.sleep(0.3)

        assert (1, []) == (len(engine.exchanges), engine.probes)


class TestOutliers:
    async def test_failures_in_a_row(self, rig: Rig) -> None:
        """After five it is out, with the reason; its time over, it proves itself and returns."""
        bad, good = await rig.engine(answers.says(500, answers.error(500))), await rig.engine()
        gateway = await rig.gateway(health=FAST, outliers={"ejection_s": 0.3})
        seen = [(await rig.post(ask())).status for _ in range(20)]
        await reaches(gateway, bad, State.EJECTED)
        history = replica_of(gateway, bad).history
        reason = next(step.reason for step in history if step.after is State.EJECTED)
        bad.script = answers.like_vllm
        await reaches(gateway, bad, State.EJECTED, State.WARMING, State.READY)

        assert 5 == seen.count(500)
        assert "5 requests failed in a row, the last: status 500" == reason
        assert 15 == len(good.exchanges)

    async def test_failed_half_open(self, rig: Rig) -> None:
        """A replica that fails its own token goes out again, for twice as long."""
        bad, _ = await rig.engine(answers.says(500, answers.error(500))), await rig.engine()
        gateway = await rig.gateway(health=FAST, outliers={"ejection_s": 0.2})
        for _ in range(12):
            await rig.post(ask())
        reason = await reaches(gateway, bad, State.EJECTED, State.WARMING, State.EJECTED)
        ward = gateway.keeper.ward(replica_of(gateway, bad))

        assert "its first token, asked by /v1/completions, was answered 500" == reason
        assert ward is not None
        assert ward.sentence.count >= 2

    async def test_the_last_one_stays(self, rig: Rig) -> None:
        """Peers that only start cannot take over: failures do not eject the one that answers."""
        await rig.engine(answers.says(500, answers.error(500)))
        gateway = await rig.gateway()
        absent = {"url": rig.refusing().url, "serves": ["m"]}
        gateway.fleet.add(Backend.model_validate(absent), trusted=False)
        for _ in range(6):
            await rig.post(ask())

        assert [State.DEGRADED, State.STARTING] == [
            replica.state for replica in gateway.fleet.replicas.values()
        ]

    @pytest.mark.parametrize("replicas", [1, 2, 3])
    async def test_never_more_than_the_share(self, rig: Rig, replicas: int) -> None:
        """However many fail, at most half of them are set aside; the others are degraded."""
        engines = [await rig.engine(answers.says(500, answers.error(500))) for _ in range(replicas)]
        gateway = await rig.gateway()
        for _ in range(30):
            await rig.post(ask())

        states = [replica_of(gateway, engine).state for engine in engines]
        assert replicas // 2 == states.count(State.EJECTED)
        assert replicas - replicas // 2 == states.count(State.DEGRADED)

    async def test_a_low_success_rate(self, rig: Rig) -> None:
        """A replica that fails every other request is out, though never five in a row."""
        turn = 0

        async def flaky(exchange: Exchange) -> None:
            nonlocal turn
            turn += 1
            good = answers.like_vllm, answers.says(500, answers.error(500))
            await good[turn % 2](exchange)

        bad, _ = await rig.engine(flaky), await rig.engine()
        gateway = await rig.gateway()
        await asyncio.sleep(0.6)  # the first look, from which the window counts
        for _ in range(60):
            await rig.post(ask())

        assert "success rate " in await reaches(gateway, bad, State.EJECTED)

    async def test_4xx_and_hang_ups_never_count(self, rig: Rig) -> None:
        """What clients do wrong is held against no replica."""
        engine, other = [await rig.engine(answers.says(400, answers.ERR_CONTEXT)) for _ in range(2)]
        gateway = await rig.gateway()
        for _ in range(30):
            await rig.post(ask())
        engine.script = other.script = answers.hangs
        for _ in range(12):
            async with rig.client() as client:
                await client.send(request("POST", CHAT_PATH, ask()))
                await eventually(lambda: gateway.fleet.inflight_requests > 0)
        await rig.idle()

        replica = replica_of(gateway, engine)
        assert (State.READY, 0) == (replica.state, replica.failures)
        assert replica.abandoned > 0
        assert replica.sent == replica.refused + replica.abandoned


class TestStuck:
    async def test_a_stuck_gpu(self, rig: Rig) -> None:
        """Found by its flat counters; what waits there is answered by another replica."""
        stuck = await rig.engine(answers.hangs)
        stuck.probe = with_metrics(FLAT)
        well = await rig.engine()
        gateway = await rig.gateway(health={"stuck_s": 0.5}, load={"interval_s": 0.1})

        seen = await gather(*(rig.post(streamed() if n % 2 else ask()) for n in range(4)))

        assert [200] * 4 == [answer.status for answer in seen]
        reason = await reaches(gateway, stuck, State.EJECTED)
        assert "stuck: 1 running, and no counter moved for " in reason
        assert len(well.exchanges) >= 4

    async def test_silent_without_metrics(self, rig: Rig) -> None:
        """Found because its streams are silent while those of its peer go on."""
        stuck = await rig.engine(answers.hangs)
        well = await rig.engine()
        gateway = await rig.gateway(health={"stuck_s": 0.5}, retries={"budget": 1})
        waiting = [asyncio.create_task(rig.post(streamed())) for _ in range(2)]
        await stuck.exchange()
        while replica_of(gateway, stuck).state is State.READY and len(waiting) < 200:
            waiting.append(asyncio.create_task(rig.post(streamed())))
            await asyncio.sleep(0.05)
        seen = await gather(*waiting)

        assert {200} == {answer.status for answer in seen}
        assert "streams without a byte" in replica_of(gateway, stuck).reason
        assert State.READY is replica_of(gateway, well).state

    async def test_one_that_thinks(self, rig: Rig) -> None:
        """Streams whose first byte takes long do not make a replica stuck that answers a token."""

        async def thinks(exchange: Exchange) -> None:
            wanted = exchange.json().get("stream")
            await (answers.hangs if wanted else answers.like_vllm)(exchange)

        thinker = await rig.engine(thinks)
        gateway = await rig.gateway(health={"stuck_s": 0.5, "slow_start_s": 0})
        async with rig.client() as waiting:
            await waiting.send(request("POST", CHAT_PATH, streamed()))
            await thinker.exchange()
            gateway.fleet.add(rig.backend(await rig.engine()))
            for _ in range(40):  # the peer goes on
                await rig.post(ask())
                await asyncio.sleep(0.05)

        assert "/v1/completions" in {seen.path for seen in thinker.exchanges}
        assert State.READY is replica_of(gateway, thinker).state

    async def test_left_over_gauge(self, rig: Rig) -> None:
        """An engine that says it runs what nobody sent is asked, answers, and stays."""
        engine = await rig.engine()
        engine.probe = with_metrics(FLAT)
        await rig.engine()
        gateway = await rig.gateway(health={"stuck_s": 0.5}, load={"interval_s": 0.1})
        await engine.exchange()

        assert 1 == engine.exchanges[0].json()["max_tokens"]
        assert State.READY is replica_of(gateway, engine).state


class TestLeaving:
    """Replicas that were removed or drained with requests, and fell silent."""

    async def test_a_stuck_gpu(self, rig: Rig) -> None:
        """What waits at a removed replica is answered by another when its counters stand still."""
        stuck = await rig.engine(answers.hangs)
        stuck.probe = with_metrics(FLAT)
        gateway = await rig.gateway(health={"stuck_s": 0.5}, load={"interval_s": 0.1})
        waiting = asyncio.create_task(rig.post(ask()))
        await stuck.exchange()
        gateway.fleet.add(rig.backend(await rig.engine()))
        gateway.fleet.remove(f"127.0.0.1:{stuck.port}")

        assert 200 == (await waiting).status
        assert 2 == gateway.records[-1].attempts

    async def test_one_that_died(self, rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
        """One whose health is not answered for long is not waited for, were it the only one."""
        monkeypatch.setattr(health, "DEAF_S", 0.3)
        frozen = await rig.engine(answers.hangs)
        gateway = await rig.gateway(health=FAST | {"timeout_s": 0.2})
        waiting = asyncio.create_task(rig.post(ask()))
        await frozen.exchange()
        frozen.probe = answers.hangs
        gateway.fleet.remove(f"127.0.0.1:{frozen.port}")
        answer = await waiting

        assert 502 == answer.status
        assert "it is silent: GET /health was not answered within 0.2 s" in answer.body.decode()

    async def test_one_that_refuses_probes(self, rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
        """An engine that stops listening while it finishes is given the time that it needs."""
        monkeypatch.setattr(health, "DEAF_S", 0.1)
        go = asyncio.Event()
        engine = await rig.engine(answers.after(go, answers.like_vllm))
        engine.probe = unwell()
        gateway = await rig.gateway(health=FAST)
        waiting = asyncio.create_task(rig.post(ask()))
        await engine.exchange()
        gateway.fleet.add(rig.backend(await rig.engine()))
        ward = gateway.keeper.ward(replica_of(gateway, engine))
        gateway.fleet.remove(f"127.0.0.1:{engine.port}")
        await eventually(lambda: ward is not None and ward.bad > 5)
        go.set()

        assert 200 == (await waiting).status
        assert 1 == gateway.records[-1].attempts

    async def test_an_ejected_one(self, rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
        """What waits at a replica that was set aside, and died, goes to another."""
        monkeypatch.setattr(health, "DEAF_S", 0.3)
        frozen = await rig.engine(answers.hangs)
        gateway = await rig.gateway(health=FAST | {"timeout_s": 0.2, "stuck_s": 0})
        waiting = asyncio.create_task(rig.post(ask()))
        await frozen.exchange()
        gateway.fleet.add(rig.backend(await rig.engine()))
        frozen.probe = answers.hangs

        assert 200 == (await waiting).status
        assert State.EJECTED is replica_of(gateway, frozen).state


class TestLoad:
    async def test_idle_replicas_are_read_less_often(
        self, rig: Rig, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """In a large fleet one that runs nothing is read a quarter as often as one that does."""
        monkeypatch.setattr(pace, "MANY", 0.5)  # two replicas are many
        counts = {"idle": 0, "busy": 0}

        def counted(name: str, running: int) -> Script:
            async def script(exchange: Exchange) -> None:
                counts[name] += exchange.path == "/metrics"
                await exchange.answer(200, b'vllm:num_requests_running{engine="0"} %d\n' % running)

            return script

        for name, running in (("idle", 0), ("busy", 1)):
            (await rig.engine()).probe = counted(name, running)
        await rig.gateway(load={"interval_s": 0.03}, health={"stuck_s": 0})

        await eventually(lambda: counts["busy"] >= 40)

        assert 5 <= counts["idle"] <= 20

    async def test_it_is_read(self, rig: Rig) -> None:
        """What the engine says is there, with its age."""
        engine = await rig.engine()
        engine.probe = with_metrics(FLAT)
        gateway = await rig.gateway(load={"interval_s": 0.05})
        ward = gateway.keeper.ward(replica_of(gateway, engine))
        assert ward is not None
        await eventually(lambda: ward.load is not None)
        text = (await rig.get("/metrics")).body.decode()

        assert ward.load is not None
        assert (1.0, 5.0) == (ward.load.running, ward.load.generation_tokens)
        name = f'headrace_replica_load_age_seconds{{replica="127.0.0.1:{engine.port}"}} '
        assert 0 <= float(text.partition(name)[2].partition("\n")[0]) < WAIT_S

    async def test_metrics_that_stop(self, rig: Rig) -> None:
        """Metrics that were there and are not any more degrade the replica until they return."""
        engine = await rig.engine()
        engine.probe = with_metrics(FLAT)
        gateway = await rig.gateway(health=FAST, load={"interval_s": 0.05})
        ward = gateway.keeper.ward(replica_of(gateway, engine))
        assert ward is not None
        await eventually(lambda: ward.load is not None)
        engine.probe = unwell(404)
        reason = await reaches(gateway, engine, State.DEGRADED)
        engine.probe = with_metrics(FLAT)
        await reaches(gateway, engine, State.DEGRADED, State.READY)

        assert "its metrics could not be read 3 times" == reason


async def test_slow_start(rig: Rig) -> None:
    """A replica that joins busy ones has a penalty at first, and none in the end."""
    await rig.engine(answers.hangs)
    gateway = await rig.gateway(health={"slow_start_s": 0.8})
    clients = [await rig.client().__aenter__() for _ in range(4)]
    for client in clients:
        await client.send(request("POST", CHAT_PATH, ask()))
    await eventually(lambda: gateway.fleet.inflight_requests == 4)
    late = await rig.engine()
    gateway.fleet.add(rig.backend(late))
    replica = replica_of(gateway, late)
    at_first = replica.penalty

    load = gateway.fleet.inflight_tokens
    assert round(0.9 * load) == at_first
    await eventually(lambda: replica.penalty == 0)
    assert 1.0 == replica.weight


async def test_series_of_a_gone_replica_are_dropped(rig: Rig) -> None:
    """Replicas that come and go for ever do not grow the metrics."""
    engine = await rig.engine()
    gateway = await rig.gateway()
    name = f"127.0.0.1:{engine.port}"
    before = (await rig.get("/metrics")).body.decode()
    gateway.fleet.remove(name)
    after = (await rig.get("/metrics")).body.decode()

    assert f'headrace_replica_state{{replica="{name}",state="ready"}} 1.0' in before
    assert f'headrace_replica_transitions_total{{replica="{name}",state="ready"}} 1.0' in before
    assert name not in after


async def test_files_that_we_lack(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """When this process can open no connection, no replica is blamed for it."""

    async def refused(*_: object, **__: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    for _ in range(2):
        await rig.engine()
    gateway = await rig.gateway(health=FAST)
    async with rig.client() as client:
        await client.get("/health")
        monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", refused, raising=False)
        seen = [await client.post(CHAT_PATH, ask()) for _ in range(10)]
        await asyncio.sleep(0.4)
        monkeypatch.undo()

    assert {503} == {answer.status for answer in seen}
    assert {"1"} == {answer.header("retry-after") for answer in seen}
    assert "Too many open files" in seen[0].body.decode()
    assert {State.READY} == {replica.state for replica in gateway.fleet.replicas.values()}
