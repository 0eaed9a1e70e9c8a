"""``headrace up``: what it shows, what it declares, and that it leaves nothing behind."""

import io
import json
import os
import shlex
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest
from rich.console import Console

from headrace.cli.banner import DEFAULT_URL, Banner, Facts, chat, curl
from headrace.cli.chat import DEFAULT_URL as CHAT_URL
from headrace.cli.up import embedded, with_engine
from headrace.config.backends import Backend, Model
from headrace.config.schema import Config, Engine
from headrace.engines import llamacpp
from headrace.engines.llamacpp import Weights
from headrace.engines.supervisor import Change, State
from tests.cli.program import Program, children, gone

WEIGHTS = Weights(Path("/models/tiny.Q4_1.gguf"), 98_362_432, "Q4_1")
NAME = "SmolLM2-135M-Instruct"
GPU = Backend.model_validate({"url": "http://gpu-1:8000", "serves": ["big"]})


class TestDeclaration:
    """The engine's model is declared from the start."""

    def test_alone(self) -> None:
        """Without a configuration the engine's model is the only one, by its file's name."""
        config, name = with_engine(Config(), WEIGHTS)

        assert name == "tiny"
        assert config.models == (Model(name="tiny", context_length=8192),)

    def test_beside_backends(self) -> None:
        """What the backends serve stays declared."""
        config, _ = with_engine(Config(backends=(GPU,), engine=Engine(name="small")), WEIGHTS)

        assert [model.name for model in config.models] == ["small", "big"]

    def test_beside_declared_models(self) -> None:
        """It is added to the catalogue of the configuration."""
        config, _ = with_engine(Config(models=(Model(name="big"),), backends=(GPU,)), WEIGHTS)

        assert [model.name for model in config.models] == ["tiny", "big"]

    @pytest.mark.parametrize("name", ["big", "large"])
    def test_already_declared(self, name: str) -> None:
        """Under a declared name or alias the engine is one more replica of that model."""
        declared = (Model(name="big", aliases=("large",)),)

        config, found = with_engine(Config(models=declared, engine=Engine(name=name)), WEIGHTS)

        assert found == "big"
        assert config.models == declared


@pytest.mark.parametrize(
    ("config", "wanted"),
    [
        ({}, True),
        ({"engine": {"enabled": False}}, False),
        ({"engines": [{"type": "sim", "model": "m"}]}, False),
        ({"engines": [{"type": "sim", "model": "m"}], "engine": {"model": "x.gguf"}}, True),
    ],
)
def test_when_the_embedded_engine_starts(config: dict[str, object], wanted: bool) -> None:
    """Engines of the configuration take its place, unless it was given a model."""
    assert embedded(Config.model_validate(config)) is wanted


class TestBanner:
    """What the user sees."""

    def show(self, *, terminal: bool, width: int = 80) -> tuple[Banner, io.StringIO]:
        file = io.StringIO()
        console = Console(
            file=file, force_terminal=terminal, width=width, highlight=False, no_color=not terminal
        )
        return Banner(console), file

    def facts(self, backends: int = 0) -> Facts:
        return Facts("http://127.0.0.1:8000", "tiny", WEIGHTS, Engine(), backends)

    def test_tells_everything(self) -> None:
        """URL, base URL, model with its size, a curl, the chat, how to look, and how to stop."""
        banner, file = self.show(terminal=False)

        banner.open(self.facts(backends=2))
        with banner.loading():
            pass
        banner.ready(1.234)

        text = file.getvalue()
        for expected in (
            "tiny   Q4_1 · 98 MB · 4 slots of 8,192 tokens",
            "http://127.0.0.1:8000/v1   base_url",
            "backends 2   from the configuration",
            "headrace chat\n",
            "headrace explain --last, headrace why\n",
            "Ctrl-C stops",
            "ready in 1.2 s",
        ):
            assert expected in text

    @pytest.mark.parametrize("width", [20, 80, 200])
    def test_the_curl_can_be_pasted(self, width: int) -> None:
        """However narrow the terminal, what is shown is one valid command with valid JSON."""
        banner, file = self.show(terminal=False, width=width)

        banner.open(self.facts())

        lines = file.getvalue().splitlines()
        first = next(i for i, line in enumerate(lines) if "curl" in line)
        words = shlex.split("\n".join(lines[first : first + 3]))
        assert words[:3] == ["curl", "-N", "http://127.0.0.1:8000/v1/chat/completions"]
        assert json.loads(words[-1])["model"] == "tiny"

    def test_a_quote_in_a_name_breaks_nothing(self) -> None:
        """The shell sees the name as it is."""
        words = shlex.split("\n".join(curl("http://x", "it's")))

        assert json.loads(words[-1])["model"] == "it's"

    def test_plain_in_a_pipe_and_coloured_on_a_terminal(self) -> None:
        """Escape codes only where somebody looks."""
        for terminal in (True, False):
            banner, file = self.show(terminal=terminal)
            banner.open(self.facts())
            with banner.loading():
                pass

            assert ("\x1b[" in file.getvalue()) == terminal

    def test_the_engines_life(self) -> None:
        """A death, a return and a crash loop are each told; the last with the engine's log."""
        banner, file = self.show(terminal=False)

        banner.change(Change(State.DIED, reason="llama.cpp stopped (exit code 1)", seconds=0.5))
        banner.change(Change(State.READY, url="http://x", seconds=1.25))
        banner.change(Change(State.FAILED, reason="it died; 5 times in 60 s", log=("out of luck",)))

        assert file.getvalue().splitlines() == [
            "  llama.cpp stopped (exit code 1); it starts again in 0.5 s",
            "  the engine is ready again, after 1.2 s",
            "  it died; 5 times in 60 s; it is not started again. Its last lines:",
            "    out of luck",
        ]

    def test_chat_finds_the_gateway(self) -> None:
        """Only another address than the default is spelled out."""
        assert DEFAULT_URL == CHAT_URL
        assert chat(DEFAULT_URL) == "headrace chat"
        assert chat("http://127.0.0.1:9") == "headrace chat --url http://127.0.0.1:9"


@contextmanager
def listening() -> Iterator[int]:
    """A port that somebody else has."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield other.getsockname()[1]


def ask(url: str, tokens: int = 4) -> httpx2.Response:
    body = {
        "model": NAME,
        "max_tokens": tokens,
        "messages": [{"role": "user", "content": "Say hello."}],
    }
    return httpx2.post(f"{url}/v1/chat/completions", json=body, timeout=40, trust_env=False)


@pytest.mark.e2e
@pytest.mark.timeout(300)
class TestProgram:
    """The real program with the real model."""

    def test_serves_and_stops(self, tmp_path: Path) -> None:
        """It answers at the URL it prints; Ctrl-C ends both processes with code 0."""
        with Program(["up", "--port", "0"], tmp_path) as up:
            url = up.read_until(r"url +(http://\S+)")
            answer = ask(url)  # may come before the model is loaded: it waits
            up.read_until("ready in")
            (engine,) = children(up.process.pid)
            up.signal(signal.SIGINT)

            assert answer.status_code == 200
            assert answer.json()["model"] == NAME
            assert up.wait() == 0
            assert gone(engine)
            assert "stopping\n" in up.text()

    def test_a_second_ctrl_c_kills(self, tmp_path: Path) -> None:
        """While a request runs the first waits for it and says so; the second ends all at once."""
        with Program(["up", "--port", "0"], tmp_path) as up:
            url = up.read_until(r"url +(http://\S+)")
            up.read_until("ready in")
            (engine,) = children(up.process.pid)
            body = {"model": NAME, "stream": True, "prompt": "Once", "ignore_eos": True}
            with httpx2.stream(
                "POST", f"{url}/v1/completions", json=body, timeout=40, trust_env=False
            ) as answer:
                parts = answer.iter_raw()
                next(parts)
                up.signal(signal.SIGINT)
                up.read_until("stopping: 1 running request gets up to 30 s; Ctrl-C again to kill")
                up.signal(signal.SIGINT)

                assert up.wait() == 130
            assert gone(engine)

    def test_ctrl_c_while_the_model_loads(self, tmp_path: Path) -> None:
        """The start is given up, and nothing is left."""
        with Program(["up", "--port", "0"], tmp_path) as up:
            up.read_until("loading the model")
            up.signal(signal.SIGINT)

            assert up.wait() == 0
            assert "ready in" not in up.text()
            assert children(up.process.pid) == []

    def test_a_dead_engine_comes_back(self, tmp_path: Path) -> None:
        """After kill -9 of the engine, requests wait for the next one and are answered."""
        with Program(["up", "--port", "0"], tmp_path) as up:
            url = up.read_until(r"url +(http://\S+)")
            up.read_until("ready in")
            (engine,) = children(up.process.pid)
            os.kill(engine, signal.SIGKILL)
            up.read_until(r"killed by SIGKILL\); it starts again in")

            assert ask(url).status_code == 200
            assert "the engine is ready again" in up.read_until("the engine is ready again")

    def test_a_killed_gateway_takes_the_engine_along(self, tmp_path: Path) -> None:
        """SIGKILL for ``up`` leaves no engine."""
        with Program(["up", "--port", "0"], tmp_path) as up:
            up.read_until("ready in")
            (engine,) = children(up.process.pid)
            up.signal(signal.SIGKILL)

            assert gone(engine)

    def test_a_busy_port(self, tmp_path: Path) -> None:
        """One sentence that names the port, exit code 2, and no model was loaded."""
        with listening() as port, Program(["up", "--port", str(port)], tmp_path) as up:
            assert up.wait() == 2
            assert up.err.decode().startswith(f"headrace: Port {port} on 127.0.0.1 is in use")
            assert up.err.count(b"\n") == 1
            assert up.out == b""

    def test_no_such_model(self, tmp_path: Path) -> None:
        """One sentence that names the file, exit code 2."""
        with Program(["up", "--port", "0", "--model", "no.gguf"], tmp_path) as up:
            assert up.wait() == 2
            assert up.err == b"headrace: There is no model file no.gguf.\n"

    def test_a_broken_model(self, tmp_path: Path) -> None:
        """An engine that dies on start: its reason in one sentence, exit code 2."""
        with llamacpp.weights(None).path.open("rb") as file:
            (tmp_path / "short.gguf").write_bytes(file.read(3_000_000))

        with Program(["up", "--port", "0", "--model", "short.gguf"], tmp_path) as up:
            assert up.wait() == 2
            told = up.err.decode().splitlines()[-1]
            assert told.startswith("headrace: llama.cpp stopped (exit code 1): error loading model")

    def test_another_model_by_another_name(self, tmp_path: Path) -> None:
        """--model and --name decide what clients see."""
        (tmp_path / "copy.gguf").symlink_to(llamacpp.weights(None).path)

        arguments = ["up", "--port", "0", "--model", "copy.gguf", "--name", "mine"]
        with Program(arguments, tmp_path) as up:
            url = up.read_until(r"url +(http://\S+)")
            models = httpx2.get(f"{url}/v1/models", trust_env=False, timeout=30).json()["data"]

        assert [model["id"] for model in models] == ["mine"]


SIMULATED = """
server: {port: 0}
engines:
  - {type: sim, model: m, sim: {speed: 1000}}
"""


def say(url: str, text: str) -> httpx2.Response:
    body = {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": text}]}
    return httpx2.post(f"{url}/v1/chat/completions", json=body, timeout=40, trust_env=False)


@pytest.mark.e2e
@pytest.mark.timeout(300)
class TestTape:
    """``--record`` and ``--replay``."""

    def test_record_then_replay(self, tmp_path: Path) -> None:
        """The same bytes without an engine; what was not recorded is 404."""
        (tmp_path / "headrace.yaml").write_text(SIMULATED, encoding="utf-8")
        with Program(["up", "--record", "tape"], tmp_path) as up:
            url = up.read_until(r"listens on (http://\S+) \(1 model, 0 backends, 1 engine to start")
            recorded = say(url, "hi")
            up.read_until('"event":"recorded"')
            up.signal(signal.SIGINT)
            assert up.wait() == 0
        with Program(["up", "--replay", "tape"], tmp_path) as up:
            url = up.read_until(r"listens on (http://\S+) \(1 model, 1 backend\)")
            replayed, missed = say(url, "hi"), say(url, "ho")
            started = children(up.process.pid)
            up.signal(signal.SIGINT)

            assert up.wait() == 0

        assert recorded.status_code == 200
        assert replayed.content == recorded.content
        assert (missed.status_code, missed.json()["error"]["code"]) == (404, "recording_not_found")
        assert started == []

    @pytest.mark.parametrize(
        ("arguments", "told"),
        [
            (["--record", "a", "--replay", "b"], "Either --record or --replay"),
            (["--replay", "no"], "There is no folder no of recordings"),
        ],
    )
    def test_mistakes(self, tmp_path: Path, arguments: list[str], told: str) -> None:
        """One sentence, exit code 2."""
        with Program(["up", *arguments], tmp_path) as up:
            assert up.wait() == 2
            assert up.err.decode().startswith(f"headrace: {told}")
            assert up.err.count(b"\n") == 1
