"""
Guards: what is looked for in prompts and answers, and what happens where it is found. The looking
is guard/'s, the acting gateway/guards/guarding.py's.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, SecretStr, model_validator

from headrace.config.address import endpoint
from headrace.config.rules import Rule
from headrace.config.section import Seconds, Section

NAME = r"^[a-z0-9][a-z0-9_-]{0,31}$"  # names stand in labels of metrics, in errors and in the log

Kind = Literal["limits", "pii", "secrets", "terms", "injection", "moderation", "json_schema"]
Mode = Literal["log", "redact", "block"]
Direction = Literal["input", "output", "both"]
REDACTS = frozenset({"pii", "secrets", "terms"})
"""Kinds that find places in a text. The others judge a request or an answer as a whole."""
ONLY: dict[str, Direction] = {
    "limits": "input", "injection": "input", "moderation": "input", "json_schema": "output",
}  # fmt: skip
Place = tuple[str | int, ...]


class Limits(Section):
    """What a request may be like. Bodies that are not JSON have a size only."""

    max_bytes: int | None = Field(default=None, ge=1, description="The largest body.")
    max_messages: int | None = Field(default=None, ge=1, description="The most messages.")
    allow: tuple[str, ...] = Field(
        default=(), description="Parameters (top-level keys) that may be given; by default all."
    )
    deny: tuple[str, ...] = Field(default=(), description="Parameters that may not be given.")


class Pii(Section):
    """Personal data, by entity."""

    entities: tuple[str, ...] = Field(
        default=(),
        description="What is looked for, for example EMAIL_ADDRESS; by default all that the engine"
        " finds by patterns, and with a `model` names and places too.",
    )
    engine: Literal["patterns", "presidio"] = Field(
        default="patterns",
        description="Our own patterns and checksums, or Microsoft Presidio (extra `guard`).",
    )
    model: str | None = Field(
        default=None,
        description="A spaCy model that is installed, for names and places (engine presidio).",
    )
    language: str = Field(default="en", description="The language of texts (engine presidio).")
    score: float = Field(
        default=0.4, ge=0, le=1, description="Least confidence that counts (engine presidio)."
    )

    @model_validator(mode="after")
    def _models_are_of_presidio(self) -> Self:
        if self.model is not None and self.engine != "presidio":
            raise ValueError("has a `model`, which needs `engine: presidio`")
        return self


class Secrets(Section):
    """Keys, tokens and passwords."""

    kinds: tuple[str, ...] = Field(
        default=(), description="What is looked for, for example AWS_KEY; by default all."
    )


class Terms(Section):
    """Words and phrases of your own, in any case, as whole words."""

    words: tuple[str, ...] = Field(default=(), description="The words and phrases.")
    file: Path | None = Field(default=None, description="A file with more, one on each line.")


class Injection(Section):
    """Prompts that try to take over the model: rules, and examples that are near in meaning."""

    threshold: float = Field(
        default=0.5, gt=0, lt=1, description="Score from which a prompt counts as an attack."
    )
    vectors: bool = Field(
        default=True,
        description="Compare with examples by meaning (extra `classify`); else by rules alone.",
    )
    attacks: tuple[str, ...] = Field(
        default=(), description="More examples of attacks, on top of those that come with Headrace."
    )
    harmless: tuple[str, ...] = Field(
        default=(), description="More examples of harmless prompts, for example false alarms."
    )


class Moderation(Section):
    """A classifier of your own behind OpenAI's moderation API."""

    url: Annotated[str, AfterValidator(endpoint("/v1/moderations"))] | None = Field(
        default=None, description="Its URL with the path, for example http://host/v1/moderations."
    )
    model: str = Field(default="", description="The model that it is asked for.")
    api_key: SecretStr | None = Field(default=None, description="Sent to it as a bearer token.")


class JsonSchema(Section):
    """Answers that must follow a JSON schema (extra `guard`)."""

    file: Path | None = Field(
        default=None,
        description="The schema; by default that of the request's `response_format`, if any.",
    )


class GuardPolicy(Section):
    """One guard. Its kind's settings are in the section of the same name."""

    name: str = Field(pattern=NAME, description="Its name in rules, metrics, errors and the log.")
    kind: Kind = Field(description="What it looks for.")
    mode: Mode = Field(
        default="log",
        description="What happens where it finds something: it is counted and logged; taken out"
        " of the text; or the request is refused, the answer ended.",
    )
    direction: Direction | None = Field(
        default=None,
        description="What it looks at: prompts, answers or both. By default both, or the one that"
        " its kind can look at.",
    )
    deadline_s: Seconds = Field(
        default=0.25, description="How long a look may take; then `late` says what happens."
    )
    late: Literal["open", "closed"] = Field(
        default="closed",
        description="When there was no answer in time, or none at all: go on, or refuse.",
    )
    limits: Limits = Limits()
    pii: Pii = Pii()
    secrets: Secrets = Secrets()
    terms: Terms = Terms()
    injection: Injection = Injection()
    moderation: Moderation = Moderation()
    json_schema: JsonSchema = JsonSchema()

    @model_validator(mode="after")
    def _fits_its_kind(self) -> Self:
        if self.mode == "redact" and self.kind not in REDACTS:
            raise ValueError(f"is of kind {self.kind}, which finds no places; use log or block")
        only = ONLY.get(self.kind)
        if only is not None and self.direction not in {None, only}:
            raise ValueError(f"is of kind {self.kind}, which looks at the {only} only")
        if self.kind == "terms" and not self.terms.words and self.terms.file is None:
            raise ValueError("is of kind terms and needs `terms.words` or `terms.file`")
        if self.kind == "moderation" and self.moderation.url is None:
            raise ValueError("is of kind moderation and needs `moderation.url`")
        return self

    def looks_at(self, direction: Literal["input", "output"]) -> bool:
        """Whether it looks at prompts (input) or answers (output)."""
        return (self.direction or ONLY.get(self.kind, "both")) in {direction, "both"}


class Guards(Section):
    """What is looked for in prompts and answers, and for whom."""

    policies: tuple[GuardPolicy, ...] = Field(default=(), description="Guards, one entry each.")
    default: tuple[str, ...] = Field(
        default=(),
        description="Guards of requests for which neither their rule nor their tenant names any.",
    )
    workers: int = Field(
        default=1, ge=1, le=64, description="Processes that look at what takes long."
    )
    queue: int = Field(
        default=64, ge=1, le=10_000, description="Looks that wait for them; more count as late."
    )

    stuck_s: Seconds = Field(
        default=1.0,
        description="How long a look may go on in a process after its deadline; then the process "
        "is ended, and another takes its place.",
    )

    @model_validator(mode="after")
    def _names_are_known(self) -> Self:
        names = [policy.name for policy in self.policies]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"has two guards named {name!r}; keep one of them")
        for name in self.default:
            if name not in names:
                raise ValueError(f"has the default {name!r}, which is none of its guards")
        return self

    @property
    def names(self) -> frozenset[str]:
        """The guards that rules and tenants may name."""
        return frozenset(policy.name for policy in self.policies)


def strangers(rules: Iterable[Rule], known: frozenset[str]) -> Iterator[tuple[str, Place]]:
    """Guards that rules name and that there are not: sentences, each with its place."""
    for index, rule in enumerate(rules):
        for name in rule.guards or ():
            if name not in known:
                yield f"{name!r} is no guard; declare it in `guards.policies`", (index, "guards")
