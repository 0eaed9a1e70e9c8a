"""A real vLLM that Headrace starts itself: from ``engines:`` to a token, and back from the dead."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest

from tests.vllm import rig
from tests.vllm.rig import CONTEXT, MODEL, Server

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(2 * rig.START_S)]

CONFIG = """
server: {{port: {port}}}
timeouts: {{queue_s: {start_s}}}
engines:
  - type: vllm
    model: {env}/model
    serves: [{model}, tiny]
    start_s: {start_s}
    vllm:
      command: [nice, {env}/venv/bin/python, -m, vllm.entrypoints.openai.api_server]
      max_model_len: {context}
      max_num_seqs: 2
      enforce_eager: true
      enable_prefix_caching: true
      env: {variables}
"""


def start(folder: Path, env: Path, say: rig.Say) -> tuple[Server, "subprocess.Popen[bytes]"]:
    """``headrace serve`` with that engine."""
    server = Server("headrace", rig.free_port(), folder / "headrace.log")
    text = CONFIG.format(
        port=server.port,
        start_s=rig.START_S,
        env=env,
        model=MODEL,
        context=CONTEXT,
        variables={**rig.VLLM_ENV, "VLLM_CACHE_ROOT": str(env / "cache")},
    )
    (folder / "headrace.yaml").write_text(text, encoding="utf-8")
    command = [sys.executable, "-m", "headrace", "serve", "-c", str(folder / "headrace.yaml")]
    return server, rig.start(server, command, ready="/health", say=say)


def asked(server: Server) -> httpx2.Response:
    """An answer of the engine; it may have to start first."""
    body = {"model": "tiny", "prompt": "Once upon a time", "max_tokens": 4}
    return httpx2.post(f"{server.url}/v1/completions", json=body, timeout=rig.START_S)


def vllm_of(process: "subprocess.Popen[bytes]") -> list[int]:
    """The processes of vLLM's API server below a gateway's: child of the tether."""
    listed = subprocess.run(
        ["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True
    ).stdout
    parents = [tuple(map(int, row)) for row in re.findall(r"(\d+) +(\d+)", listed)]
    tethers = [pid for pid, parent in parents if parent == process.pid]
    return [pid for pid, parent in parents if parent in tethers]


def test_it_starts_serves_and_returns(tmp_path: Path, say: rig.Say) -> None:
    """Requests wait for it, its log is ours; killed once it comes back; and it ends with us."""
    server, process = start(tmp_path, rig.build_env(say), say)
    try:
        first = asked(server)
        (vllm,) = vllm_of(process)
        say("killing vLLM")
        os.kill(vllm, signal.SIGKILL)
        rig.wait_until(lambda: "engine_died" in server.log.read_text(), "its death is told")
        second = asked(server)
        (successor,) = vllm_of(process)
    finally:
        rig.stop(process)

    log = server.log.read_text(encoding="utf-8")
    assert [answer.status_code for answer in (first, second)] == [200, 200]
    assert first.json()["model"] == "tiny"
    assert '"level":"warning"' in log
    assert "killed by SIGKILL" in log
    assert log.count('"event":"engine_ready"') == 2
    assert not Path(f"/proc/{successor}").exists()
