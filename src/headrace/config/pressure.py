"""
What gives way when a model's queue grows: steps that begin and end by the wait that is predicted.
Acting on them is gateway/place/pressure.py's.
"""

from collections.abc import Collection, Iterator
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from headrace.config.rules import NAME, Many, Place
from headrace.config.section import Seconds, Section


class Step(Section):
    """Something that gives way while newcomers would wait too long for a model."""

    name: str = Field(pattern=NAME, description="Its name in metrics and the log.")
    models: Many = Field(default=(), description="Models whose queue counts; by default each one.")
    watch: str = Field(
        default="interactive",
        description="The class whose predicted wait counts: that of a request that came now.",
    )
    above_s: Seconds = Field(description="It begins when that wait is longer.")
    below_s: float | None = Field(
        default=None,
        ge=0,
        description="It ends when the wait is shorter; by default half of `above_s`.",
    )
    hold_s: float = Field(
        default=10.0, ge=0, le=3600, description="But not before it has lasted so long."
    )
    classes: Many = Field(
        default=(), description="Classes of requests that give way; by default all of them."
    )
    shed: bool = Field(default=False, description="They are refused, with 503 and Retry-After.")
    max_tokens: int | None = Field(
        default=None,
        ge=1,
        description="Their answers are so long at most; x-headrace-max-tokens says so.",
    )
    fallback: str | None = Field(
        default=None,
        description="This model answers them, if it is not as busy; x-headrace-model says so.",
    )

    @property
    def end_s(self) -> float:
        """Below which wait it ends."""
        return self.above_s / 2 if self.below_s is None else self.below_s

    @model_validator(mode="after")
    def _does_something(self) -> Self:
        if not (self.shed or self.max_tokens or self.fallback):
            raise ValueError("needs one of `shed`, `max_tokens` and `fallback`")
        if self.shed and (self.max_tokens or self.fallback):
            raise ValueError("has `shed` and something beside it; what is refused needs no more")
        if self.end_s >= self.above_s:
            raise ValueError("has a `below_s` that is not below `above_s`; it would flap")
        return self


def _unique(steps: tuple[Step, ...]) -> tuple[Step, ...]:
    names = [step.name for step in steps]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"has two steps named {name!r}; give one of them another `name`")
    return steps


class Pressure(Section):
    """What gives way under load, step by step."""

    steps: Annotated[tuple[Step, ...], AfterValidator(_unique)] = Field(
        default=(), description="Steps, one entry each; all that have begun count, in this order."
    )


def unknowns(
    pressure: Pressure, models: Collection[str], classes: Collection[str]
) -> Iterator[tuple[str, Place]]:
    """Models (none: not known yet) and classes that there are not: sentences, with their places."""
    for index, step in enumerate(pressure.steps):
        for name in (*step.models, *((step.fallback,) if step.fallback else ())):
            if models and name not in models:
                shown = ", ".join(sorted(models)[:8])
                yield f"{name!r} is no model; there are {shown}", ("steps", index)
        for name in (step.watch, *step.classes):
            if name not in classes:
                shown = ", ".join(classes)
                yield (
                    f"{name!r} is no class of `queue.classes`; there are {shown}",
                    ("steps", index),
                )
