"""
The composition root: builds every object once, listens, hands requests to the pipeline, drains.

Nothing else in the gateway calls a collaborator's constructor.
"""

import asyncio
import itertools
import os
import re
from array import array
from collections import deque

from headrace import __version__
from headrace.config.backends import Model
from headrace.config.schema import Config
from headrace.errors import ApiError, Overloaded, StartError
from headrace.fleet.catalogue import Catalogue
from headrace.fleet.discovery.watch import watches
from headrace.fleet.floor import Floor, Why
from headrace.fleet.health import CAUSES, Keeper
from headrace.fleet.registry import Fleet
from headrace.fleet.states import State
from headrace.gateway import answers
from headrace.gateway.accounts import tally
from headrace.gateway.accounts.quota import Quota
from headrace.gateway.clocks import Watchdog, now
from headrace.gateway.door import routes
from headrace.gateway.door.client import Client
from headrace.gateway.door.entrance import await_key, door, identify, known
from headrace.gateway.door.listener import listen, unheard
from headrace.gateway.door.local import Local
from headrace.gateway.door.request import Budget, Request
from headrace.gateway.exchange import Exchange
from headrace.gateway.guards.guarding import guarding
from headrace.gateway.peers import peering
from headrace.gateway.pipeline import Pipeline
from headrace.gateway.place.feeds import Feeds
from headrace.gateway.place.placement import Placement
from headrace.gateway.place.progress import progress
from headrace.gateway.records.diary import Diary
from headrace.gateway.records.instruments import Instruments
from headrace.gateway.records.sight import Sight
from headrace.gateway.rules.classes import classifier
from headrace.gateway.rules.reload import Reload
from headrace.gateway.rules.shadow import Shadows
from headrace.gateway.rules.steer import Steer
from headrace.state.redis import connect
from headrace.telemetry.certificates import CertificateMetrics, Expiry
from headrace.telemetry.classes import ClassMetrics
from headrace.telemetry.engines import EngineMetrics
from headrace.telemetry.events import EventMetrics
from headrace.telemetry.fleet import FleetMetrics
from headrace.telemetry.identity import IdentityMetrics
from headrace.telemetry.ledger import LedgerMetrics
from headrace.telemetry.limits import LimitMetrics
from headrace.telemetry.metrics import Metrics
from headrace.telemetry.peers import PeerMetrics
from headrace.telemetry.records import Record
from headrace.telemetry.scrape import Page
from headrace.telemetry.state import StateMetrics
from headrace.telemetry.steering import SteeringMetrics
from headrace.telemetry.writer import Writer

RECORDS = 1000
NO_TIMES = array("d")
# What clients on this machine use when the gateway listens on every address.
_LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104
_SAFE_ID = re.compile(rb"[A-Za-z0-9._:\-]{1,128}")


class Gateway:
    """One gateway process: ``start``, ``stop``; requests come by ``inspect`` and ``handle``."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.limits = config.server
        self.budget = Budget(config.server.max_inflight_bytes)
        self.catalogue = Catalogue(config.models or [Model(name=name) for name in config.served])
        self.fleet = Fleet(
            [model.name for model in self.catalogue.models],
            config.timeouts.connect_s,
            hold=config.hold,
            trust=config.health.trust_static,
        )
        self.records: deque[Record] = deque(maxlen=RECORDS)
        self.clients: set[Client] = set()
        self.draining = False
        self.port = config.server.port
        self._active: set[Exchange] = set()
        self._server: asyncio.Server | None = None
        self._ids = itertools.count()
        self._id_prefix = f"req_{os.urandom(8).hex()}"
        self.metrics = Metrics([*self.fleet.groups], [endpoint.path for endpoint in routes.ALL])
        log = config.logging
        self.log = Writer(
            self.metrics, requests=log.requests, console=log.format == "console", file=log.file
        )
        self.class_metrics = ClassMetrics(self.metrics.registry)
        self.classes = (
            classifier(config.classes, self.class_metrics, self.log)
            if config.classes.enabled
            else None
        )
        self.state = connect(config.state, StateMetrics(self.metrics.registry), self.log)
        self.keeper = Keeper(
            self.fleet,
            config,
            self.log,
            FleetMetrics(self.metrics.registry, State, CAUSES),
            lambda: progress(self._active, now()),
        )
        self.placement = Placement(config.routing, self.fleet, self.keeper.view)
        self.feeds = Feeds(self.fleet, self.placement, self.log)
        self.peers = peering(
            config.state, self.state, self.placement, self.log, PeerMetrics(self.metrics.registry)
        )
        self.steer = Steer(config, self.catalogue, Shadows(self.fleet, self.placement), self.log)
        self.rules = Reload(config, self.catalogue, self.steer, self.log)
        self.pipeline = Pipeline(
            config, self.catalogue, self.fleet, self.placement, self.log, self.steer
        )
        self.floor = Floor(self.fleet, EngineMetrics(self.metrics.registry, Why), self.placement)
        self.local = Local(
            self.catalogue, self.fleet, self.floor, self._render, lambda: self.draining
        )
        self.door = door(config, self.state, self.log)
        for backend in config.backends:
            self.fleet.add(backend)
        self.meter = tally.metering(config.metering, self.fleet, self.log)
        self.diary = Diary(config, self.metrics, self.log)
        self.quota = Quota(config, [*self.fleet.groups], self.state, self.log)
        self.guarding = guarding(config, self.metrics, self.log, self.steer)
        self.door.adopted = self._attend
        self._attend()
        self._show()
        self._discovery = watches(config, [*self.fleet.groups], self.fleet, self.log)

    def _attend(self) -> None:
        """Who stands in a request's way before it is placed, in this order; who hears its end."""
        self.quota.adopt(self.door)
        quota, guards, meter = self.quota, self.guarding, self.meter
        first = *self.diary.gates, *self.pipeline.pressure.gates
        self.pipeline.gates = *first, *quota.gates(), *guards.gates, *tally.gates(meter)
        self.pipeline.counts = quota.on or meter is not None
        self.hears = (*guards.hears, *self.diary.hears, *quota.hears(), *tally.hears(meter))

    def _show(self) -> None:
        """What can be seen of it now, in its metrics."""
        registry = self.metrics.registry
        self.sight = Sight(
            self.fleet, self.placement, self._active, self.clients, self.keeper,
            self.pipeline.retries,
        )  # fmt: skip
        self.sight.bill, self.sight.held = self.meter, self.budget
        self.instruments = Instruments(self.config.diagnosis, self.metrics, self.sight)
        self.pipeline.measure(self.metrics)
        EventMetrics(registry, self.feeds.seen)
        LedgerMetrics(registry, lambda: tally.seen(self.meter))
        LimitMetrics(registry, self.quota.seen)
        SteeringMetrics(registry, lambda: self.steer.seen(self.rules.counts))
        IdentityMetrics(registry, lambda: known(self.door))
        self.certificates: dict[str, Expiry] = {}  # by who serves them
        CertificateMetrics(registry, self.certificates)
        self.metrics.version(__version__)

    # --- life ------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """Where clients on this machine reach it."""
        host = self.config.server.host
        shown = _LOOPBACK.get(host, f"[{host}]" if ":" in host else host)
        return f"http://{shown}:{self.port}"

    @property
    def active(self) -> tuple[Exchange, ...]:
        """The requests that run now."""
        return tuple(self._active)

    @property
    def buffered_bytes(self) -> int:
        """Request bytes held in memory."""
        return self.budget.used

    async def start(self) -> None:
        """
        Listen.

        Raises:
            StartError: the address cannot be listened on, the log file cannot be opened, classes
                cannot be learned, or KV events need a package that is not installed.
            ConfigError: the file of their examples is wrong.

        """
        loop = asyncio.get_running_loop()
        self._loop = loop
        await self._open()
        host, port = self.config.server.host, self.config.server.port
        sweeps = self.fleet.sweep, self.placement.sync, self.feeds.sweep
        watched, late = (self.clients, self._active), self.instruments.late
        self._watchdog = Watchdog(loop, watched, sweeps, late)
        try:
            listener = listen(host, port)
        except OSError as error:
            raise StartError(unheard(error, host, port)) from None
        try:
            self.log.start()
        except OSError as error:
            listener.close()
            file = self.config.logging.file
            raise StartError(f"Cannot open the log file {file}: {error.strerror}.") from None
        self._server = await loop.create_server(lambda: Client(loop, self), sock=listener)
        self.port = self._server.sockets[0].getsockname()[1]
        if self.state is not None:
            await self.state.start()
        await self.quota.start()
        await self.guarding.start()
        self._watchdog.start()
        self.diary.start()
        self.keeper.start()
        self.instruments.start()
        self.feeds.start()
        if self.peers is not None:
            self.peers.start()
        self._discovery.start()
        if self.meter is not None:
            self.meter.start()
        self.rules.start()
        self.door.start()
        self.log.event(
            "gateway_started", url=self.url, version=__version__, models=[*self.fleet.groups]
        )

    async def _open(self) -> None:
        """Get ready what must be so before anybody can ask."""
        self.feeds.check()
        if self.meter is not None:
            await self.meter.open()
        await self.diary.open()
        edge = self.config.edge
        await self.door.open(edge.host if edge.enabled else self.config.server.host)
        if self.classes is not None:
            await self.classes.start()
            self.steer.classify = self.classes.tier

    async def stop(self, drain_s: float | None = None) -> None:
        """
        Fail readiness, stop listening, let running requests finish for ``drain_s``, end the rest.
        """
        server = self.config.server
        self.draining = True
        self.log.event("gateway_draining", running=len(self._active))
        if server.drain_grace_s and drain_s is None:
            await asyncio.sleep(server.drain_grace_s)
        await self._close_listener()
        for client in tuple(self.clients):
            client.close_when_idle()
        await self._finish(server.drain_s if drain_s is None else drain_s)
        for exchange in tuple(self._active):
            closing = Overloaded("The gateway is shutting down.", outcome="rejected_draining")
            exchange.interrupt(closing)
        await self._finish(1.0)
        if self.meter is not None:
            await self.meter.stop()
        await self.diary.stop()
        for client in tuple(self.clients):
            client.close_when_idle()
        await asyncio.sleep(0)
        self._watchdog.stop()
        await self.keeper.stop()
        await self.instruments.stop()
        await self.feeds.stop()
        if self.peers is not None:
            await self.peers.stop()
        await self._discovery.stop()
        await self.rules.stop()
        await self.door.stop()
        await self.quota.stop()
        self.guarding.stop()
        await self.steer.shadows.stop()
        if self.classes is not None:
            await self.classes.close()
        if self.state is not None:
            await self.state.stop()
        self.fleet.close()
        for client in tuple(self.clients):
            client.cut()
        await asyncio.sleep(0)
        self.log.event("gateway_stopped")
        await self._loop.run_in_executor(None, self.log.stop)

    async def _finish(self, within_s: float) -> None:
        """Wait until no request is running, for so long at most."""
        until = now() + within_s
        while self._active and now() < until:
            tasks = [exchange.task for exchange in self._active if exchange.task is not None]
            await asyncio.wait(tasks, timeout=until - now())

    async def _close_listener(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    # --- requests (client.Handler) ---------------------------------------------------------

    def inspect(self, request: Request) -> None:
        """Refuse what has no endpoint or no caller before its body is read (``Handler``)."""
        endpoint = request.endpoint = routes.find(request.method, request.path)
        if self.door.watched and not endpoint.open:
            identify(self.door, request, endpoint)

    def handle(self, request: Request, client: Client) -> None:
        """Answer a whole request (``Handler``)."""
        if request.awaits is not None:
            await_key(self.door, request, client, self)
            return
        endpoint = request.endpoint or routes.find(request.method, request.path)
        if endpoint.kind == "local":
            try:
                name = answers.request_id(self._request_id(request))
                self.local.answer(endpoint, request, client, name)
            except ApiError as error:
                self.refuse(request, client, error)
            return
        exchange = Exchange(request, client, endpoint, self._request_id(request), self)
        self._active.add(exchange)
        client.listen(exchange)
        run = self.pipeline.run(exchange)  # create_task makes up a name for each: 0.25 us
        exchange.task = asyncio.Task(run, loop=self._loop, name="request")

    def refuse(self, request: Request, client: Client, error: ApiError) -> None:
        """Answer a request with an error before it became one (``Handler``)."""
        request_id, dialect = self._request_id(request), routes.dialect(request.path)
        headers = answers.error_headers(error) + answers.request_id(request_id, dialect)
        body = answers.error_body(error, dialect)
        endpoint = routes.path_of(request.path)
        record = Record.refused(request_id, endpoint, error, request.size, len(body))
        record.tenant, record.key = request.caller.tenant, request.caller.key
        self.diary.refused(request, record, now())
        request.drop()
        self.records.append(record)
        self.log.record(record, NO_TIMES)
        client.answer(error.status, headers, body)

    def settled(self, exchange: Exchange, record: Record) -> None:
        """A request has ended (``Settler``)."""
        self._active.discard(exchange)
        if exchange.plan is not None:
            self.steer.settled(exchange.plan, record)
        for hear in self.hears:
            hear(exchange, record)
        self.records.append(record)
        self.log.record(record, exchange.times)

    # --- below -----------------------------------------------------------------------------

    def _render(self, accept: str) -> Page:
        self.log.count()  # so that a scrape sees every request that was answered before it
        return self.metrics.render(accept)

    def _request_id(self, request: Request) -> str:
        given = request.headers.get(b"x-request-id")
        if given is not None and _SAFE_ID.fullmatch(given):
            return given.decode("ascii")
        return f"{self._id_prefix}{next(self._ids):08x}"
