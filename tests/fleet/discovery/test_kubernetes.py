"""EndpointSlices, listed and watched with the real client library, of a stand-in API server."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from headrace.fleet.discovery.kubernetes import KubernetesSource
from headrace.fleet.discovery.source import pauses
from tests.fleet.discovery.apiserver import ApiServer, a_slice, endpoint
from tests.fleet.discovery.recorder import Log, section, until, watching


@pytest.fixture
async def server() -> AsyncIterator[ApiServer]:
    async with ApiServer() as server:
        yield server


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses after failures as in life, but shorter."""

    def quick() -> Iterator[float]:
        return pauses(0.01, 0.05)

    monkeypatch.setattr("headrace.fleet.discovery.kubernetes.pauses", quick)


@pytest.fixture
def source(server: ApiServer, tmp_path: Path) -> Any:
    def make(log: Log | None = None, **settings: object) -> KubernetesSource:
        given: dict[str, object] = {"selector": "app=qwen", "namespace": "models", "serves": ["m"]}
        given |= {"kubeconfig": server.kubeconfig(tmp_path)} | settings
        return KubernetesSource(section(type="kubernetes", **given), log or Log())

    return make


async def test_list_then_watch(server: ApiServer, source: Any) -> None:
    """What is there is found, and then every change, without another list."""
    await server.put(a_slice("s1", endpoint("10.0.0.1", "pod-1")))
    async with watching(source()) as told:
        await until(lambda: told.names() == ["pod-1"])
        await server.put(
            a_slice("s1", endpoint("10.0.0.1", "pod-1"), endpoint("10.0.0.2", "pod-2"))
        )
        await until(lambda: told.names() == ["pod-1", "pod-2"])
        await server.put(a_slice("s2", endpoint("10.0.0.3", "pod-3")))
        await until(lambda: told.names() == ["pod-1", "pod-2", "pod-3"])
        await server.delete("s1")
        await until(lambda: told.names() == ["pod-3"])

    assert 1 == len(server.lists)
    assert "app=qwen" == server.lists[0]["labelSelector"] == server.watches[0]["labelSelector"]
    assert "true" == server.watches[0]["allowWatchBookmarks"].lower()
    assert {"Bearer token-1"} == set(server.tokens)
    assert ["uid-pod-3"] == [each.incarnation for each in told.told[-1]]


async def test_not_ready_and_terminating(server: ApiServer, source: Any) -> None:
    """A pod on its way out gets nothing new, although it still serves what it has."""
    await server.put(a_slice("s1", endpoint("10.0.0.1", "pod-1"), endpoint("10.0.0.2", "pod-2")))
    async with watching(source()) as told:
        await until(lambda: told.names() == ["pod-1", "pod-2"])
        leaving = endpoint("10.0.0.1", "pod-1", ready=False, serving=True, terminating=True)
        starting = endpoint("10.0.0.3", "pod-3", ready=False, serving=False, terminating=False)
        await server.put(a_slice("s1", leaving, endpoint("10.0.0.2", "pod-2"), starting))
        await until(lambda: told.names() == ["pod-2"])


async def test_pages(server: ApiServer, source: Any) -> None:
    """A long list comes in pages."""
    server.page = 2
    for number in range(5):
        await server.put(a_slice(f"s{number}", endpoint(f"10.0.0.{number}", f"pod-{number}")))
    async with watching(source()) as told:
        await until(lambda: told.names() == [f"pod-{number}" for number in range(5)])

    assert 3 == len(server.lists)


@pytest.mark.parametrize("by_status", [False, True], ids=["event", "status"])
async def test_gone(server: ApiServer, source: Any, by_status: bool) -> None:
    """When the server has forgotten our place (410), everything is listed anew."""
    server.expire_by_status = by_status
    await server.put(a_slice("s1", endpoint("10.0.0.1", "pod-1")))
    async with watching(source()) as told:
        await until(lambda: len(server.watches) == 1)
        server.objects["s1"] = a_slice("s1", endpoint("10.0.0.2", "pod-2"))
        await server.forget()
        if by_status:
            server.cut()
        await until(lambda: told.names() == ["pod-2"])

    assert 2 == len(server.lists)


async def test_bookmarks(server: ApiServer, source: Any) -> None:
    """After a bookmark a broken watch goes on from there: the forgotten past does not matter."""
    log = Log()
    await server.put(a_slice("s1", endpoint("10.0.0.1", "pod-1")))
    it = source(log)
    async with watching(it) as told:
        await until(lambda: len(server.watches) == 1)
        await server.bookmark()
        marked = server.version
        told_before = len(told.told)
        await until(lambda: it._version == str(marked))
        server.cut()
        await until(lambda: len(server.watches) == 2)
        await server.put(a_slice("s2", endpoint("10.0.0.2", "pod-2")))
        await until(lambda: told.names() == ["pod-1", "pod-2"])

    assert 1 == len(server.lists)
    assert str(marked) == server.watches[1]["resourceVersion"]
    assert told_before + 1 == len(told.told)
    assert ["discovery_failed", "discovery_recovered"] == log.names()


async def test_server_away(server: ApiServer, source: Any) -> None:
    """While the API server is away, what was known stays; afterwards all of it is caught up."""
    log = Log()
    await server.put(a_slice("s1", endpoint("10.0.0.1", "pod-1")))
    async with watching(source(log)) as told:
        await until(lambda: len(server.watches) == 1)
        server.refuse = 503
        server.cut()
        await until(lambda: "503" in log.errors())
        known = told.names()
        await server.put(a_slice("s1", endpoint("10.0.0.2", "pod-2")))
        server.refuse = 0
        await until(lambda: told.names() == ["pod-2"])

    assert ["pod-1"] == known


async def test_slow_and_large(server: ApiServer, source: Any) -> None:
    """A change may come in small pieces, and be longer than any buffer."""
    many = [endpoint(f"10.1.{n // 250}.{n % 250}", f"pod-{n:04}") for n in range(3000)]
    async with watching(source()) as told:
        await until(lambda: len(server.watches) == 1)
        server.split = 7
        await server.put(a_slice("s1", endpoint("10.0.0.1", "pod-1")))
        await until(lambda: told.names() == ["pod-1"])
        server.split = 0
        await server.put(a_slice("s2", *many))
        await until(lambda: len(told.names() or ()) == 3001)


async def test_rights_missing(server: ApiServer, source: Any) -> None:
    """Without the right to list, the log says what the server said."""
    server.refuse = 403
    log = Log()
    async with watching(source(log)) as told:
        await until(lambda: log.events)

    assert None is told.urls()
    assert "403" in log.errors()


async def test_resync(server: ApiServer, source: Any) -> None:
    """Now and then everything is listed, so that a lost change is not lost for good."""
    await server.put(a_slice("s1", endpoint("10.0.0.1", "pod-1")))
    async with watching(source(resync_s=1)) as told:
        await until(lambda: told.names() == ["pod-1"])
        server.objects["s1"] = a_slice("s1", endpoint("10.0.0.2", "pod-2"))  # nobody is told
        await until(lambda: told.names() == ["pod-2"])

    assert len(server.lists) >= 2


async def test_outside_a_cluster(source: Any) -> None:
    """Without a kubeconfig and outside of a pod, the log says so, and it is tried again."""
    log = Log()
    async with watching(source(log, kubeconfig=None)):
        await until(lambda: log.events)

    assert "Service host/port is not set" in log.errors()


async def test_ports_that_do_not_say(server: ApiServer, source: Any) -> None:
    """A slice with two ports and no word which one is told once, and is no replica."""
    log = Log()
    ports = [{"name": "http", "port": 8000}, {"name": "metrics", "port": 9000}]
    await server.put(a_slice("s1", endpoint("10.0.0.1", "pod-1"), ports=ports))
    async with watching(source(log)) as told:
        await until(lambda: told.names() == [])
        await server.put(a_slice("s1", endpoint("10.0.0.2", "pod-1"), ports=ports))
        await until(lambda: len(told.told) == 2)

    assert ["slice_skipped"] == log.names()
    assert "http 8000, metrics 9000" in str(log.events[0][1]["reason"])
