"""DNS, asked with the real library of a real server on loopback."""

import time
from collections.abc import AsyncIterator

import dns.rcode
import pytest

from headrace.fleet.discovery.dns import DnsSource
from tests.fleet.discovery.nameserver import NameServer
from tests.fleet.discovery.recorder import Log, section, until, watching

NAME = "engines.test."


@pytest.fixture
async def server() -> AsyncIterator[NameServer]:
    async with NameServer() as server:
        yield server


def source(server: NameServer, log: Log | None = None, **settings: object) -> DnsSource:
    given = {"name": NAME, "port": 8000, "serves": ["m"], "min_s": 0.02, "max_s": 0.05} | settings
    return DnsSource(section(type="dns", nameservers=[server.address], **given), log or Log())


async def test_addresses(server: NameServer) -> None:
    """Each address is a replica at the configured port; they come and go with the answers."""
    server.table[NAME, "A"] = ["10.0.0.2", "10.0.0.1"]
    async with watching(source(server)) as told:
        await until(lambda: told.urls() == ["http://10.0.0.1:8000", "http://10.0.0.2:8000"])
        server.table[NAME, "A"] = ["10.0.0.2", "10.0.0.3"]
        await until(lambda: told.urls() == ["http://10.0.0.2:8000", "http://10.0.0.3:8000"])

    assert ["10.0.0.2:8000", "10.0.0.3:8000"] == told.names()
    assert {"m": "m"} == told.told[-1][0].backend.serves


async def test_ipv6(server: NameServer) -> None:
    """IPv6 is asked for by itself, so that a machine with two addresses is not two replicas."""
    server.table[NAME, "AAAA"] = ["fd00::1"]
    server.table[NAME, "A"] = ["10.0.0.1"]
    async with watching(source(server, record="aaaa", tls=True)) as told:
        await until(lambda: told.urls() == ["https://[fd00::1]:8000"])


async def test_services(server: NameServer) -> None:
    """SRV names hosts and ports; only the best priority counts, whatever the weights."""
    server.table[NAME, "SRV"] = [
        "10 5 8001 pod-1.test.",
        "10 1 8002 pod-2.test.",
        "20 9 8003 spare.test.",
    ]
    server.table["pod-1.test.", "A"] = ["10.0.0.1"]
    server.table["pod-2.test.", "A"] = ["10.0.0.2"]
    server.table["spare.test.", "A"] = ["10.0.0.3"]
    async with watching(source(server, record="srv", port=None)) as told:
        await until(lambda: bool(told.urls()))
    found = {each.backend.name: each.backend.url for each in told.told[-1]}

    assert {
        "pod-1.test:8001": "http://10.0.0.1:8001",
        "pod-2.test:8002": "http://10.0.0.2:8002",
    } == found


async def test_services_with_tls(server: NameServer) -> None:
    """The certificate is checked against a name, so the name must stay in the URL."""
    server.table[NAME, "SRV"] = ["0 0 8443 pod-1.test."]
    async with watching(source(server, record="srv", port=None, tls=True)) as told:
        await until(lambda: told.urls() == ["https://pod-1.test:8443"])


async def test_services_with_many_addresses(server: NameServer) -> None:
    """A host with several addresses is several replicas, each with a name of its own."""
    server.table[NAME, "SRV"] = ["0 0 8000 pods.test."]
    server.table["pods.test.", "A"] = ["10.0.0.1", "10.0.0.2"]
    async with watching(source(server, record="srv", port=None)) as told:
        await until(lambda: bool(told.urls()))

    assert ["10.0.0.1:8000", "10.0.0.2:8000"] == told.names()


@pytest.mark.parametrize("rcode", [dns.rcode.SERVFAIL, dns.rcode.REFUSED])
async def test_failures_keep_the_answer(server: NameServer, rcode: dns.rcode.Rcode) -> None:
    """A broken resolver is no reason to forget replicas; it is logged once, and its recovery."""
    log = Log()
    server.table[NAME, "A"] = ["10.0.0.1"]
    async with watching(source(server, log)) as told:
        await until(lambda: told.urls() is not None)
        server.rcode = rcode
        asked = len(server.asked)
        await until(lambda: len(server.asked) > asked + 3)
        known = told.urls()
        server.rcode = dns.rcode.NOERROR
        server.table[NAME, "A"] = ["10.0.0.2"]
        await until(lambda: told.urls() == ["http://10.0.0.2:8000"])

    assert ["http://10.0.0.1:8000"] == known
    assert ["discovery_failed", "discovery_recovered"] == log.names()


async def test_silence_keeps_the_answer(
    server: NameServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A resolver that does not answer is a failure like any other."""
    monkeypatch.setattr("headrace.fleet.discovery.dns.LIFETIME_S", 0.05)
    log = Log()
    server.table[NAME, "A"] = ["10.0.0.1"]
    async with watching(source(server, log)) as told:
        await until(lambda: told.urls() is not None)
        server.silent = True
        await until(lambda: log.events)

    assert ["http://10.0.0.1:8000"] == told.urls()
    assert "LifetimeTimeout" in log.errors()


async def test_one_empty_answer_is_not_believed(server: NameServer) -> None:
    """A name that is gone for a moment keeps its replicas; gone twice in a row, it is gone."""
    server.table[NAME, "A"] = ["10.0.0.1"]
    async with watching(source(server)) as told:
        await until(lambda: told.urls() is not None)
        server.table.clear()
        asked = len(server.asked)
        await until(lambda: told.urls() == [])

    assert len(server.asked) >= asked + 2
    assert [] not in [[*each] for each in told.told[:-1]]


async def test_time_to_live(server: NameServer) -> None:
    """An answer is used as long as it holds, within the bounds."""
    server.table[NAME, "A"] = ["10.0.0.1"]
    began = time.monotonic()
    async with watching(source(server, min_s=0.05, max_s=60)):
        await until(lambda: len(server.asked) == 1)  # holds for 60 s
        held_long = len(server.asked)
    server.ttl_s = 0
    async with watching(source(server, min_s=0.05, max_s=60)):
        await until(lambda: len(server.asked) == held_long + 5)
    took_s = time.monotonic() - began

    assert 1 == held_long
    assert took_s >= 4 * 0.05
