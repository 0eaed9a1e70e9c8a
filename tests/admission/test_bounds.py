"""bounds.py: who has which limits, from the configuration, the book and the key."""

from typing import Any

import pytest

from headrace.admission.bounds import NAMES, Bounds, Own, check, limited, spoken, unknown
from headrace.admission.types import Caller
from headrace.config.limits import Allowance, Limits
from headrace.errors import ConfigError

ACME = Caller(tenant="acme", key="ci")


def bounds(**config: Any) -> Bounds:
    return Bounds(Limits.model_validate(config))


def given(found: Bounds, caller: Caller = ACME, model: str = "m") -> dict[tuple[str, str], float]:
    plan = found.plan(caller, model)
    return {} if plan is None else {(each.scope, each.name): each.most for each in plan.bounds}


def test_there_are_no_limits() -> None:
    """Without any nothing is looked at."""
    found = bounds()

    assert not found.any
    assert found.plan(ACME, "m") is None


def test_general_ones() -> None:
    """Each tenant, key and model has those of all."""
    found = bounds(
        tenant={"requests_per_minute": 60}, key={"tokens_per_day": 5}, model={"max_tokens": 7}
    )
    plan = found.plan(ACME, "m")

    assert found.any
    assert plan is not None
    assert {("key", "tokens_per_day"): 5, ("tenant", "requests_per_minute"): 60} == given(found)
    assert (7, "model", "m") == plan.longest
    assert {("tenant", "requests_per_minute"): 60} == given(found, Caller())


def test_own_ones_replace_general_ones() -> None:
    """One by one: what a tenant or model does not name stays as it is for all."""
    found = bounds(
        tenant={"requests_per_minute": 60, "tokens_per_minute": 100},
        tenants={"acme": {"requests_per_minute": 600, "models": {"m": {"tokens_per_day": 9}}}},
        model={"concurrent_requests": 4},
        models={"big": {"concurrent_requests": 2, "default_output": 77}},
    )

    assert {
        ("tenant", "requests_per_minute"): 600,
        ("tenant", "tokens_per_minute"): 100,
        ("tenant_model", "tokens_per_day"): 9,
        ("model", "concurrent_requests"): 4,
    } == given(found)
    assert 60 == given(found, Caller(tenant="rival"))["tenant", "requests_per_minute"]
    assert 2 == given(found, model="big")["model", "concurrent_requests"]
    assert [1024, 77] == [
        plan.default_output for m in ("m", "big") if (plan := found.plan(ACME, m))
    ]


def test_those_of_the_book() -> None:
    """A kept tenant's are its own; what the configuration says of it wins."""
    found = bounds(tenants={"acme": {"requests_per_minute": 7}})
    found.adopt({"acme": {"requests_per_minute": 9, "tokens_per_day": 8}, "rival": {}}, {})

    assert {("tenant", "requests_per_minute"): 7, ("tenant", "tokens_per_day"): 8} == given(found)
    assert ("acme",) == found.tenants


def test_the_stricter_of_a_key() -> None:
    """A key's own limits and those of all keys hold both."""
    found = bounds(key={"requests_per_minute": 60, "tokens_per_day": 5, "max_tokens": 9})
    strict = Caller(tenant="acme", key="ci", limits={"requests_per_minute": 6, "max_tokens": 5})
    loose = Caller(tenant="acme", key="ci", limits={"requests_per_minute": 600, "odd": 1})
    plans = found.plan(strict, "m"), found.plan(loose, "m")

    assert [6, 60] == [
        given(found, caller)["key", "requests_per_minute"] for caller in (strict, loose)
    ]
    assert [5, 9] == [plan.longest.tokens for plan in plans if plan is not None]


def test_a_key_alone_switches_limits_on() -> None:
    """Limits that only a key has are limits; words that are none are not."""
    found = bounds()
    found.adopt({}, {"odd": Own("acme", {"rpm": 5})})
    before = found.any
    found.adopt({}, {"ci": Own("acme", {"tokens_per_day": 5})})

    assert (False, True) == (before, found.any)


def test_money_is_in_micro_cents() -> None:
    """The smallest part that prices have."""
    found = given(bounds(tenant={"cost_per_month": "12.50000001"}))

    assert {("tenant", "cost_per_month"): 12_50000001} == found


def test_what_counts() -> None:
    """A plan says whether tokens or money have to be counted at all."""
    found = [
        bounds(tenant=limits).plan(ACME, "m")
        for limits in ({"requests_per_minute": 1}, {"tokens_per_day": 1}, {"cost_per_month": 1})
    ]

    assert [(False, False), (True, False), (True, True)] == [
        (plan.tokens, plan.priced) for plan in found if plan is not None
    ]


def test_tags() -> None:
    """All accounts of a tenant are kept together; those of a model are everybody's."""
    names = {"requests_per_minute": 1}
    found = bounds(tenant=names, key=names, model=names, tenants={"acme": {"models": {"m": names}}})
    plan = found.plan(ACME, "m")

    assert plan is not None
    assert {
        "key": ("tenant:acme", "key/ci/requests_per_minute"),
        "tenant": ("tenant:acme", "requests_per_minute"),
        "tenant_model": ("tenant:acme", "tenant_model/acme m/requests_per_minute"),
        "model": ("model:m", "requests_per_minute"),
    } == {each.scope: (each.tag, each.field) for each in plan.bounds}
    assert 4 == len({each.account for each in plan.bounds})


@pytest.mark.parametrize("scope", ["key", "tenant", "tenant_model", "model"])
def test_what_is_shown_is_what_counts(scope: str) -> None:
    """The bounds that are shown are those of requests, account by account."""
    names = {"requests_per_minute": 1, "tokens_per_day": 2}
    found = bounds(tenant=names, key=names, model=names, tenants={"acme": {"models": {"m": names}}})
    found.adopt({}, {"ci": Own("acme", {"tokens_per_day": 1}), "app": Own("acme", {})})
    plan = found.plan(Caller(tenant="acme", key="ci", limits={"tokens_per_day": 1}), "m")
    other = found.plan(Caller(tenant="acme", key="app"), "m")
    whom = {"key": "ci", "tenant": "acme", "tenant_model": "acme m", "model": "m"}[scope]

    assert plan is not None
    assert other is not None
    assert [each for each in plan.bounds if each.scope == scope] == [*found.of(scope, whom)]
    assert [each for each in other.bounds if each.scope == "key"] == [*found.of("key", "app")]


class TestCheck:
    def test_unknown_models(self) -> None:
        """A limit of a model that there is not would limit nothing: that is an error."""
        for config in (
            {"models": {"ghost": {"max_tokens": 1}}},
            {"tenants": {"acme": {"models": {"ghost": {"max_tokens": 1}}}}},
        ):
            with pytest.raises(ConfigError, match="there is no model 'ghost'; there are: m"):
                check(Limits.model_validate(config), ["m"], priced=True)

    def test_money_without_prices(self) -> None:
        """Where nothing costs anything, a budget of money would limit nothing."""
        config = Limits.model_validate({"tenants": {"acme": {"cost_per_month": 5}}})
        check(config, ["m"], priced=True)

        with pytest.raises(ConfigError, match=r"needs prices of tokens \(`metering.prices`\)"):
            check(config, ["m"], priced=False)


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"rpm": 5}, "There is no limit 'rpm'; there are: requests_per_minute, "),
        ({"tokens_per_day": -1}, "'tokens_per_day' is -1; it must be a number from 0"),
        ({"max_tokens": 0}, "'max_tokens' is 0; it must be a whole number from 1"),
        ({"max_tokens": 1.5}, "'max_tokens' is 1.5; it must be a whole number from 1"),
        ({"tokens_per_day": float("nan")}, "'tokens_per_day' is nan"),
    ],
)
def test_limits_of_the_book(limits: dict[str, float], message: str) -> None:
    """Who gives a key or tenant limits is told what is wrong with them."""
    limited({"tokens_per_day": 0, "max_tokens": 1, "cost_per_month": 2.5})

    with pytest.raises(ConfigError, match=message):
        limited(limits)


def test_names() -> None:
    """All settings of an allowance are limits that keys can have, and nothing else is."""
    assert set(NAMES) == set(Allowance.model_fields)
    assert ["rpm"] == unknown({"rpm": 1, "tokens_per_day": 1})
    assert "the tenant acme for the model a b" == spoken("tenant_model", "acme a b")
