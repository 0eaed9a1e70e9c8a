"""waterfall.py: how a request looks in the terminal."""

import io
from datetime import UTC, datetime

import msgspec
from rich.console import Console, RenderableType

from headrace.cli.waterfall import BAR, listing, picture
from headrace.telemetry.decisions import (
    Candidate,
    Expected,
    Facts,
    Phase,
    Story,
    Summary,
    Told,
    Tried,
)
from headrace.types import Class

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
TOLD = Story(
    request_id="r", began=NOON, ended=NOON, outcome="completed", status=200, total_ms=1000.0,
    facts=Facts("/v1/chat/completions", "m", stream=True, prompt_tokens=9, max_tokens=50),
    phases=(
        Phase("admit", 0.0, 0.1), Phase("queue", 0.1, 500.0, 1), Phase("prefill", 500.0, 750.0, 1),
        Phase("decode", 750.0, 1000.0, 1),
    ),
    served="m", tokens_in=9, tokens_cached=4, tokens_out=7, estimated=True, ttft_ms=750.0,
)  # fmt: skip


def text(shown: RenderableType, width: int = 120) -> str:
    out = Console(file=io.StringIO(), width=width)
    out.print(shown)
    assert isinstance(out.file, io.StringIO)
    return out.file.getvalue()


def test_bars_stand_where_the_time_was() -> None:
    """Each phase has its share of the width at its place; the shortest can still be seen."""
    lines = {line.split()[0]: line for line in text(picture(TOLD)).splitlines() if line.split()}

    assert "▏" in lines["admit"]
    assert BAR / 2 == lines["queue"].count("█")
    assert BAR / 4 == lines["prefill"].count("█") == lines["decode"].count("█")
    assert lines["queue"].rindex("█") + 1 == lines["prefill"].index("█")
    assert lines["prefill"].rindex("█") + 1 == lines["decode"].index("█")
    assert "9 in (4 cached), 7 out of at most 50, estimated" in text(picture(TOLD))


def test_attempts_and_door() -> None:
    """Retries are numbered; who had no room, who was chosen, and what was decided at the door."""
    candidates = (
        Candidate("gpu-1", cost_ms=1234.5, wait_ms=1000.0, inflight=3),
        Candidate("gpu-2", open=False, cost_ms=99.0, cached_tokens=512),
    )
    told = msgspec.structs.replace(
        TOLD,
        attempts=(
            Tried("gpu-3", "failed", "random", policy="random", error="it broke"),
            Tried("gpu-1", "answered", "lowest cost", "lowest_cost", "Yes.", candidates=candidates),
        ),
        told=(Told("limits", "reserved", 0.05, "9 of 100"),),
        expected=(Expected("cached_tokens", 4.0, None), Expected("ttft_ms", 700.0, 750.0)),
        judged=Class("fast", 0.9, "examples"),
        error="an\x1b[2Jerror",
    )  # fmt: skip
    shown = text(picture(told))

    for part in (
        "attempt 1 of 2: gpu-3 failed", "it broke", "attempt 2 of 2: gpu-1 answered (lowest cost;",
        "1,234.5", "<- chosen", "no room", "Yes.", "limits: reserved 9 of 100", "+50.0 ms",
        "unknown", "fast (examples)", "an[2Jerror",
    ):  # fmt: skip
        assert part in shown, part
    assert "\x1b[2J" not in shown
    assert shown.index("gpu-2") < shown.rindex("gpu-1")


def test_narrow_terminals() -> None:
    """At 80 columns no line is longer, and each phase is one: bars give way to words."""
    lines = text(picture(TOLD), 80).splitlines()

    assert 80 >= max(map(len, lines))
    assert any(
        line.startswith("admit") and "matched with the rules, let in" in line for line in lines
    )


def test_listing() -> None:
    """One line each; a list without a line says so."""
    one = Summary("r", NOON, "upstream_failed", 502, 12.3, 2, model="m", queue_ms=2500.0)

    assert "upstream_failed" in text(listing([one], 200))
    assert "2.50 s" in text(listing([one], 200))
    assert "No request is known" in text(listing([], 80))


def test_a_narrow_listing() -> None:
    """Names stay whole; what matters least is left out, and every request has one line."""
    one = Summary("req_" + "0" * 24, NOON, "completed", 200, 12.3, 2, model="m", replica="gpu-1")
    shown = text(listing([one, one], 60)).strip("\n").split("\n")

    assert 3 == len(shown)
    assert all(one.request_id in line for line in shown[1:])
    assert "total" in shown[0]
    assert "out" not in shown[0].split()
