"""The section ``limits``: what can be said, and what is refused."""

from typing import Any

import pytest
from pydantic import ValidationError

from headrace.config.limits import Limits


def test_nothing_is_limited_by_default() -> None:
    """No allowance has a value until somebody gives one."""
    found = Limits()

    for allowance in (found.tenant, found.key, found.model):
        assert {None} == set(allowance.model_dump().values())
    assert ({}, {}, "UTC", "open") == (found.tenants, found.models, found.time_zone, found.on_loss)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"tenant": {"rpm": 5}}, "Extra inputs are not permitted"),
        ({"tenant": {"tokens_per_day": -1}}, "greater than or equal to 0"),
        ({"tenant": {"max_tokens": 0}}, "greater than or equal to 1"),
        ({"tenant": {"cost_per_month": "0.000000001"}}, "no more than 8 decimal places"),
        ({"tenants": {"a b": {}}}, "String should match pattern"),
        ({"time_zone": "Mars/Olympus"}, "'Mars/Olympus' is no time zone"),
        ({"burst_s": 0}, "greater than or equal to 1"),
        ({"too_long": "shorten"}, "'refuse' or 'clamp'"),
        ({"on_loss": "panic"}, "'open' or 'closed'"),
        ({"gateways": 0}, "greater than or equal to 1"),
    ],
)
def test_what_is_refused(wrong: dict[str, Any], message: str) -> None:
    """A mistake is told, not guessed around."""
    with pytest.raises(ValidationError, match=message):
        Limits.model_validate(wrong)


def test_tenants_and_models() -> None:
    """A tenant has limits of its own, and of models; a model has a length of its own."""
    found = Limits.model_validate(
        {
            "tenants": {"acme": {"tokens_per_day": 5, "models": {"m": {"max_tokens": 7}}}},
            "models": {"m": {"default_output": 9}},
        }
    )

    assert (5, 7, 9) == (
        found.tenants["acme"].tokens_per_day,
        found.tenants["acme"].models["m"].max_tokens,
        found.models["m"].default_output,
    )
