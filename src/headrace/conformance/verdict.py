"""What a case says in the end: its checks with their evidence, and a verdict. No I/O."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headrace.conformance.stage import Stage


class Verdict(StrEnum):
    """How a case ended."""

    PASS = "pass"  # noqa: S105 - not a password
    FAIL = "fail"
    NOT_APPLICABLE = "not applicable"


class NotApplicable(Exception):
    """The gateway does not offer, or was not set up for, what the case is about."""


@dataclass(frozen=True, slots=True)
class Check:
    """One promise that was looked at: what was done, what had to be seen, what was seen."""

    sent: str
    expected: str
    seen: str
    passed: bool


@dataclass(frozen=True, slots=True)
class Case:
    """
    A case of the suite.

    ``key`` is its number, or A and a number for the shapes of the API. ``hurts`` says that
    replicas failed on purpose, so that the gateway may need a moment; ``last`` that the gateway is
    gone afterwards.
    """

    key: str
    name: str
    why: str
    run: "Callable[[Stage], Awaitable[None]]"
    link: str | None = None
    hurts: bool = False
    last: bool = False


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one case."""

    case: Case
    verdict: Verdict
    checks: tuple[Check, ...]
    reason: str
    took_s: float

    @property
    def failures(self) -> tuple[Check, ...]:
        return tuple(check for check in self.checks if not check.passed)


def judge(case: Case, checks: list[Check], missing: str | None, took_s: float) -> Result:
    """
    The verdict over a case's checks; ``missing`` is why the rest of it does not apply, if so.

    One failed check fails the case, whatever did not apply; no check at all never passes.
    """
    failed = [check for check in checks if not check.passed]
    if failed:
        return Result(case, Verdict.FAIL, tuple(checks), failed[0].sent, took_s)
    if missing is not None:
        return Result(case, Verdict.NOT_APPLICABLE, tuple(checks), missing, took_s)
    if not checks:
        return Result(case, Verdict.NOT_APPLICABLE, (), "nothing could be checked", took_s)
    return Result(case, Verdict.PASS, tuple(checks), "", took_s)
