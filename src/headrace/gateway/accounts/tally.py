"""What the gateway tells the meter: requests that begin, replicas that work. Not what it costs."""

from headrace.config.metering import Metering
from headrace.fleet.registry import Fleet
from headrace.gateway.exchange import Exchange
from headrace.gateway.gate import Gate, Hear
from headrace.metering.meter import Meter, begun_at
from headrace.metering.rows import Begun
from headrace.telemetry.ledger import LedgerSeen
from headrace.telemetry.writer import Writer


def metering(config: Metering, fleet: Fleet, log: Writer) -> Meter | None:
    """
    The meter of a gateway; None where no ledger is configured.

    Raises:
        ConfigError: the price book is wrong.

    """
    if not config.address:
        return None
    return Meter(
        config,
        log.event,
        lambda: [(each.name, each.inflight_requests > 0) for each in fleet.present],
    )


def gates(meter: Meter | None) -> tuple[Gate, ...]:
    """What writes a request down before it is sent; nothing, where nothing waits for the ledger."""
    if meter is None or not meter.strict:
        return ()
    strict = meter

    async def begin(exchange: Exchange, body: bytes) -> bytes:
        facts = exchange.facts
        exchange.ticket = strict.begin(
            Begun(
                id=strict.identity(),
                at_us=begun_at(),
                request_id=exchange.request_id,
                tenant=exchange.caller.tenant,
                key_id=exchange.caller.key,
                endpoint=exchange.endpoint.path,
                asked=facts.model,
                model=exchange.served,
                prompt_tokens=facts.prompt_tokens,
                max_tokens=facts.max_tokens,
            )
        )
        return body

    return (begin,)


def hears(meter: Meter | None) -> tuple[Hear, ...]:
    """What writes down how requests ended; nothing, where there is no ledger."""
    if meter is None:
        return ()
    ledger = meter
    return (lambda exchange, record: ledger.settled(record, exchange.ticket),)


def seen(meter: Meter | None) -> LedgerSeen:
    """The ledger now, for the metrics."""
    return LedgerSeen() if meter is None else meter.seen()
