"""
Classes of requests by meaning: names, examples, where vectors come from, and how long a judgement
may take. Learning from the examples is routing/classify.py's.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, Field, SecretStr, model_validator

from headrace.config.address import endpoint
from headrace.config.section import Section

SHIPPED = ("fast", "reasoning")  # the classes of the examples that come with Headrace


class Embedding(Section):
    """What turns texts into vectors: the table that the extra ``classify`` installs, or a URL."""

    url: Annotated[str, AfterValidator(endpoint("/v1/embeddings"))] | None = Field(
        default=None,
        description="An embeddings endpoint in OpenAI's form, with its path; by default vectors"
        " are computed here.",
    )
    model: str = Field(default="", description="The model that this endpoint is asked for.")
    api_key: SecretStr | None = Field(
        default=None, description="Sent to this endpoint as a bearer token."
    )

    @model_validator(mode="after")
    def _names_its_model(self) -> Self:
        if self.url is not None and not self.model:
            raise ValueError("has a `url` and needs the `model` to ask there")
        return self


class Classes(Section):
    """Classes that rules may ask for, learned from examples when the gateway starts."""

    enabled: bool = Field(
        default=False, description="Whether requests are judged where a rule asks for the class."
    )
    default: str = Field(
        default="reasoning",
        description="The class of what is unsure, late or without text; one of the names.",
    )
    examples: dict[str, tuple[str, ...]] = Field(
        default_factory=dict,
        description="Texts by class, two of each or more; by default those that come with"
        " Headrace, for the classes `fast` and `reasoning`.",
    )
    file: Path | None = Field(
        default=None,
        description="A YAML file of more such examples, texts by class.",
    )
    threshold: float = Field(
        default=0.6,
        ge=0,
        le=1,
        description="Confidence below which a text has the default class.",
    )
    deadline_ms: float = Field(
        default=15.0,
        gt=0,
        le=10_000,
        description="How long a request waits for its class, in ms; then it has the default one.",
    )
    cache_entries: int = Field(
        default=8192, ge=0, le=1_000_000, description="Judged texts that are remembered."
    )
    queue: int = Field(
        default=64,
        ge=1,
        le=10_000,
        description="Texts that wait to be judged; beyond it a request has the default class.",
    )
    embedding: Embedding = Embedding()

    @model_validator(mode="after")
    def _can_be_learned(self) -> Self:
        if self.file is None:  # else what it adds is not known yet
            check(self.examples or dict.fromkeys(SHIPPED, ("0", "1")), self.default)
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """The classes there are; none where that is not known, or nothing is judged."""
        if not self.enabled or self.file is not None:
            return ()
        return tuple(self.examples) or SHIPPED


def check(examples: Mapping[str, Sequence[str]], default: str) -> None:
    """
    Classes can be learned from these examples.

    Raises:
        ValueError: there are fewer than two classes, a class has fewer than two texts, or the
            default is none of them.

    """
    if len(examples) < 2:
        raise ValueError("needs examples of two classes or more")
    for name, texts in examples.items():
        if not name.strip():
            raise ValueError("has a class without a name")
        if len({text.strip() for text in texts if text.strip()}) < 2:
            raise ValueError(f"needs two different texts or more for {name!r}")
    if default not in examples:
        known = ", ".join(examples)
        raise ValueError(f"has the default {default!r}, which is none of {known}")
