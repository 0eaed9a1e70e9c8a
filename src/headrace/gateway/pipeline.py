"""
The journey of a request, top to bottom: read → steer → gates → route and dispatch → relay →
settle.

Start reading the gateway here. Each step is one call into the module that owns it; whatever raises
on the way ends in one ``except``, and ``settle`` runs exactly once however the journey ends.
"""

import asyncio

from headrace.admission.types import Caller
from headrace.config.schema import Config
from headrace.errors import ApiError, Internal, UnknownResponse
from headrace.fleet.catalogue import Catalogue
from headrace.fleet.registry import Fleet
from headrace.gateway import answers
from headrace.gateway.body import scan
from headrace.gateway.body.media import MediaGate
from headrace.gateway.body.salt import SALTED, salted
from headrace.gateway.body.traits import traits
from headrace.gateway.clocks import now
from headrace.gateway.door.entrance import check_model, owned
from headrace.gateway.exchange import Exchange
from headrace.gateway.gate import Gate
from headrace.gateway.guards.guarded import relaying
from headrace.gateway.guards.parameters import Parameters
from headrace.gateway.place.placement import Placement
from headrace.gateway.place.pressure import Pressure
from headrace.gateway.place.usher import Usher
from headrace.gateway.place.waiting import Waiting
from headrace.gateway.rules.fallback import Fallbacks
from headrace.gateway.rules.steer import Steer
from headrace.gateway.send.dispatch import Dispatcher, RetryBudget
from headrace.gateway.send.relay import Relay
from headrace.routing.stickiness import Stickiness
from headrace.telemetry.metrics import Metrics
from headrace.telemetry.rounds import traced
from headrace.telemetry.writer import Writer
from headrace.types import RequestFacts


class Pipeline:
    """What the steps need, held once."""

    def __init__(
        self,
        config: Config,
        catalogue: Catalogue,
        fleet: Fleet,
        placement: Placement,
        log: Writer,
        steer: Steer,
    ) -> None:
        self._log = log
        self.gates: tuple[Gate, ...] = ()  # who may change or refuse what is sent, in this order
        self.counts = False  # somebody pays for tokens: streams report usage, whatever clients say
        self._catalogue = catalogue
        self._placement = placement
        self._timeouts = config.timeouts
        self._sticky = Stickiness()
        waiting = Waiting(config, catalogue.models)
        queue_s, most = config.timeouts.queue_s, config.routing.max_waiting
        self.usher = Usher(config.queue, queue_s, most, log.event)
        self.pressure = Pressure(config.pressure, placement, self.usher, steer, log.event)
        self._dispatcher = Dispatcher(config, placement, waiting, self.usher, self._sticky)
        self._steer = steer
        self._fallbacks = Fallbacks(self._dispatcher, fleet, steer, config.retries.statuses)
        self._parameters = Parameters(config.parameters)
        self._media = MediaGate(config.media.allowed_hosts, counts=config.media.fetch == "gateway")

    def measure(self, metrics: Metrics) -> None:
        """Let the queue and what gives way be seen in these metrics."""
        self.usher.count(metrics, self._placement.models)
        self.pressure.measure(metrics)

    @property
    def retries(self) -> RetryBudget:
        """What retries are paid from."""
        return self._dispatcher.budget

    async def run(self, exchange: Exchange) -> None:
        """Carry one request from its body to the last byte of its answer."""
        exchange.begin(now(), self._timeouts.total_s)
        relay: Relay | None = None
        try:
            body, asks_usage = self._read(exchange)
            if self._steer.book is not None:
                body = await self._steer.apply(exchange, body, self._sticky)
            for gate in self.gates:
                body = await gate(exchange, body)
            exchange.admitted_at = now()
            plan = exchange.plan
            several = plan is not None and len(plan.targets) > 1
            sender = self._fallbacks if several else self._dispatcher
            reply = await sender.first_byte(exchange, body)
            relay = relaying(exchange, reply, strip_usage=asks_usage, sticky=self._sticky)
            del body
            timeouts = self._timeouts if plan is None else plan.timeouts
            ended = relay.begin(timeouts.chunk_s)
            if ended is not None:
                await ended
        except ApiError as error:
            _end(exchange, relay, error)
        except asyncio.CancelledError:
            if exchange.cause is None:
                raise
            if isinstance(exchange.cause, ApiError):
                _end(exchange, relay, exchange.cause)
            elif relay is not None:
                relay.leave()
        except Exception as fault:  # noqa: BLE001 - whatever it is, the client gets an answer
            self._log.event(
                "internal_error",
                **exchange.ids,
                **traced(fault),
            )
            _end(exchange, relay, Internal("The gateway failed here; its log says where."))
        finally:
            exchange.settle()

    def _read(self, exchange: Exchange) -> tuple[bytes, bool]:
        """
        The body to send, and whether usage was asked for on the client's behalf; fills in the
        facts.
        """
        request, endpoint = exchange.request, exchange.endpoint
        body = request.body()
        if endpoint.kind == "json":
            return self._read_json(exchange, body)
        if endpoint.kind == "multipart":
            content_type = request.headers.get(b"content-type", b"")
            model, exchange.span = scan.read_form(body, content_type)
            self._facts(exchange, model, scan.Body(), len(body) // scan.BYTES_PER_TOKEN)
        else:
            self._read_stored(exchange)
        return body, False

    def _read_json(self, exchange: Exchange, body: bytes) -> tuple[bytes, bool]:
        fields = self._steer.read(body)
        self._parameters.check(body, fields, exchange.caller)
        media = self._media.check(body)
        self._facts(exchange, fields.model, fields, scan.tokens(len(body), media))
        exchange.media = media.count
        exchange.prompt = fields
        if exchange.caller.salt and exchange.endpoint.path in SALTED:
            body = salted(body, fields, exchange.caller.salt)
        options = fields.stream_options
        said = options.include_usage if isinstance(options, scan.StreamOptions) else None
        asked = said if self.counts else said is not None
        if exchange.endpoint.usage_option and exchange.facts.stream and not asked:
            return scan.ask_for_usage(body, options), True
        return body, False

    def _read_stored(self, exchange: Exchange) -> None:
        """
        A stored response is where it was made; its id says where.

        Raises:
            UnknownResponse: this gateway has not seen the id, and more than one model could hold
            it.

        """
        key = exchange.request.path.split("/")[3]
        holder = self._sticky.recall(owned(exchange.caller, key))
        if holder is None and (len(self._catalogue.models) > 1 or exchange.caller.tenant):
            raise UnknownResponse(f"No replica is known to hold the response {key[:100]}.")
        self._facts(
            exchange,
            holder.model if holder is not None else None,
            scan.Body(previous_response_id=key),
            0,
        )

    def _facts(self, exchange: Exchange, asked: str | None, fields: scan.Body, tokens: int) -> None:
        caller, sticky = exchange.caller, fields.continues
        if caller.models:
            check_model(caller, self._catalogue, asked)
        if caller.tenant and sticky:
            sticky = self._own(caller, sticky)
        if self._steer.book is None:
            exchange.served = self._catalogue.resolve(asked, caller).name
        else:  # a rule may know a model that the catalogue does not
            exchange.traits = traits(fields)
        exchange.facts = RequestFacts(
            model=asked or "",
            endpoint=exchange.endpoint.path,
            stream=fields.stream is True or scan.truth(fields.stream),
            prompt_tokens=tokens,
            max_tokens=fields.limit,
            sticky=sticky,
        )

    def _own(self, caller: Caller, name: str) -> str:
        """
        What a stored response is remembered by, if it is one of the caller's tenant.

        Raises:
            UnknownResponse: it is not, or nobody remembers.

        """
        own = owned(caller, name)
        if self._sticky.recall(own) is None:
            raise UnknownResponse(f"No replica is known to hold the response {name[:100]}.")
        return own


def _end(exchange: Exchange, relay: Relay | None, error: ApiError) -> None:
    """Answer with an error: as a status while nothing was sent, inside the answer afterwards."""
    if relay is not None:
        relay.stop(error)
        return
    exchange.failed(error)
    if exchange.begun:
        exchange.settle()
        endpoint = exchange.endpoint
        frames = answers.error_frames(error, endpoint.dialect, typed=endpoint.stores)
        exchange.client.end(frames)
        return
    exchange.status = error.status
    exchange.settle()
    headers = answers.error_headers(error) + exchange.answer_id
    body = answers.error_body(error, exchange.endpoint.dialect)
    exchange.client.answer(error.status, headers, body)
