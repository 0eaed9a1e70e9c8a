"""
What the harness asks of the load client and what the client answers: one JSON line each way.
The numbers in an Outcome are only about answers that were checked and found whole.
"""

from dataclasses import dataclass, field
from typing import Literal

MODEL = "bench"

# A request for this many tokens gets its first chunk and then silence: an idle stream.
HOLD_TOKENS = 1_000_000

# What the engine says, in turn. The client counts them: a chunk that got lost is seen.
WORDS = (b" tok", b" tak")

# The prompt's last characters. The engine refuses a body that lost them on the way.
END_MARK = "#end"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """
    One piece of load, bounded in count and in time.

    `connections` run side by side, each sending its next request when the last one is answered.
    `rounds` bounds the requests per connection; after `max_s` no request is started any more, so
    that a slow proxy does less work but none is cut off: what does not end soon after, failed.
    """

    kind: Literal["stream", "whole", "idle", "stall"]
    port: int
    connections: int
    rounds: int
    max_s: float
    prompt_bytes: int = 2_400
    chunks: int = 0
    spread_s: float = 0.0
    """Connections start evenly over this time, so that streams do not tick in step."""
    large_bytes: int = 0
    """`stall` only: the prompt of the large requests sent one after another beside the streams."""


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What came back. Times are milliseconds."""

    answered: int = 0
    chunks: int = 0
    elapsed_s: float = 0.0
    client_cpu_s: float = 0.0
    """What the client itself spent, without encoding the prompts."""
    failures: dict[str, int] = field(default_factory=dict)
    ttft_ms: list[float] = field(default_factory=list)
    latency_p50_ms: float = 0.0
    latency_p99_ms: float = 0.0
    gap_p99_ms: float = 0.0
    gap_worst_ms: float = 0.0
    large_answered: int = 0

    def fail(self, reason: str) -> None:
        self.failures[reason] = self.failures.get(reason, 0) + 1
