"""
`headrace bench load` and guidellm on the same simulated engine, one after the other, and how far
apart their figures are. Installs guidellm into an environment of its own (some 2 GB, once).

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
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from headrace.bench.sizes import prose

ROOT = Path(__file__).parents[2]
RESULT = ROOT / "docs" / "assets" / "load-compared.json"
PEER = "guidellm==0.8.1"
LIMIT = 0.05  # how far apart two tools may be and still measure the same
PROMPT_TOKENS, OUTPUT_TOKENS = 256, 32
# Ours, and where guidellm has the same. What it calls inter-token latency is the mean over an
# answer, which is time per output token by vLLM's name and by ours.
FIGURES = {
    "TTFT p50, ms": (("ttft_ms", "p50"), ("time_to_first_token_ms", "median"), 1.0),
    "TPOT p50, ms": (("tpot_ms", "p50"), ("inter_token_latency_ms", "median"), 1.0),
    "latency p50, ms": (("e2e_ms", "p50"), ("request_latency", "median"), 1000.0),
    "output tokens/s": (("output_tokens_per_s",), ("output_tokens_per_second", "mean"), 1.0),
}


def main(arguments: list[str]) -> int:
    """Run both in turn; the exit code is 1 if a figure is further apart than the limit."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="runs of each tool and level")
    parser.add_argument("--requests", type=int, default=40, help="requests of a run")
    parser.add_argument(
        "--streams", type=int, nargs="+", default=[1, 2, 8], help="requests at a time"
    )
    options = parser.parse_args(arguments)
    peer = environment()
    rows = []
    with tempfile.TemporaryDirectory() as name, engine(Path(name)) as url:
        folder = Path(name)
        for streams in options.streams:
            ours, theirs = [], []
            for number in range(options.rounds):
                asked = (url, folder, streams, options.requests, number)
                ours.append(run_ours(*asked))
                theirs.append(run_theirs(peer, *asked))
            measured = {"rounds": options.rounds, "requests": options.requests}
            rows += [row | measured for row in compare(streams, ours, theirs)]
    document = {
        "written": f"{datetime.now(tz=UTC):%Y-%m-%d}",
        "peer": PEER,
        "prompt_tokens": PROMPT_TOKENS,
        "output_tokens": OUTPUT_TOKENS,
        "rows": rows,
    }
    RESULT.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    print(table(document))
    return 0 if all(abs(row["apart"]) <= LIMIT for row in judged(rows)) else 1


def compare(
    streams: int, ours: list[dict[str, Any]], theirs: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """A row for each figure: the median over the runs of each tool, and how far apart they are."""
    rows = []
    for name, (own, other, factor) in FIGURES.items():
        mine = statistics.median(_find(each, own) for each in ours)
        peer = statistics.median(_find(each, other) * factor for each in theirs)
        rows.append({"streams": streams, "figure": name, "headrace": mine, "peer": peer,
                     "apart": mine / peer - 1})  # fmt: skip
    return rows


def judged(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """
    The rows in which both tools must agree: all but TTFT, which has in it what each client does
    before it sends, and how requests that are sent together meet in a prefill.
    """
    return [row for row in rows if not row["figure"].startswith("TTFT")]


def table(document: dict[str, Any]) -> str:
    """The table of docs/load.md."""
    lines = ["| at a time | figure | headrace bench | guidellm | apart |", "|---|---|---|---|---|"]
    lines += [
        f"| {row['streams']} | {row['figure']} | {row['headrace']:.1f} | {row['peer']:.1f} |"
        f" {100 * row['apart']:+.1f} % |"
        for row in document["rows"]
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


def run_ours(url: str, folder: Path, streams: int, requests: int, number: int) -> dict[str, Any]:
    """Figures of a run of `headrace bench load`."""
    out = folder / "ours.json"
    command = [
        sys.executable, "-m", "headrace", "bench", "load", "--url", url,
        "--concurrency", f"{streams}", "--requests", f"{requests}",
        "--prompt-dist", f"fixed:{PROMPT_TOKENS}", "--output-dist", f"fixed:{OUTPUT_TOKENS}",
        "--seed", f"{number}", "--json", str(out),
    ]  # fmt: skip
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    document = json.loads(out.read_text(encoding="utf-8"))
    return dict(document["levels"][0])


def run_theirs(
    peer: Path, url: str, folder: Path, streams: int, requests: int, number: int
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
        "--profile", f"kind=concurrent,streams={streams}",
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
