"""board.py: what `headrace top` draws of what it has seen."""

from typing import Any

import pytest
from rich.console import Console

from headrace.cli.board import Board, _ms, _number, spark

PACE = {"requests": 30, "failed": 0, "tokens_out": 900, "ttft_p50_ms": 210.0, "ttft_p99_ms": 1250.0}


def replica(name: str, **more: Any) -> dict[str, Any]:
    return {
        "name": name, "state": "ready", "inflight_requests": 2, "running": 2.0, "waiting": 0.0,
        "kv_usage": 0.25, "generation_tokens": 0.0, "load_age_s": 0.0, **PACE, **more,
    }  # fmt: skip


def seen(*replicas: dict[str, Any], **more: Any) -> dict[str, Any]:
    request = {
        "request_id": "req-1", "model": "chat", "tenant": "acme", "replica": "gpu-1",
        "outcome": "running", "total_ms": 12_000.0, "ttft_ms": None, "tokens_out": 7,
    }  # fmt: skip
    return {
        "version": "1", "window_s": 60.0, "running": 4, "connections": 4,
        "replicas": [*replicas],
        "models": [{"name": "chat", "replicas": 2, "waiting": 3, "held": 1}],
        "tenants": [{"name": "acme", "running": 4, "tokens_in": 6000, **PACE}],
        "slowest": [request], **PACE, **more,
    }  # fmt: skip


def drawn(board: Board, width: int = 80, height: int = 24, note: str = "") -> list[str]:
    console = Console(width=width, color_system=None, legacy_windows=False)
    with console.capture() as shown:
        console.print(board.render(width, height, note))
    return shown.get().splitlines()


def test_speed_is_between_two_looks() -> None:
    """Tokens per second are what the engine's counter gained, by the time that it was read."""
    board = Board()
    board.take(seen(replica("a", generation_tokens=100.0, load_age_s=0.5)), 10.0)
    before = board.trails["a"].tokens_per_s
    board.take(seen(replica("a", generation_tokens=300.0, load_age_s=0.0)), 11.5)
    after = board.trails["a"].tokens_per_s
    board.take(seen(replica("a", generation_tokens=300.0, load_age_s=0.5)), 12.0)

    assert (None, 100.0) == (before, after)
    assert 100.0 == board.trails["a"].tokens_per_s  # the same reading says nothing new


def test_speed_after_a_restart_is_not_known() -> None:
    """An engine that counts from the start again has no negative speed."""
    board = Board()
    board.take(seen(replica("a", generation_tokens=900.0)), 1.0)
    board.take(seen(replica("a", generation_tokens=5.0)), 2.0)

    assert board.trails["a"].tokens_per_s is None


def test_speed_of_an_engine_that_tells_nothing() -> None:
    """Then it is what its answers of the last minute had; nothing, where there were none."""
    silent = {"generation_tokens": None, "load_age_s": None, "waiting": None, "kv_usage": None}
    board = Board()
    board.take(seen(replica("a", **silent), replica("b", **silent, **PACE | {"requests": 0})), 1.0)

    assert 15.0 == board.trails["a"].tokens_per_s
    assert board.trails["b"].tokens_per_s is None
    (line,) = [line for line in drawn(board) if line.startswith("a ")]
    assert 2 == line.split().count("-")  # queue and KV cache


@pytest.mark.parametrize(
    ("sort", "names"),
    [
        ("name", "abc"), ("load", "cab"), ("queue", "bac"), ("kv", "acb"), ("tokens", "bca"),
        ("ttft", "cba"),
    ],
)  # fmt: skip
def test_sorts(sort: str, names: str) -> None:
    """By name upwards, by numbers downwards; reversed when that is asked for."""
    one = replica("a", inflight_requests=2, waiting=1.0, kv_usage=0.9, ttft_p99_ms=1.0)
    two = replica("b", inflight_requests=1, waiting=2.0, kv_usage=0.1, ttft_p99_ms=2.0)
    three = replica("c", inflight_requests=3, waiting=0.0, kv_usage=0.5, ttft_p99_ms=3.0)
    board = Board(sort)
    board.take(seen(one, two, three), 0.0)
    grown = [one, two | {"generation_tokens": 30.0}, three | {"generation_tokens": 20.0}]
    board.take(seen(*grown), 1.0)
    forward = [row["name"] for row in board.replicas()]
    board.reverse = True

    assert [*names] == forward
    assert [*reversed(names)] == [row["name"] for row in board.replicas()]


def test_fits_a_small_terminal() -> None:
    """Six replicas, tenants and requests stand in 80 columns and 24 rows less the frame's two."""
    board = Board()
    board.take(seen(*(replica(f"a-replica-of-some-length-{n}") for n in range(6))), 0.0)
    lines = drawn(board, width=76)

    assert len(lines) <= 22
    assert max(map(len, lines)) <= 76
    assert any("a-replica" in line and "ready" in line and "1.25s" in line for line in lines)
    assert any("acme" in line for line in lines)
    assert any("req-1" in line and "12s" in line and "running" in line for line in lines)


def test_head() -> None:
    """The first line says how the gateway does; failures are in it where there are some."""
    board = Board()
    board.take(seen(replica("a"), replica("b", state="ejected")), 0.0)
    quiet = drawn(board, width=120)[0]
    board.take(seen(replica("a"), failed=3), 1.0)

    for part in ("1/2 ready", "4 run", "4 wait", "0.5 req/s", "TTFT 210ms p99 1.25s"):
        assert part in quiet
    assert "failed" not in quiet
    assert "3 failed" in drawn(board, width=120)[0]


def test_wide_terminals_show_more() -> None:
    """From 110 columns on queue and KV cache have bars, and requests their tenants."""
    board = Board()
    for kv in (0.0, 0.5, 1.0):
        board.take(seen(replica("a", kv_usage=kv)), kv)
    wide = drawn(board, width=130)

    assert any("▁▅█" in line and "100%" in line for line in wide)
    assert not any("▁▅█" in line for line in drawn(board, width=80))
    assert any("req-1" in line and "acme" in line for line in wide)


def test_a_replica_that_left_is_forgotten() -> None:
    """Its history is not kept for a namesake."""
    board = Board()
    board.take(seen(replica("a"), replica("b")), 0.0)
    board.take(seen(replica("b")), 1.0)

    assert ["b"] == [*board.trails]


def test_names_cannot_move_the_cursor() -> None:
    """What an engine or a client has written is shown without control characters."""
    board = Board()
    request = seen()["slowest"][0] | {"request_id": "x\x1b[2Jy"}
    board.take(seen(replica("a\x1b[31m"), slowest=[request]), 0.0)

    assert not any("\x1b" in line for line in drawn(board))


def test_nothing_seen_yet() -> None:
    """Before the first look there is a note, not an empty screen."""
    assert ["Looking …"] == drawn(Board())
    assert ["nobody there"] == drawn(Board(), note="nobody there")


@pytest.mark.parametrize(
    ("values", "bars"),
    [([], " " * 8), ([0, 0], "      ▁▁"), ([1, 2, 4], "     ▃▅█"), ([*range(20)], "▅▆▆▇▇▇██")],
)
def test_spark(values: list[float], bars: str) -> None:
    """The latest eight values, the highest of them a full bar."""
    assert bars == spark(values)


@pytest.mark.parametrize(
    ("value", "shown"), [(None, "-"), (87.4, "87ms"), (1250, "1.25s"), (42_000, "42s")]
)
def test_milliseconds(value: float | None, shown: str) -> None:
    """Times are as short as they can be told apart."""
    assert shown == _ms(value)


@pytest.mark.parametrize(
    ("value", "shown"), [(0, "0"), (0.52, "0.5"), (87, "87"), (1234, "1.2k"), (34_000, "34k")]
)
def test_numbers(value: float, shown: str) -> None:
    """Numbers have at most four characters."""
    assert shown == _number(value)
