"""Results as data that other programs read, and the exit code. What people see is the CLI's."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from headrace import __version__
from headrace.conformance.verdict import Result, Verdict

PASSED, FAILED = 0, 1


def exit_code(results: Sequence[Result]) -> int:
    """0 when nothing failed, else 1."""
    return FAILED if any(result.verdict is Verdict.FAIL for result in results) else PASSED


def counts(results: Sequence[Result]) -> dict[str, int]:
    """How many cases ended in each verdict."""
    found = Counter(result.verdict for result in results)
    return {str(verdict): found[verdict] for verdict in Verdict}


def as_json(results: Sequence[Result], gateway: str, took_s: float) -> dict[str, Any]:
    """The whole run; each check with its evidence."""
    return {
        "gateway": gateway,
        "suite": __version__,
        "took_s": round(took_s, 1),
        "counts": counts(results),
        "cases": [_case(result) for result in results],
    }


def _case(result: Result) -> dict[str, Any]:
    case = result.case
    return {
        "case": case.key,
        "name": case.name,
        "why": case.why,
        "link": case.link,
        "verdict": str(result.verdict),
        "reason": result.reason,
        "took_s": round(result.took_s, 2),
        "checks": [
            {
                "sent": check.sent,
                "expected": check.expected,
                "seen": check.seen,
                "passed": check.passed,
            }
            for check in result.checks
        ],
    }
