"""
Rules: which requests they are for and what happens to these. Matching is routing/rules.py's,
acting gateway/rules/steer.py's.
"""

import json
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from headrace.config.routing import Policy
from headrace.config.section import Seconds, Section
from headrace.config.window import span, window

# Names stand in a header, in labels of metrics and in the log.
NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
NONE = "none"  # in tests: no rule

# Words for priorities; a number of your own may stand between them. Higher goes first.
PRIORITIES = {"background": -100, "batch": -50, "low": -10, "normal": 0, "high": 10, "critical": 50}

# What makes an endpoint's answer what it is, or has a rule of its own: no rule may edit it.
FIXED = frozenset({"model", "stream", "stream_options", "messages", "prompt", "input"})

By = Literal["tenant", "user", "session", "request"]
Place = tuple[str | int, ...]


def _many(value: object) -> object:
    """One text is a list of one."""
    return [value] if isinstance(value, str) else value


def _range(text: str) -> str:
    span(text)
    return text


def _window(text: str) -> str:
    window(text)
    return text


def _value(value: object) -> object:
    """
    A value of JSON from YAML, whose scalars are all text here: what reads as a number, true or
    false is that.
    """
    if isinstance(value, dict):
        return {key: _value(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_value(inner) for inner in value]
    if isinstance(value, str) and re.fullmatch(r"true|false|-?\d+(\.\d+)?([eE][-+]?\d+)?", value):
        return json.loads(value)
    return value


def _request(value: object) -> object:
    """A request may also be one text of JSON, where types matter."""
    if not isinstance(value, str):
        return _value(value)
    try:
        return json.loads(value)
    except ValueError as error:
        raise ValueError(f"is not valid JSON: {error}") from None


def _priority(value: object) -> object:
    return PRIORITIES.get(value, value) if isinstance(value, str) else value


Many = Annotated[tuple[str, ...], BeforeValidator(_many, json_schema_input_type=str | list[str])]
Range = Annotated[str, AfterValidator(_range)]
Windows = Annotated[
    tuple[Annotated[str, AfterValidator(_window)], ...],
    BeforeValidator(_many, json_schema_input_type=str | list[str]),
]
Number = Annotated[float, Field(allow_inf_nan=False)]
Json = Annotated[Any, BeforeValidator(_value)]
Priority = Annotated[
    int, BeforeValidator(_priority, json_schema_input_type=int | str), Field(ge=-100, le=100)
]


class Share(Section):
    """A stable part of all requests: the same caller is always in it or never."""

    percent: float = Field(ge=0, le=100, description="How many of a hundred are in it.")
    by: By = Field(default="request", description="What the choice sticks to.")


class Match(Section):
    """Which requests a rule is for: all that is given must be true. Names may hold `*` and `?`."""

    models: Many = Field(default=(), description="The model that was asked for, as it was asked.")
    tenants: Many = Field(default=(), description="The tenant that the caller's key belongs to.")
    keys: Many = Field(default=(), description="The name of the caller's key.")
    classes: Many = Field(default=(), description="The class that the classifier chose.")
    endpoints: Many = Field(default=(), description="The path, for example /v1/embeddings.")
    headers: dict[str, str] = Field(
        default_factory=dict, description="Headers and what they hold; `*` for anything."
    )
    prompt_bytes: Range | None = Field(
        default=None, description="Size of the request's body, for example >= 65536."
    )
    prompt_tokens: Range | None = Field(
        default=None, description="Estimated tokens of the prompt, for example 100-4000."
    )
    messages: Range | None = Field(default=None, description="Number of messages.")
    images: bool | None = Field(default=None, description="Whether a message has an image.")
    tools: bool | None = Field(default=None, description="Whether tools may be called.")
    json_schema: bool | None = Field(
        default=None, description="Whether the answer must follow a JSON schema."
    )
    stream: bool | None = Field(default=None, description="Whether a stream was asked for.")
    times: Windows = Field(
        default=(), description="When: days, hours, zone; mon-fri 09:00-17:00 Europe/Berlin."
    )
    share: Share | None = None

    @field_validator("headers")
    @classmethod
    def _lower(cls, headers: dict[str, str]) -> dict[str, str]:
        for name in headers:
            if name.lower().startswith("x-headrace-"):
                raise ValueError(f"{name} is ours to say; what a client sends there is not read")
        return {name.lower(): value for name, value in headers.items()}


class Limit(Section):
    """What happens to one parameter of a request. Only JSON bodies have parameters."""

    set: Json = Field(default=None, description="It is this, whatever the client said.")
    default: Json = Field(default=None, description="It is this where the client said nothing.")
    min: Number | None = Field(default=None, description="A smaller number becomes this one.")
    max: Number | None = Field(default=None, description="A larger number becomes this one.")
    drop: bool = Field(default=False, description="It is taken out.")
    refuse: bool = Field(
        default=False,
        description="With min or max, numbers outside are answered 400; alone, the parameter is.",
    )

    @model_validator(mode="after")
    def _one_meaning(self) -> Self:
        bounded = self.min is not None or self.max is not None
        chosen = [self.set is not None, self.drop, bounded or self.refuse]
        if sum(chosen) > 1:
            raise ValueError("takes one of set, drop, and min, max or refuse")
        if not any(chosen) and self.default is None:
            raise ValueError("needs one of set, default, min, max, drop and refuse")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"has a min of {self.min:g} above its max of {self.max:g}")
        return self


class Clocks(Section):
    """Clocks that differ from `timeouts` for the requests of a rule."""

    queue_s: Seconds | None = Field(default=None, description="As timeouts.queue_s.")
    first_byte_s: Seconds | None = Field(default=None, description="As timeouts.first_byte_s.")
    chunk_s: Seconds | None = Field(default=None, description="As timeouts.chunk_s.")
    total_s: Seconds | None = Field(default=None, description="As timeouts.total_s.")


class Arm(Section):
    """One of the things that an experiment compares. The first arm is the control."""

    name: str = Field(pattern=NAME, description="Its name in headers, metrics and commands.")
    weight: float = Field(default=1, ge=0, le=1e6, description="Its share, relative to the others.")
    target: Many = Field(default=(), description="As the rule's target; by default the same.")


class Guard(Section):
    """When an arm other than the control is taken out by itself."""

    enabled: bool = Field(default=True, description="Whether arms are taken out.")
    error_rate: float = Field(
        default=0.02,
        ge=0,
        le=1,
        description="How far its share of failed requests may be above the control's.",
    )
    ttft_p95: float = Field(
        default=1.25,
        ge=1,
        le=100,
        description="How many times the control's its 95th percentile of first-byte times may be.",
    )
    min_requests: int = Field(
        default=100, ge=10, le=1_000_000, description="Of each arm, before anything is concluded."
    )
    alpha: float = Field(
        default=0.01, gt=0, le=0.2, description="How often it may be wrong, however long it runs."
    )


class Experiment(Section):
    """A split of a rule's requests between arms, by a stable hash."""

    name: str = Field(pattern=NAME, description="Its name; no other experiment has it.")
    by: By = Field(default="session", description="What an arm sticks to.")
    arms: tuple[Arm, ...] = Field(min_length=2, max_length=8, description="Two to eight arms.")
    guard: Guard = Guard()

    @model_validator(mode="after")
    def _arms_differ(self) -> Self:
        names = [arm.name for arm in self.arms]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"has two arms named {twice!r}")
        if not sum(arm.weight for arm in self.arms):
            raise ValueError("needs an arm with a weight above 0")
        return self


class Shadow(Section):
    """A copy of requests for another pool. Its answers are thrown away."""

    target: str = Field(description="The model (pool) that gets the copies.")
    percent: float = Field(default=100, ge=0, le=100, description="How many of a hundred.")
    timeout_s: Seconds = Field(default=60.0, description="For each copy, its wait included.")
    running: int = Field(default=4, ge=1, le=1000, description="Copies under way at most.")
    queued: int = Field(
        default=16, ge=0, le=10_000, description="Copies that wait at most; more are dropped."
    )


class Expect(Section):
    """What a test of a rule demands; what is not given is not looked at."""

    rule: str | None = Field(
        default=None, description="The rule that decides, or none; by default this one."
    )
    target: str | None = Field(default=None, description="The first target.")
    arm: str | None = Field(default=None, description="The experiment's arm.")


class Case(Section):
    """A test that `headrace config check` runs: a request, and what must come of it."""

    request: Annotated[
        dict[str, Any], BeforeValidator(_request, json_schema_input_type=dict[str, Any] | str)
    ] = Field(default_factory=dict, description="The body, as a mapping or as one text of JSON.")
    endpoint: str = Field(default="/v1/chat/completions", description="The path.")
    headers: dict[str, str] = Field(default_factory=dict, description="The request's headers.")
    at: datetime | None = Field(
        default=None,
        description="When, for example 2026-11-23T10:00:00+01:00; else a Wednesday, noon UTC.",
    )
    tenant: str = Field(default="", description="As if the caller were of this tenant.")
    key: str = Field(default="", description="As if the caller had the key of this name.")
    classified: str = Field(default="", description="As if the classifier had said so.")
    expect: Expect = Expect()

    @field_validator("at")
    @classmethod
    def _zoned(cls, at: datetime | None) -> datetime | None:
        return at.replace(tzinfo=UTC) if at is not None and at.tzinfo is None else at


class Rule(Section):
    """One rule. Of all rules the first that matches decides, and no other."""

    name: str = Field(pattern=NAME, description="Its name in headers, metrics and the log.")
    match: Match = Match()
    target: Many = Field(
        default=(),
        max_length=8,
        description="The model (pool) that answers; more of them are tried in their order.",
    )
    experiment: Experiment | None = None
    priority: Priority | None = Field(
        default=None,
        description="-100 to 100, or background, batch, low, normal, high, critical: of requests "
        "that wait the higher goes first. By default the tenant's own.",
    )
    timeouts: Clocks = Clocks()
    parameters: dict[str, Limit] = Field(
        default_factory=dict,
        description="Parameters of the body and what happens to each: set, default, min, max, "
        "drop, refuse.",
    )
    policy: Policy | None = Field(
        default=None, description="Choose replicas by this policy, not by routing.policy."
    )
    guards: tuple[str, ...] | None = Field(
        default=None,
        description="Guards of its requests; by default the tenant's own, [] for none.",
    )
    shadow: Shadow | None = None
    tests: tuple[Case, ...] = Field(default=(), description="Tests, one entry each.")

    @model_validator(mode="after")
    def _is_clear(self) -> Self:
        if self.name == NONE:
            raise ValueError(f"cannot be named {NONE!r}, which means no rule")
        fixed = sorted(FIXED & self.parameters.keys())
        if fixed:
            raise ValueError(f"cannot edit the parameter {fixed[0]!r}")
        if self.experiment is not None and self.target:
            raise ValueError("has both `target` and `experiment`; the arms have targets")
        return self


def conflicts(rules: Iterable[Rule], names: Iterable[str]) -> Iterator[tuple[str, Place]]:
    """
    What is wrong between rules, and between these and the models' ``names`` (none: not known yet):
    sentences, each with the place in the list of rules.
    """
    known, seen, experiments = frozenset(names), set[str](), set[str]()
    for index, rule in enumerate(rules):
        if rule.name in seen:
            yield f"another rule is named {rule.name!r}; give one of them another `name`", (index,)
        seen.add(rule.name)
        if rule.experiment is not None:
            if rule.experiment.name in experiments:
                taken = f"another experiment is named {rule.experiment.name!r}"
                yield taken, (index, "experiment", "name")
            experiments.add(rule.experiment.name)
        for name, place in _targets(rule):
            if known and name not in known:
                shown = ", ".join(sorted(known)[:8])
                yield f"{name!r} is no model; there are {shown}", (index, *place)


def _targets(rule: Rule) -> Iterator[tuple[str, Place]]:
    yield from ((name, ("target",)) for name in rule.target)
    if rule.shadow is not None:
        yield rule.shadow.target, ("shadow", "target")
    for order, arm in enumerate(rule.experiment.arms if rule.experiment is not None else ()):
        yield from ((name, ("experiment", "arms", order, "target")) for name in arm.target)
