"""aside.py: replicas that were set aside are told, with the retries that hid it."""

import pytest

from headrace.diagnose.finding import Diagnosis
from headrace.diagnose.history import History
from headrace.diagnose.table import diagnose

# Of five seconds: the ejection was two and a half minutes ago, errors of others are of the last.
STEPS, CHANGE, LATELY = 96, 66, 84
REPLICAS = ("a", "b", "c")


def asked(
    cause: str, *, aside: bool = True, retries: int = 0, errors: int = 0, back: int = -1
) -> Diagnosis:
    """
    Three replicas that answer a request a second each; then ``a`` is ejected for a cause, and ``b``
    fails so many requests in each step. It is ``back`` with so many requests since.
    """
    history = History()
    sent = dict.fromkeys(REPLICAS, 0.0)
    for step in range(STEPS):
        after = step >= CHANGE
        gauges: dict[tuple[str, tuple[str, ...]], float] = {}
        for name in REPLICAS:
            out = after and name == "a"
            sent[name] += max(0.0, back) / (STEPS - CHANGE) if out else 5.0
            gauges |= {
                ("r_inflight", (name,)): 0.0 if out else 4.0,
                ("r_ready", (name,)): 0.0 if out and back < 0 else 1.0, ("r_aside", (name,)): 0.0,
                ("r_sent", (name,)): sent[name],
                ("r_ejected", (name, cause)): 0.0,
                ("r_failed", (name,)): float(errors * max(0, step - LATELY)) * (name == "b"),
            }  # fmt: skip
        gauges |= {
            ("r_aside", ("a",)): float(after and aside),
            ("r_ejected", ("a", cause)): float(after),
        }
        total = 15.0 * (step + 1)
        history.add(
            1000.0 + 5.0 * step,
            {
                **gauges,
                ("ended", ("m", "completed")): total, ("queue_n", ("m",)): total,
                ("attempts", ("m",)): total + retries * after,
                ("active", ("m", "streaming")): 12.0, ("waiting", ("m",)): 0.0,
                ("replicas", ("m",)): 3.0 - after,
            },
        )  # fmt: skip
    return diagnose(history.snapshot(), 300.0, "m")


@pytest.mark.parametrize(
    ("cause", "words"),
    [
        ("failures", "its requests failed one after the other"),
        ("success_rate", "it failed more requests than its peers"),
        ("warm_up", "it does not answer its warm-up"),
    ],
)
def test_one_that_is_set_aside_is_told(cause: str, words: str) -> None:
    """As long as it is away: why, and how many retries kept clients from feeling it."""
    found = asked(cause, retries=7)

    assert ("upstream-errors", ("a",)) == (found.finding.name, found.finding.replicas)
    assert f"A is set aside ({words}), and 7 retries hid it from clients." == found.finding.summary


@pytest.mark.parametrize(("since", "told"), [(0, True), (4, True), (30, False)])
def test_one_that_is_back_must_prove_itself(since: int, *, told: bool) -> None:
    """Until it has had some requests it may be as broken as before; then its failures count."""
    found = asked("failures", aside=False, back=since).finding

    assert told == ("upstream-errors" == found.name)
    if told:
        assert found.summary.startswith("A was set aside, with hardly a request since (its")


def test_without_retries_nothing_was_hidden() -> None:
    """What broke off behind its first byte was seen by its client."""
    assert asked("failures").finding.summary.endswith("after the other).")


def test_others_that_fail_come_first() -> None:
    """The finding names the replica that fails now; it says as well which is away."""
    found = asked("failures", retries=3, errors=2).finding

    assert ("upstream-errors", ("b",)) == (found.name, found.replicas)
    assert "b fails requests: 40% at worst. a is set aside" in found.summary
    assert [each.text for each in found.evidence].count("ejections of a: failures") == 1


def test_one_that_stood_still_is_told_until_it_is_back() -> None:
    """Its ejection is long ago, it has no request and is silent: only its state tells."""
    found = asked("stuck").finding

    assert ("stuck-replica", ("a",)) == (found.name, found.replicas)
    assert "a is set aside: no token came from there." == found.summary
    assert "stuck-replica" != asked("stuck", aside=False).finding.name


@pytest.mark.parametrize(
    ("cause", "aside"), [("stuck", True), ("health", True), ("failures", False)]
)
def test_what_others_tell(cause: str, *, aside: bool) -> None:
    """Rows of their own tell of the stuck and the dead; one that was drained is not set aside."""
    found = asked(cause, aside=aside)

    assert "upstream-errors" not in {found.finding.name, *(each.name for each in found.also)}
