"""Recordings: what makes two requests the same, what is never written, and which comes closest."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.engines.cassette import (
    MASK,
    Cassette,
    Chunk,
    Question,
    closest,
    differences,
    load,
    question,
    save,
)
from headrace.errors import StartError

CHAT = {"model": "m", "messages": [{"role": "user", "content": "Say hi"}], "temperature": 0}


def ask(body: Any, path: str = "/v1/chat/completions") -> Question:
    return question("POST", path, "application/json", json.dumps(body).encode())


def tape(asked: Question, *chunks: Chunk, file: str = "") -> Cassette:
    return Cassette(asked, ("ours",), 200, "text/event-stream", chunks, file)


class TestSame:
    """Which requests get the same answer."""

    @pytest.mark.parametrize(
        "body",
        [
            dict(reversed(CHAT.items())),
            {**CHAT, "temperature": 0.0},
            {**CHAT, "user": "u-1", "metadata": {"run": 7}, "prompt_cache_key": "k"},
            {**CHAT, "stream": False, "tools": None},
        ],
    )
    def test_it_is_the_same(self, body: dict[str, Any]) -> None:
        """The order of keys, the spelling of a number, and who asks make no difference."""
        assert ask(body).key == ask(CHAT).key

    @pytest.mark.parametrize(
        "body",
        [
            {**CHAT, "stream": True},
            {**CHAT, "temperature": 0.5},
            {**CHAT, "model": "n"},
            {**CHAT, "messages": [*CHAT["messages"], {"role": "user", "user": "in a message"}]},  # type: ignore[misc]
        ],
    )
    def test_it_is_another(self, body: dict[str, Any]) -> None:
        """What the answer may depend on does."""
        assert ask(body).key != ask(CHAT).key

    def test_the_path_counts(self) -> None:
        """With its query."""
        assert len({ask(CHAT, path).key for path in ("/v1/a", "/v1/b", "/v1/a?x=1")}) == 3

    def test_forms_are_the_same_but_for_their_boundary(self) -> None:
        """Clients choose a new boundary each time."""
        forms = [
            question(
                "POST",
                "/v1/audio",
                f'multipart/form-data; boundary="{mark}"',
                f"--{mark}\r\n\r\n\xff\r\n--{mark}--".encode("latin-1"),
            )
            for mark in ("one", "another")
        ]

        assert forms[0].key == forms[1].key
        assert question("GET", "/v1/x", "", b"").body is None


def test_secrets_are_masked() -> None:
    """At any depth, by the name of their key; numbers and other names stay."""
    tool = {"type": "mcp", "authorization": "t1", "headers": {"X-Api-Key": "t2"}}
    body = ask({"model": "m", "tools": [tool], "api_key": "t3", "max_tokens": 5, "secret": 1}).body

    assert body == {
        "api_key": MASK,
        "max_tokens": 5,
        "model": "m",
        "secret": 1,
        "tools": [{"authorization": MASK, "headers": {"X-Api-Key": MASK}, "type": "mcp"}],
    }


class TestFiles:
    """From memory to disk and back."""

    @given(
        st.lists(st.binary()),
        st.dictionaries(st.text(), st.text() | st.integers() | st.none() | st.lists(st.text())),
    )
    def test_nothing_is_lost(
        self, tmp_path_factory: pytest.TempPathFactory, data: list[bytes], body: dict[str, Any]
    ) -> None:
        """Whatever bytes an engine sends and whatever text a client writes."""
        folder = tmp_path_factory.mktemp("tape")
        written = tape(ask(body), *(Chunk(1.5, part) for part in data))

        path = save(folder, written)

        assert load(folder) == [
            Cassette(
                written.question, ("ours",), 200, "text/event-stream", written.chunks, path.name
            )
        ]

    def test_can_be_read_by_people(self, tmp_path: Path) -> None:
        """A stream's events stand in the file as they were sent, each on its line."""
        path = save(
            tmp_path, tape(ask(CHAT), Chunk(0, 'data: {"é": 1}\n\ndata: [DONE]\n\n'.encode()))
        )

        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
        assert path.name.startswith("chat-completions-")
        assert 'data: {"é": 1}' in lines
        assert "content: Say hi" in lines[0:99] or "- content: Say hi" in lines

    def test_a_second_answer_replaces_the_first(self, tmp_path: Path) -> None:
        """One file for one question."""
        for text in (b"one", b"two"):
            save(tmp_path, tape(ask(CHAT), Chunk(0, text)))

        assert [tape.chunks[0].data for tape in load(tmp_path)] == [b"two"]

    @pytest.mark.parametrize(
        ("content", "told"),
        [
            (None, "holds no recordings"),
            ("a: [", "is not a recording"),
            ("[]", "is not a recording"),
            ("version: 1\nrequest: {}\n", "is not a recording"),
            ("version: 9\n", "has the version 9, not 1"),
        ],
    )
    def test_a_file_that_is_none(self, tmp_path: Path, content: str | None, told: str) -> None:
        """The sentence names the file."""
        if content is not None:
            (tmp_path / "x.yaml").write_text(content, encoding="utf-8")

        with pytest.raises(StartError, match=told):
            load(tmp_path)

    def test_no_folder(self, tmp_path: Path) -> None:
        """It says how to make one."""
        with pytest.raises(StartError, match="--record"):
            load(tmp_path / "no")


class TestMiss:
    """What is said when nothing matches."""

    def test_the_closest_is_named(self) -> None:
        """Fewer different settings are closer, and so is a text with more in common."""
        hello = {**CHAT, "messages": [{"role": "user", "content": "Say hello"}]}
        bye = {**CHAT, "messages": [{"role": "user", "content": "What's up?"}], "seed": 1}
        recorded = [tape(ask(bye), file="bye"), tape(ask(hello), file="hello")]

        found = closest(ask(CHAT), recorded)

        assert found is not None
        assert (found[0].file, found[1]) == (
            "hello",
            ['messages[0].content ("Say hello" recorded, "Say hi" asked)'],
        )

    def test_every_kind_of_difference(self) -> None:
        """Settings that are only here, only there, and the path; long values are cut."""
        asked = ask({"model": "m", "stop": [], "prompt": "x" * 100})
        recorded = ask({"model": "m", "seed": 1, "prompt": "y"}, "/v1/completions")

        assert [*differences(asked, recorded)] == [
            "path (/v1/completions recorded, /v1/chat/completions asked)",
            f'prompt ("y" recorded, "{"x" * 59}… asked)',
            "seed (1 recorded, none asked)",
            "stop (none recorded, [] asked)",
        ]

    def test_nothing_recorded(self) -> None:
        """Then there is no closest."""
        assert closest(ask(CHAT), []) is None
