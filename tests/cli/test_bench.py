"""``headrace bench load``: what it prints, writes, and says of mistakes."""

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from headrace.cli.app import app
from headrace.config.simulator import Fault, Simulator
from headrace.engines.sim.server import Server


class Hosted:
    """A simulated engine in a thread of its own, since the command has its own event loop."""

    def __init__(self, settings: Simulator) -> None:
        self._settings = settings
        self._loop = asyncio.new_event_loop()
        self._up, self._down = threading.Event(), asyncio.Event()
        self.url = ""
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> str:
        self._thread.start()
        assert self._up.wait(30)
        return self.url

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._down.set)
        self._thread.join(30)

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        server = Server(self._settings)
        await server.start()
        self.url = server.urls[0]
        self._up.set()
        await self._down.wait()
        await server.stop()


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A simulated engine, twenty times faster than real."""
    with Hosted(Simulator(port=0, speed=20)) as found:
        yield found


def call(url: str, *arguments: str) -> Result:
    small = ["--prompt-dist", "uniform:20-60", "--output-dist", "fixed:8", "--url", url]
    return CliRunner().invoke(app, ["bench", "load", *small, *arguments])


def test_an_open_loop_is_told_and_written(url: str, tmp_path: Path) -> None:
    """Table, page, figures and records of one run agree on what was sent."""
    page, figures, records = (tmp_path / name for name in ("a.html", "a.json", "a.jsonl"))

    found = call(
        url, "--rate", "40", "--requests", "20", "--slo", "ttft=30s,tpot=30s",
        "--html", str(page), "--out", str(figures), "--records", str(records),
    )  # fmt: skip

    assert 0 == found.exit_code, found.output
    assert "40/s" in found.stdout
    document = json.loads(figures.read_text(encoding="utf-8"))
    (level,) = document["levels"]
    assert {"sent": 20, "good": 20, "kept_slo": 20} == level["requests"]
    assert 20 * 8 == level["output_tokens"]
    assert 40 == level["rate"]
    assert level["goodput"] == level["request_rate"]
    assert "sim" == document["asked"]["model"]
    assert 20 == len(records.read_text(encoding="utf-8").splitlines())
    assert "<svg" in page.read_text(encoding="utf-8")


def test_a_sweep_over_batch_sizes_has_a_row_each(url: str, tmp_path: Path) -> None:
    """Each level keeps its number under way, in the order that was asked for."""
    figures = tmp_path / "sweep.json"

    found = call(url, "--concurrency", "1,4", "--requests", "12", "--json", "--out", str(figures))

    assert 0 == found.exit_code, found.output
    assert figures.read_text(encoding="utf-8") == found.stdout
    levels = json.loads(figures.read_text(encoding="utf-8"))["levels"]
    assert ["1 at a time", "4 at a time"] == [level["name"] for level in levels]
    assert [1, 4] == [level["most_at_once"] for level in levels]


def test_a_trace_is_replayed(url: str, tmp_path: Path) -> None:
    """Arrivals and sizes are the trace's."""
    trace, figures = tmp_path / "trace.jsonl", tmp_path / "trace.json"
    rows = [
        {"timestamp": 50 * n, "input_length": 600, "output_length": 4 + n, "hash_ids": [1, n + 2]}
        for n in range(5)
    ]
    trace.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")

    found = call(url, "--trace", str(trace), "--speed", "2", "--out", str(figures))

    assert 0 == found.exit_code, found.output
    (level,) = json.loads(figures.read_text(encoding="utf-8"))["levels"]
    assert 4 + 5 + 6 + 7 + 8 == level["output_tokens"]


def test_failures_are_told_and_end_with_1() -> None:
    """Requests that failed are counted and named; the exit code says so to scripts."""
    fault = Fault(kind="error", share=1.0, status=503, begin_s=0.0)
    with Hosted(Simulator(port=0, speed=20, faults=(fault,))) as url:
        found = call(url, "--rate", "50", "--requests", "5", "--warm-up", "0")

    assert 1 == found.exit_code
    assert "5 failed: 503" in found.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "Say one of --rate, --concurrency and --trace"),
        (("--rate", "1", "--concurrency", "2"), "Say one of"),
        (("--rate", "fast"), "--rate: fast is not a list of numbers"),
        (("--rate", "0"), "--rate: 0 is not a list"),
        (("--concurrency", "1.5"), "--concurrency: 1.5 is not a list"),
        (("--rate", "1", "--requests", "5", "--duration", "5"), "exclude each other"),
        (("--rate", "1", "--slo", "fast"), "--slo: fast is no limit"),
        (("--rate", "1", "--ca", "/nowhere.pem"), "--ca: /nowhere.pem"),
        (("--rate", "1", "--url", "http://127.0.0.1:1"), "does not answer"),
    ],
)
def test_mistakes_are_told(arguments: tuple[str, ...], told: str) -> None:
    """One sentence that says what is wrong, and exit code 2."""
    found = CliRunner().invoke(app, ["bench", "load", *arguments])

    assert 2 == found.exit_code
    assert told in found.stderr
