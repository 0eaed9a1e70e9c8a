"""
What is noted of each attempt to have a request answered: who, why, when. Only times and references
are kept on the way; what they say is put into words by story.py, when somebody asks.
"""

from msgspec import Struct

from headrace.routing.decision import Decision
from headrace.routing.lane import Taken
from headrace.upstream.connection import Reply


class Attempt(Struct, gc=False):
    """
    One attempt. Times are monotonic seconds, 0.0 for what did not happen: ``arrived_at`` at the
    replicas' queue, ``taken_at`` out of it, ``placed_at`` ready to be sent, ``sent_at`` written to
    the connection, ``answered_at`` the first bytes, ``ended_at`` given up. ``fresh`` says that the
    connection was opened for it, ``span`` is its id in the trace.
    """

    replica: str
    decision: Decision | None
    predicted: Taken
    arrived_at: float
    taken_at: float
    placed_at: float
    sent_at: float = 0.0
    answered_at: float = 0.0
    ended_at: float = 0.0
    status: int = 0
    fresh: bool = False
    error: str = ""
    span: int = 0

    def answer(self, now: float, reply: Reply) -> None:
        """The beginning of an answer is there."""
        self.answered_at, self.status = now, reply.status
        self.sent_at, self.fresh = reply.connection.sent_at, not reply.connection.answered


class Note(Struct, frozen=True, gc=False):
    """
    What someone at the door decided about a request (``limits``, ``queue``, ``guard``…), in a few
    words that are fit for a log: no prompt, no key.
    """

    at: float
    who: str
    outcome: str
    detail: str = ""
