"""
``headrace serve`` with engines that run only when somebody calls: the real program, a simulated
vLLM and the embedded engine with its real model, and the official client.
"""

import asyncio
import json
import re
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest

from tests.cli.program import Program, children, gone
from tests.e2e.rig import wait_until

CLIENT_S = 40.0
PROMPT: list[Any] = [{"role": "user", "content": "Say hello."}]
CONFIG = """
server: {port: 0, drain_s: %(drain_s)s}
admin: {port: 0}
logging: {file: log.jsonl}
hold: {keep_alive_s: 0.2}
health: {interval_s: 0.2}
engines:
  - {type: sim, model: stops, min: 0, idle_stop_s: %(idle_s)s, sim: {speed: 100}}
  - type: sim
    model: sleeps
    min: 0
    idle_stop_s: %(idle_s)s
    sim: {speed: 10, enable_sleep_mode: true, sleep_level: 2, extra_args: [--wake-s, "3"]}
  - type: sim
    model: slow
    min: 0
    start_s: 60
    sim: {extra_args: [--fault, "start:duration_s=60"]}
  - type: vllm
    model: no/model
    serves: [broken]
    min: 0
    vllm: {command: [sh, -c, "echo 'ValueError: no GPU'; exit 3", serve]}
  - {type: llamacpp, serves: [small], min: 0, idle_stop_s: %(idle_s)s,
     llamacpp: {slots: 4, context_length: 512}}
"""


class Served:
    """A running ``headrace serve``, and what it has written so far."""

    def __init__(self, program: Program, folder: Path) -> None:
        self.program = program
        self._log = folder / "log.jsonl"
        self.url = program.read_until(r"listens on (http://\S+) ")

    def client(self) -> openai.OpenAI:
        return openai.OpenAI(
            base_url=f"{self.url}/v1", api_key="none", max_retries=0, timeout=CLIENT_S
        )

    def ready(self) -> Any:
        wait_until(lambda: "on_demand" in self._ready(), "the engines are known")
        return self._ready()

    def _ready(self) -> Any:
        answer = httpx2.get(f"{self.url}/ready", trust_env=False, timeout=30)
        assert 200 == answer.status_code
        return answer.json()

    def events(self, name: str, **fields: str) -> list[Any]:
        """The log's lines of this name so far."""
        lines = self._log.read_text(encoding="utf-8").splitlines()
        found = [entry for entry in map(_parsed, lines) if entry.get("event") == name]
        return [e for e in found if all(e.get(key) == value for key, value in fields.items())]

    def until(self, name: str, count: int = 1, **fields: str) -> list[Any]:
        wait_until(lambda: len(self.events(name, **fields)) >= count, f"{count} {name} {fields}")
        return self.events(name, **fields)

    def say(self, model: str) -> str:
        with self.client() as client:
            answer = client.chat.completions.create(model=model, messages=PROMPT, max_tokens=8)
        return answer.choices[0].message.content or ""


def _parsed(line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError:  # its end has not been read yet
        return {}


def started(folder: Path, idle_s: float, drain_s: float = 5) -> Program:
    text = CONFIG % {"idle_s": idle_s, "drain_s": drain_s}
    (folder / "headrace.yaml").write_text(text, encoding="utf-8")
    return Program(["serve"], folder)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """At zero; at the end nothing of it may be left."""
    with started(tmp_path, idle_s=2) as program:
        served = Served(program, tmp_path)
        yield served
        left = children(program.process.pid)
        program.signal(signal.SIGTERM)
        assert 0 == program.wait()
        assert all(gone(pid) for pid in left)
        assert "Traceback" not in program.text()


@pytest.mark.e2e
class TestZero:
    """From nothing to an answer, and back."""

    @pytest.mark.parametrize("model", ["stops", "small"])
    def test_the_first_request_is_answered(self, served: Served, model: str) -> None:
        """
        No process before it; it waits for the start and is answered. When nobody calls the engine
        ends, the gateway stays ready, and the next request starts it again.
        """
        before = children(served.program.process.pid)
        at_zero = served.ready()
        first = served.say(model)
        up = served.ready()["replicas"][model]
        stopped = served.until("engine_stopped", engine=model)
        wait_until(lambda: not children(served.program.process.pid), "no process is left")
        after = served.ready()
        again = served.say(model)

        assert ([], 0) == (before, at_zero["replicas"][model])
        assert {"stops", "sleeps", "small"} <= {*at_zero["on_demand"]}
        assert 1 == up
        assert re.match(r"idle for \d+ s$", stopped[0]["reason"])
        assert (0, True) == (after["replicas"][model], model in after["on_demand"])
        assert first
        assert again
        assert 2 == len(served.until("engine_ready", 2, engine=model))

    def test_a_stream_is_kept_company(self, served: Served) -> None:
        """Comments while it waits, which the official client passes over; then its tokens."""
        with httpx2.Client(trust_env=False, timeout=CLIENT_S) as plain:
            body = {"model": "stops", "messages": PROMPT, "max_tokens": 4, "stream": True}
            raw = plain.post(f"{served.url}/v1/chat/completions", json=body).text
        with served.client() as client:
            stream = client.chat.completions.create(
                model="sleeps", messages=PROMPT, max_tokens=4, stream=True
            )
            said = "".join(chunk.choices[0].delta.content or "" for chunk in stream)

        assert raw.startswith(": waiting for a replica\n\n")
        assert raw.endswith("data: [DONE]\n\n")
        assert said

    def test_twenty_first_requests_start_one(self, served: Served) -> None:
        """All are answered, by one engine that was started once."""
        with ThreadPoolExecutor(20) as pool:
            answers = list(pool.map(served.say, ["stops"] * 20))

        assert 20 == len(answers)
        assert all(answers)
        assert 1 == len(served.events("engine_starting", engine="stops"))
        metrics = httpx2.get(f"{served.url}/metrics", trust_env=False, timeout=30).text
        assert 'headrace_cold_start_seconds_count{kind="start",model="stops"} 1.0' in metrics

    def test_sleep_and_wake(self, served: Served) -> None:
        """Idle, it sleeps and its process stays; a request wakes it, and it knows its words."""
        first = served.say("sleeps")
        served.until("engine_asleep", engine="sleeps")
        processes = children(served.program.process.pid)
        table = served.ready()
        second = served.say("sleeps")
        [woken] = served.until("engine_woken", engine="sleeps")
        steps = served.until("replica_state", 6, replica="sleeps")

        assert first == second
        assert (0, True) == (table["replicas"]["sleeps"], "sleeps" in table["on_demand"])
        assert processes == children(served.program.process.pid)
        assert 1 == len(processes)
        assert woken["seconds"] >= 0.3
        walked = [step["to"] for step in steps]
        assert ["starting", "warming", "ready", "sleeping", "warming", "ready"] == walked[:6]

    def test_an_engine_that_cannot_start(self, served: Served) -> None:
        """Who waits is told why, with a time to come back; the gateway goes on."""
        with served.client() as client, pytest.raises(openai.APIStatusError) as refused:
            client.chat.completions.create(model="broken", messages=PROMPT, max_tokens=4)
        answer = refused.value.response
        body = answer.json()["error"]
        late = httpx2.post(
            f"{served.url}/v1/chat/completions",
            json={"model": "broken", "messages": PROMPT},
            trust_env=False,
        )
        [failed] = served.until("engine_failed")

        assert 503 == answer.status_code == late.status_code
        assert 1 <= int(answer.headers["retry-after"]) <= 30
        assert "no_replica" == body["code"]
        assert (
            "No replica of `broken` can be started: broken stopped (exit code 3): ValueError: no"
            " GPU; 5 times in 60 s."
        ) == body["message"]
        assert "broken" == failed["engine"]
        assert 5 == len(served.events("engine_starting"))
        assert served.say("stops")


@pytest.mark.e2e
class TestEnd:
    """A stop in the middle of it all."""

    async def test_in_the_middle_of_a_cold_start(self, tmp_path: Path) -> None:
        """The request that waits is told, and neither engine nor gateway is left."""
        with started(tmp_path, idle_s=60, drain_s=0.3) as program:
            served = Served(program, tmp_path)
            async with httpx2.AsyncClient(trust_env=False, timeout=CLIENT_S) as client:
                asked = asyncio.create_task(
                    client.post(
                        f"{served.url}/v1/chat/completions",
                        json={"model": "slow", "messages": PROMPT},
                    )
                )
                await asyncio.to_thread(served.until, "engine_starting")
                left = children(program.process.pid)
                program.signal(signal.SIGTERM)
                answer = await asked

            assert (503, 1) == (answer.status_code, len(left))
            assert 0 == await asyncio.to_thread(program.wait)
            assert gone(left[0])

    def test_in_the_middle_of_an_idle_stop(self, tmp_path: Path) -> None:
        """It ends all the same, with code 0, and nothing is left."""
        with started(tmp_path, idle_s=2) as program:
            served = Served(program, tmp_path)
            served.say("small")
            left = children(program.process.pid)
            served.until("replica_state", replica="small", to="gone")
            program.signal(signal.SIGTERM)

            assert 0 == program.wait()
            assert [1, True] == [len(left), all(gone(pid) for pid in left)]
