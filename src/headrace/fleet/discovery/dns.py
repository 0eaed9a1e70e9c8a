"""Replicas behind a DNS name: addresses (A, AAAA) or services with their ports (SRV)."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import dns.asyncresolver
import dns.exception
import dns.resolver
from dns.nameserver import Do53Nameserver

from headrace.config.discovery import Discovery, endpoint
from headrace.errors import StartError
from headrace.fleet.discovery.source import Changed, Found, Log, Trouble, pauses, replica

LIFETIME_S = 5.0  # for one lookup over all name servers; longer is a failure


@dataclass(frozen=True, slots=True)
class Answer:
    """What a lookup found, and how long it may be believed."""

    found: tuple[Found, ...]
    ttl_s: float


class DnsSource:
    """
    Looks the name up again when its answer has expired, between ``min_s`` and ``max_s``.

    A failing resolver leaves the last answer. An answer without replicas is an answer (a service
    that was scaled to nothing has none), but believed only when the next lookup says so, too:
    resolvers have been seen to forget a name for a moment.
    """

    def __init__(self, config: Discovery, log: Log) -> None:
        self._config = config
        self._trouble = Trouble(config.label, log)
        self._resolver = _resolver(config.nameservers)

    async def watch(self, changed: Changed) -> None:
        """See ``Source``."""
        known: tuple[Found, ...] = ()
        doubted = False
        waits = pauses(self._config.min_s, self._config.max_s)
        while True:
            try:
                answer = await self._look_up()
                _go_on()
            except (dns.exception.DNSException, OSError, ValueError) as error:
                self._trouble.begins(f"{type(error).__name__}: {error}", type(error).__name__)
                await asyncio.sleep(next(waits))
                continue
            self._trouble.ends()
            waits = pauses(self._config.min_s, self._config.max_s)
            doubted = bool(known) and not answer.found and not doubted
            if doubted:
                await asyncio.sleep(self._config.min_s)
                continue
            known = answer.found
            changed(known)
            await asyncio.sleep(min(max(answer.ttl_s, self._config.min_s), self._config.max_s))

    async def _look_up(self) -> Answer:
        if self._config.record == "srv":
            return await self._services()
        addresses, ttl_s = await self._addresses(self._config.name, self._config.record)
        port = self._config.port or 0  # the configuration has seen to it
        return Answer(tuple(self._found(host, host, port) for host in addresses), ttl_s)

    async def _services(self) -> Answer:
        """
        The targets of the best priority (https://www.rfc-editor.org/rfc/rfc2782). Their weights are
        not used: the router knows the load.
        """
        rows, ttl_s = await self._records(self._config.name, "srv")
        best = min((row.priority for row in rows), default=0)
        found: list[Found] = []
        for row in rows:
            target = row.target.to_text(omit_final_dot=True)
            if row.priority != best or target == ".":
                continue
            hosts, target_ttl_s = await self._hosts(target)
            ttl_s = min(ttl_s, target_ttl_s)
            alone = len(hosts) == 1
            found += [self._found(host, target if alone else host, row.port) for host in hosts]
        return Answer(tuple(found), ttl_s)

    async def _hosts(self, target: str) -> tuple[list[str], float]:
        """A target's addresses; with TLS its name, which the certificate is checked against."""
        if self._config.tls:
            return [target], self._config.max_s
        addresses, ttl_s = await self._addresses(target, "a")
        return (addresses, ttl_s) if addresses else await self._addresses(target, "aaaa")

    async def _addresses(self, name: str, record: str) -> tuple[list[str], float]:
        rows, ttl_s = await self._records(name, record)
        return sorted(row.address for row in rows), ttl_s

    async def _records(self, name: str, record: str) -> tuple[list[Any], float]:
        """The records and how long they hold; none where the name does not exist."""
        try:
            answer = await self._resolver.resolve(
                name, record, search=not self._config.nameservers, lifetime=LIFETIME_S
            )
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            return [], self._config.min_s
        return [*answer], float(answer.chaining_result.minimum_ttl)

    def _found(self, host: str, name: str, port: int) -> Found:
        shown = f"[{name}]" if ":" in name else name
        backend = replica(self._config, f"{shown}:{port}", host, port, self._config.serves)
        return Found(backend)


def _go_on() -> None:
    """
    End here if this task was cancelled while the answer came: `asyncio.wait_for`, in which the
    library waits, loses that in Python 3.11 (https://github.com/python/cpython/issues/86296).
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


def _resolver(nameservers: Sequence[str]) -> dns.asyncresolver.Resolver:
    """
    A resolver that asks these servers, or the system's.

    Raises:
        StartError: the system names none.

    """
    if not nameservers:
        try:
            return dns.asyncresolver.Resolver()
        except dns.resolver.NoResolverConfiguration:
            raise StartError(
                "/etc/resolv.conf names no server for discovery by DNS; set `nameservers`."
            ) from None
    resolver = dns.asyncresolver.Resolver(configure=False)
    resolver.nameservers = [Do53Nameserver(*endpoint(each)) for each in nameservers]
    return resolver
