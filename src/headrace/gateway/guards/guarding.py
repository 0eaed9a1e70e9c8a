"""
Guards at work: which of them a request has, what they say of its prompt, and what is written down
of it. How one looks is looks.py's; answers are guarded.py's.
"""

import importlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from headrace.config.guards import Guards
from headrace.config.identity import Tenant
from headrace.config.schema import Config
from headrace.errors import BadRequest, Blocked, StartError
from headrace.gateway.body import scan
from headrace.gateway.exchange import Exchange
from headrace.gateway.gate import Gate, Hear
from headrace.gateway.guards.fetching import Fetching, fetching, gates
from headrace.gateway.guards.looks import Guard, Looks, Way
from headrace.gateway.guards.watch import Chosen, Watch
from headrace.gateway.rules.steer import Steer
from headrace.guard import limits, walk
from headrace.guard.detectors import KINDS
from headrace.guard.injection import INJECTION, Embeds
from headrace.guard.schema import wanted
from headrace.guard.screen import Refused, Tally
from headrace.guard.worker import Load, Workers
from headrace.telemetry.guards import GuardMetrics
from headrace.telemetry.metrics import Metrics
from headrace.telemetry.records import Guarded, Record
from headrace.telemetry.writer import Writer

# Developers and models; whatever else a role is called, what it says may be an attack.
_INSIDERS = frozenset({"system", "developer", "assistant", "model"})
_INSIDE = frozenset({"system", "instructions", "tools", "functions"})
# The fields of a form that a model reads as text.
FIELDS = frozenset({b"prompt"})
# A body with more members than this is read member by member, to find those given twice.
MAX_NAMES = 64


def guarding(config: Config, metrics: Metrics, log: Writer, steer: Steer) -> "Guarding":
    """
    The guards of a gateway.

    Raises:
        ConfigError: a guard's settings name something that there is not.
        StartError: a package that it needs is not installed.

    """
    guards = Guarding(config.guards, config.tenants, GuardMetrics(metrics.registry), log, meaning)
    guards.fetching = fetching(config, metrics)
    last = guards if config.guards.policies else guards.fetching
    if last is not None:
        steer.copies = False  # shadows get what the guards let through, with what was fetched
        last.copy = steer.copy
    return guards


def meaning() -> Embeds:
    """
    What gives vectors, for a worker.

    Raises:
        StartError: a package that it needs is not installed.

    """
    try:
        found = importlib.import_module("headrace.gateway.rules.embedding")
    except ModuleNotFoundError as error:
        raise StartError(
            f"A guard of kind injection needs the package {error.name}; install it with `pip"
            " install 'headrace[classify]'`, or set `injection.vectors: false`."
        ) from error
    embeds: Embeds = found.Builtin()
    return embeds


class Guarding:
    """All guards of a gateway; without any, nothing is on the way of requests."""

    def __init__(
        self,
        config: Guards,
        tenants: Iterable[Tenant],
        metrics: GuardMetrics,
        log: Writer,
        load: Load | None = None,
    ) -> None:
        """
        Make the guards; ``load`` is what makes vectors, in a worker.

        Raises:
            ConfigError: a guard's settings name something that there is not.
            StartError: a package that it needs is not installed.

        """
        self._log = log
        self._metrics = metrics
        self.copy: Callable[[Exchange, bytes], None] | None = None  # who gets what was let through
        self.fetching: Fetching | None = None
        self._guards = {policy.name: Guard(policy) for policy in config.policies}
        self._default = self._chosen(config.default)
        listed = [*tenants]
        self._of_tenants: Mapping[str, Chosen] = {
            each.name: self._chosen(each.guards) for each in listed if each.guards is not None
        }
        self._open_logs = frozenset(each.name for each in listed if each.log_content)
        self._of_rules: dict[tuple[str, ...], Chosen] = {}
        workers = [each for each in config.policies if each.kind in {*KINDS, "json_schema"}]
        by_meaning = any(each.kind == "injection" and each.injection.vectors for each in workers)
        made: Workers | None = None
        if workers:
            load = load if by_meaning else None
            made = Workers(workers, config.workers, config.queue, load, config.stuck_s)
            made.ended = self._worker_ended
        self.looks = Looks(metrics, log, made)
        for guard in self._guards.values():
            ways: tuple[Way, ...] = ("input", "output")
            metrics.born(guard.policy.name, [way for way in ways if guard.policy.looks_at(way)])

    async def start(self) -> None:
        """
        Start the workers.

        Raises:
            StartError: one of them lacks what it needs.

        """
        if self.looks.workers is not None:
            await self.looks.workers.start()
            self._log.event("guards_ready", guards=[*self._guards])

    def stop(self) -> None:
        """End the workers and the connections to classifiers."""
        if self.looks.workers is not None:
            self.looks.workers.stop()
        for guard in self._guards.values():
            if guard.moderation is not None:
                guard.moderation.close()

    @property
    def guards(self) -> tuple[Guard, ...]:
        """All of them."""
        return tuple(self._guards.values())

    @property
    def gates(self) -> tuple[Gate, ...]:
        """Who fetches for requests and looks at them: nobody, where there are no guards."""
        return gates(self.fetching) + ((self.gate,) if self._guards else ())

    @property
    def hears(self) -> tuple[Hear, ...]:
        """Who hears how they ended: likewise."""
        return (self.hear,) if self._guards else ()

    # --- requests --------------------------------------------------------------------------

    async def gate(self, exchange: Exchange, body: bytes) -> bytes:
        """
        Look at a request (``Gate``); its answer is looked at later by the same guards.

        Raises:
            Blocked: a guard refuses it.
            Unguarded: a guard that is closed could not look.

        """
        chosen = self._of(exchange)
        if chosen[0] or chosen[1]:
            body = await self._begin(exchange, chosen, body)
        if self.copy is not None:
            self.copy(exchange, body)
        return body

    async def _begin(self, exchange: Exchange, chosen: Chosen, body: bytes) -> bytes:
        keeps = exchange.caller.tenant in self._open_logs
        watch = exchange.watch = Watch(chosen, self.looks, Tally(keeps=keeps))
        if any(guard.policy.kind == "json_schema" for guard in watch.outputs):
            watch.schema = wanted(body)
        if watch.inputs and exchange.endpoint.kind != "stored":
            try:
                body = await self._looked_at(exchange, watch, body)
            except Refused as refused:
                exchange.note("guards", "refused", refused.guard)
                raise blocked(refused) from None
            exchange.note("guards", "passed", ", ".join(watch.tally.counts))
        return body

    def hear(self, exchange: Exchange, record: Record) -> None:
        """A request has ended (``Hear``): write down what was found, never what it was."""
        watch = exchange.watch
        if watch is None:
            return
        tally = watch.tally
        record.guards = tuple(
            Guarded(name, tally.modes[name], dict(counts)) for name, counts in tally.counts.items()
        )
        ways: tuple[tuple[Way, tuple[Guard, ...]], ...] = (
            ("input", watch.inputs), ("output", watch.outputs),
        )  # fmt: skip
        for way, guards in ways:
            for guard in guards:
                self._metrics.said(guard.policy.name, way, _verdict(guard, tally))
        for name, counts in tally.counts.items():
            for entity, count in counts.items():
                self._metrics.found(name, entity, count)
        for name, entity, text in tally.kept or ():
            self._log.event(
                "guard_content",
                request_id=exchange.request_id, tenant=exchange.caller.tenant,
                guard=name, entity=entity, text=text,
            )  # fmt: skip

    # --- below -----------------------------------------------------------------------------

    def _worker_ended(self, reason: str, guard: str) -> None:
        self._metrics.ended(reason)
        self._log.event("guard_worker_ended", guard=guard, reason=reason)

    def _of(self, exchange: Exchange) -> Chosen:
        """A request's guards: those of its rule, else of its tenant, else the default ones."""
        plan = exchange.plan
        if plan is None or plan.guards is None:
            return self._of_tenants.get(exchange.caller.tenant, self._default)
        chosen = self._of_rules.get(plan.guards)
        if chosen is None:
            chosen = self._of_rules[plan.guards] = self._chosen(plan.guards)
        return chosen

    def _chosen(self, names: Iterable[str]) -> Chosen:
        found = []
        for name in names:
            if name not in self._guards:
                raise StartError(f"There is no guard {name!r}; declare it in `guards.policies`.")
            found.append(self._guards[name])
        return (
            tuple(each for each in found if each.policy.looks_at("input")),
            tuple(each for each in found if each.policy.looks_at("output")),
        )

    async def _looked_at(self, exchange: Exchange, watch: Watch, body: bytes) -> bytes:
        form = exchange.endpoint.kind == "multipart"
        tree = _texts(exchange, body) if form else _decoded(body)
        _readable(watch, tree)
        texts = []
        for guard in watch.inputs:
            policy = guard.policy
            if policy.kind == "limits":
                too_much = limits.excess(policy.limits, exchange.bytes_in, None if form else tree)
                _decide(guard, too_much, watch.tally)
            elif policy.kind in {"injection", "moderation"}:
                await self._judge(guard, tree, watch)
            else:
                texts.append(guard)
        changed = await self.looks.screened(texts, tree, "input", watch.tally) if texts else ()
        if not changed:
            return body
        if form:
            return _rewritten(exchange, body, tree)
        given = scan.members(body, changed)  # each once: else it was refused
        edits = [(each.start, each.end, msgspec.json.encode(tree[each.key])) for each in given]
        body = scan.spliced(body, edits)
        exchange.prompt = scan.read(body)  # routing looks at what is sent
        return body

    async def _judge(self, guard: Guard, tree: dict[str, Any], watch: Watch) -> None:
        """Kinds that judge what outsiders say, as a whole."""
        said = [
            spot.text
            for spot in walk.spots(tree, [key for key in tree if key not in _INSIDE])
            if spot.role not in _INSIDERS
        ]
        if not said:
            return
        if guard.moderation is not None:
            found = [*await self.looks.moderated(guard, "\n".join(said), watch.tally)]
        else:
            looked = await self.looks.find(guard, said, "input", watch.tally)
            found = [INJECTION for each in looked if each]
        _decide(guard, [(entity, "") for entity in found], watch.tally)


def blocked(refused: Refused, what: str = "this request") -> Blocked:
    """The error of a refusal: which guard, and what it found; never where, or the thing itself."""
    found = ", ".join(
        entity if count == 1 else f"{entity} ({count})"
        for entity, count in refused.entities.items()
    )
    return Blocked(f"The guard `{refused.guard}` refuses {what}: {found}.")


def _readable(watch: Watch, tree: dict[str, Any]) -> None:
    """
    See that a prompt is text: no guard can read the numbers of its tokens.

    Raises:
        Blocked: it is none, and a guard is there to keep something from the engine.

    """
    named = walk.numbers(tree)
    for policy in (guard.policy for guard in watch.inputs if named):
        if policy.kind != "limits" and policy.mode != "log" and policy.late == "closed":
            watch.tally.add(policy.name, policy.mode, ["UNREADABLE"])
            raise Blocked(
                f"The guard `{policy.name}` cannot read `{named}`, which is numbers; send text."
            )


def _texts(exchange: Exchange, body: bytes) -> dict[str, Any]:
    """What a form says in words: the text that a transcription goes on from."""
    spans = scan.form_fields(body, _kind(exchange), FIELDS)
    return {name: body[slice(*span)].decode("utf-8", "replace") for name, span in spans.items()}


def _rewritten(exchange: Exchange, body: bytes, tree: dict[str, Any]) -> bytes:
    """A form with these texts."""
    spans = scan.form_fields(body, _kind(exchange), FIELDS)
    edits = [(*span, tree[name].encode()) for name, span in spans.items()]
    body = scan.spliced(body, edits)
    _, exchange.span = scan.read_form(body, _kind(exchange))  # it may stand elsewhere now
    return body


def _kind(exchange: Exchange) -> bytes:
    return exchange.request.headers.get(b"content-type", b"")


def _decide(guard: Guard, found: list[tuple[str, str]], tally: Tally) -> None:
    """Count what was found in a request as a whole; refuse it where the guard blocks."""
    if not found:
        return
    policy = guard.policy
    tally.add(policy.name, policy.mode, (entity for entity, _ in found))
    if policy.mode != "block":
        return
    sentences = [sentence for _, sentence in found if sentence]
    if sentences:
        raise Blocked(f"The guard `{policy.name}` refuses this request: {'; '.join(sentences)}.")
    raise Refused(policy.name, (entity for entity, _ in found))


def _verdict(guard: Guard, tally: Tally) -> str:
    """What a guard said of a request, in one word."""
    name = guard.policy.name
    if name in tally.counts:
        return {"log": "found", "redact": "redacted", "block": "blocked"}[guard.policy.mode]
    return tally.misses.get(name, "passed")


def _decoded(body: bytes) -> dict[str, Any]:
    """
    All of the body.

    Raises:
        BadRequest: it is not JSON, or names a member twice: two programs would read two requests.

    """
    try:
        tree = msgspec.json.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise BadRequest("The body is not valid JSON.", code="invalid_json") from None
    if not isinstance(tree, dict):
        raise BadRequest("The body is not a JSON object.", code="invalid_json")
    # how a name could be spelled in another way; and so many names that a search for each is long
    hidden = b"\\u00" in body or len(tree) > MAX_NAMES
    if hidden or any(body.count(b'"%b"' % key.encode()) > 1 for key in tree):
        given = [member.key for member in scan.members(body, tree)]
        if len(given) > len(tree):
            raise BadRequest("The body names a parameter twice.", code="invalid_json")
    return tree
