"""From a guard's configuration to what looks. One row for each kind that finds places or scores."""

from collections.abc import Callable

from headrace.config.guards import GuardPolicy
from headrace.guard.injection import Embeds, Injection
from headrace.guard.patterns import Patterns
from headrace.guard.presidio import Presidio
from headrace.guard.secrets import Secrets
from headrace.guard.terms import Terms
from headrace.guard.types import Detector

Build = Callable[[GuardPolicy, Embeds | None], Detector]


def _pii(policy: GuardPolicy, _embeds: Embeds | None) -> Detector:
    presidio = policy.pii.engine == "presidio"
    return Presidio(policy.pii) if presidio else Patterns(policy.pii.entities)


KINDS: dict[str, Build] = {
    "pii": _pii,
    "secrets": lambda policy, _: Secrets(policy.secrets.kinds),
    "terms": lambda policy, _: Terms(policy.terms.words, policy.terms.file),
    "injection": lambda policy, embeds: Injection(policy.injection, embeds),
}
"""The other kinds (limits, moderation, json_schema) look at more than a text."""


def build(policy: GuardPolicy, embeds: Embeds | None = None) -> Detector:
    """
    What looks for a guard.

    Raises:
        ConfigError: its settings name something that there is not.
        StartError: a package that it needs is not installed.

    """
    return KINDS[policy.kind](policy, embeds)


def is_heavy(policy: GuardPolicy) -> bool:
    """Whether it looks in a worker only, and is not even loaded into the gateway."""
    return policy.kind == "injection" or (policy.kind == "pii" and policy.pii.engine == "presidio")
