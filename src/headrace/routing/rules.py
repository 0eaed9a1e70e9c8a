"""
Rules, compiled: facts in, the first rule that matches out, and why the others did not. Pure: the
time and the shares of experiments are arguments. What a rule may say is config/rules.py's.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from fnmatch import translate
from functools import lru_cache, partial
from operator import attrgetter
from types import MappingProxyType
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from msgspec import Struct

from headrace.config import rules as config
from headrace.config.window import Window, span, window
from headrace.routing.shares import assign, within

NO_HEADERS: Mapping[bytes, bytes] = MappingProxyType({})
NO_WEIGHTS: Mapping[str, Sequence[float]] = MappingProxyType({})


class Facts(Struct, frozen=True, gc=False):
    """
    All that a rule may look at. ``at`` is seconds since 1970 (UTC); ``tier`` is the classifier's
    word, None while nobody has asked it. What was not looked for is 0, False or empty.
    """

    model: str = ""
    endpoint: str = ""
    stream: bool = False
    prompt_bytes: int = 0
    prompt_tokens: int = 0
    headers: Mapping[bytes, bytes] = NO_HEADERS
    request_id: str = ""
    at: float = 0.0
    messages: int = 0
    images: bool = False
    tools: bool = False
    json_schema: bool = False
    user: str = ""
    session: str = ""
    tenant: str = ""
    key: str = ""
    tier: str | None = None

    def identity(self, by: config.By) -> str:
        """Who a share or an arm sticks to; whoever does not say it is as many as its requests."""
        if by == "tenant":
            known = self.tenant
        elif by == "user":
            known = self.user
        else:
            known = self.session or self.user if by == "session" else ""
        return f"{by}:{known}" if known else f"request:{self.request_id}"


class Ruling(Struct, frozen=True, gc=False):
    """
    What the rules say about a request. ``index`` is the rule's place in the list; without targets
    the model that was asked for answers.
    """

    index: int
    rule: str
    targets: tuple[str, ...] = ()
    experiment: str = ""
    arm: str = ""
    shadow: str = ""


class Unclassified(Struct, frozen=True, gc=False):
    """A rule asks for the class, which is not known yet: find it out and ask again."""


UNCLASSIFIED: Final = Unclassified()


class Condition(NamedTuple):
    """One demand of a rule, in words and as a function."""

    text: str
    test: Callable[[Facts], bool]


class Verdict(NamedTuple):
    """How a rule fared: each of its demands in words, and whether it was met (None: not known)."""

    rule: str
    demands: tuple[tuple[str, bool | None], ...]

    @property
    def matches(self) -> bool:
        return all(met for _, met in self.demands)


class Asks(NamedTuple):
    """What must be found out for these rules beyond the usual: parts of the body, the class."""

    body: bool
    tier: bool


class Rulebook:
    """Rules ready to be asked; never changes."""

    def __init__(self, rules: Sequence[config.Rule]) -> None:
        self.rules = tuple(rules)
        self.version = version(rules)
        self._compiled = tuple(_Compiled(index, rule) for index, rule in enumerate(rules))
        self.asks = Asks(
            any(_asks_body(rule) for rule in rules), any(rule.match.classes for rule in rules)
        )

    def decide(
        self, facts: Facts, weights: Mapping[str, Sequence[float]] = NO_WEIGHTS
    ) -> Ruling | Unclassified | None:
        """
        The first rule that matches, None if none does; UNCLASSIFIED where that hangs on the class.

        ``weights`` has the arms' weights of experiments in which they are not the configured ones.
        """
        for rule in self._compiled:
            for test in rule.tests:
                if not test(facts):
                    break
            else:
                if rule.classes is None or facts.tier in rule.classes:
                    return rule.ruling if rule.fixed else rule.split(facts, weights)
                if facts.tier is None:
                    return UNCLASSIFIED
        return None

    def explain(self, facts: Facts) -> list[Verdict]:
        """How every rule fares, whether or not an earlier one has matched."""
        return [rule.explain(facts) for rule in self._compiled]


def version(rules: Sequence[config.Rule]) -> str:
    """A short name for exactly these rules; their tests do not count."""
    plain = [rule.model_dump(mode="json", exclude={"tests"}) for rule in rules]
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()


class _Compiled:
    """One rule: its demands, the cheap ones first, and what it rules."""

    __slots__ = ("_experiment", "_rule", "classes", "conditions", "fixed", "ruling", "tests")

    def __init__(self, index: int, rule: config.Rule) -> None:
        self._rule = rule
        self._experiment = rule.experiment
        self.conditions = tuple(_conditions(rule))
        self.tests = tuple(condition.test for condition in self.conditions)
        self.classes = frozenset(rule.match.classes) if rule.match.classes else None
        shadow = rule.shadow.target if rule.shadow is not None else ""
        self.ruling = Ruling(index, rule.name, rule.target, shadow=shadow)
        whole = rule.shadow is None or rule.shadow.percent >= 100
        self.fixed = rule.experiment is None and whole

    def split(self, facts: Facts, weights: Mapping[str, Sequence[float]]) -> Ruling:
        """The ruling where it differs between callers."""
        rule, fixed = self._rule, self.ruling
        targets, name, arm_name, shadow = fixed.targets, "", "", fixed.shadow
        experiment = self._experiment
        if experiment is not None:
            name = experiment.name
            given = weights.get(name) or [arm.weight for arm in experiment.arms]
            names = [arm.name for arm in experiment.arms]
            arm = experiment.arms[assign(name, facts.identity(experiment.by), names, given)]
            arm_name, targets = arm.name, arm.target
        if rule.shadow is not None and not within(
            f"shadow:{rule.name}", facts.request_id, rule.shadow.percent
        ):
            shadow = ""
        return Ruling(fixed.index, fixed.rule, targets, name, arm_name, shadow)

    def explain(self, facts: Facts) -> Verdict:
        demands: list[tuple[str, bool | None]] = [
            (condition.text, condition.test(facts)) for condition in self.conditions
        ]
        if self.classes is not None:
            met = None if facts.tier is None else facts.tier in self.classes
            demands.append((f"class is {_any(sorted(self.classes))}", met))
        return Verdict(self._rule.name, tuple(demands))


def _asks_body(rule: config.Rule) -> bool:
    match = rule.match
    by = {rule.experiment.by} if rule.experiment is not None else set()
    by |= {match.share.by} if match.share is not None else set()
    demands = (match.messages, match.images, match.tools, match.json_schema)
    return bool(by & {"user", "session"}) or any(demand is not None for demand in demands)


def _conditions(rule: config.Rule) -> Iterator[Condition]:
    """A rule's demands but the class, which may have to be found out first."""
    match = rule.match
    if match.stream is not None:
        yield Condition(f"stream is {_word(match.stream)}", partial(_stream, match.stream))
    for field, names in (
        ("endpoint", match.endpoints),
        ("model", match.models),
        ("tenant", match.tenants),
        ("key", match.keys),
    ):
        if names:
            yield Condition(f"{field} is {_any(names)}", _named(field, names))
    for field in ("prompt_bytes", "prompt_tokens", "messages"):
        text = getattr(match, field)
        if text is not None:
            yield Condition(f"{field} is {text}", _ranged(field, text))
    for field in ("images", "tools", "json_schema"):
        wanted = getattr(match, field)
        if wanted is not None:
            yield Condition(f"{field} is {_word(wanted)}", _flag(field, wanted=wanted))
    yield from _costly_conditions(rule)


def _costly_conditions(rule: config.Rule) -> Iterator[Condition]:
    match = rule.match
    for name, pattern in match.headers.items():
        yield Condition(f"header {name} is {pattern}", _header(name, pattern))
    if match.times:
        windows = tuple(window(text) for text in match.times)
        yield Condition(f"time is {_any(match.times)}", partial(_timely, windows))
    if match.share is not None:
        share = match.share
        text = f"in {share.percent:g} % by {share.by}"
        yield Condition(text, partial(_shared, f"share:{rule.name}", share.by, share.percent))


def _any(names: Sequence[str]) -> str:
    return " or ".join(names)


def _word(value: object) -> str:
    return str(value).lower()


def _stream(wanted: bool, facts: Facts) -> bool:
    return facts.stream is wanted


def _matcher(names: Sequence[str]) -> Callable[[str], bool] | None:
    """
    Whether a text fits one of those names that hold ``*`` or ``?``; None where no name does.

    fnmatch's expressions take linear time, whatever text a client sends.
    """
    wild = [name.replace("[", "[[]") for name in names if "*" in name or "?" in name]
    if not wild:
        return None
    prefixes = tuple(name[:-1] for name in wild)
    if not any(char in prefix for prefix in prefixes for char in "*?[") and all(
        name.endswith("*") for name in wild
    ):
        return lambda text: text.startswith(prefixes)
    full = re.compile("|".join(translate(name) for name in wild)).fullmatch
    return lambda text: full(text) is not None


def _named(field: str, names: Sequence[str]) -> Callable[[Facts], bool]:
    exact, fits, value = frozenset(names), _matcher(names), attrgetter(field)
    if fits is None:
        return lambda facts: value(facts) in exact
    return lambda facts: (text := value(facts)) in exact or fits(text)


def _ranged(field: str, text: str) -> Callable[[Facts], bool]:
    low, high = span(text)
    if field == "prompt_bytes":
        return lambda facts: low <= facts.prompt_bytes <= high
    if field == "prompt_tokens":
        return lambda facts: low <= facts.prompt_tokens <= high
    return lambda facts: low <= facts.messages <= high


def _flag(field: str, *, wanted: bool) -> Callable[[Facts], bool]:
    if field == "images":
        return lambda facts: facts.images is wanted
    if field == "tools":
        return lambda facts: facts.tools is wanted
    return lambda facts: facts.json_schema is wanted


def _header(name: str, text: str) -> Callable[[Facts], bool]:
    key, exact, fits = name.encode("latin-1"), text.encode("latin-1"), _matcher([text])
    if fits is None:
        return lambda facts: facts.headers.get(key) == exact

    def test(facts: Facts) -> bool:
        value = facts.headers.get(key)
        return value is not None and fits(value.decode("latin-1"))

    return test


def _shared(salt: str, by: config.By, percent: float, facts: Facts) -> bool:
    return within(salt, facts.identity(by), percent)


def _timely(windows: Sequence[Window], facts: Facts) -> bool:
    minute = int(facts.at // 60)
    return any(_within_window(each, *_local(each.zone, minute)) for each in windows)


def _within_window(each: Window, day: int, minute: int) -> bool:
    if each.begin < each.end:
        return day in each.days and each.begin <= minute < each.end
    if minute >= each.begin:
        return day in each.days
    return minute < each.end and (day - 1) % 7 in each.days


@lru_cache(maxsize=64)
def _local(zone: str, minute: int) -> tuple[int, int]:
    """The day of the week and the minute of the day, at a minute since 1970, in a zone."""
    at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(minutes=minute)
    local = at.astimezone(ZoneInfo(zone))
    return local.weekday(), local.hour * 60 + local.minute
