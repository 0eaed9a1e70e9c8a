"""``headrace serve``: the gateway alone; it starts, says where, and stops."""

import contextlib
import fcntl
import os
import re
import signal
import socket
import sys
from pathlib import Path

import httpx2
import pytest

from headrace.cli.serve import count, parting, with_engines
from headrace.config.schema import Config
from tests.cli.program import PATIENCE_S, Program, children, gone
from tests.engines.folders import model

CONFIG = """
server: {port: 0}
backends:
  - {url: "http://127.0.0.1:9", name: gpu, serves: [big, small]}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "headrace.yaml").write_text(CONFIG, encoding="utf-8")
    return tmp_path


@pytest.mark.e2e
class TestProgram:
    """The real program."""

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
    def test_serves_and_stops(self, folder: Path, number: signal.Signals) -> None:
        """It says where it listens, lists the models, and ends with code 0 when asked to."""
        with Program(["serve"], folder) as serve:
            url = serve.read_until(r"listens on (http://\S+) \(2 models, 1 backend\)")
            models = httpx2.get(f"{url}/v1/models", trust_env=False, timeout=30).json()["data"]
            started = children(serve.process.pid)
            serve.signal(number)

            assert [model["id"] for model in models] == ["big", "small"]
            assert started == []
            assert serve.wait() == 0

    def test_a_log_that_nobody_reads(self, tmp_path: Path) -> None:
        """A file that takes no lines does not keep it from ending; it says what is lost."""
        pipe = tmp_path / "log"
        os.mkfifo(pipe)
        reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        os.write(
            filling := os.open(pipe, os.O_WRONLY), bytes(fcntl.fcntl(reader, fcntl.F_GETPIPE_SZ))
        )
        tree = f"{CONFIG}\nlogging: {{file: {pipe}}}\n"
        (tmp_path / "headrace.yaml").write_text(tree, encoding="utf-8")
        with Program(["serve"], tmp_path) as serve:
            serve.read_until(r"listens on (http://\S+)")
            serve.signal(signal.SIGTERM)

            assert serve.wait() == 0
            lost = re.search(r"log takes no lines; up to (\d+) are lost", serve.err.decode())
            assert lost is not None
            assert int(lost[1]) >= 3  # started, draining, stopped
        os.close(reader)
        os.close(filling)

    def test_standard_error_that_nobody_reads(self, folder: Path) -> None:
        """The same of a terminal or a collector that has stopped reading."""
        with Program(["serve"], folder) as serve:
            serve.read_until(r"listens on (http://\S+)")
            assert serve.process.stderr is not None
            theirs = f"/proc/{serve.process.pid}/fd/2"
            stuffed = os.open(theirs, os.O_WRONLY | os.O_NONBLOCK)
            with contextlib.suppress(BlockingIOError):
                while True:
                    os.write(stuffed, bytes(4096))
            os.close(stuffed)
            serve.signal(signal.SIGTERM)

            assert serve.process.wait(PATIENCE_S) == 0

    def test_a_busy_port(self, folder: Path) -> None:
        """One sentence, exit code 2."""
        with socket.socket() as other:
            other.bind(("127.0.0.1", 0))
            other.listen()
            port = other.getsockname()[1]
            with Program(["serve", "--port", str(port)], folder) as serve:
                assert serve.wait() == 2
                assert serve.err.decode().startswith(f"headrace: Port {port} on 127.0.0.1 is in")
                assert serve.err.count(b"\n") == 1

    def test_nothing_to_serve(self, tmp_path: Path) -> None:
        """A gateway without any engine is a mistake, and the sentence says what to do."""
        with Program(["serve"], tmp_path) as serve:
            assert serve.wait() == 2
            assert "headrace up" in serve.err.decode()
            assert serve.err.count(b"\n") == 1


LOOKALIKE = Path(__file__).parents[1] / "engines" / "vllmlike.py"
ENGINES = f"""
server: {{port: 0}}
engines:
  - type: vllm
    model: qwen
    serves: [big]
    vllm: {{command: ["{sys.executable}", "{LOOKALIKE}", serve]}}
"""


@pytest.mark.e2e
class TestEngines:
    """Engines that ``serve`` starts itself; a stand-in for vLLM."""

    def test_starts_and_ends_them(self, tmp_path: Path) -> None:
        """It listens at once, starts them again when they die, and leaves none behind."""
        model(tmp_path / "qwen")
        (tmp_path / "headrace.yaml").write_text(ENGINES, encoding="utf-8")
        with Program(["serve"], tmp_path) as serve:
            serve.read_until(r"1 model, 0 backends, 1 engine to start")
            serve.read_until('"event":"engine_ready"')
            (first,) = children(serve.process.pid)
            os.kill(first, signal.SIGKILL)
            serve.read_until(r'"event":"engine_died".*killed by SIGKILL')
            serve.read_until(r'(?s)"event":"engine_ready".*"event":"engine_ready"')
            (second,) = children(serve.process.pid)
            serve.signal(signal.SIGINT)

            assert serve.wait() == 0
            assert second != first
            assert gone(second)

    def test_a_crash_loop_of_all_ends_it(self, tmp_path: Path) -> None:
        """Nothing could answer any more: the cause in one sentence, exit code 2."""
        model(tmp_path / "qwen")
        (tmp_path / "qwen" / "dies").touch()
        (tmp_path / "headrace.yaml").write_text(ENGINES, encoding="utf-8")
        with Program(["serve"], tmp_path) as serve:
            assert serve.wait() == 2
            told = serve.err.decode().splitlines()[-1]
            assert told == (
                "headrace: big stopped (exit code 1): ValueError: No available memory for the"
                " cache blocks; 5 times in 60 s."
            )

    def test_what_cannot_start_is_told(self, tmp_path: Path) -> None:
        """Before anything is tried: one sentence for each problem, exit code 2."""
        (tmp_path / "headrace.yaml").write_text(ENGINES, encoding="utf-8")
        with Program(["serve"], tmp_path) as serve:
            assert serve.wait() == 2
            assert "headrace: engine big: there is no folder qwen." in serve.err.decode()


def test_parting_tells_what_is_waited_for() -> None:
    """Only running requests delay a stop."""
    assert parting(0, 30) == "stopping"
    assert parting(1, 30) == ("stopping: 1 running request gets up to 30 s; Ctrl-C again to kill")
    assert parting(2, 2.5).startswith("stopping: 2 running requests get up to 2.5 s")


def test_count_knows_the_plural() -> None:
    """``1 model``, ``2 models``, ``0 models``."""
    assert [count(n, "model") for n in (0, 1, 2)] == ["0 models", "1 model", "2 models"]


def test_patience_for_models_at_zero() -> None:
    """As long as the engine may take to start and warm, unless another patience is declared."""
    tree = {
        "models": [{"name": "a"}, {"name": "b", "cold_start_s": 7}, {"name": "c"}],
        "health": {"warm_up_s": 10},
        "engines": [
            {"type": "sim", "model": "a", "min": 0, "start_s": 90},
            {"type": "sim", "model": "b", "min": 0},
            {"type": "sim", "model": "c"},
        ],
    }
    patient = with_engines(Config.model_validate(tree))
    cold = with_engines(Config.model_validate(tree | {"health": {"warm_up": False}}))
    bare = with_engines(Config.model_validate({"engines": tree["engines"]}))

    assert [100, 7, None] == [model.cold_start_s for model in patient.models]
    assert 90 == cold.models[0].cold_start_s
    assert [("a", 210.0), ("b", 720.0), ("c", None)] == [
        (model.name, model.cold_start_s) for model in bare.models
    ]
