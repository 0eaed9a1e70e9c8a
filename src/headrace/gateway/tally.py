"""What the gateway tells the meter: requests that begin, replicas that work. Not what it costs."""

from collections.abc import Callable

from headrace.config.metering import Metering
from headrace.fleet.registry import Fleet
from headrace.gateway.exchange import Exchange
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


def begun(meter: Meter | None) -> Callable[[Exchange], None] | None:
    """Who hears of a request that was read; nobody, where nothing waits for the ledger."""
    if meter is None or not meter.strict:
        return None
    strict = meter

    def begin(exchange: Exchange) -> None:
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

    return begin


def seen(meter: Meter | None) -> LedgerSeen:
    """The ledger now, for the metrics."""
    return LedgerSeen() if meter is None else meter.seen()
