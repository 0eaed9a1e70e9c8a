"""
A request in the simulated world, and what the gateway would count of it: its record, its phase, its
tenant. What happens to it is world.py's.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from benchmarks.diagnosis.fleet import Node
from headrace.simulate.engine import Job
from headrace.telemetry.records import Record, Weighed

MODEL = "m"
EPOCH_S = 1.8e9  # when a simulated day begins


@dataclass(slots=True)
class Ask:
    """A request on its way; ``tenant`` and the rest are what the gateway knows of it."""

    job: Job
    tenant: str
    arrived_s: float
    patience_s: float | None = None
    reading_s: float = 0.0  # how long its client takes to read the answer, beyond its making
    adapter: int = -1  # the LoRA adapter that it wants
    again: int = 0
    attempts: int = 0
    placed_s: float = -1.0
    at_engine_s: float = -1.0
    first_s: float = -1.0
    believed: float = 0.0
    node: Node | None = None
    over: bool = False
    tried: set[int] = field(default_factory=set)


def made(ask: Ask, outcome: str, now_s: float) -> Record:
    """The record that the gateway would have written."""
    job, request = ask.job, ask.job.request
    reached = ask.attempts > 0
    streamed = request.streamed and ask.first_s >= 0
    made_tokens = request.output_tokens if outcome == "completed" else 0
    paced = streamed and job.end_s > 0 and ask.node is not None and request.output_tokens > 1
    pace = ask.node.gap_s(job.first_s) * 1000 if paced and ask.node is not None else None
    placed = (ask.placed_s - ask.arrived_s) * 1000 if ask.placed_s >= 0 else None
    return Record(
        time=datetime.fromtimestamp(EPOCH_S + now_s, UTC), request_id=str(request.number),
        endpoint="/v1/chat/completions", outcome=outcome, status=200,
        attempts=ask.attempts, stream=request.streamed, total_ms=(now_s - ask.arrived_s) * 1000,
        tokens_in=request.prompt_tokens if reached else 0, tokens_out=made_tokens,
        tokens_cached=max(0, job.cached) if outcome == "completed" else 0, bytes_in=0, bytes_out=0,
        model=MODEL, served="" if outcome == "rejected_model" else MODEL,
        replica=ask.node.name if ask.node is not None else "", tenant=ask.tenant,
        ttft_ms=(ask.first_s - ask.arrived_s) * 1000 if streamed else None,
        decision=Weighed("lowest_cost", 4, 0.0, int(ask.believed)) if reached else None,
        queue_ms=placed, itl_p50_ms=pace,
    )  # fmt: skip


def tenants(asks: Mapping[int, Ask]) -> dict[tuple[str, ...], float]:
    """Running requests by tenant."""
    counts = Counter(dict.fromkeys((f"tenant-{number}" for number in range(7)), 0))
    counts.update(ask.tenant for ask in asks.values())
    return {(tenant,): float(count) for tenant, count in counts.items()}


def phases(asks: Mapping[int, Ask]) -> Counter[tuple[str, ...]]:
    """Running requests by phase, as the gateway's own sight counts them."""
    counts: Counter[tuple[str, ...]] = Counter(
        dict.fromkeys(
            ((MODEL, each) for each in ("waiting", "first_byte", "streaming", "whole")), 0
        )
    )
    for ask in asks.values():
        if ask.placed_s < 0 or ask.node is None:
            phase = "waiting"
        elif ask.first_s >= 0:
            phase = "streaming"
        else:
            phase = "first_byte" if ask.job.request.streamed else "whole"
        counts[MODEL, phase] += 1
    return counts
