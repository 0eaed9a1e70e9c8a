"""
What an engine's error says of the engine: that it failed, or only that it would not. Pure.

Whether and where the request is sent again is dispatch.py's; what follows for the replica is the
fleet's.
"""

from collections.abc import Container

from headrace.fleet.registry import Lease
from headrace.upstream.connection import Reply

# vLLM 0.32 after SIGTERM: it finishes what it has, says 200 to /health, and this, with a 500, to
# whatever is new. The request was never begun.
ENDING = b"cannot schedule new futures after shutdown"

NO_SUCH_ENDPOINT = 501
BUSY = 503


def judge(lease: Lease, status: int) -> None:
    """
    Tell the replica what an answer with this status, 400 or above, says of it.

    503 is what an engine says whose queue is full (vLLM's ``--max-num-queued-reqs``): to set it
    aside for that would move its load to peers that are as full. One that says it with nothing to
    do is not busy, and so is one whose /health nobody asks: there, 503 is a failure.
    """
    replica = lease.replica
    busy = status == BUSY and replica is not None and replica.probed and replica.works
    if status < 500 or status == NO_SUCH_ENDPOINT or busy:
        lease.refuse()
    else:
        lease.fail(f"status {status}")


def may_repeat(reply: Reply, statuses: Container[int]) -> bool:
    """Whether another replica may answer better: by the status, or because this engine ends."""
    return reply.status in statuses or (reply.status == 500 and ENDING in reply.body)
