"""writer.py: what is queued is counted and written once; nothing that fails there hurts."""

import fcntl
import io
import json
import os
import select
import threading
from array import array
from datetime import UTC, datetime
from itertools import accumulate
from pathlib import Path
from typing import Any, BinaryIO, cast

import pytest

from headrace.telemetry import writer
from headrace.telemetry.metrics import Metrics
from headrace.telemetry.writer import MAX_QUEUED, Writer
from tests.telemetry.test_metrics import CHAT, record, samples


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(["m"], [CHAT])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log"


def log(metrics: Metrics, path: Path | None, **more: Any) -> Writer:
    return Writer(metrics, **{"requests": True, "console": False, "file": path, **more})


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


NO_GAPS = array("d")


def test_events_and_requests_in_order(metrics: Metrics, path: Path) -> None:
    """One JSON line each, in the order in which they happened; defaults are left out."""
    written = log(metrics, path)
    written.event("up", url="http://x")
    written.record(record(request_id="a"), NO_GAPS)
    written.event("down")
    written.start()
    written.stop()

    found = lines(path)
    assert ["up", "request", "down"] == [line["event"] for line in found]
    assert ("http://x", "a") == (found[0]["url"], found[1]["request_id"])
    assert "error" not in found[1]
    assert "time" in found[0]
    assert 1 == samples(metrics)["headrace_requests_total", CHAT, "m", "completed"]


def test_requests_may_be_silent(metrics: Metrics, path: Path) -> None:
    """Without request lines, requests are still counted."""
    written = log(metrics, path, requests=False)
    written.record(record(), NO_GAPS)
    written.start()
    written.stop()

    assert "" == path.read_text()
    assert 1 == samples(metrics)["headrace_requests_total", CHAT, "m", "completed"]


def test_pauses_become_percentiles(metrics: Metrics, path: Path) -> None:
    """The median and the 99th percentile of a stream's pauses are in its line."""
    written = log(metrics, path)
    pauses = [0.005] * 90 + [0.001] * 5 + [0.05] * 5
    written.record(record(), array("d", accumulate(pauses, initial=1000.0)))
    written.start()
    written.stop()

    [line] = lines(path)
    assert pytest.approx((5.0, 50.0)) == (line["itl_p50_ms"], line["itl_p99_ms"])


def test_the_file_grows(metrics: Metrics, path: Path) -> None:
    """A restart adds to the file; a writer can be stopped twice and started again."""
    before, after = log(metrics, path), log(metrics, path)
    for written, name in [(before, "first"), (after, "second"), (after, "third")]:
        written.event(name)
        written.start()
        written.stop()
        written.stop()

    assert ["first", "second", "third"] == [line["event"] for line in lines(path)]


def test_no_such_folder(metrics: Metrics, path: Path) -> None:
    """A file that cannot be opened is an error at the start, and leaves no thread."""
    before = threading.active_count()

    with pytest.raises(FileNotFoundError):
        log(metrics, path / "deeper").start()
    assert before == threading.active_count()


def test_flush_does_not_wait(metrics: Metrics, path: Path) -> None:
    """A scrape sees what was queued before it, without waiting for the thread."""
    written = log(metrics, path)
    written.start()
    written.record(record(), NO_GAPS)
    written.flush()
    counted = samples(metrics)["headrace_requests_total", CHAT, "m", "completed"]
    written.stop()

    assert 1 == counted
    assert 1 == len(lines(path))


def test_flushing_side_by_side(metrics: Metrics, path: Path) -> None:
    """However many threads flush, each record is counted and written once."""
    written = log(metrics, path)
    written.start()
    threads = [threading.Thread(target=written.flush) for _ in range(8)]
    for number in range(400):
        written.record(record(request_id=str(number)), NO_GAPS)
        if number % 50 == 0:
            threads.pop().start()
    written.stop()

    assert [str(number) for number in range(400)] == [line["request_id"] for line in lines(path)]
    assert 400 == samples(metrics)["headrace_requests_total", CHAT, "m", "completed"]


def test_a_stuck_disk_does_not_fill_the_memory(metrics: Metrics, path: Path) -> None:
    """Beyond MAX_QUEUED records are dropped; the log and a counter say how many."""
    written = log(metrics, path, requests=False)
    finished = record()
    for _ in range(MAX_QUEUED + 3):
        written.record(finished, NO_GAPS)
    written.start()
    written.stop()

    [line] = lines(path)
    assert ("log_dropped", 3) == (line["event"], line["lines"])
    found = samples(metrics)
    assert 3 == found["headrace_log_lines_dropped_total",]
    assert MAX_QUEUED == found["headrace_requests_total", CHAT, "m", "completed"]


class Stuck(io.BytesIO):
    """A disk that takes nothing until it is freed."""

    def __init__(self) -> None:
        super().__init__()
        self.entered, self.freed = threading.Event(), threading.Event()

    def write(self, data: Any) -> int:
        self.entered.set()
        assert self.freed.wait(20)
        return super().write(data)


def test_a_stuck_disk_stops_no_scrape(metrics: Metrics, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counting goes on while a write hangs; lines that then have no room are dropped and told."""
    monkeypatch.setattr(writer, "MAX_QUEUED", 4)
    disk = Stuck()
    written = log(metrics, None)
    written._out = disk
    written.event("first")
    hanging = threading.Thread(target=written.flush)
    hanging.start()
    assert disk.entered.wait(20)
    for _ in range(2):
        for _ in range(3):
            written.record(record(), array("d"))
        written.count()

    found = samples(metrics)
    assert 6 == found["headrace_requests_total", CHAT, "m", "completed"]
    assert 2 == found["headrace_log_lines_dropped_total",]
    disk.freed.set()
    hanging.join(20)
    written.flush()
    told = [json.loads(line) for line in disk.getvalue().splitlines()]
    assert ["first", *["request"] * 4, "log_dropped"] == [each["event"] for each in told]
    assert 2 == told[-1]["lines"]


def test_a_stuck_disk_does_not_hold_up_the_end(
    metrics: Metrics,
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A pipe that nobody reads: stopping gives up after a moment and says how much is lost."""
    monkeypatch.setattr(writer, "LEAVE_S", 0.3)
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    fcntl.fcntl(reader, fcntl.F_SETPIPE_SZ, 4096)
    written = log(metrics, path)
    written.start()
    thread = written._thread
    assert thread is not None
    for number in range(100):
        written.event("line", number=number, text="x" * 200)
    written.stop()
    waited = thread.is_alive()

    taken = b""
    while thread.is_alive():
        thread.join(0.01)
        taken += _drained(reader)
    taken += _drained(reader)
    os.close(reader)
    assert waited
    told = capsys.readouterr().err
    assert f"headrace: {path} takes no lines; up to 100 are lost.\n" == told
    assert 100 == taken.count(b"\n")


def _drained(reader: int) -> bytes:
    try:
        return os.read(reader, 65_536)
    except BlockingIOError:
        return b""


def test_a_pipe_takes_parts(metrics: Metrics, path: Path) -> None:
    """What does not fit into a pipe at once is written when it is read, line by line in order."""
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    fcntl.fcntl(reader, fcntl.F_SETPIPE_SZ, 4096)
    written = log(metrics, path)
    written.start()
    for number in range(200):
        written.event("line", number=number, text="x" * 200)
    taken = b""
    while taken.count(b"\n") < 200:
        select.select([reader], [], [], 20)
        taken += _drained(reader)
    written.stop()
    os.close(reader)

    assert [*range(200)] == [json.loads(line)["number"] for line in taken.splitlines()]


def test_a_full_terminal_that_does_not_block_is_waited_for(
    metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Standard error that must not block, and is full, is written to again after a pause."""
    paused: list[float] = []
    monkeypatch.setattr("headrace.telemetry.writer.time.sleep", paused.append)
    taken: list[bytes] = []

    class Full(io.RawIOBase):
        def write(self, data: Any, /) -> int | None:
            if len(paused) < 3:
                return None
            taken.append(bytes(data[:7]))
            return len(taken[-1])

    written = Writer(metrics, requests=True, console=False, file=None)
    written._out = cast("BinaryIO", Full())
    written.event("line", text="x" * 200)
    written.flush()

    assert [writer.FLUSH_S] * 3 == paused
    assert "x" * 200 == json.loads(b"".join(taken))["text"]


def test_a_full_disk_does_not_end_the_gateway(metrics: Metrics) -> None:
    """Lines that cannot be written are counted as lost; requests are still counted."""
    written = log(metrics, Path("/dev/full"))
    written.start()
    written.record(record(), NO_GAPS)
    written.event("x")
    written.flush()

    found = samples(metrics)
    assert 2 == found["headrace_log_lines_dropped_total",]
    assert 1 == found["headrace_requests_total", CHAT, "m", "completed"]


class TestConsole:
    def test_lines_for_people(self, metrics: Metrics, path: Path) -> None:
        """Local time, the event, then what is worth showing, in one line."""
        before = datetime.now(UTC).astimezone()
        written = log(metrics, path, console=True)
        written.event("up", url="http://x", none=None, empty="", zero=0)
        written.record(record(request_id="a", error=""), NO_GAPS)
        written.start()
        written.stop()

        up, request = path.read_text().splitlines()
        after = datetime.now(UTC).astimezone()
        assert up[8:] == " up url=http://x zero=0"
        assert up[:2] in {f"{before:%H}", f"{after:%H}"}
        assert "request request_id=a endpoint=/v1/chat/completions outcome=completed" in request
        assert "error=" not in request

    def test_one_line_each(self, metrics: Metrics, path: Path) -> None:
        """What a client or an engine wrote cannot begin a line of its own."""
        written = log(metrics, path, console=True)
        written.record(record(error="x\n12:00:00 gateway_stopped\x1b[2J", model="m\r\nx"), NO_GAPS)
        written.start()
        written.stop()

        assert 1 == len(path.read_bytes().splitlines())
        assert b"\x1b" not in path.read_bytes()


def test_standard_error_is_the_default(
    metrics: Metrics, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """Without a file, lines go to standard error, and stopping leaves it open."""
    written = log(metrics, None)
    written._out = open(2, "wb", closefd=False)  # noqa: SIM115 - pytest's own has no descriptor
    written.event("up")
    written.start()
    written.stop()
    written._out.write(b"still open\n")
    written._out.flush()

    shown = capfdbinary.readouterr().err.splitlines()
    assert ["up", b"still open"] == [json.loads(shown[0])["event"], shown[1]]
    assert writer.FLUSH_S < 1
