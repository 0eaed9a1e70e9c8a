"""What a diagnosis says: findings with their evidence, and what was ruled out. Pure values."""

import math
from collections.abc import Sequence

from msgspec import Struct

from headrace.diagnose.lens import Seen
from headrace.diagnose.series import TABLE


class Evidence(Struct, frozen=True):
    """One number: what it is, in the focus and usually, and the query that shows it."""

    text: str
    now: float | None
    usual: float | None
    unit: str
    promql: str


class Finding(Struct, frozen=True):
    """
    A cause, or its place where the cause is not known. ``phase`` is where requests lose their time:
    queue, network, engine queue, prefill, decode, gateway, client, or empty.
    """

    name: str
    title: str
    summary: str
    phase: str = ""
    replicas: tuple[str, ...] = ()
    tenants: tuple[str, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    advice: str = ""
    runbook: str = ""


class Cleared(Struct, frozen=True):
    """A cause that it is not, and why."""

    name: str
    why: str


class Symptom(Struct, frozen=True):
    """What users feel, in words."""

    name: str
    text: str


class Diagnosis(Struct, frozen=True):
    """
    The answer for one model, or for all of them together (empty). Times are seconds since 1970;
    ``healthy`` says that nothing is wrong. ``also`` are further causes that fit, which may be
    consequences of the first.
    """

    model: str
    at_s: float
    begin_s: float
    end_s: float
    healthy: bool
    finding: Finding
    symptoms: tuple[Symptom, ...] = ()
    also: tuple[Finding, ...] = ()
    ruled_out: tuple[Cleared, ...] = ()


Verdict = Finding | str
"""What a row of the table says: a finding, or why it is not this."""


def fact(text: str, seen: Seen, unit: str, promql: str) -> Evidence:
    """A number as evidence."""
    return Evidence(text, _known(seen.now), _known(seen.usual), unit, promql)


def rollout(
    names: Sequence[str], evidence: Sequence[Evidence], how: str, phase: str = "decode"
) -> Finding:
    """What is told of replicas that joined lately, where older ones are well."""
    return Finding(
        "bad-rollout", "What was rolled out is worse than what it replaced",
        f"{listed(names)}, which joined lately, {how}.",
        phase=phase, replicas=tuple(names), evidence=tuple(evidence),
    )  # fmt: skip


def rate(name: str, **labels: str) -> str:
    """The query of a series."""
    return TABLE[name].promql(**labels)


def mean(prefix: str, **labels: str) -> str:
    """The query of a histogram's mean."""
    return f"{rate(f'{prefix}_sum', **labels)} / {rate(f'{prefix}_n', **labels)}"


def listed(names: Sequence[str], most: int = 4) -> str:
    """Names in a sentence: ``a, b and 3 more``."""
    if len(names) <= most:
        return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))
    return f"{', '.join(names[:most])} and {len(names) - most} more"


def verb(names: Sequence[object], one: str, more: str) -> str:
    """The form that goes with so many names."""
    return one if len(names) == 1 else more


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
