"""A real vLLM that runs only when somebody calls, and the calls with which one sleeps and wakes."""

import json
import re
from pathlib import Path
from typing import Any

import httpx2
import pytest

from headrace.engines import slumber
from tests.vllm import rig
from tests.vllm.rig import MODEL, Server
from tests.vllm.test_engines import CONFIG, asked, start, vllm_of

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(3 * rig.START_S)]

IDLE_S = 5
BODY = {"model": MODEL, "prompt": "Once upon a time", "max_tokens": 4, "temperature": 0}


def events(server: Server, name: str) -> list[dict[str, Any]]:
    lines = server.log.read_text(encoding="utf-8").splitlines()
    found = [json.loads(line) for line in lines if line.startswith("{")]
    return [entry for entry in found if entry.get("event") == name]


@pytest.fixture
def at_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine of the other tests, at zero, with vLLM's development mode."""
    text = CONFIG.replace("    vllm:\n", f"    min: 0\n    idle_stop_s: {IDLE_S}\n    vllm:\n")
    monkeypatch.setattr("tests.vllm.test_engines.CONFIG", text)
    monkeypatch.setitem(rig.VLLM_ENV, "VLLM_SERVER_DEV_MODE", "1")


@pytest.mark.usefixtures("at_zero")
async def test_it_comes_sleeps_wakes_and_goes(tmp_path: Path, say: rig.Say) -> None:
    """
    The first request waits for the start and is answered. The engine takes our calls as the
    simulator does, at both levels. Idle, its processes end.

    On a CPU it pauses and resumes and has no memory to free; that needs a GPU.
    """
    server, process = start(tmp_path, rig.build_env(say), say)
    try:
        before = vllm_of(process)
        first = asked(server)
        url = str(events(server, "engine_ready")[0]["url"])
        async with httpx2.AsyncClient(base_url=url, timeout=60, trust_env=False) as engine:
            said = (await engine.post("/v1/completions", json=BODY)).json()["choices"][0]["text"]
            seen = []
            for level in (1, 2):
                await slumber.sleep(url, level, 60)
                asleep = await slumber.asleep(url)
                healthy = (await engine.get("/health")).status_code
                await slumber.wake(url, level, 60)
                again = await engine.post("/v1/completions", json=BODY)
                seen.append((asleep, healthy, again.json()["choices"][0]["text"]))
        refused = httpx2.post(f"{server.url}/collective_rpc", json=slumber.RELOAD)
        rig.wait_until(lambda: bool(events(server, "engine_stopped")), "it is stopped when idle")
        left = vllm_of(process)
        metrics = httpx2.get(f"{server.url}/metrics").text
    finally:
        rig.stop(process)

    assert ([], 200) == (before, first.status_code)
    assert [(True, 200, said)] * 2 == seen
    assert 404 == refused.status_code
    assert [] == left
    assert 1 == len(events(server, "engine_ready"))
    (seconds,) = re.findall(r'cold_start_seconds_sum{kind="start",model="[^"]+"} (\S+)', metrics)
    say(f"cold start of {MODEL}: {float(seconds):.1f} s")
