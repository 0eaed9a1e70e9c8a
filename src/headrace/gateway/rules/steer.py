"""
What the rules say about a request, carried out: who answers, what is edited, how long it may take,
which copies are made. Matching is routing/rules.py's; reading the file again is reload.py's.
"""

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

import msgspec

from headrace.admission.types import NOBODY, Caller
from headrace.config.rules import Rule, conflicts
from headrace.config.schema import Config, Timeouts
from headrace.errors import ConfigError
from headrace.fleet.catalogue import Catalogue
from headrace.gateway.body import scan, traits
from headrace.gateway.body.edits import Edits
from headrace.gateway.body.traits import NO_TRAITS, Traits
from headrace.gateway.exchange import Exchange
from headrace.gateway.plan import NO_WEIGHTS, Plan
from headrace.gateway.rules.shadow import Shadows
from headrace.gateway.rules.trials import Trials
from headrace.routing.rules import Facts, Rulebook, Ruling, Unclassified
from headrace.routing.stickiness import Stickiness
from headrace.telemetry.records import Record
from headrace.telemetry.steering import Steered
from headrace.telemetry.writer import Writer
from headrace.types import RequestFacts

SESSION_HEADER = b"x-session-id"

Classify = Callable[[Exchange, bytes], Awaitable[str]]
"""Finds out the class of a request; empty where it cannot tell."""


class Action:
    """One rule's actions, ready: what is the same for all of its requests."""

    def __init__(self, rule: Rule, timeouts: Timeouts) -> None:
        self.rule = rule
        given = rule.timeouts.model_dump(exclude_none=True)
        self.timeouts = timeouts.model_copy(update=given) if given else timeouts
        self.edits = Edits(rule.parameters) if rule.parameters else None
        self.policy = rule.policy or ""
        self.line = f"x-headrace-rule: {rule.name}\r\n".encode("ascii")


class Steer:
    """
    The rules in force and what they have done. ``book`` is None while there are none, which is all
    that a request then looks at; ``read`` scans a body as these rules need it.
    """

    def __init__(
        self,
        config: Config,
        catalogue: Catalogue,
        shadows: Shadows,
        log: Writer,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """
        Nothing is in force yet.

        ``clock`` gives seconds since 1970.
        """
        self._timeouts = config.timeouts
        self._catalogue = catalogue
        self._clock = clock
        self.book: Rulebook | None = None
        self.read: Callable[[bytes], scan.Body] = scan.read
        self.classify: Classify | None = None
        self.trials = Trials(log)
        self.shadows = shadows
        self.copies = True  # whether copies are made at once; else who looks first calls `copy`
        self.matches: dict[str, int] = {}
        self.fallbacks: dict[str, int] = {}
        self._actions: tuple[Action, ...] = ()

    def adopt(self, rules: Sequence[Rule]) -> str:
        """
        Put these rules in force, all at once; gives their version.

        Raises:
            ConfigError: they do not fit each other or the models; the old ones stay.

        """
        problems = [
            f"rules{''.join(f'[{part}]' if isinstance(part, int) else f'.{part}' for part in at)}:"
            f" {text}."
            for text, at in conflicts(rules, self._catalogue.names)
        ]
        if problems:
            raise ConfigError("\n".join(problems))
        book = Rulebook(rules)
        actions = tuple(Action(rule, self._timeouts) for rule in rules)
        for counts in (self.matches, self.fallbacks):
            counts.update({rule.name: counts.get(rule.name, 0) for rule in rules})
        self.trials.adopt(rules)
        self.shadows.adopt(rules)
        self.read = traits.read if book.asks.body else scan.read
        self._actions = actions
        self.book = book if rules else None
        return book.version

    async def apply(self, exchange: Exchange, body: bytes, sticky: Stickiness) -> bytes:
        """
        Find the rule for a request and do what it says; gives the body to send.

        Raises:
            ModelNotFound: no rule has a target for it, and nothing goes by the name it asks for.
            BadRequest: the rule refuses a parameter.

        """
        book, facts = self.book, exchange.facts
        holder = sticky.recall(facts.sticky) if facts.sticky else None
        if book is None or exchange.endpoint.kind == "stored":
            exchange.served = self._catalogue.resolve(facts.model, exchange.caller).name
            return body
        request, actions, weights = exchange.request, self._actions, self.trials.weights
        found = exchange.traits or NO_TRAITS
        seen = look(
            facts,
            found,
            request.headers,
            exchange.bytes_in,
            (exchange.request_id, self._clock()),
            exchange.caller,
        )
        ruling = book.decide(seen, weights)
        if isinstance(ruling, Unclassified):
            tier = await self.classify(exchange, body) if self.classify is not None else ""
            ruling = book.decide(msgspec.structs.replace(seen, tier=tier), weights)
        if not isinstance(ruling, Ruling):
            exchange.served = self._catalogue.resolve(facts.model, exchange.caller).name
            return body
        targets = (holder.model,) if holder is not None else ruling.targets
        plan = self._plan(ruling, actions[ruling.index], targets, weights)
        return self._carry_out(exchange, body, plan, actions[ruling.index])

    def aim(self, exchange: Exchange, target: str) -> None:
        """Let this model answer, and say so in the answer's head."""
        exchange.served = target
        line = exchange.plan.line if exchange.plan is not None else b""
        if target != self._catalogue.find(exchange.facts.model):
            line += f"x-headrace-model: {target}\r\n".encode("latin-1", "replace")
        exchange.sign(line)

    def copy(self, exchange: Exchange, body: bytes) -> None:
        """Send it to the pool that its rule wants copies for, if any."""
        plan = exchange.plan
        if plan is not None and plan.ruling.shadow and exchange.endpoint.kind == "json":
            model = self._catalogue.resolve(plan.ruling.shadow).name
            self.shadows.offer(exchange, body, plan.ruling.rule, model)

    def settled(self, plan: Plan, record: Record) -> None:
        """A request for which something was decided has ended."""
        ruling = plan.ruling
        if ruling.experiment:
            self.trials.settled(ruling.experiment, ruling.arm, plan.weights, record)

    def seen(self, reloads: Mapping[str, int]) -> Steered:
        """All counts, for the metrics; ``reloads`` are those of the rules' file."""
        return Steered(
            version=self.book.version if self.book is not None else "",
            matches=dict(self.matches),
            fallbacks=dict(self.fallbacks),
            reloads=reloads,
            shadows=dict(self.shadows.counts),
            arms=self.trials.seen(),
        )

    # --- below -----------------------------------------------------------------------------

    def _plan(
        self,
        ruling: Ruling,
        action: Action,
        targets: Sequence[str],
        weights: Mapping[str, Sequence[float]],
    ) -> Plan:
        resolve = self._catalogue.resolve
        return Plan(
            ruling=ruling,
            targets=tuple(resolve(target).name for target in targets),
            timeouts=action.timeouts,
            queue_s=action.rule.timeouts.queue_s,
            priority=action.rule.priority,
            policy=action.policy,
            line=action.line,
            weights=weights.get(ruling.experiment, NO_WEIGHTS) if ruling.experiment else NO_WEIGHTS,
            guards=action.rule.guards,
        )

    def _carry_out(self, exchange: Exchange, body: bytes, plan: Plan, action: Action) -> bytes:
        exchange.plan = plan
        self.matches[plan.ruling.rule] += 1
        exchange.sign(plan.line)  # what follows may refuse the request: say by which rule
        targets = plan.targets or (
            self._catalogue.resolve(exchange.facts.model, exchange.caller).name,
        )
        self.aim(exchange, targets[0])
        if action.rule.timeouts.total_s is not None:
            exchange.total_at = exchange.started_at + action.rule.timeouts.total_s
            exchange.wait("total", exchange.total_at)
        if action.edits is not None and exchange.endpoint.kind == "json":
            body = self._edited(exchange, body, action.edits)
        if self.copies:
            self.copy(exchange, body)
        return body

    def _edited(self, exchange: Exchange, body: bytes, edits: Edits) -> bytes:
        edited = edits.apply(body, exchange.endpoint.path)
        if edits.of_length and edited is not body:
            limit = scan.read(edited).limit
            exchange.facts = msgspec.structs.replace(exchange.facts, max_tokens=limit)
        return edited


def look(
    facts: RequestFacts,
    found: Traits,
    headers: Mapping[bytes, bytes],
    size: int,
    known: tuple[str, float],
    caller: Caller = NOBODY,
) -> Facts:
    """
    A request as rules see it; ``size`` is its body's bytes, ``known`` its id and the time (s since
    1970).
    """
    session = headers.get(SESSION_HEADER)
    request_id, at = known
    return Facts(
        model=facts.model,
        endpoint=facts.endpoint,
        stream=facts.stream,
        prompt_bytes=size,
        prompt_tokens=facts.prompt_tokens,
        headers=headers,
        request_id=request_id,
        at=at,
        messages=found.messages,
        images=found.images,
        tools=found.tools,
        json_schema=found.json_schema,
        user=found.user,
        session=session.decode("latin-1") if session else found.session,
        tenant=caller.tenant,
        key=caller.key,
    )
