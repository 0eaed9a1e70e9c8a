"""How cases are run and judged: what counts as a pass, and that nothing ends the run."""

from collections.abc import Awaitable, Callable

import pytest

from headrace.conformance import catalogue, report, suite
from headrace.conformance.stage import Stage
from headrace.conformance.verdict import Case, Check, NotApplicable, Result, Verdict, judge
from headrace.conformance.wiring import Names

GOOD = Check("a", "1", "1", passed=True)
BAD = Check("b", "1", "2", passed=False)


class Notes:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def begins(self, case: Case) -> None:
        self.told.append(f"begins {case.key}")

    def ended(self, result: Result) -> None:
        self.told.append(f"{result.case.key} {result.verdict}")


def case(run: Callable[[Stage], Awaitable[None]], key: str = "1") -> Case:
    return Case(key, "name", "why", run, last=True)


async def nothing(_stage: Stage) -> None:
    """A case without checks."""


@pytest.mark.parametrize(
    ("checks", "missing", "expected"),
    [
        ([GOOD], None, Verdict.PASS),
        ([GOOD, BAD], None, Verdict.FAIL),
        ([BAD], "no alias", Verdict.FAIL),
        ([GOOD], "no alias", Verdict.NOT_APPLICABLE),
        ([], None, Verdict.NOT_APPLICABLE),
    ],
)
def test_verdicts(checks: list[Check], missing: str | None, expected: Verdict) -> None:
    """One bad check fails a case whatever else there is, and no check at all is no pass."""
    assert expected == judge(case(nothing), checks, missing, 0.1).verdict


@pytest.mark.parametrize("error", [ConnectionResetError, TimeoutError, EOFError, KeyError])
async def test_wrong_answers_fail_the_case_only(error: type[Exception]) -> None:
    """What a wrong answer makes of a case is a failed check; the next case runs."""

    async def breaks(stage: Stage) -> None:
        stage.equal("first", 1, 1)
        raise error

    async def works(stage: Stage) -> None:
        stage.equal("second", 1, 1)

    notes = Notes()
    stage = Stage("http://127.0.0.1:1", Names())

    results = await suite.run(stage, [case(breaks, "1"), case(works, "2")], notes)

    assert ["begins 1", "1 fail", "begins 2", "2 pass"] == notes.told
    assert ["after: first"] == [check.sent for check in results[0].failures]
    assert error.__name__ in results[0].failures[0].seen
    assert report.FAILED == report.exit_code(results)
    assert report.PASSED == report.exit_code(results[1:])


async def test_not_applicable_has_its_reason() -> None:
    """A case that does not apply says why, in the data too, and fails nothing."""

    async def absent(_stage: Stage) -> None:
        raise NotApplicable("no such endpoint")

    results = await suite.run(Stage("http://127.0.0.1:1", Names()), [case(absent)], Notes())
    data = report.as_json(results, "x", 1.0)

    assert report.PASSED == report.exit_code(results)
    assert {"pass": 0, "fail": 0, "not applicable": 1} == data["counts"]
    assert "no such endpoint" == data["cases"][0]["reason"]


def test_chosen() -> None:
    """Cases are chosen by key, once each, and the one that stops the gateway comes last."""
    assert ["3", "A2", "20"] == [case.key for case in catalogue.chosen("20,3,a2,3")]
    assert "20" == catalogue.chosen(None)[-1].key
    with pytest.raises(LookupError):
        catalogue.chosen("26")


def test_catalogue() -> None:
    """25 edge cases and 12 shapes, each with a name and a reason of one sentence."""
    keys = [case.key for case in catalogue.CASES]

    assert [*map(str, range(1, 26)), *(f"A{number}" for number in range(1, 13))] == keys
    assert all(case.why.endswith(".") for case in catalogue.CASES)
