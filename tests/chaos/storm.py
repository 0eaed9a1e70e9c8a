"""The storm: eight simulated replicas that fail in every way, and the people who use them."""

import asyncio
import json
import random
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from headrace.config.schema import Config
from headrace.config.simulator import Fault, Simulator
from headrace.conformance.wire import Client
from headrace.engines.sim.server import Server
from headrace.gateway.app import Gateway
from tests.ports import free_port

PATH = "/v1/chat/completions"
REPLICAS = 8
SICK = 3  # at a time at most, so that there is always a healthy one
PROMPTS = [f"Tell me about lake number {number}." for number in range(40)]
# A 500 is passed on and not tried again, and garbage is the engine's own word: the others must
# cost nobody a whole answer.
KINDS = (
    "slow", "full", "stuck", "die", "reset", "freeze", "error", "limit", "length", "stale", "start",
)  # fmt: skip
# A replica that is silent to some requests and answers others is not told from one that generates
# for long, unless the request is a stream: only the total clock ends such a request.
SILENT = {"stuck", "freeze"}
# What every ready replica may say in turn while the healthy ones are still set aside.
REFUSALS = {429, 503}
SETTINGS = Simulator(model="m", preset="l4-8b", speed=2, answer_tokens=24, seed=7)


class Machine:
    """One replica on a port of its own, which can be switched off and on."""

    def __init__(self, number: int, port: int) -> None:
        self.name = f"sim-{number}"
        self.port = port
        self.server: Server | None = None

    @property
    def backend(self) -> dict[str, object]:
        """Its entry in the file that the gateway watches."""
        return {"url": f"http://127.0.0.1:{self.port}", "name": self.name, "serves": ["m"]}

    async def on(self) -> None:
        """Start it."""
        self.server = Server(SETTINGS.model_copy(update={"port": self.port}))
        await self.server.start()

    async def off(self) -> None:
        """End it, and every connection with it."""
        server, self.server = self.server, None
        if server is not None:
            await server.stop()

    def suffer(self, fault: Fault) -> None:
        """Let something go wrong."""
        if self.server is not None:
            self.server.replicas[0].faults.add(fault)

    def recover(self) -> None:
        """End all faults."""
        if self.server is not None:
            self.server.replicas[0].faults.clear()


@dataclass
class Report:
    """What the users saw."""

    ended: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


class Storm:
    """Machines, a gateway that discovers them in a file, and what people ask."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.dice = random.Random(seed)
        first = free_port(REPLICAS + 1)
        self.machines = [Machine(number, first + number) for number in range(1, REPLICAS + 1)]
        self.report = Report()
        self.answers: dict[str, str] = {}
        self._file = folder / "fleet.json"
        self._list(self.machines)
        self.gateway = Gateway(Config.model_validate(self._tree()))

    async def __aenter__(self) -> Self:
        for machine in self.machines:
            await machine.on()
        await self._learn()
        await self.gateway.start()
        await self._ready()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.gateway.stop(drain_s=1)
        for machine in self.machines:
            await machine.off()

    def calm(self) -> None:
        """Everything works again."""
        for machine in self.machines:
            machine.recover()
        self._list(self.machines)

    async def rage(self, seconds: float, users: int) -> None:
        """Let users ask while everything fails; returns when all of them have their last answer."""
        until = asyncio.get_running_loop().time() + seconds
        weather = asyncio.create_task(self._weather(until))
        await asyncio.gather(*(self._user(number, until) for number in range(users)))
        await weather

    # --- the weather ------------------------------------------------------------------------

    async def _weather(self, until: float) -> None:
        while asyncio.get_running_loop().time() < until:
            sick = self.dice.sample(self.machines, SICK)
            await asyncio.gather(*(self._strike(machine) for machine in sick))

    async def _strike(self, machine: Machine) -> None:
        what = self.dice.choice([*KINDS, "restart", "leave", "drain"])
        seconds = self.dice.uniform(0.5, 3.0)
        if what == "restart":
            await machine.off()
            await asyncio.sleep(seconds)
            await machine.on()
        elif what == "leave":
            self._list([each for each in self.machines if each is not machine])
            await asyncio.sleep(seconds)
            self._list(self.machines)
        elif what == "drain":
            if machine.name in self.gateway.fleet.replicas:
                self.gateway.fleet.drain(machine.name, seconds)
            await asyncio.sleep(seconds + 0.5)
            if machine.name in self.gateway.fleet.replicas:
                self.gateway.fleet.undrain(machine.name)
        else:
            share = 1.0 if what in SILENT else self.dice.choice([0.3, 1.0])
            fault = {"kind": what, "share": share, "duration_s": seconds, "status": 503}
            machine.suffer(Fault.model_validate(fault))
            await asyncio.sleep(seconds)
            machine.recover()
            if what == "stuck":  # what it has lost stays lost, until somebody starts it anew
                await machine.off()
                await machine.on()

    def _list(self, machines: list[Machine]) -> None:
        text = json.dumps([machine.backend for machine in machines])
        fresh = self._file.with_suffix(".new")
        fresh.write_text(text)
        fresh.rename(self._file)

    # --- the users --------------------------------------------------------------------------

    async def _user(self, number: int, until: float) -> None:
        dice = random.Random(f"user {number}")
        await asyncio.sleep(dice.uniform(0, 1))
        while asyncio.get_running_loop().time() < until:
            async with Client(self.gateway.url, wait_s=45) as client:
                requests = dice.randint(1, 4)
                while requests and await self._ask(client, dice):
                    requests -= 1

    async def _ask(self, client: Client, dice: random.Random) -> bool:
        """One request; whether the connection can serve another."""
        prompt = dice.choice(PROMPTS)
        try:
            if dice.random() < 0.5:
                return await self._whole(client, prompt)
            return await self._stream(client, prompt, leaves=dice.random() < 0.2)
        except TimeoutError:
            self._note("no answer", False, repr(self._states()))
            return False

    async def _whole(self, client: Client, prompt: str) -> bool:
        answer = await client.post(PATH, _body(prompt))
        if answer.status == 200 and answer.ended:
            said = answer.json()["choices"][0]["message"]["content"]
            self._note("whole", said == self.answers[prompt], said)
        else:
            request_id = answer.header("x-request-id")
            record = next((r for r in self.gateway.records if r.request_id == request_id), None)
            refused = answer.status in REFUSALS and record is not None and record.attempts > 0
            how = "whole refused" if refused else f"whole {answer.status}"
            self._note(how, refused, f"{answer!r} {record} {self._fleet()}")
        return answer.ended

    async def _stream(self, client: Client, prompt: str, *, leaves: bool) -> bool:
        answer = await client.open("POST", PATH, _body(prompt, stream=True))
        if answer.status != 200:
            await answer.finish()
            told = answer.ended and "error" in answer.json()
            self._note(f"stream {answer.status}", told, repr(answer))
            return answer.ended
        if leaves:
            await answer.event()
            self.report.ended["left"] += 1
            return False
        await answer.finish()
        events = [event.data or "" for event in answer.events]
        chunks = [json.loads(data) for data in events if data not in {"", "[DONE]"}]
        said = "".join(c["choices"][0]["delta"].get("content") or "" for c in chunks if _has(c))
        failed = any("error" in chunk for chunk in chunks)
        expected = self.answers[prompt]
        right = expected.startswith(said) if failed else said == expected
        closed = answer.ended and events[-1:] == ["[DONE]"]
        self._note("stream cut" if failed else "stream", right and closed, repr(answer))
        return answer.ended

    def _fleet(self) -> list[str]:
        """Every replica in a word."""
        return [f"{name} {r.state}" for name, r in self.gateway.fleet.replicas.items()]

    def _states(self) -> list[tuple[object, ...]]:
        """What stands still: requests with their replicas, and the fleet."""
        waits = [
            (e.clock, e.attempts, e.replica and (e.replica.name, str(e.replica.state)))
            for e in self.gateway.active
        ]
        return [*waits, tuple(self._fleet())]

    def _note(self, how: str, well: bool, seen: str) -> None:
        self.report.ended[how] += 1
        if not well:
            self.report.wrong.append(f"{how}: {seen[:1500]}")

    async def _ready(self) -> None:
        """Wait for every replica: in the first moment a sick one may be the only one there is."""
        for _ in range(1500):
            if {str(each.state) for each in self.gateway.fleet.replicas.values()} == {"ready"}:
                return
            await asyncio.sleep(0.02)
        raise AssertionError(self._fleet())

    async def _learn(self) -> None:
        """What a calm engine says to each prompt: all of them say the same."""
        async with Client(f"http://127.0.0.1:{self.machines[0].port}", wait_s=30) as client:
            for prompt in PROMPTS:
                answer = await client.post(PATH, _body(prompt))
                self.answers[prompt] = answer.json()["choices"][0]["message"]["content"]

    def _tree(self) -> dict[str, Any]:
        return {
            "server": {"port": 0},
            "models": [{"name": "m"}],
            "discovery": [{"type": "file", "path": str(self._file), "poll_s": 0.1}],
            "health": {
                "interval_s": 0.5, "timeout_s": 3, "failures": 3, "slow_start_s": 1, "stuck_s": 3,
            },
            "outliers": {"ejection_s": 0.5, "max_ejection_s": 2},
            "load": {"interval_s": 0.5},
            "timeouts": {"first_byte_s": 8, "chunk_s": 8, "connect_s": 1},
            "retries": {"attempts": 6, "budget": 1.0, "budget_min": 1000},
            "admin": {"enabled": False},
            "logging": {"requests": False},
        }  # fmt: skip


def _body(prompt: str, *, stream: bool = False) -> dict[str, Any]:
    return {"model": "m", "stream": stream, "messages": [{"role": "user", "content": prompt}]}


def _has(chunk: dict[str, Any]) -> bool:
    return bool(chunk.get("choices"))
