"""
Who has which limits: from the configuration, the book of tenants and the caller's key to the bounds
of a request. What is used of them is limits.py's.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from msgspec import Struct

from headrace.admission.limits import (
    COST,
    INPUT,
    OUTPUT,
    REQUESTS,
    SECOND_US,
    SLOTS,
    TOKENS,
    Bound,
    Kind,
)
from headrace.admission.types import Caller
from headrace.config.limits import Allowance, Limits
from headrace.config.prices import DECIMALS
from headrace.errors import ConfigError

MAX_TOKENS = "max_tokens"


class Shape(NamedTuple):
    """What a limit counts and how; ``words`` are its unit in a sentence."""

    kind: Kind
    unit: int
    span: str
    words: str


SHAPES: Mapping[str, Shape] = MappingProxyType(
    {
        "requests_per_minute": Shape("once", REQUESTS, "", "requests per minute"),
        "tokens_per_minute": Shape("rate", TOKENS, "", "tokens per minute"),
        "input_tokens_per_minute": Shape("rate", INPUT, "", "input tokens per minute"),
        "output_tokens_per_minute": Shape("rate", OUTPUT, "", "output tokens per minute"),
        "concurrent_requests": Shape("slots", SLOTS, "", "requests at one time"),
        "tokens_per_day": Shape("window", TOKENS, "day", "tokens per day"),
        "cost_per_month": Shape("window", COST, "month", "{currency} per month"),
    }
)
NAMES = (*SHAPES, MAX_TOKENS)
MOST = 1_000_000_000_000


class Longest(NamedTuple):
    """The longest answer of one request, and who says so; 0 for no limit."""

    tokens: int
    scope: str = ""
    whom: str = ""


class Own(NamedTuple):
    """A key's tenant, and its own limits."""

    tenant: str
    limits: Mapping[str, float]


NO_KEY = Own("", MappingProxyType({}))


class Plan(Struct, frozen=True):
    """
    What holds for a caller and a model. ``tokens`` and ``priced`` say whether any bound counts
    tokens or money; ``default_output`` is what an answer of unknown length reserves.
    """

    bounds: tuple[Bound, ...]
    longest: Longest
    default_output: int
    tokens: bool
    priced: bool


class Bounds:
    """The limits that there are. ``tenants`` are those of the book with limits of their own."""

    def __init__(self, config: Limits) -> None:
        self._config = config
        self._kept: Mapping[str, Mapping[str, float]] = {}
        self._keys: Mapping[str, Own] = {}

    def adopt(self, tenants: Mapping[str, Mapping[str, float]], keys: Mapping[str, Own]) -> None:
        """These are the tenants and keys in the book now, with the limits of their own."""
        self._kept = {name: given for name, given in tenants.items() if given}
        self._keys = keys

    @property
    def any(self) -> bool:
        """Whether anything is limited."""
        config = self._config
        general = (config.tenant, config.key, config.model, *config.models.values())
        own = [
            each for tenant in config.tenants.values() for each in (tenant, *tenant.models.values())
        ]
        kept = (*self._kept.values(), *(own.limits for own in self._keys.values()))
        return any(map(_given, (*general, *own))) or any(map(_known, kept))

    @property
    def tenants(self) -> tuple[str, ...]:
        """Tenants that the configuration or the book gives limits."""
        return tuple(dict.fromkeys((*self._config.tenants, *self._kept)))

    def plan(self, caller: Caller, model: str) -> Plan | None:
        """What holds for a request of this caller for this model; None for no limit."""
        config = self._config
        own = config.models.get(model)
        scopes: dict[str, tuple[str, Mapping[str, float]]] = {
            "key": (caller.key, self._of_key(caller)),
            "tenant": (caller.tenant, self._of_tenant(caller.tenant)),
            "tenant_model": (_both(caller.tenant, model), self._of_both(caller.tenant, model)),
            "model": (model, _given(config.model) | _given(own)),
        }
        bounds, longest = list[Bound](), Longest(0)
        for scope, (whom, given) in scopes.items():
            for name, most in given.items():
                if name != MAX_TOKENS:
                    bounds.append(self._bound(scope, whom, name, most, caller.tenant))
                elif not longest.tokens or most < longest.tokens:
                    longest = Longest(int(most), scope, whom)
        if not bounds and not longest.tokens:
            return None
        units = {bound.unit for bound in bounds}
        return Plan(
            bounds=tuple(bounds),
            longest=longest,
            default_output=(own.default_output if own is not None else None)
            or config.default_output,
            tokens=not units.isdisjoint({INPUT, OUTPUT, TOKENS, COST}),
            priced=COST in units,
        )

    def of(self, scope: str, whom: str) -> tuple[Bound, ...]:
        """The bounds of a key, a tenant, a model, or of a tenant and a model (with a space)."""
        given: Mapping[str, float]
        tenant = whom
        if scope == "key":
            tenant, own = self._keys.get(whom, NO_KEY)
            given = _stricter(_given(self._config.key), own)
        elif scope == "tenant":
            given = self._of_tenant(whom)
        elif scope == "tenant_model":
            tenant, _, model = whom.partition(" ")
            given = self._of_both(tenant, model)
        else:
            given = _given(self._config.model) | _given(self._config.models.get(whom))
        return tuple(
            self._bound(scope, whom, name, most, tenant)
            for name, most in given.items()
            if name != MAX_TOKENS
        )

    def _of_key(self, caller: Caller) -> Mapping[str, float]:
        return _stricter(_given(self._config.key), caller.limits) if caller.key else {}

    def _of_tenant(self, tenant: str) -> Mapping[str, float]:
        config = self._config
        kept = _known(self._kept.get(tenant, {}))
        return _given(config.tenant) | kept | _given(config.tenants.get(tenant))

    def _of_both(self, tenant: str, model: str) -> Mapping[str, float]:
        own = self._config.tenants.get(tenant)
        return _given(own.models.get(model)) if own is not None else {}

    def _bound(self, scope: str, whom: str, name: str, most: float, tenant: str) -> Bound:
        shape = SHAPES[name]
        tag = f"model:{whom}" if scope == "model" else f"tenant:{tenant}"
        field = name if scope in {"tenant", "model"} else f"{scope}/{whom}/{name}"
        return Bound(
            scope=scope,
            whom=whom,
            name=name,
            most=most,
            kind=shape.kind,
            unit=shape.unit,
            span=shape.span,
            tag=tag,
            field=field,
            account=f"{tag}/{field}",
            burst_us=self._config.burst_s * SECOND_US,
        )


def check(config: Limits, models: Iterable[str], *, priced: bool) -> None:
    """
    Whether the limits fit the rest.

    Raises:
        ConfigError: they name a model that is not declared, or money without a price book.

    """
    known = [*models]
    places = [("limits.models", [*config.models])]
    places += [
        (f"limits.tenants.{name}.models", [*tenant.models])
        for name, tenant in config.tenants.items()
    ]
    for place, names in places:
        for name in names:
            if name not in known:
                listed = ", ".join(known) or "none"
                raise ConfigError(f"{place}: there is no model {name!r}; there are: {listed}.")
    money = any("cost_per_month" in _given(each) for each in _allowances(config))
    if money and not priced:
        raise ConfigError(
            "limits: `cost_per_month` needs prices of tokens (`metering.prices`), else nothing"
            " costs anything."
        )


def unknown(limits: Mapping[str, float]) -> list[str]:
    """The names of limits that there are not."""
    return sorted(name for name in limits if name not in NAMES)


def limited(limits: Mapping[str, float]) -> None:
    """
    Whether these are limits, as a key or tenant of the book may have them.

    Raises:
        ConfigError: there is none of a name, or its value makes no sense.

    """
    for name in unknown(limits):
        raise ConfigError(f"There is no limit {name!r}; there are: {', '.join(NAMES)}.")
    for name, most in limits.items():
        if not 0 <= most <= MOST or (name == MAX_TOKENS and (most < 1 or most != int(most))):
            least = "a whole number from 1" if name == MAX_TOKENS else "a number from 0"
            raise ConfigError(f"The limit {name!r} is {most:g}; it must be {least} to {MOST:,}.")


def spoken(scope: str, whom: str) -> str:
    """Whose limit it is, in a sentence."""
    if scope == "tenant_model":
        tenant, _, model = whom.partition(" ")
        return f"the tenant {tenant} for the model {model}"
    if scope == "tenant" and not whom:
        return "callers without a key"
    return f"the {scope} {whom}"


def _allowances(config: Limits) -> list[Allowance]:
    found: list[Allowance] = [config.tenant, config.key, config.model, *config.models.values()]
    for tenant in config.tenants.values():
        found += [tenant, *tenant.models.values()]
    return found


def _both(tenant: str, model: str) -> str:
    return f"{tenant} {model}"  # no tenant's name has a space


def _given(allowance: Allowance | None) -> dict[str, float]:
    """The limits that are set, money in micro-cents."""
    if allowance is None:
        return {}
    values = {name: getattr(allowance, name) for name in NAMES}
    return {name: _value(name, value) for name, value in values.items() if value is not None}


def _known(limits: Mapping[str, float]) -> dict[str, float]:
    """Free fields of the book, as far as they are limits."""
    return {name: _value(name, most) for name, most in limits.items() if name in NAMES}


def _stricter(general: Mapping[str, float], own: Mapping[str, float]) -> dict[str, float]:
    """A key's own limits count beside those of all keys."""
    mine = _known(own)
    names = [name for name in NAMES if name in mine or name in general]
    return {name: min(each[name] for each in (general, mine) if name in each) for name in names}


def _value(name: str, most: float) -> float:
    return int(most * 10**DECIMALS) if name == "cost_per_month" else most
