"""
What the rules would say about a request that is not sent: for tests that rules carry, and for
people who ask. What they say about real ones is steer.py's.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import Struct

from headrace.config.rules import NONE, Case, Rule
from headrace.errors import ApiError, BadRequest, ModelNotFound
from headrace.fleet.catalogue import Catalogue
from headrace.gateway.body import scan, traits
from headrace.gateway.body.edits import Edits
from headrace.gateway.body.media import weigh
from headrace.gateway.door import routes
from headrace.gateway.rules.steer import look
from headrace.routing.rules import Facts, Rulebook, Ruling, Verdict
from headrace.types import RequestFacts

# When tests take place that do not say: a Wednesday, at noon.
USUAL_TIME = datetime(2026, 1, 7, 12, tzinfo=UTC)


class Sample(Struct, frozen=True):
    """
    A request that is not sent. ``at`` is seconds since 1970; ``classified`` is None where nobody
    has asked the classifier.
    """

    body: bytes
    at: float
    endpoint: str = "/v1/chat/completions"
    headers: Mapping[bytes, bytes] = {}
    request_id: str = "rehearsal"
    tenant: str = ""
    key: str = ""
    classified: str | None = None


class Rehearsed(Struct, frozen=True):
    """
    What would become of it. ``targets`` are declared models, one of them the first choice; ``rule``
    is empty where none matches. ``body`` is what the engine would get but for the model's name;
    ``error`` is what the client would be told instead of an answer.
    """

    rule: str
    targets: tuple[str, ...]
    experiment: str
    arm: str
    shadow: str
    facts: Facts
    verdicts: tuple[Verdict, ...]
    error: str = ""
    priority: int | None = None
    policy: str = ""
    body: bytes = b""
    class_matters: bool = False


def perceive(sample: Sample) -> Facts:
    """
    The facts of a sample.

    Raises:
        BadRequest: its body is not what the endpoint takes.
        NotFound: there is no such endpoint.

    """
    endpoint = routes.find("POST", sample.endpoint)
    if endpoint.kind != "json":
        raise BadRequest(f"A rehearsal needs an endpoint that takes JSON, not {sample.endpoint}.")
    fields = traits.read(sample.body)
    facts = RequestFacts(
        model=fields.model or "",
        endpoint=endpoint.path,
        stream=fields.stream is True,
        prompt_tokens=scan.tokens(len(sample.body), weigh(sample.body)),
        max_tokens=fields.limit,
        sticky=fields.continues,
    )
    headers = {name.lower(): value for name, value in sample.headers.items()}
    known = (sample.request_id, sample.at)
    seen = look(facts, traits.traits(fields), headers, len(sample.body), known)
    return msgspec.structs.replace(
        seen, tenant=sample.tenant, key=sample.key, tier=sample.classified
    )


def rehearse(
    book: Rulebook,
    catalogue: Catalogue,
    sample: Sample,
    weights: Mapping[str, Sequence[float]] | None = None,
) -> Rehearsed:
    """
    What would become of a sample; raises like ``perceive``.

    Where the class matters and is not known, it is taken as empty and ``class_matters`` says so.
    """
    facts = perceive(sample)
    ruling = book.decide(facts, weights or {})
    class_matters = ruling is not None and not isinstance(ruling, Ruling)
    if class_matters:
        facts = msgspec.structs.replace(facts, tier="")
        ruling = book.decide(facts, weights or {})
    rule = book.rules[ruling.index] if isinstance(ruling, Ruling) else None
    if not isinstance(ruling, Ruling):
        ruling = Ruling(-1, "")
    named = [catalogue.find(target) or target for target in ruling.targets]
    asked = catalogue.find(facts.model)
    error, body = "", sample.body
    if not named and asked is None:
        error = _unknown(catalogue, facts.model)
    elif rule is not None and rule.parameters:
        try:
            body = Edits(rule.parameters).apply(body, sample.endpoint)
        except ApiError as refused:
            error = refused.message
    return Rehearsed(
        rule=ruling.rule,
        targets=tuple(named) or ((asked,) if asked is not None else ()),
        experiment=ruling.experiment,
        arm=ruling.arm,
        shadow=ruling.shadow,
        facts=facts,
        verdicts=tuple(book.explain(facts)),
        error=error,
        priority=rule.priority if rule is not None else None,
        policy=(rule.policy or "") if rule is not None else "",
        body=body,
        class_matters=class_matters,
    )


def shown(found: Rehearsed) -> dict[str, Any]:
    """A rehearsal as plain values; headers and bodies are the caller's own and left out."""
    plain = msgspec.to_builtins(
        {name: getattr(found, name) for name in found.__struct_fields__ if name not in _LEFT_OUT}
    )
    facts = {name: getattr(found.facts, name) for name in found.facts.__struct_fields__}
    plain["facts"] = {name: value for name, value in facts.items() if name != "headers"}
    plain["verdicts"] = [
        {"rule": each.rule, "matches": each.matches, "demands": [list(d) for d in each.demands]}
        for each in found.verdicts
    ]
    return {**plain, "body": found.body.decode("utf-8", "replace")}


def _unknown(catalogue: Catalogue, model: str) -> str:
    """What a client is told that asks for it."""
    try:
        catalogue.resolve(model)
    except ModelNotFound as error:
        return error.message
    return ""


_LEFT_OUT = frozenset({"facts", "verdicts", "body"})


class Failure(Struct, frozen=True):
    """A test that failed: which of which rule, and what was decided instead."""

    rule: int
    case: int
    text: str


def failures(rules: Sequence[Rule], catalogue: Catalogue) -> Iterator[Failure]:
    """Run the tests that rules carry; gives those that fail."""
    book = Rulebook(rules)
    for index, rule in enumerate(rules):
        for number, case in enumerate(rule.tests):
            for text in _wrong(book, catalogue, rule, case):
                yield Failure(index, number, text)


def sample(case: Case) -> Sample:
    """The request of a test."""
    return Sample(
        body=msgspec.json.encode(case.request),
        at=(case.at or USUAL_TIME).timestamp(),
        endpoint=case.endpoint,
        headers={
            name.lower().encode("latin-1", "replace"): value.encode("latin-1", "replace")
            for name, value in case.headers.items()
        },
        tenant=case.tenant,
        key=case.key,
        classified=case.classified,
    )


def _wrong(book: Rulebook, catalogue: Catalogue, rule: Rule, case: Case) -> Iterator[str]:
    try:
        found = rehearse(book, catalogue, sample(case))
    except ApiError as error:
        yield f"the request is refused: {error.message}"
        return
    expect = case.expect
    target = found.targets[0] if found.targets else NONE
    wanted = catalogue.find(expect.target) or expect.target if expect.target else None
    for what, is_, should in (
        ("rule", found.rule or NONE, expect.rule or rule.name),
        ("target", target, wanted),
        ("arm", found.arm or NONE, expect.arm),
    ):
        if should is not None and is_ != should:
            yield f"the {what} is {is_}, not {should}"
