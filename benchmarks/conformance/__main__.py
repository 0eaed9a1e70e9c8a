"""
Runs `headrace conformance` against Headrace and its peers, and writes what came out into the docs.

Peers come from throw-away environments, as in the overhead benchmark; each runs alone.
"""

import argparse
import datetime as dt
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.overhead.install import Missing
from benchmarks.overhead.peers import PEERS

from . import table

_RUN_LIMIT_S = 400
_ENV_DIR = Path.home() / ".cache" / "headrace-bench"
_NAMES = ("headrace", "vllm-router", "sglang-router", "litellm", "envoy", "nginx")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.conformance", description=__doc__)
    parser.add_argument("--peers", default=",".join(_NAMES), help="which gateways, by name")
    parser.add_argument("--out", type=Path, default=Path("docs/conformance.md"))
    parser.add_argument("--results", type=Path, default=Path("docs/assets/conformance.json"))
    parser.add_argument("--env-dir", type=Path, default=_ENV_DIR, help="where peers are installed")
    options = parser.parse_args()
    runs = []
    for name in options.peers.split(","):
        run = _try(name, options.env_dir)
        told = run.get("counts") or run["missing"]
        print(f"{name}: {told}", flush=True)
        runs.append(run)
    day = dt.datetime.now(tz=dt.UTC).date().isoformat()
    written = {"date": day, "runs": runs}
    options.results.parent.mkdir(parents=True, exist_ok=True)
    options.results.write_text(json.dumps(written, indent=1, ensure_ascii=False) + "\n")
    page = table.replaced(options.out.read_text(), table.render(written))
    options.out.write_text(page)


def _try(name: str, env_dir: Path) -> dict[str, object]:
    """One gateway's results, or why there are none."""
    try:
        program, version = _program(name, env_dir)
    except Missing as reason:
        return {"gateway": name, "version": "", "missing": str(reason)}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "results.json"
        given = ["--gateway", name, "--out", str(file), *program]
        argv = [sys.executable, "-m", "headrace", "conformance", *given]
        done = subprocess.run(argv, check=False, capture_output=True, timeout=_RUN_LIMIT_S)
        if done.returncode not in {0, 1}:
            last = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
            return {"gateway": name, "version": version, "missing": "".join(last)}
        results: dict[str, object] = json.loads(file.read_text())
    return {**results, "version": version}


def _program(name: str, env_dir: Path) -> tuple[list[str], str]:
    """Where its program is, as options of the command, and its version."""
    if name == "headrace":
        return [], _first_line([sys.executable, "-m", "headrace", "--version"]).split()[-1]
    if name == "nginx":
        return [], _first_line(["/usr/sbin/nginx", "-v"]).rpartition("/")[2]
    peer = next((peer for peer in PEERS if peer.name == name), None)
    if peer is None:
        raise Missing(f"no peer is called {name}")
    folder = peer.prepare(env_dir)
    if folder is None:
        raise Missing(f"{name} does not come from PyPI")
    return ["--program", str(folder / name)], peer.requirements[0].partition("==")[2]


def _first_line(argv: list[str]) -> str:
    try:
        done = subprocess.run(argv, check=True, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.SubprocessError) as error:
        raise Missing(f"{argv[0]} is not installed (run scripts/install-servers)") from error
    return (done.stdout or done.stderr).strip().splitlines()[0]


if __name__ == "__main__":
    main()
