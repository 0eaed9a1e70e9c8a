"""How much is measured: every count and every duration of a run, full or quick, in one place."""

from dataclasses import dataclass

from .jobs import Job


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The bounds of one run. `rounds` repetitions are interleaved between peers: A B C A B C."""

    rounds: int
    streams: int
    waves: int
    """Streams that each of the `streams` connections runs, one after another."""
    chunks: int
    whole_s: float
    body_s: float
    replica_rounds: int
    replica_s: float
    replica_counts: tuple[int, ...]
    idle_streams: int
    idle_settle_s: float
    stall_chunks: int
    starts: int
    replicas: int = 4
    whole_connections: int = 32
    body_sizes: tuple[int, ...] = (16_000, 1_000_000, 10_000_000)


FULL = Plan(
    rounds=3,
    streams=64,
    waves=2,
    chunks=200,
    whole_s=2.0,
    body_s=1.0,
    replica_rounds=3,
    replica_s=1.5,
    replica_counts=(1, 8, 64, 256),
    idle_streams=2_000,
    idle_settle_s=1.5,
    stall_chunks=150,
    starts=3,
)
QUICK = Plan(
    rounds=1,
    streams=64,
    waves=1,
    chunks=100,
    whole_s=1.0,
    body_s=0.4,
    replica_rounds=1,
    replica_s=0.7,
    replica_counts=(1, 256),
    idle_streams=500,
    idle_settle_s=0.5,
    stall_chunks=120,
    starts=1,
)

_SPREAD_S = 0.2
_MANY = 1_000_000
_STREAM_MOST_S = 8.0


def size_name(size: int) -> str:
    return f"{size // 1_000_000} MB" if size >= 1_000_000 else f"{size // 1_000} kB"


def load(plan: Plan, port: int) -> dict[str, Job]:
    """The jobs that every round plays, by scene."""
    jobs = {
        "stream": Job(
            kind="stream",
            port=port,
            connections=plan.streams,
            rounds=plan.waves,
            chunks=plan.chunks,
            spread_s=_SPREAD_S,
            max_s=_STREAM_MOST_S,
        ),
        "whole": whole(port, plan.whole_connections, plan.whole_s),
    }
    for size in plan.body_sizes:
        # Few enough that 10 MB bodies do not queue for the harness's own core.
        connections = 8 if size < 1_000_000 else 2
        jobs[size_name(size)] = whole(port, connections, plan.body_s, size)
    jobs["stall"] = _stall(plan, port)
    return jobs


def whole(port: int, connections: int, max_s: float, prompt_bytes: int = 2_400) -> Job:
    """Whole requests, as fast as the answers come, for `max_s`."""
    return Job(
        kind="whole",
        port=port,
        connections=connections,
        rounds=_MANY,
        max_s=max_s,
        prompt_bytes=prompt_bytes,
    )


def warm(plan: Plan, port: int, replicas: int) -> list[Job]:
    """Fills connection pools and caches before anything is counted."""
    requests = max(400, 4 * replicas)
    connections = plan.whole_connections
    return [
        Job(
            kind="whole",
            port=port,
            connections=connections,
            rounds=requests // connections,
            max_s=2.0,
        ),
        Job(
            kind="stream",
            port=port,
            connections=plan.streams,
            rounds=1,
            chunks=10,
            spread_s=0.05,
            max_s=3.0,
        ),
    ]


def _stall(plan: Plan, port: int) -> Job:
    """Eight streams, and 10 MB bodies one after another beside them."""
    return Job(
        kind="stall",
        port=port,
        connections=8,
        rounds=1,
        chunks=plan.stall_chunks,
        spread_s=_SPREAD_S,
        max_s=10.0,
        large_bytes=10_000_000,
    )


def idle(plan: Plan, port: int) -> Job:
    """Streams that say one word and then nothing."""
    return Job(kind="idle", port=port, connections=plan.idle_streams, rounds=1, max_s=12.0)
