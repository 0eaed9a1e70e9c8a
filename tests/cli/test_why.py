"""``headrace why``: what it shows, its exit codes, and times as people write them."""

import io
from datetime import UTC, datetime
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from headrace.cli.app import app
from headrace.cli.why import merged, moment, notes, number, seconds, show
from headrace.conformance.ports import RefusingPort
from headrace.errors import ConfigError

NOW_S = datetime(2026, 11, 21, 14, 30, tzinfo=UTC).astimezone().timestamp()


def diagnosis(**fields: Any) -> dict[str, Any]:
    evidence = [
        {"text": "silent for gpu-1", "now": 12.0, "usual": None, "unit": "s", "promql": "sum (x)"}
    ]
    finding = {
        "name": "stuck-replica", "title": "A replica is stuck", "summary": "gpu-1 is silent.",
        "evidence": evidence, "advice": "Restart it.", "runbook": "docs/runbooks/stuck-replica.md",
    }  # fmt: skip
    usual = {
        "model": "m", "at_s": NOW_S, "begin_s": NOW_S - 45, "end_s": NOW_S, "healthy": False,
        "finding": finding, "symptoms": [{"name": "stalled", "text": "requests wait"}],
        "also": [], "ruled_out": [{"name": "capacity", "why": "replicas have room"}],
    }  # fmt: skip
    return usual | fields


def shown(of: dict[str, Any], *, full: bool = False) -> str:
    console = Console(width=100, record=True, file=io.StringIO())
    show(console, of, full=full)
    return console.export_text()


def test_a_finding() -> None:
    """Title, summary, what is felt, numbers with their queries, what it is not, what to do."""
    text = shown(diagnosis())

    for part in (
        "m: A replica is stuck", "gpu-1 is silent.", "felt: requests wait", "12.00 s", "sum (x)",
        "It is not (--full says why): capacity.", "What to do: Restart it.",
        "docs/runbooks/stuck-replica.md",
    ):  # fmt: skip
        assert part in text


def test_why_it_is_nothing_else() -> None:
    """On demand each cause that was ruled out has its reason."""
    assert "not capacity: replicas have room" in shown(diagnosis(), full=True)


def test_what_is_of_the_gateway() -> None:
    """A finding in the same words of several models is told once, with their names."""
    other = diagnosis(finding=diagnosis()["finding"] | {"summary": "gpu-2 is silent."})
    found = merged([diagnosis(), diagnosis(model="n"), other])

    assert ["m, n", "m"] == [each["model"] for each in found]


def test_what_is_over() -> None:
    """A finding of the past says when it was so."""
    assert "it was so from" in shown(diagnosis(end_s=NOW_S - 300, begin_s=NOW_S - 345))


def test_what_the_answer_does_not_cover() -> None:
    """Time before the history, and replicas without room in it, are told."""
    told = {"known_from_s": NOW_S - 600, "unseen": [f"gpu-{n}" for n in range(6)]}
    early, room = notes(told, NOW_S - 900)

    assert early.startswith("Nothing is known of")
    assert "6 replicas without room in the history (gpu-0, gpu-1, gpu-2, gpu-3 and more)" in room
    assert [room] == notes(told, None)
    assert [] == notes({"known_from_s": None, "unseen": []}, NOW_S)


def test_nothing_is_wrong() -> None:
    """One line."""
    finding = {"name": "nothing", "title": "Nothing is wrong", "summary": ""}

    assert "m: Nothing is wrong" == shown(diagnosis(healthy=True, finding=finding)).strip()


def test_too_early() -> None:
    """It says that it does not know yet."""
    finding = {"name": "no-data", "title": "", "summary": "Two minutes are needed."}
    text = shown(diagnosis(healthy=True, finding=finding))

    assert "too early to tell" in text
    assert "Two minutes are needed." in text


def test_an_engines_words_do_not_move_the_cursor() -> None:
    """Names are printed without control characters."""
    assert "\x1b" not in shown(diagnosis(model="m\x1b[2J"))


@pytest.mark.parametrize(("text", "expected"), [("90s", 90), ("15m", 900), ("1h", 3600)])
def test_spans(text: str, expected: float) -> None:
    """Seconds, minutes, an hour."""
    assert expected == seconds(text)


@pytest.mark.parametrize("text", ["5s", "2h", "x", "15", ""])
def test_wrong_spans(text: str) -> None:
    """The sentence says what would be right."""
    with pytest.raises(ConfigError, match="must be 60s to 1h"):
        seconds(text)


def test_times() -> None:
    """A time of day is the last one that was; a whole time is as it is."""
    at_ten = datetime.fromtimestamp(moment("10:00", NOW_S), UTC).astimezone()
    at_midnight = datetime.fromtimestamp(moment("00:00:30", NOW_S), UTC).astimezone()
    whole = datetime.fromtimestamp(NOW_S - 60, UTC).isoformat()

    assert (10, 0) == (at_ten.hour, at_ten.minute)
    assert 0 <= NOW_S - at_ten.timestamp() < 86_400
    assert 30 == at_midnight.second
    assert NOW_S - 60 == moment(whole, NOW_S)


@pytest.mark.parametrize("text", ["25:00", "yesterday", "1:2:3:4"])
def test_wrong_times(text: str) -> None:
    """The sentence shows two ways to write one."""
    with pytest.raises(ConfigError, match="write 14:05 or"):
        moment(text, NOW_S)


def test_what_has_not_come() -> None:
    """A moment of the future is refused, not looked at in vain."""
    with pytest.raises(ConfigError, match="has not come yet"):
        moment(datetime.fromtimestamp(NOW_S + 60, UTC).isoformat(), NOW_S)


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [
        (None, "s", "-"), (0.0123, "s", "12.3 ms"), (2.5, "s", "2.50 s"), (0.257, "share", "25.7%"),
        (12345.0, "", "12,345"), (3.25, "/s", "3.25/s"),
    ],
)  # fmt: skip
def test_numbers(value: float | None, unit: str, expected: str) -> None:
    """Each unit as people read it."""
    assert expected == number(value, unit)


def test_nobody_there() -> None:
    """Exit code 2, and one sentence."""
    port = RefusingPort()
    result = CliRunner().invoke(app, ["why", "--admin-url", port.url])
    port.close()

    assert 2 == result.exit_code
    assert result.stderr.startswith(f"headrace: No admin API answers at {port.url}")
