"""guards.py: what cannot work is refused where it stands, with what would be right."""

from typing import Any

import pytest
from pydantic import ValidationError

from headrace.config.guards import GuardPolicy, Guards
from headrace.config.schema import Config

PII = {"name": "p", "kind": "pii"}


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        ({"kind": "limits", "mode": "redact"}, "finds no places; use log or block"),
        ({"kind": "injection", "direction": "both"}, "looks at the input only"),
        ({"kind": "json_schema", "direction": "input"}, "looks at the output only"),
        ({"kind": "terms"}, "needs `terms.words` or `terms.file`"),
        ({"kind": "moderation"}, "needs `moderation.url`"),
        ({"kind": "moderation", "moderation": {"url": "ftp://x/y"}}, "must be a URL like"),
        ({"kind": "moderation", "moderation": {"url": "http://x:y/z"}}, "must be a URL like"),
        ({"kind": "pii", "pii": {"model": "x"}}, "needs `engine: presidio`"),
        ({"kind": "pii", "name": "A b"}, "should match pattern"),
    ],
)
def test_what_a_guard_cannot_be(policy: dict[str, Any], said: str) -> None:
    """Each with a sentence."""
    with pytest.raises(ValidationError, match=said):
        GuardPolicy.model_validate({"name": "g", **policy})


@pytest.mark.parametrize(
    ("kind", "ways"),
    [("pii", (True, True)), ("limits", (True, False)), ("json_schema", (False, True))],
)
def test_what_it_looks_at(kind: Any, ways: tuple[bool, bool]) -> None:
    """By default both, or what its kind can look at; else what it is told."""
    policy = GuardPolicy(name="g", kind=kind)

    assert ways == (policy.looks_at("input"), policy.looks_at("output"))
    only = GuardPolicy(name="g", kind="pii", direction="output")
    assert (False, True) == (only.looks_at("input"), only.looks_at("output"))


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"policies": [PII, PII]}, "two guards named 'p'"),
        ({"policies": [PII], "default": ["q"]}, "has the default 'q', which is none of its guards"),
    ],
)
def test_names(section: dict[str, Any], said: str) -> None:
    """Each once, and none that there is not."""
    with pytest.raises(ValidationError, match=said):
        Guards.model_validate(section)


@pytest.mark.parametrize(
    ("tree", "place"),
    [
        ({"rules": [{"name": "r", "guards": ["q"]}]}, ("rules", 0, "guards")),
        ({"tenants": [{"name": "t", "guards": ["q"]}]}, ("tenants", 0, "guards")),
    ],
)
def test_strangers(tree: dict[str, Any], place: tuple[str | int, ...]) -> None:
    """A rule or a tenant that names a guard that there is not."""
    with pytest.raises(ValidationError, match="'q' is no guard; declare it") as refused:
        Config.model_validate({"guards": {"policies": [PII]}, **tree})
    assert place == refused.value.errors()[0]["loc"]
