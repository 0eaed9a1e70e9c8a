"""What may be said about an engine that Headrace starts, and the names that follow from it."""

from pathlib import Path
from typing import Any

import pytest

from headrace.config.backends import Backend
from headrace.config.engines import LocalEngine
from headrace.config.load import load
from headrace.errors import ConfigError


def engine(**values: Any) -> LocalEngine:
    return LocalEngine.model_validate({"type": "vllm", "model": "/models/qwen3-8b", **values})


def refusal(tmp_path: Path, text: str) -> str:
    path = tmp_path / "headrace.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as refused:
        load(path, {})
    return str(refused.value).removeprefix(f"{path}:")


@pytest.mark.parametrize(
    ("kind", "model", "name"),
    [
        ("vllm", "/models/qwen3-8b/", "qwen3-8b"),
        ("vllm", "s3://weights/qwen3-8b", "qwen3-8b"),
        ("vllm", "Qwen/Qwen3-8B", "Qwen/Qwen3-8B"),
        ("llamacpp", "models/gemma.gguf", "gemma"),
        ("llamacpp", None, "SmolLM2-135M-Instruct"),
        ("sim", "big", "big"),
    ],
)
def test_a_model_has_a_name(kind: str, model: str | None, name: str) -> None:
    """Where no name is given it is the folder's, the file's or the hub's."""
    assert engine(type=kind, model=model).names == (name,)


def test_replicas_have_names_of_their_own() -> None:
    """One replica has the engine's name; several have a number, too."""
    assert engine(name="a").replica_names == ("a",)
    assert engine(model="Qwen/Qwen3-8B").replica_names == ("Qwen3-8B",)
    assert engine(serves=["q"], replicas=2).replica_names == ("q-0", "q-1")


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ("{type: sim}", "needs a `model`"),
        ("{type: sim, model: m, vllm: {dtype: auto}}", "does not read"),
        ("{type: vllm, model: m, vllm: {max_len: 1}}", "did you mean `max_model_len`?"),
        ("{type: vllm, model: m, vllm: {tool_call_parser: h}}", "enable_auto_tool_choice"),
        ("{type: vllm, model: m, vllm: {gpu_memory_utilization: 90}}", "at most 1"),
        ("{type: sim, model: m, replicas: 2, min: 3}", "more than `replicas` 2"),
        ("{type: sim, model: m, min: -1}", "at least 0"),
        ("{type: sim, model: m, sim: {sleep_level: 3}}", "at most 2"),
        ("{type: tgi, model: m}", "must be 'vllm', 'llamacpp' or 'sim'"),
    ],
)
def test_mistakes_are_told_with_their_place(tmp_path: Path, entry: str, told: str) -> None:
    """The sentence names the line of the file and what would be right."""
    sentence = refusal(tmp_path, f"engines:\n  - {entry}\n")

    assert sentence.startswith("2:engines[0]")
    assert told in sentence


def test_two_engines_need_two_names(tmp_path: Path) -> None:
    """A replica's name is its place in logs and metrics, so it may be taken once only."""
    text = "engines:\n  - {type: sim, model: m}\n  - {type: sim, model: m}\n"

    assert "another engine is named 'm'; give this one a `name`" in refusal(tmp_path, text)


def test_an_engine_serves_a_declared_model(tmp_path: Path) -> None:
    """A declared catalogue is complete."""
    text = "models: [{name: a}]\nengines:\n  - {type: sim, model: b}\n"

    assert "'b' is not declared in `models`" in refusal(tmp_path, text)


def test_variables_of_an_engine_are_secrets() -> None:
    """What is given to vLLM's environment is often a token; it is never shown."""
    assert "hf_123" not in repr(engine(vllm={"env": {"HF_TOKEN": "hf_123"}}))


class TestKeyFile:
    """``backends[].api_key_file``: a key that stands in a file."""

    def backend(self, **values: Any) -> Backend:
        return Backend.model_validate({"url": "http://a:1", "serves": ["m"], **values})

    def test_is_read_when_it_is_needed(self, tmp_path: Path) -> None:
        """A key that was replaced is used by the next who asks; the line's end is no part of it."""
        path = tmp_path / "key"
        backend = self.backend(api_key_file=path)
        path.write_text("one\n", encoding="utf-8")
        first = backend.key()
        path.write_text("two\n", encoding="utf-8")

        assert [first, backend.key()] == ["one", "two"]
        assert self.backend().key() == ""
        assert self.backend(api_key="k").key() == "k"

    @pytest.mark.parametrize("content", ["", "two words", "two\nlines", "schlüssel", None])
    def test_a_wrong_file_is_told(self, tmp_path: Path, content: str | None) -> None:
        """The sentence names backend and file, and shows nothing of what the file holds."""
        path = tmp_path / "key"
        if content is not None:
            path.write_text(content, encoding="utf-8")

        with pytest.raises(ConfigError, match=r"Backend a:1: `api_key_file`") as refused:
            self.backend(api_key_file=path).key()
        assert not content or content not in str(refused.value)

    def test_two_keys_are_one_too_many(self, tmp_path: Path) -> None:
        """Which of them counts would be a guess."""
        text = "backends:\n  - {url: 'http://a', serves: [m], api_key: k, api_key_file: f}\n"

        assert "keep one of them" in refusal(tmp_path, text)


def test_all_run_unless_it_is_said_otherwise() -> None:
    """By default nothing comes or goes; ``min`` says how many stay."""
    usual, zero = engine(replicas=2), engine(replicas=2, min=0)

    assert (2, False) == (usual.least, usual.elastic)
    assert (0, True) == (zero.least, zero.elastic)
    assert not engine(replicas=2, min=2).elastic


@pytest.mark.parametrize(
    ("values", "slots"),
    [
        ({}, 64),
        ({"vllm": {"max_num_seqs": 9}}, 9),
        ({"vllm": {"max_num_seqs": 9}, "full_at": 3}, 3),
        ({"type": "llamacpp", "llamacpp": {"slots": 2}}, 2),
        ({"type": "sim"}, 64),
    ],
)
def test_when_a_replica_is_full(values: dict[str, Any], slots: int) -> None:
    """As it is said, else as many as the engine runs at once, else a guess."""
    assert slots == engine(**values).slots


@pytest.mark.parametrize(
    ("values", "level"),
    [
        ({"min": 0}, 0),
        ({"min": 0, "vllm": {"enable_sleep_mode": True}}, 1),
        ({"min": 0, "vllm": {"enable_sleep_mode": True, "sleep_level": 2}}, 2),
        ({"vllm": {"enable_sleep_mode": True}}, 0),
        ({"type": "sim", "min": 0, "sim": {"enable_sleep_mode": True}}, 1),
        ({"type": "llamacpp", "min": 0}, 0),
    ],
)
def test_how_deep_it_sleeps(values: dict[str, Any], level: int) -> None:
    """Only an engine that can, and only where it may rest at all."""
    assert level == engine(**values).sleep_level


def test_what_a_replica_serves() -> None:
    """The model by its first name, and each adapter."""
    assert ("q", "l") == engine(serves=["q", "x"], vllm={"lora_modules": {"l": "/l"}}).models
