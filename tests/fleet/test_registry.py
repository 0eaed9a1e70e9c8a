"""registry.py: whatever happens in whatever order, what is in flight is what is leased."""

import asyncio
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from headrace.config.backends import Backend
from headrace.errors import ConfigError
from headrace.fleet.registry import HISTORY, Fleet, Lease, Replica
from headrace.fleet.states import ROUTABLE, State, Transition

NAMES = st.sampled_from(["a", "b", "c"])
MODELS = ["m", "n"]


def backend(name: str, *serves: str, **more: object) -> Backend:
    tree = {"url": f"http://{name}:1", "name": name, "serves": list(serves or ("m",)), **more}
    return Backend.model_validate(tree)


class FleetMachine(RuleBasedStateMachine):
    """A fleet that changes while requests come and go."""

    def __init__(self) -> None:
        super().__init__()
        self.fleet = Fleet(MODELS, 1.0)
        self.live: list[tuple[Replica, Lease, int]] = []
        self.over: list[Lease] = []
        self.forgotten: set[Replica] = set()

    @rule(name=NAMES, serves=st.lists(st.sampled_from([*MODELS, "unknown"]), min_size=1))
    def add(self, name: str, serves: list[str]) -> None:
        self.fleet.add(backend(name, *serves))

    @rule(name=NAMES)
    def remove(self, name: str) -> None:
        self.fleet.remove(name)

    @rule(name=NAMES, deadline_s=st.sampled_from([0.0, 60.0]))
    def drain(self, name: str, deadline_s: float) -> None:
        if name in self.fleet.replicas:
            self.fleet.drain(name, deadline_s)

    @rule(name=NAMES)
    def undrain(self, name: str) -> None:
        if name in self.fleet.replicas:
            self.fleet.undrain(name)

    @rule(name=NAMES, state=st.sampled_from(State))
    def move(self, name: str, state: State) -> None:
        if name in self.fleet.replicas:
            self.fleet.move(self.fleet.replicas[name], state, "a test")

    @rule(name=NAMES, tokens=st.integers(0, 1000))
    def lease(self, name: str, tokens: int) -> None:
        replica = self.fleet.replicas.get(name)
        if replica is not None:
            self.live.append((replica, replica.lease(tokens), tokens))

    @rule(place=st.integers(0, 99))
    def release(self, place: int) -> None:
        if self.live:
            _, lease, _ = self.live.pop(place % len(self.live))
            lease.release()
            self.over.append(lease)

    @rule(place=st.integers(0, 99), times=st.integers(1, 3))
    def release_again(self, place: int, times: int) -> None:
        for _ in range(times if self.over else 0):
            self.over[place % len(self.over)].release()

    @rule(now=st.floats(0, 1e6))
    def sweep(self, now: float) -> None:
        self.fleet.sweep(now)

    @invariant()
    def sums_are_the_live_leases(self) -> None:
        """Over all replicas, those that were removed included."""
        assert len(self.live) == self.fleet.inflight_requests
        assert sum(tokens for _, _, tokens in self.live) == self.fleet.inflight_tokens

    @invariant()
    def each_replica_has_its_own(self) -> None:
        """A successor of the same name inherits nothing."""
        requests: defaultdict[Replica, int] = defaultdict(int)
        tokens: defaultdict[Replica, int] = defaultdict(int)
        for replica, _, cost in self.live:
            requests[replica] += 1
            tokens[replica] += cost
        for replica in {*self.fleet.replicas.values(), *requests}:
            assert requests[replica] == replica.inflight_requests
            assert tokens[replica] == replica.inflight_tokens

    @invariant()
    def groups_show_it(self) -> None:
        """What routing looks at is in step: members and names."""
        for model, group in self.fleet.groups.items():
            members = [
                replica
                for replica in self.fleet.replicas.values()
                if model in replica.serves and replica.state in ROUTABLE
            ]
            assert members == group.replicas
            assert [replica.name for replica in members] == group.names

    def teardown(self) -> None:
        """When all have ended, nothing is left."""
        for _, lease, _ in self.live:
            lease.release()
        assert (0, 0) == (self.fleet.inflight_requests, self.fleet.inflight_tokens)


TestFleet = FleetMachine.TestCase
TestFleet.settings = settings(max_examples=60, stateful_step_count=40)


def test_a_replica_that_is_done_is_forgotten() -> None:
    """A fleet that changes for ever does not grow: what was removed goes with its last lease."""
    fleet = Fleet(MODELS, 1.0)
    fleet.add(backend("a"))
    lease = fleet.replicas["a"].lease(5)
    fleet.remove("a")
    fleet.sweep(0)
    while_leased = fleet.inflight_tokens
    lease.release()
    fleet.sweep(0)

    assert (5, 0, {}) == (while_leased, fleet.inflight_tokens, fleet.replicas)
    assert lease.replica is None


class TestStates:
    def test_transitions_are_told(self) -> None:
        """Watchers hear each step with its reason, after the groups have changed."""
        fleet, heard = Fleet(MODELS, 1.0), list[tuple[State | None, State, str, list[str]]]()

        def watcher(_replica: Replica, step: Transition) -> None:
            heard.append((step.before, step.after, step.reason, [*fleet.groups["m"].names]))

        fleet.watch(watcher)
        fleet.add(backend("a"))
        fleet.move(fleet.replicas["a"], State.EJECTED, "sick")
        fleet.remove("a")

        assert [
            (None, State.STARTING, "added", []),
            (State.STARTING, State.READY, "trusted", ["a"]),
            (State.READY, State.EJECTED, "sick", []),
            (State.EJECTED, State.GONE, "removed", []),
        ] == heard

    def test_what_may_not_follow_does_nothing(self) -> None:
        """A wrong step is refused, and nobody hears of it."""
        fleet = Fleet(MODELS, 1.0)
        fleet.add(backend("a"), trusted=False)
        replica = fleet.replicas["a"]

        assert not fleet.move(replica, State.DEGRADED, "no")
        assert (State.STARTING, 1) == (replica.state, len(replica.history))

    def test_untrusted_is_not_routable(self) -> None:
        """A fleet that trusts nobody has a candidate only when it is moved to ready."""
        fleet = Fleet(MODELS, 1.0, trust=False)
        fleet.add(backend("a"))

        assert ["a"] == [*fleet.replicas]
        assert [] == fleet.groups["m"].names

    def test_removed_while_busy(self) -> None:
        """It drains, is shown as present, and is gone with its last lease."""
        fleet = Fleet(MODELS, 1.0)
        fleet.add(backend("a"))
        replica = fleet.replicas["a"]
        lease = replica.lease(5)
        fleet.remove("a")
        while_busy = replica.state, fleet.present
        lease.release()
        fleet.sweep(0)

        assert (State.DRAINING, (replica,)) == while_busy
        assert (State.GONE, ()) == (replica.state, fleet.present)

    def test_drain_of_an_idle_replica(self) -> None:
        """There is nothing to wait for: it is gone at once, and stays listed."""
        fleet = Fleet(MODELS, 1.0)
        fleet.add(backend("a"))

        assert State.GONE is fleet.drain("a", 60).state
        assert ["a"] == [*fleet.replicas]

    def test_undrain_of_an_ejected_one(self) -> None:
        """Draining is no cure: what was ejected before is ejected again."""
        fleet = Fleet(MODELS, 1.0)
        fleet.add(backend("a"))
        replica = fleet.replicas["a"]
        lease = replica.lease(1)
        fleet.move(replica, State.EJECTED, "sick")
        fleet.drain("a", 60)
        fleet.undrain("a")
        lease.release()

        assert State.EJECTED is replica.state

    @pytest.mark.parametrize("act", [lambda f: f.drain("b", 1), lambda f: f.undrain("b")])
    def test_nobody_of_that_name(self, act: Callable[[Fleet], object]) -> None:
        """Only what is there can be drained."""
        with pytest.raises(KeyError):
            act(Fleet(MODELS, 1.0))

    def test_history_is_bounded(self) -> None:
        """A replica that flaps for ever remembers its latest steps."""
        fleet = Fleet(MODELS, 1.0)
        fleet.add(backend("a"))
        replica = fleet.replicas["a"]
        for _ in range(HISTORY):
            fleet.move(replica, State.DEGRADED, "a")
            fleet.move(replica, State.READY, "b")

        assert HISTORY == len(replica.history)


class TestGroup:
    async def test_ready_wakes_all_who_wait(self) -> None:
        """One replica is enough for everybody; those who gave up meanwhile do not matter."""
        fleet = Fleet(MODELS, 1.0)
        waiting = [asyncio.create_task(fleet.groups["m"].ready()) for _ in range(3)]
        await asyncio.sleep(0)
        waiting[1].cancel()
        fleet.add(backend("b", "n"))  # serves another model
        await asyncio.sleep(0)
        still = [task.done() for task in waiting]
        fleet.add(backend("a", "m"))
        ended = await asyncio.gather(*waiting, return_exceptions=True)

        assert [False, True, False] == still
        assert [None, asyncio.CancelledError, None] == [each and type(each) for each in ended]

    async def test_ready_waits_on_when_it_was_too_short(self) -> None:
        """A replica that is gone again before the waiter runs is no replica."""
        fleet = Fleet(MODELS, 1.0)
        waiting = asyncio.create_task(fleet.groups["m"].ready())
        await asyncio.sleep(0)
        fleet.add(backend("a"))
        fleet.remove("a")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        too_short = waiting.done()
        fleet.add(backend("a"))
        await waiting

        assert not too_short

    def test_ready_now(self) -> None:
        """With a replica there is nothing to wait for."""
        fleet = Fleet(MODELS, 1.0)
        fleet.add(backend("a"))

        with pytest.raises(StopIteration):
            fleet.groups["m"].ready().send(None)


class TestReplica:
    @pytest.mark.parametrize(
        ("url", "host"),
        [("http://gpu:8000", b"gpu:8000"), ("http://gpu", b"gpu"), ("http://[::1]:9", b"[::1]:9")],
    )
    def test_head(self, url: str, host: bytes) -> None:
        """The engine hears its own name, that nothing is to be compressed, and its own key."""
        plain = Replica(backend("a", url=url), 1.0)
        keyed = Replica(backend("a", url=url, api_key="k-1"), 1.0)

        expected = b"host: %b\r\naccept-encoding: identity\r\n" % host
        assert expected == plain.head
        assert expected + b"authorization: Bearer k-1\r\n" == keyed.head

    def test_the_key_stays_inside(self) -> None:
        """What a client sees of a replica is its name."""
        replica = Replica(backend("gpu-1", api_key="k-1"), 1.0)

        assert b"x-headrace-replica: gpu-1\r\n" == replica.header

    def test_names_beyond_latin_1(self) -> None:
        """A name that no header can carry is still one header line."""
        assert (
            b"x-headrace-replica: ?-1\r\n" == Replica(backend("機-1", url="http://gpu"), 1.0).header
        )


@pytest.fixture
def authority(tmp_path: Path) -> Path:
    trustme.CA().cert_pem.write_to_path(path := tmp_path / "ca.pem")
    return path


@pytest.mark.parametrize(
    ("text", "why"), [(None, "No such file"), ("hello", "has no certificate in it")]
)
def test_no_authority(tmp_path: Path, text: str | None, why: str) -> None:
    """A file of authorities that is none is told by its name, with what would be right."""
    file = tmp_path / "ca.pem"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ConfigError, match=f"Backend a: `tls_ca` {file}: {why}.*name a PEM file"):
        Fleet(["m"], 1.0).add(backend("a", url="https://gpu", tls_ca=file))


def test_tls_is_prepared(authority: Path) -> None:
    """An https backend is made ready when it is added, with its own authority or without."""
    fleet = Fleet(MODELS, 1.0)
    made: list[Callable[[], Backend]] = [
        lambda: backend("a", url="https://gpu"),
        lambda: backend("b", url="https://gpu", tls_verify=False),
        lambda: backend("c", url="https://gpu", tls_ca=authority),
    ]
    for each in made:
        fleet.add(each())

    assert ["a", "b", "c"] == fleet.groups["m"].names
