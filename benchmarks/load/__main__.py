"""
`headrace bench load` and guidellm on the same simulated engine, one after the other: how far apart
their figures are, and how far each is from what the engine itself saw of its requests. Installs
guidellm into an environment of its own (some 2 GB, once).

    python -m benchmarks.load                 the table, and docs/assets/load-compared.json
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from benchmarks.load.truth import Truth, beside
from headrace.bench.sizes import prose

ROOT = Path(__file__).parents[2]
RESULT = ROOT / "docs" / "assets" / "load-compared.json"
PAGE = ROOT / "docs" / "load.md"
PEER = "guidellm==0.8.1"
LIMIT = 0.05  # how far apart two tools may be and still measure the same
WAY_MS = 10.0  # on loopback, beside other work: to the engine, back, and in our own loop
CLOCK_MS = 2.0  # the engine's clock ticks in milliseconds
PROMPT_TOKENS, OUTPUT_TOKENS = 256, 32
# Ours, and where guidellm has the same. What it calls inter-token latency is the mean over an
# answer, which is time per output token by vLLM's name and by ours.
FIGURES = {
    "TTFT p50, ms": (("ttft_ms", "p50"), ("time_to_first_token_ms", "median"), 1.0),
    "TPOT p50, ms": (("tpot_ms", "p50"), ("inter_token_latency_ms", "median"), 1.0),
    "latency p50, ms": (("e2e_ms", "p50"), ("request_latency", "median"), 1000.0),
    "output tokens/s": (("output_tokens_per_s",), ("output_tokens_per_second", "mean"), 1.0),
}
MEANS = {  # which the engine has, too
    "TTFT, ms": (("ttft_ms", "mean"), ("time_to_first_token_ms", "mean"), 1.0),
    "latency, ms": (("e2e_ms", "mean"), ("request_latency", "mean"), 1000.0),
}


@dataclass(frozen=True, slots=True)
class Level:
    """A load that both tools know: so many requests at a time, or so many a second, evenly."""

    streams: int | None = None
    rate: float | None = None

    @property
    def name(self) -> str:
        """How the table calls it."""
        return f"{self.streams} at a time" if self.streams else f"{self.rate:g} a second"

    @property
    def ours(self) -> list[str]:
        """Options of `headrace bench load`."""
        if self.streams:
            return ["--concurrency", f"{self.streams}"]
        return ["--rate", f"{self.rate:g}", "--arrivals", "constant"]

    @property
    def theirs(self) -> str:
        """The profile of guidellm."""
        if self.streams:
            return f"kind=concurrent,streams={self.streams}"
        return f"kind=constant,rate={self.rate:g}"


def main(arguments: list[str]) -> int:
    """Run both in turn; the exit code is 1 if a figure is further apart than the limit."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="runs of each tool and level")
    parser.add_argument("--requests", type=int, default=40, help="requests of a run")
    parser.add_argument(
        "--streams", type=int, nargs="*", default=[1, 2, 8], help="requests at a time"
    )
    parser.add_argument("--rates", type=float, nargs="*", default=[4], help="requests a second")
    options = parser.parse_args(arguments)
    peer = environment()
    levels = [Level(streams=each) for each in options.streams]
    levels += [Level(rate=each) for each in options.rates]
    rows, checked = [], []
    with tempfile.TemporaryDirectory() as name, engine(Path(name)) as url:
        folder = Path(name)
        numbers = count()  # of prompts: none may be in the engine's cache from an earlier run
        for level in levels:
            ours, theirs = [], []
            for turn in range(options.rounds):
                asked = (url, folder, level, options.requests, next(numbers))
                ours.append(beside(url, partial(run_ours, *asked)))
                theirs.append(beside(url, partial(run_theirs, peer, *asked)))
                print(f"{level.name}: {turn + 1} of {options.rounds}", file=sys.stderr)
            rows += compare(level.name, [run for run, _ in ours], [run for run, _ in theirs])
            checked += check(level.name, ours, theirs)
    document = {
        "written": f"{datetime.now(tz=UTC):%Y-%m-%d}",
        "peer": PEER,
        "prompt_tokens": PROMPT_TOKENS,
        "output_tokens": OUTPUT_TOKENS,
        "rounds": options.rounds,
        "requests": options.requests,
        "rows": rows,
        "truth": checked,
    }
    RESULT.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    write(document)
    print(table(document), truths(document), sep="\n\n")
    agree = all(abs(row["apart"]) <= LIMIT for row in judged(rows))
    return 0 if agree and all(map(true, checked)) else 1


def write(document: dict[str, Any]) -> None:
    """
    Put the tables into docs/load.md.

    Raises:
        ValueError: the page has no place for one.

    """
    text = PAGE.read_text(encoding="utf-8")
    for mark, told in (("compared", table(document)), ("truth", truths(document))):
        begin, end = f"<!-- {mark}: begin -->\n", f"<!-- {mark}: end -->"
        start = text.index(begin) + len(begin)
        text = f"{text[:start]}{told}\n{text[text.index(end, start) :]}"
    PAGE.write_text(text, encoding="utf-8")


def check(
    name: str, ours: list[tuple[dict[str, Any], Truth]], theirs: list[tuple[dict[str, Any], Truth]]
) -> list[dict[str, Any]]:
    """
    How much longer times are for each tool than for the engine in the same run, ms: the way there
    and back, and what the tool itself takes. Medians of the runs' means.
    """
    rows = []
    for figure, (own, other, factor) in MEANS.items():
        seen = "ttft_ms" if figure.startswith("TTFT") else "e2e_ms"
        row: dict[str, Any] = {"load": name, "figure": figure}
        for tool, runs, path, unit in (
            ("headrace", ours, own, 1.0),
            ("peer", theirs, other, factor),
        ):
            said = [_find(run, path) * unit for run, _ in runs]
            truth = [getattr(each, seen) for _, each in runs]
            row[tool] = statistics.median(said)
            row[f"{tool}_engine"] = statistics.median(truth)
            row[f"{tool}_more"] = statistics.median(
                mean - known for mean, known in zip(said, truth, strict=True)
            )
        rows.append(row)
    return rows


def compare(
    name: str, ours: list[dict[str, Any]], theirs: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """A row for each figure: the median over the runs of each tool, and how far apart they are."""
    rows = []
    for figure, (own, other, factor) in FIGURES.items():
        mine = statistics.median(_find(each, own) for each in ours)
        peer = statistics.median(_find(each, other) * factor for each in theirs)
        rows.append({"load": name, "figure": figure, "headrace": mine, "peer": peer,
                     "apart": mine / peer - 1})  # fmt: skip
    return rows


def judged(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """
    The rows in which both tools must agree: all but TTFT, which depends on how prompts meet in a
    prefill, and so on what each tool does between two requests. It is held to the engine's own.
    """
    return [row for row in rows if not row["figure"].startswith("TTFT")]


def true(row: dict[str, Any]) -> bool:
    """Whether what ours says is what its engine saw, and the way there and back."""
    most_ms = max(WAY_MS, LIMIT * row["headrace_engine"])
    return bool(-CLOCK_MS <= row["headrace_more"] <= most_ms)


def table(document: dict[str, Any]) -> str:
    """The table of docs/load.md."""
    lines = ["| load | figure | headrace bench | guidellm | apart |", "|---|---|---|---|---|"]
    lines += [
        f"| {row['load']} | {row['figure']} | {row['headrace']:.1f} | {row['peer']:.1f} |"
        f" {100 * row['apart']:+.1f} % |"
        for row in document["rows"]
    ]
    return "\n".join(lines)


def truths(document: dict[str, Any]) -> str:
    """The table beside the engine's own record."""
    lines = [
        "| load | mean | headrace bench | its engine | more | guidellm | its engine | more |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['load']} | {row['figure']} | {row['headrace']:.1f} |"
        f" {row['headrace_engine']:.1f} | {row['headrace_more']:+.1f} |"
        f" {row['peer']:.1f} | {row['peer_engine']:.1f} | {row['peer_more']:+.1f} |"
        for row in document["truth"]
    ]
    return "\n".join(lines)


@contextmanager
def engine(folder: Path, speed: float = 1.0) -> Iterator[str]:
    """A simulated engine in a process of its own; its URL."""
    command = [
        sys.executable, "-m", "headrace", "engine", "sim", "--port", "0", "--preset", "l4-8b",
        "--speed", f"{speed}",
    ]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=folder)
    try:
        assert process.stdout is not None
        told = process.stdout.readline()
        yield next(word for word in told.split() if word.startswith("http"))
    finally:
        process.terminate()
        process.communicate(timeout=30)


def environment() -> Path:
    """The folder of guidellm's programs."""
    home = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "headrace" / "guidellm"
    if not (home / "bin" / "guidellm").exists():
        subprocess.run(["uv", "venv", "--quiet", "--python", "3.11", str(home)], check=True)
        python = str(home / "bin" / "python")
        install = ["uv", "pip", "install", "--quiet", "--python", python, PEER]
        subprocess.run(install, check=True)
    return home / "bin"


def run_ours(url: str, folder: Path, level: Level, requests: int, number: int) -> dict[str, Any]:
    """Figures of a run of `headrace bench load`."""
    out = folder / "ours.json"
    command = [
        sys.executable, "-m", "headrace", "bench", "load", "--url", url,
        *level.ours, "--requests", f"{requests}", "--warm-up", "0",
        "--prompt-dist", f"fixed:{PROMPT_TOKENS}", "--output-dist", f"fixed:{OUTPUT_TOKENS}",
        "--seed", f"{number}", "--out", str(out),
    ]  # fmt: skip
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    document = json.loads(out.read_text(encoding="utf-8"))
    return dict(document["levels"][0])


def run_theirs(
    peer: Path, url: str, folder: Path, level: Level, requests: int, number: int
) -> dict[str, Any]:
    """Figures of a run of guidellm, with prompts of its own of the same length."""
    prompts, out = folder / "prompts.jsonl", folder / "theirs.json"
    chance = random.Random(f"peer {number}")
    texts = (prose(PROMPT_TOKENS, chance) for _ in range(requests * 2))  # of the words of ours
    rows = ({"prompt": text, "output_tokens_count": OUTPUT_TOKENS} for text in texts)
    prompts.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    command = [
        str(peer / "guidellm"), "run", "--disable-console",
        "--backend", f"kind=openai_http,target={url},model=sim",
        "--profile", level.theirs,
        "--constraint", f"kind=max_requests,count={requests}",
        "--data", f"kind=json_file,path={prompts}",
        "--output", f"kind=json,path={out}",
    ]  # fmt: skip
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    metrics = json.loads(out.read_text(encoding="utf-8"))["benchmarks"][0]["metrics"]
    return {
        name: each["successful"] for name, each in metrics.items() if each and "successful" in each
    }


def _find(figures: dict[str, Any], path: tuple[str, ...]) -> float:
    found: Any = figures
    for key in path:
        found = found[key]
    return float(found)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
