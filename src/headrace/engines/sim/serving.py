"""One request while it is answered: tokens from the engine to the wire, and faults on the way."""

from headrace.config.simulator import Fault
from headrace.engines.sim.ask import Refused
from headrace.engines.sim.engine import Engine, Job
from headrace.engines.sim.faults import Faults, after
from headrace.engines.sim.voice import Turn, Voice
from headrace.engines.sim.wire import EVENTS, JSON, Reply

GARBAGE = b'data: {"id":"chatcmpl-\xff\xfe\x00","choices":[{"delta":{"con\n\n'
LENGTH_ERROR = 10  # bytes that a wrong content-length promises and that never come
BREAKS = frozenset({"die", "reset", "freeze", "error"})


class Serving:
    """Listens to one job and writes one reply."""

    def __init__(
        self, engine: Engine, faults: Faults, reply: Reply, turn: Turn, voice: Voice,
        fault: Fault | None,
    ) -> None:  # fmt: skip
        self._engine = engine
        self._faults = faults
        self._reply = reply
        self._turn = turn
        self._voice = voice
        self._fault = fault
        self._after = after(fault) if fault else 0
        self._held: list[bytes] | None = None
        self._count = turn.answer.tokens
        self._scale = turn.wish.scale
        # Tokens between two chunks: whole ones of text.
        self._stride = -(-turn.surface.stream_interval // self._scale) * self._scale
        self._told = 0  # pieces that were said
        self._early = turn.surface.early_headers and turn.wish.stream and fault is None
        self._stream = turn.wish.stream
        if fault is not None and fault.kind == "length":
            self._held = []
        self.job: Job | None = None

    def start(self, job: Job) -> None:
        """Queue the job; it is aborted when the client leaves."""
        self.job = job
        self._reply.on_gone = self._abort
        if self._early:
            self._reply.open()
        self._engine.add(job)

    def on_token(self, produced: int) -> None:
        """The engine has one more token; 0: it has given up."""
        if produced == 0:
            self._give_up("The engine went to sleep.", 500)
            return
        last = produced == self._count
        if self._fault is not None and self._spoil(self._fault, produced, last):
            return
        if produced == 1 and self.job is not None:
            self._turn.cached = self.job.sequence.cached
        if not self._stream:
            if last:
                self._reply.whole(200, self._voice.whole())
            return
        if (produced - 1) % self._stride and not last:
            return
        said = b""
        if produced == 1:
            if not self._early:
                self._reply.open()
            said = self._voice.first()
        said += self._said(produced)
        if last:
            self._reply.end(said)
        else:
            self._reply.frame(said)

    def _said(self, produced: int) -> bytes:
        """What is said by now and was not yet; the last piece comes with the end."""
        pieces, last = self._turn.answer.pieces, produced == self._count
        until = len(pieces) - 1 if last else 1 + (produced - 1) // self._scale
        fresh, self._told = pieces[self._told : until], max(until, self._told)
        said = self._voice.token("".join(fresh), produced) if fresh else b""
        return said + self._voice.last() if last else said

    def _abort(self) -> None:
        if self.job is not None:
            self._engine.abort(self.job)

    def _give_up(self, message: str, status: int) -> None:
        """As vLLM does when its engine stops under a request."""
        refused = Refused(message, status=status, kind="InternalServerError")
        failure = self._voice.failure(refused)
        if self._reply.opened:
            self._reply.end(failure.frames)
        else:
            self._reply.whole(status, failure.body)

    # --- faults -----------------------------------------------------------------------------------

    def _spoil(self, fault: Fault, produced: int, last: bool) -> bool:
        """Do what the fault does at this token; True: that is all for this token."""
        if fault.kind in BREAKS:
            if produced <= self._after and not last:
                return False
            self._break(fault)
            return True
        if fault.kind == "length":
            self._misstate(produced, last)
            return True
        if fault.kind == "garbage" and produced > self._after:
            self._babble(last)
            return True
        return False

    def _break(self, fault: Fault) -> None:
        self._abort()
        if fault.kind == "error":
            self._give_up("Injected failure.", fault.status)
        elif fault.kind == "die":
            self._reply.drop()
        elif fault.kind == "reset":
            self._reply.reset()
        else:
            self._faults.frozen.append(self._reply.freeze())
            self._faults.thaw()  # the freeze may have ended since the request came

    def _misstate(self, produced: int, last: bool) -> None:
        if not self._stream:
            if last:
                body = self._voice.whole()
                self._reply.misstate(body, len(body) + LENGTH_ERROR, JSON)
            return
        held = self._held = self._held or [self._voice.first()]
        held.append(self._said(produced))
        if last:
            body = b"".join(held)
            self._reply.misstate(body, len(body) + LENGTH_ERROR, EVENTS)

    def _babble(self, last: bool) -> None:
        if not self._stream:
            if last:
                self._reply.whole(200, GARBAGE)
            return
        if not self._reply.opened:
            self._reply.open()
        if last:
            self._reply.end(GARBAGE)
        else:
            self._reply.frame(GARBAGE)
