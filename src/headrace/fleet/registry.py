"""
The replicas, who serves which model, and what each has in flight. No I/O beyond owning the pools.

In-flight tokens are counted by leases: taken when a replica is chosen, released exactly once.
A replica that was removed keeps its own counters, so that its last leases never touch a
successor at the same address.
"""

import asyncio
import ssl
from urllib.parse import urlsplit

from headrace.config.schema import Backend
from headrace.upstream.pool import Address, Pool


class Replica:
    """One running engine, and what this gateway has sent to it and not finished."""

    def __init__(self, backend: Backend, connect_s: float) -> None:
        parts = urlsplit(backend.url)
        tls = _tls(backend) if parts.scheme == "https" else None
        port = parts.port or (443 if tls else 80)
        key = backend.api_key
        self.name = backend.name
        self.serves = dict(backend.serves)
        self.pool = Pool(Address(parts.hostname or "", port, tls), connect_s)
        auth = f"authorization: Bearer {key.get_secret_value()}\r\n" if key else ""
        self.head = f"host: {parts.netloc}\r\naccept-encoding: identity\r\n{auth}".encode("latin-1")
        self.header = f"x-headrace-replica: {backend.name}\r\n".encode("latin-1", "replace")
        self.inflight_requests = 0
        self.inflight_tokens = 0
        self.seats: list[tuple[list[int], int]] = []  # where groups keep this replica's load

    def lease(self, tokens: int) -> "Lease":
        """Count a request of this many tokens as in flight until the lease is released."""
        self._add(1, tokens)
        return Lease(self, tokens)

    def _add(self, requests: int, tokens: int) -> None:
        self.inflight_requests += requests
        self.inflight_tokens += tokens
        for loads, seat in self.seats:
            loads[seat] += tokens


class Lease:
    """One request's share of a replica. ``release`` may be called any number of times."""

    __slots__ = ("_tokens", "replica")

    def __init__(self, replica: Replica, tokens: int) -> None:
        self.replica: Replica | None = replica
        self._tokens = tokens

    def release(self) -> None:
        """Give the share back; never awaits, so that no cancellation can lose it."""
        replica, self.replica = self.replica, None
        if replica is not None:
            replica._add(-1, -self._tokens)  # noqa: SLF001 - the other half of Replica.lease


class Group:
    """
    The replicas that serve one model; ``names`` and ``loads`` (in-flight tokens) are parallel to
    them.
    """

    def __init__(self) -> None:
        self.replicas: list[Replica] = []
        self.names: list[str] = []
        self.loads: list[int] = []
        self._waiters: set[asyncio.Future[None]] = set()

    async def ready(self) -> None:
        """Wait until at least one replica serves the model."""
        while not self.replicas:
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.add(waiter)
            try:
                await waiter
            finally:
                self._waiters.discard(waiter)

    def seat(self, replicas: list[Replica]) -> None:
        """Replace the members; each replica's seats must have been cleared before."""
        self.replicas = replicas
        self.names = [replica.name for replica in replicas]
        self.loads = [replica.inflight_tokens for replica in replicas]
        for seat, replica in enumerate(replicas):
            replica.seats.append((self.loads, seat))
        if replicas:
            for waiter in self._waiters:
                if not waiter.done():
                    waiter.set_result(None)


class Fleet:
    """All replicas by name, and a group for each declared model."""

    def __init__(self, models: list[str], connect_s: float) -> None:
        self.replicas: dict[str, Replica] = {}
        self.groups = {model: Group() for model in models}
        self._connect_s = connect_s
        self._leaving: set[Replica] = set()

    @property
    def inflight_requests(self) -> int:
        """Requests leased over all replicas, those that were removed but still answer included."""
        return sum(r.inflight_requests for r in (*self.replicas.values(), *self._leaving))

    @property
    def inflight_tokens(self) -> int:
        """Tokens leased over all replicas, likewise."""
        return sum(r.inflight_tokens for r in (*self.replicas.values(), *self._leaving))

    def add(self, backend: Backend) -> None:
        """A replica is ready from now on; one of the same name is replaced."""
        self.remove(backend.name)
        self.replicas[backend.name] = Replica(backend, self._connect_s)
        self._reseat()

    def remove(self, name: str) -> None:
        """Send a replica no new requests; those it is answering go on. Unknown names are fine."""
        replica = self.replicas.pop(name, None)
        if replica is not None:
            replica.pool.close()
            self._leaving.add(replica)
            self._reseat()

    def sweep(self, now: float) -> None:
        """Close idle connections that have grown old; forget removed replicas that are done."""
        for replica in self.replicas.values():
            replica.pool.sweep(now)
        if self._leaving:
            self._leaving = {r for r in self._leaving if r.inflight_requests}

    def close(self) -> None:
        """Close every connection."""
        for replica in (*self.replicas.values(), *self._leaving):
            replica.pool.abort()

    def _reseat(self) -> None:
        members = tuple(self.replicas.values())
        for replica in (*members, *self._leaving):
            replica.seats.clear()
        for model, group in self.groups.items():
            group.seat([replica for replica in members if model in replica.serves])


def _tls(backend: Backend) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=backend.tls_ca)
    if not backend.tls_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
