"""
What the running requests show of their replicas: the signs of life that stuck detection reads.

Looked at some times a second, over all requests at once, so that a chunk pays nothing for it.
"""

from collections.abc import Iterable

from headrace.fleet.registry import Replica
from headrace.fleet.ward import Progress
from headrace.gateway.exchange import Exchange


def progress(running: Iterable[Exchange], now: float) -> dict[Replica, Progress]:
    """Each replica's requests in a few numbers. A client that reads slowly is not its fault."""
    found: dict[Replica, Progress] = {}
    for exchange in running:
        lease = exchange.lease
        if lease is None or lease.replica is None:
            continue
        seen = found.get(lease.replica)
        if seen is None:
            seen = found[lease.replica] = Progress()
        times, facts = exchange.times, exchange.facts
        seen.streams += facts.stream
        if exchange.client.choked:
            seen.byte_at = now
        elif times:
            seen.byte_at = max(seen.byte_at, times[-1])
        else:
            seen.waiting_prompt = max(seen.waiting_prompt, facts.prompt_tokens)
    return found
