"""All engines of a configuration: what the fleet and the log hear while they live and die."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
from prometheus_client import CollectorRegistry

from headrace.config.backends import Backend, Model
from headrace.config.engines import LocalEngine
from headrace.engines.crew import Crew, models
from headrace.engines.supervisor import Backoff
from headrace.errors import NoReplica, StartError
from headrace.fleet.floor import Floor, Why
from headrace.fleet.registry import Fleet
from headrace.fleet.states import State as fleet_states  # noqa: N813 - the engines have their own
from headrace.telemetry.engines import EngineMetrics
from tests.engines.folders import model

PROGRAM = Path(__file__).with_name("vllmlike.py")
WAIT_S = 20.0
QUICK = Backoff(first_s=0.01, cap_s=0.05)


class House:
    """A fleet and a log that remember."""

    def __init__(self) -> None:
        self.backends: dict[str, Backend] = {}
        self.removed: list[tuple[str, str]] = []
        self.events: list[dict[str, Any]] = []
        self._news = asyncio.Event()

    def add(self, backend: Backend, *, trusted: bool | None = None) -> None:
        """Like a fleet; an engine is not to be trusted before its first token."""
        assert trusted is False
        self.backends[backend.name] = backend

    def remove(self, name: str, reason: str) -> None:
        """Like a fleet."""
        self.backends.pop(name, None)
        self.removed.append((name, reason))

    def event(self, event: str, **fields: object) -> None:
        """Like a log."""
        self.events.append({"event": event, **fields})
        self._news.set()

    def named(self, event: str) -> list[dict[str, Any]]:
        return [entry for entry in self.events if entry["event"] == event]

    async def until(self, event: str, count: int = 1) -> dict[str, Any]:
        """Wait for so many events of a name; returns the last of them."""
        async with asyncio.timeout(WAIT_S):
            while len(self.named(event)) < count:
                self._news.clear()
                await self._news.wait()
        return self.named(event)[-1]


class Quiet:
    """A floor on which nobody calls (``Floor``)."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []

    def tell(self, name: str, models: tuple[str, ...], why: str, reason: str) -> None:
        """Engines that always run only tell."""
        assert models
        assert reason
        self.told.append((name, why))

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"an engine that always runs has asked for {name}")


Hire = Callable[..., Crew]


@pytest.fixture
def house() -> House:
    return House()


@pytest.fixture
async def hire(house: House, tmp_path: Path) -> AsyncIterator[Hire]:
    """Makes crews, and ends them after the test."""
    crews: list[Crew] = []

    def hire(*entries: dict[str, Any]) -> Crew:
        engines = [engine(tmp_path / "qwen", **entry) for entry in entries]
        crews.append(Crew(engines, house, Quiet(), house, QUICK))
        return crews[-1]

    yield hire
    for crew in crews:
        await crew.stop()


def engine(folder: Path, **values: Any) -> LocalEngine:
    vllm = {"command": [sys.executable, str(PROGRAM), "serve"], **values.pop("vllm", {})}
    entry = {"type": "vllm", "model": str(model(folder)), "start_s": WAIT_S, "vllm": vllm}
    return LocalEngine.model_validate({**entry, **values})


async def get(url: str) -> Any:
    async with httpx2.AsyncClient(trust_env=False, timeout=30) as client:
        return (await client.get(url)).json()


async def test_a_healthy_engine_joins_the_fleet(hire: Hire, house: House) -> None:
    """Each replica under its own name, serving the model and its adapters."""
    folder = str(PROGRAM.parent)
    await hire(
        {"replicas": 2, "serves": ["q", "x"], "vllm": {"lora_modules": {"l": folder}}}
    ).start()
    await house.until("engine_ready", 2)

    assert sorted(house.backends) == ["q-0", "q-1"]
    assert house.backends["q-0"].serves == {"q": "q", "l": "l"}
    assert len({backend.url for backend in house.backends.values()}) == 2


async def test_it_gets_what_the_configuration_says(hire: Hire, house: House) -> None:
    """Options, the variables of its environment, and its own GPU."""
    settings = {"max_model_len": 99, "gpus": [3, 5], "env": {"HF_TOKEN": "hf_1"}}
    await hire({"replicas": 2, "vllm": settings}).start()
    await house.until("engine_ready", 2)

    told = [await get(f"{house.backends[name].url}/echo") for name in ("qwen-0", "qwen-1")]

    assert [entry["gpus"] for entry in told] == ["3", "5"]
    assert {entry["token"] for entry in told} == {"hf_1"}
    assert "--max-model-len" in told[0]["argv"]


async def test_its_output_is_in_our_log(hire: Hire, house: House) -> None:
    """Line by line, with the level that it gave."""
    await hire({}).start()
    await house.until("engine_ready")

    said = [(line["engine"], line["level"], line["line"]) for line in house.named("engine_log")]

    assert said == [
        ("qwen", "info", "vLLM API server version 0.32.0"),
        ("qwen", "warning", "Triton is not installed."),
    ]


async def test_its_output_can_be_kept_out(hire: Hire, house: House) -> None:
    """``log: false`` is silence until something goes wrong."""
    await hire({"log": False}).start()
    await house.until("engine_ready")

    assert house.named("engine_log") == []


async def test_a_dead_engine_leaves_and_returns(hire: Hire, house: House) -> None:
    """It is out of the fleet when its death is told, with the cause, and back when it is ready."""
    await hire({}).start()
    await house.until("engine_ready")
    url = house.backends["qwen"].url
    with pytest.raises(httpx2.HTTPError):
        await get(f"{url}/die")
    died = await house.until("engine_died")
    present = dict(house.backends)
    await house.until("engine_ready", 2)

    cause = "RuntimeError: CUDA error: an illegal memory access was encountered"
    assert died["reason"] == f"qwen stopped (exit code 1): {cause}"
    assert present == {}
    assert house.backends["qwen"].url != url


async def test_a_crash_loop_ends(hire: Hire, house: House, tmp_path: Path) -> None:
    """After five failed starts it is left alone; the event has the cause and the last lines."""
    (tmp_path / "qwen").mkdir()
    (tmp_path / "qwen" / "dies").touch()
    crew = hire({"start_s": WAIT_S})

    await crew.start()
    async with asyncio.timeout(WAIT_S):
        with pytest.raises(StartError, match="No available memory for the cache blocks"):
            await crew.failed()

    failed = house.named("engine_failed")[0]
    assert len(house.named("engine_starting")) == 5
    assert failed["log"][-1].endswith("ValueError: No available memory for the cache blocks.")
    assert house.backends == {}


async def test_what_cannot_start_is_told_before(hire: Hire, house: House) -> None:
    """All problems of all engines in one error, and no process was started."""
    crew = hire({"name": "a", "model": "/no/such"}, {"name": "b", "vllm": {"command": ["no-such"]}})

    with pytest.raises(StartError) as refused:
        await crew.start()

    assert str(refused.value).splitlines() == [
        "engine a: there is no folder /no/such.",
        (
            "engine b: there is no program no-such; install vLLM there, or name another in"
            " `vllm.command`."
        ),
    ]
    assert house.named("engine_starting") == []


async def test_a_fixed_port_is_used(hire: Hire, house: House, unused_tcp_port: int) -> None:
    """For firewalls and dashboards that want to know where an engine is."""
    await hire({"port": unused_tcp_port}).start()
    await house.until("engine_ready")

    assert house.backends["qwen"].url == f"http://127.0.0.1:{unused_tcp_port}"


async def test_they_end_with_the_crew(hire: Hire, house: House) -> None:
    """After a stop nobody listens any more."""
    crew = hire({})
    await crew.start()
    await house.until("engine_ready")
    url = house.backends["qwen"].url
    await crew.stop()

    with pytest.raises(httpx2.ConnectError):
        await get(url)


async def test_no_engines_never_fail(hire: Hire) -> None:
    """A gateway without engines of its own goes on."""
    crew = hire()
    await crew.start()

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(crew.failed(), 0.01)


async def test_engines_at_zero_start_when_wanted(house: House, tmp_path: Path) -> None:
    """Not before; with what the others get; and they never end the program by failing."""
    fleet = Fleet(["q"], 1.0)
    floor = Floor(fleet, EngineMetrics(CollectorRegistry(), Why))
    lazy = engine(tmp_path / "qwen", serves=["q"], min=0, idle_stop_s=0.2)
    crew = Crew([lazy], fleet, floor, house, QUICK)
    await crew.start()
    at_zero = house.named("engine_starting"), [away.state for away in floor.away]
    waiting = asyncio.create_task(fleet.groups["q"].ready())
    await house.until("engine_ready")
    for state in (fleet_states.WARMING, fleet_states.READY):
        fleet.move(fleet.replicas["q"], state, "well")
    await waiting
    stopped = await house.until("engine_stopped")
    (tmp_path / "qwen" / "dies").touch()
    waiting = asyncio.create_task(fleet.groups["q"].ready())
    await house.until("engine_failed")
    with pytest.raises(NoReplica, match="No available memory for the cache blocks"):
        await waiting
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(crew.failed(), 0.01)
    await crew.stop()
    fleet.close()

    assert ([], [Why.OFF]) == at_zero
    assert "idle for 0 s" == stopped["reason"]
    assert [Why.FAILED] == [away.state for away in floor.away]


def test_what_they_serve(tmp_path: Path) -> None:
    """The catalogue gets each model once, with aliases and context; adapters are models, too."""
    vllm = engine(
        tmp_path / "q", serves=["q", "x"], vllm={"max_model_len": 9, "lora_modules": {"l": "/l"}}
    )
    small = LocalEngine.model_validate({"type": "llamacpp", "llamacpp": {"context_length": 512}})

    assert models([vllm, vllm, small]) == [
        Model(name="q", aliases=("x",), context_length=9),
        Model(name="l", context_length=9),
        Model(name="SmolLM2-135M-Instruct", context_length=512),
    ]
