"""rules.py: the first rule that matches decides, by facts alone, and tells why."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.config.rules import Rule
from headrace.routing.rules import UNCLASSIFIED, Facts, Rulebook, Ruling


def book(*rules: dict[str, Any]) -> Rulebook:
    named = [{"name": f"r{index}", **rule} for index, rule in enumerate(rules)]
    return Rulebook([Rule.model_validate(rule) for rule in named])


def matches(match: dict[str, Any], **facts: Any) -> bool:
    return book({"match": match}).decide(Facts(**facts)) is not None


def at(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


class TestMatch:
    @pytest.mark.parametrize(
        ("match", "facts", "expected"),
        [
            ({}, {}, True),
            ({"models": "a"}, {"model": "a"}, True),
            ({"models": "a"}, {"model": "A"}, False),
            ({"models": ["a", "gpt-*"]}, {"model": "gpt-4o"}, True),
            ({"models": ["a", "gpt-*"]}, {"model": "a"}, True),
            ({"models": "gpt-*"}, {"model": "x/gpt-4o"}, False),
            ({"models": "*-70b-*"}, {"model": "llama-70b-it"}, True),
            ({"models": "q?n"}, {"model": "qwn"}, True),
            ({"models": "q?n"}, {"model": "qwen"}, False),
            ({"models": "a[bc]*"}, {"model": "ab"}, False),
            ({"models": "a[bc]*"}, {"model": "a[bc]d"}, True),
            ({"models": "gpt.4*"}, {"model": "gpt-4o"}, False),
            ({"endpoints": "/v1/messages*"}, {"endpoint": "/v1/messages/count_tokens"}, True),
            ({"tenants": "t"}, {"tenant": "t"}, True),
            ({"tenants": "t"}, {}, False),
            ({"keys": "k*"}, {"key": "k1"}, True),
            ({"prompt_bytes": "> 10"}, {"prompt_bytes": 11}, True),
            ({"prompt_bytes": "> 10"}, {"prompt_bytes": 10}, False),
            ({"prompt_tokens": "5-7"}, {"prompt_tokens": 7}, True),
            ({"messages": "1"}, {"messages": 2}, False),
            ({"images": "true"}, {"images": True}, True),
            ({"images": "false"}, {"images": True}, False),
            ({"tools": "true"}, {}, False),
            ({"json_schema": "true"}, {"json_schema": True}, True),
            ({"stream": "false"}, {}, True),
            ({"stream": "true"}, {}, False),
            ({"headers": {"X-Team": "a"}}, {"headers": {b"x-team": b"a"}}, True),
            ({"headers": {"x-team": "a"}}, {"headers": {b"x-team": b"b"}}, False),
            ({"headers": {"x-team": "*"}}, {"headers": {b"x-team": b""}}, True),
            ({"headers": {"x-team": "*"}}, {}, False),
            ({"headers": {"x-team": "a*z"}}, {"headers": {b"x-team": b"a\xe9z"}}, True),
            ({"classes": "hard"}, {"tier": "hard"}, True),
            ({"classes": "hard"}, {"tier": ""}, False),
            ({"models": "a", "stream": "true"}, {"model": "a"}, False),
            ({"models": "a", "stream": "true"}, {"model": "a", "stream": True}, True),
        ],
    )
    def test_one_rule(self, match: dict[str, Any], facts: dict[str, Any], expected: bool) -> None:
        """Every demand of a rule must be met, each in its own way."""
        assert expected is matches(match, **facts)

    @pytest.mark.parametrize(
        ("window", "time", "expected"),
        [
            ("mon-fri 09:00-17:00 Europe/Berlin", "2026-11-23T09:00:00+01:00", True),
            ("mon-fri 09:00-17:00 Europe/Berlin", "2026-11-23T08:59:59+01:00", False),
            ("mon-fri 09:00-17:00 Europe/Berlin", "2026-11-23T17:00:00+01:00", False),
            ("mon-fri 09:00-17:00 Europe/Berlin", "2026-11-22T12:00:00+01:00", False),
            # the same hour by the clock on the wall, in summer and in winter
            ("09:00-10:00 Europe/Berlin", "2026-07-01T07:30:00+00:00", True),
            ("09:00-10:00 Europe/Berlin", "2026-12-01T08:30:00+00:00", True),
            ("09:00-10:00 Europe/Berlin", "2026-12-01T07:30:00+00:00", False),
            # a night belongs to the day on which it begins
            ("fri 22:00-06:00", "2026-11-27T23:00:00+00:00", True),
            ("fri 22:00-06:00", "2026-11-28T05:59:00+00:00", True),
            ("fri 22:00-06:00", "2026-11-28T06:00:00+00:00", False),
            ("fri 22:00-06:00", "2026-11-27T05:00:00+00:00", False),
            ("sun 22:00-06:00", "2026-11-23T01:00:00+00:00", True),
            ("sat 00:00-24:00", "2026-11-28T23:59:59+00:00", True),
        ],
    )
    def test_times(self, window: str, time: str, expected: bool) -> None:
        """Windows are on the wall's clock of their zone."""
        assert expected is matches({"times": window}, at=at(time))

    def test_one_of_several_windows(self) -> None:
        """Any of them will do."""
        windows = ["sat,sun", "20:00-24:00"]
        noon, evening = at("2026-11-23T12:00:00+00:00"), at("2026-11-23T21:00:00+00:00")

        assert [False, True] == [matches({"times": windows}, at=time) for time in (noon, evening)]

    @pytest.mark.parametrize("by", ["tenant", "user", "session", "request"])
    def test_shares_stick_to_what_they_say(self, by: str) -> None:
        """The same tenant, user or session is always in it or never, whatever its request's id."""
        rules = book({"match": {"share": {"percent": "50", "by": by}}})
        for number in range(50):
            who = {by: f"x{number}"} if by != "request" else {"request_id": f"x{number}"}
            decided = {
                rules.decide(Facts(**({"request_id": f"r{turn}"} | who))) is None  # type: ignore[arg-type]
                for turn in range(5)
            }
            assert 1 == len(decided)

    def test_who_says_nothing_is_drawn_anew(self) -> None:
        """Callers without the identity are not all one: about half of their requests are in."""
        rules = book({"match": {"share": {"percent": "50", "by": "tenant"}}})
        decided = [rules.decide(Facts(request_id=f"r{n}")) is not None for n in range(400)]

        assert 140 < sum(decided) < 260

    def test_hostile_names_take_linear_time(self) -> None:
        """A pattern with many stars meets a text that almost fits, of a megabyte."""
        assert not matches({"models": "*a*a*a*a*b"}, model="a" * 1_000_000)


class TestDecide:
    def test_the_first_wins(self) -> None:
        """Order is the only precedence."""
        rules = book({"match": {"models": "b"}}, {"match": {"models": "*"}}, {})

        assert ["r1", "r0"] == [
            ruling.rule
            for model in ("a", "b")
            if isinstance(ruling := rules.decide(Facts(model=model)), Ruling)
        ]

    def test_none_matches(self) -> None:
        """Then nothing is decided."""
        assert book({"match": {"models": "b"}}).decide(Facts(model="a")) is None
        assert book().decide(Facts()) is None

    def test_what_is_ruled(self) -> None:
        """Targets in their order, the copy's pool, and where the rule stands."""
        rules = book(
            {"match": {"stream": "true"}}, {"target": ["a", "b"], "shadow": {"target": "c"}}
        )

        assert Ruling(1, "r1", ("a", "b"), shadow="c") == rules.decide(Facts())

    def test_the_class_is_asked_last(self) -> None:
        """Only when all else matches is it worth finding out; an earlier rule needs none."""
        rules = book(
            {"match": {"models": "a"}},
            {"match": {"models": "b", "classes": "hard"}},
            {"match": {"models": "b"}},
        )

        assert "r0" == rules.decide(Facts(model="a")).rule  # type: ignore[union-attr]
        assert UNCLASSIFIED == rules.decide(Facts(model="b"))
        assert ["r1", "r2"] == [
            rules.decide(Facts(model="b", tier=tier)).rule  # type: ignore[union-attr]
            for tier in ("hard", "easy")
        ]
        assert rules.decide(Facts(model="c")) is None

    def test_what_rules_need(self) -> None:
        """The body is looked at more closely only if some rule asks for what is in it."""
        plain = {"match": {"models": "a", "prompt_tokens": "> 3", "headers": {"x": "y"}}}
        arms = [{"name": "a"}, {"name": "b"}]

        assert (False, False) == book(plain).asks
        assert (True, False) == book(plain, {"match": {"tools": "true"}}).asks
        assert (True, False) == book({"match": {"share": {"percent": 5, "by": "user"}}}).asks
        assert (False, False) == book({"match": {"share": {"percent": 5}}}).asks
        assert (True, False) == book({"experiment": {"name": "e", "arms": arms}}).asks
        assert (False, True) == book({"match": {"classes": "a"}}).asks

    def test_weights_are_the_ramps(self) -> None:
        """An experiment draws by the weights it is told, else by those configured."""
        arms = [
            {"name": "a", "weight": 1, "target": "x"},
            {"name": "b", "weight": 0, "target": "y"},
        ]
        rules = book({"experiment": {"name": "e", "arms": arms}})

        first, then = rules.decide(Facts()), rules.decide(Facts(), {"e": (0, 1)})

        assert Ruling(0, "r0", ("x",), "e", "a") == first
        assert Ruling(0, "r0", ("y",), "e", "b") == then

    def test_some_are_copied(self) -> None:
        """A tenth of requests has a copy."""
        rules = book({"shadow": {"target": "c", "percent": 10}})
        copied = [rules.decide(Facts(request_id=str(n))).shadow for n in range(2000)]  # type: ignore[union-attr]

        assert abs(copied.count("c") - 200) < 60


class TestExplain:
    def test_every_rule_is_told(self) -> None:
        """All rules with all their demands, met or not; a class that nobody knows is neither."""
        rules = book({"match": {"models": ["a", "b"], "classes": "hard", "stream": "true"}}, {})

        first, second = rules.explain(Facts(model="a"))

        assert (
            ("stream is true", False), ("model is a or b", True), ("class is hard", None),
        ) == first.demands  # fmt: skip
        assert (False, True) == (first.matches, second.matches)


names = st.sampled_from(["a", "b", "gpt-4", "gpt-*", "*"])
conditions = st.fixed_dictionaries(
    {},
    optional={
        "models": names,
        "prompt_tokens": st.sampled_from(["> 10", "5-20", "< 7"]),
        "tools": st.booleans(),
        "classes": st.sampled_from(["hard", "easy"]),
        "times": st.sampled_from(["mon-fri", "22:00-06:00 America/New_York"]),
        "headers": st.just({"x-team": "a*"}),
        "share": st.fixed_dictionaries(
            {"percent": st.integers(0, 100), "by": st.sampled_from(["user", "session"])}
        ),
    },
)
actions = st.sampled_from(
    [
        {"target": ["a", "b"]},
        {"shadow": {"target": "c", "percent": 30}},
        {"experiment": {"arms": [{"name": "x", "weight": 3}, {"name": "y", "target": "b"}]}},
        {},
    ]
)
facts = st.builds(
    Facts,
    model=names,
    prompt_tokens=st.integers(0, 30),
    tools=st.booleans(),
    tier=st.none() | st.sampled_from(["hard", "easy", ""]),
    at=st.floats(0, 4e9),
    headers=st.sampled_from([{}, {b"x-team": b"abc"}]),
    user=st.text(max_size=5),
    session=st.text(max_size=5),
    request_id=st.text(max_size=5),
)


def compiled(rules: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> Rulebook:
    whole = [{"match": match, **action} for match, action in rules]
    for index, rule in enumerate(whole):
        if "experiment" in rule:
            rule["experiment"] = {"name": f"e{index}", **rule["experiment"]}
    return book(*whole)


@settings(max_examples=150)
@given(st.lists(st.tuples(conditions, actions), max_size=6), facts)
def test_decisions_replay(rules: list[tuple[dict[str, Any], dict[str, Any]]], seen: Facts) -> None:
    """The same facts and the same rules give the same decision, byte for byte, and its reasons."""
    first, second = compiled(rules), compiled(rules)

    assert first.version == second.version
    assert msgspec.json.encode(first.decide(seen)) == msgspec.json.encode(second.decide(seen))
    assert first.explain(seen) == second.explain(seen)


@settings(max_examples=150)
@given(st.lists(st.tuples(conditions, actions), max_size=6), facts)
def test_decisions_are_what_is_explained(
    rules: list[tuple[dict[str, Any], dict[str, Any]]], seen: Facts
) -> None:
    """The rule that decides is the first of which every demand is met."""
    rulebook = compiled(rules)
    ruling = rulebook.decide(seen)
    fitting = [verdict.rule for verdict in rulebook.explain(seen) if verdict.matches]

    if isinstance(ruling, Ruling):
        assert fitting[0] == ruling.rule
    else:
        assert [] == fitting or ruling == UNCLASSIFIED


def test_versions_are_of_rules() -> None:
    """Other rules are another version; other tests are not."""
    plain, tested = book({}), book({"tests": [{"expect": {"rule": "r0"}}]})

    assert plain.version == tested.version
    assert plain.version != book({"priority": 1}).version
