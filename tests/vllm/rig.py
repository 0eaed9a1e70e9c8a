"""
Two processes for the whole session, a real vLLM and the gateway in front of it, and ways to talk.

What they must promise together stands in the tests beside this file.
"""

import dataclasses
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

ROOT = Path(__file__).parents[2]
MODEL = "smollm2"
ALIAS = "tiny"
CONTEXT = 2048  # tokens; at some 30 tokens a second a full one takes over a minute
AT_ONCE = 2  # requests the engine runs at one time; a third waits
ENV_S = 1200.0  # to install vLLM for the first time
START_S = 600.0  # three processes import torch in turn: 50 s alone, 150 s on a busy machine
STOP_S = 20.0
TELL_EVERY_S = 10.0
BUSY_S = 15.0  # until the engine shows what it was given
SETTLE_S = 5.0  # until it shows an abort: 0.2 s alone; the rest is for a machine shared with others

VLLM_ENV = {
    # The model is on disk; nothing is to be asked from a hub, and no usage report sent.
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    # GiB. Without it vLLM takes half of the machine's memory.
    "VLLM_CPU_KVCACHE_SPACE": "1",
    # By default vLLM pins its threads to the first core and keeps off the last: it would fight with
    # whatever else is pinned there, and a machine with one core has none left.
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    # This model is too small for two threads: they wait for each other and halve the speed.
    "OMP_NUM_THREADS": "1",
    # Off by default; GET /v1/responses/{id} and previous_response_id need it.
    "VLLM_ENABLE_RESPONSES_API_STORE": "1",
}

Say = Callable[[str], None]


@dataclasses.dataclass(frozen=True, slots=True)
class Server:
    """A running HTTP server: the gateway, or vLLM itself."""

    name: str
    port: int
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def post(self, path: str, body: dict[str, Any] | bytes) -> httpx2.Response:
        """The whole answer to a POST; a stream is read to its end."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"content-type": "application/json"}
        return httpx2.post(self.url + path, content=content, headers=headers, timeout=60)

    def begin(self, path: str, body: dict[str, Any]) -> socket.socket:
        """Send a POST on a connection of its own. Closing the socket is how its client hangs up."""
        content = json.dumps(body).encode()
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=30)
        head = f"POST {path} HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\n"
        connection.sendall(f"{head}content-length: {len(content)}\r\n\r\n".encode() + content)
        return connection

    def metric(self, name: str) -> float:
        """The value of one of its metrics, added up over labels."""
        text = httpx2.get(f"{self.url}/metrics", timeout=10).text
        values = re.findall(rf"^{re.escape(name)}(?:{{[^}}]*}})? (\S+)$", text, re.MULTILINE)
        if not values:
            pytest.fail(f"{self.name} has no metric {name}")
        return sum(map(float, values))


def build_env(say: Say) -> Path:
    """The folder with vLLM's environment and model, built on the first call."""
    say("scripts/vllm-env (the first time it installs vLLM)")
    command = [ROOT / "scripts" / "vllm-env"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=ENV_S, check=False)
    if done.returncode:
        text = f"no vLLM to test with, scripts/vllm-env says:\n{done.stderr.strip()}"
        pytest.fail(text, pytrace=False)
    return Path(done.stdout.strip())


def vllm_command(env: Path, port: int) -> list[str]:
    """What starts vLLM. Nice, since it would take every core from the gateway it is to test."""
    return [
        *("nice", "-n", "10"),
        # The `vllm` script looks for a distribution of that name and does not find vllm-cpu.
        *(str(env / "venv/bin/python"), "-m", "vllm.entrypoints.openai.api_server"),
        *("--model", str(env / "model"), "--served-model-name", MODEL),
        *("--host", "127.0.0.1", "--port", str(port)),
        *("--max-model-len", str(CONTEXT), "--max-num-seqs", str(AT_ONCE)),
        "--enforce-eager",  # compiling costs more than these few tokens ever win back
    ]


def gateway_command(config: Path, port: int, engine: Server) -> list[str]:
    """What starts the gateway, with its configuration written to the file."""
    config.write_text(
        f"server: {{host: 127.0.0.1, port: {port}}}\n"
        f"models:\n"
        f"  - name: {MODEL}\n"
        f"    aliases: [{ALIAS}]\n"
        f"backends:\n"
        f'  - {{name: vllm-0, url: "{engine.url}", serves: {{{MODEL}: {MODEL}}}}}\n'
    )
    return [sys.executable, "-m", "headrace", "serve", "--config", str(config)]


def start(
    server: Server, command: list[str], *, ready: str, say: Say, env: dict[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """
    Start a server and wait until its readiness path answers 200.

    If it ends before, or takes too long, the test fails with the end of its log.
    """
    with server.log.open("wb") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(env or {})},
            start_new_session=True,  # so that its children can be ended with it
        )
    try:
        wait_ready(server, process, ready, say)
    except BaseException:
        stop(process)
        raise
    return process


def wait_ready(server: Server, process: subprocess.Popen[bytes], ready: str, say: Say) -> None:
    """Wait until the readiness path answers 200; tell how it goes."""
    began = told = time.monotonic()
    while not is_ready(server.url + ready):
        waited = time.monotonic() - began
        if process.poll() is not None or waited > START_S:
            code = process.returncode
            fate = "is not ready" if code is None else f"ended with code {code}"
            text = f"{server.name} {fate} after {waited:.0f} s:\n{log_end(server.log)}"
            pytest.fail(text, pytrace=False)
        if began + waited - told > TELL_EVERY_S:
            told = began + waited
            say(f"waiting for {server.name}, {waited:.0f} s: {log_end(server.log, 1)[:100]}")
        time.sleep(0.2)
    say(f"{server.name} is ready after {time.monotonic() - began:.1f} s")


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a server that `start` began, and the children in its group if it leaves some behind."""
    process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def is_ready(url: str) -> bool:
    """Whether the URL answers 200 now."""
    try:
        return httpx2.get(url, timeout=5).status_code == 200
    except httpx2.TransportError:
        return False


def log_end(log: Path, lines: int = 25) -> str:
    """The last lines of a log."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])


def free_port() -> int:
    """A loopback port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(holds: Callable[[], bool], what: str, limit_s: float = BUSY_S) -> None:
    """Wait until something holds. Fails, and says what, when it does not hold in time."""
    began = time.monotonic()
    while not holds():
        waited = time.monotonic() - began
        assert waited < limit_s, f"not so after {waited:.1f} s: {what}"
        time.sleep(0.05)
