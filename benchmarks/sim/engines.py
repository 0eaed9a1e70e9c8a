"""Starting the two engines on a core of their own: real vLLM on CPU, and the simulator."""

import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx2

from benchmarks.overhead.process import Tree

ROOT = Path(__file__).resolve().parents[2]
MODEL = "smollm2"
CONTEXT = 2048
AT_ONCE = 8  # sequences, so that a burst makes a queue
CHUNK = 512  # tokens in an iteration, so that long prompts come in parts
START_S, ENV_S = 400.0, 1200.0
ENGINE_CORE, CLIENT_CORE = 0, 1
VLLM_ENV = {
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "OMP_NUM_THREADS": "1",
}


@dataclass(frozen=True, slots=True)
class Running:
    """An engine that answers."""

    url: str
    tree: Tree


@contextlib.contextmanager
def vllm(
    folder: Path, core: int = ENGINE_CORE, extra: Mapping[str, str] | None = None
) -> Iterator[Running]:
    """A real vLLM with SmolLM2-135M on a core, while it runs; its log is in the folder."""
    env = _environment()
    port = free_port()
    argv = [
        *(str(env / "venv/bin/python"), "-m", "vllm.entrypoints.openai.api_server"),
        *("--model", str(env / "model"), "--served-model-name", MODEL),
        *("--host", "127.0.0.1", "--port", str(port), "--max-model-len", str(CONTEXT)),
        *("--max-num-seqs", str(AT_ONCE), "--max-num-batched-tokens", str(CHUNK)),
        *("--enforce-eager", "--enable-prompt-tokens-details"),
    ]
    log = folder / "vllm.log"
    environ = {**VLLM_ENV, "VLLM_CACHE_ROOT": str(env / "cache"), **(extra or {})}
    with Tree.start(argv, log, environ, core) as tree:
        _rank_as_ours(tree.process.pid)
        yield Running(_ready(tree, f"http://127.0.0.1:{port}"), tree)


@contextlib.contextmanager
def simulator(folder: Path, preset: Path) -> Iterator[Running]:
    """A simulator with this preset, while it runs."""
    port = free_port()
    argv = [
        *(sys.executable, "-m", "headrace", "engine", "sim", "--preset", str(preset)),
        *("--port", str(port), "--model", MODEL, "--max-model-len", str(CONTEXT)),
    ]
    with Tree.start(argv, folder / "sim.log", {}, ENGINE_CORE) as tree:
        _rank_as_ours(tree.process.pid)
        yield Running(_ready(tree, f"http://127.0.0.1:{port}"), tree)


def _environment() -> Path:
    command = [str(ROOT / "scripts" / "vllm-env")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=ENV_S, check=False)
    if done.returncode:
        raise SystemExit(f"no vLLM to compare with; scripts/vllm-env says:\n{done.stderr.strip()}")
    return Path(done.stdout.strip())


def _rank_as_ours(pid: int) -> None:
    """
    Give a session that we started the priority of ours.

    Linux weighs sessions against each other (sched(7), autogroup): whoever raises the benchmark's
    priority on a busy machine means its engines, too.
    """
    ours = Path("/proc/self/autogroup")
    with contextlib.suppress(OSError):
        Path(f"/proc/{pid}/autogroup").write_text(ours.read_text().split()[-1])


def _ready(tree: Tree, url: str) -> str:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and tree.alive:
        with contextlib.suppress(httpx2.TransportError):
            if httpx2.get(f"{url}/health", timeout=5, trust_env=False).status_code == 200:
                return url
        time.sleep(0.2)
    raise SystemExit(f"the engine did not start: {tree.tail()}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
