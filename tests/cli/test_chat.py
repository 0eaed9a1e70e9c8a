"""``headrace chat``: piped and in a terminal, against a scripted gateway and the real one."""

import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from prompt_toolkit.application import create_app_session
from prompt_toolkit.history import FileHistory, InMemoryHistory
from prompt_toolkit.input import PipeInput, create_pipe_input
from prompt_toolkit.output import DummyOutput

from headrace.cli.chat import Terminal, _history
from headrace.cli.conversation import Answer, ChatError, Conversation, Target
from headrace.errors import StartError
from tests.cli.program import Program

DONE = "data: [DONE]\n\n"
USAGE = {"prompt_tokens": 3, "completion_tokens": 7, "total_tokens": 10}


def delta(**fields: str) -> str:
    return event({"choices": [{"index": 0, "delta": fields, "finish_reason": None}]})


def event(body: object) -> str:
    return f"data: {json.dumps(body)}\n\n"


def error(message: str) -> dict[str, object]:
    return {"error": {"message": message, "type": "x", "param": None, "code": None}}


HELLO = (
    ": a comment\n\n",
    delta(role="assistant"),
    delta(content="Hel"),
    delta(content="lo"),
    event({"choices": [], "usage": USAGE}),
    DONE,
)


class Gateway:
    """Answers every chat with ``chunks``, or with ``status`` and ``body`` if they are set."""

    def __init__(self) -> None:
        self.chunks: tuple[str, ...] = HELLO
        self.status = 200
        self.body: object = None
        self.models = ["first", "second"]
        self.seen: list[dict[str, object]] = []
        self.keys: list[str | None] = []
        gateway = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.reply(200, {"object": "list", "data": [{"id": m} for m in gateway.models]})

            def do_POST(self) -> None:
                length = int(self.headers["content-length"])
                gateway.seen.append(json.loads(self.rfile.read(length)))
                gateway.keys.append(self.headers["authorization"])
                if gateway.status != 200:
                    self.reply(gateway.status, gateway.body)
                    return
                self.send_response(200)
                self.send_header("content-type", "text/event-stream; charset=utf-8")
                self.end_headers()
                for chunk in gateway.chunks:
                    self.wfile.write(chunk.encode())

            def reply(self, status: int, body: object) -> None:
                data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Say nothing."""

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    gateway = Gateway()
    yield gateway
    gateway.close()


@pytest.fixture
def conversation(gateway: Gateway) -> Iterator[Conversation]:
    with Conversation(Target(gateway.url, "first"), None, None) as conversation:
        yield conversation


def headrace_chat(
    folder: Path, *arguments: str, text: str = "hi\n", **env: str
) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of ``echo hi | headrace chat``."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("HEADRACE_")}
    result = subprocess.run(
        [sys.executable, "-m", "headrace", "chat", *arguments],
        input=text,
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env=clean | {"HOME": str(folder)} | env,
    )
    return result.returncode, result.stdout, result.stderr


@pytest.mark.e2e
class TestPiped:
    """``echo hi | headrace chat``."""

    def test_answers_once(self, gateway: Gateway, tmp_path: Path) -> None:
        """The answer alone is on standard output, its timing on standard error."""
        code, out, err = headrace_chat(tmp_path, "--url", gateway.url)

        assert (code, out) == (0, "Hello\n")
        assert err.startswith("TTFT ")
        assert "· 7 tokens ·" in err
        assert gateway.seen == [
            {
                "model": "first",
                "messages": [{"role": "user", "content": "hi"}],
                "stream": True,
                "stream_options": {"include_usage": True},
            }
        ]

    def test_options_reach_the_gateway(self, gateway: Gateway, tmp_path: Path) -> None:
        """Model, system prompt, temperature, length and key; the URL may end in /v1."""
        options = "--model second --system Short. --temperature 0.5 --max-tokens 9 --api-key k"

        code, _, _ = headrace_chat(tmp_path, "--url", f"{gateway.url}/v1/", *options.split())

        assert code == 0
        assert gateway.keys == ["Bearer k"]
        (body,) = gateway.seen
        assert body["messages"] == [
            {"role": "system", "content": "Short."},
            {"role": "user", "content": "hi"},
        ]
        found = (body["model"], body["temperature"], body["max_tokens"])
        assert found == ("second", 0.5, 9)

    def test_url_and_key_from_the_environment(self, gateway: Gateway, tmp_path: Path) -> None:
        """HEADRACE_URL and HEADRACE_API_KEY are enough; a proxy is not used on this machine."""
        code, out, _ = headrace_chat(
            tmp_path,
            HEADRACE_URL=gateway.url,
            HEADRACE_API_KEY="secret",
            HTTP_PROXY="http://127.0.0.1:9",
        )

        assert (code, out) == (0, "Hello\n")
        assert gateway.keys == ["Bearer secret"]

    def test_nothing_answers(self, tmp_path: Path) -> None:
        """No gateway: one sentence with what to do, exit code 2."""
        code, out, err = headrace_chat(tmp_path, "--url", "http://127.0.0.1:9")

        assert (code, out) == (2, "")
        assert err == (
            "headrace: Nothing answers at http://127.0.0.1:9; start a gateway with"
            " `headrace up`, or give its --url.\n"
        )

    def test_a_refusal(self, gateway: Gateway, tmp_path: Path) -> None:
        """The gateway's own sentence, exit code 1."""
        gateway.status, gateway.body = 404, error("There is no model nope.")

        code, out, err = headrace_chat(tmp_path, "--url", gateway.url, "--model", "nope")

        assert (code, out, err) == (1, "", "headrace: There is no model nope.\n")

    def test_an_answer_that_breaks_off(self, gateway: Gateway, tmp_path: Path) -> None:
        """What came is printed; the error frame is one sentence; exit code 1."""
        gateway.chunks = (delta(content="Hel"), event(error("The replica went away.")))

        result = headrace_chat(tmp_path, "--url", gateway.url)

        assert result == (1, "Hel\n", "headrace: The replica went away.\n")

    def test_no_input(self, gateway: Gateway, tmp_path: Path) -> None:
        """Nothing to ask is an error, not an empty question."""
        code, _, err = headrace_chat(tmp_path, "--url", gateway.url, text=" \n")

        assert code == 1
        assert err == "headrace: Standard input is empty; there is nothing to ask.\n"
        assert gateway.seen == []

    def test_no_model(self, gateway: Gateway, tmp_path: Path) -> None:
        """A gateway without models is told."""
        gateway.models = []

        result = headrace_chat(tmp_path, "--url", gateway.url)

        assert result == (1, "", "headrace: The gateway serves no model.\n")


class TestConversation:
    """What is sent, what is remembered, what goes wrong."""

    def test_remembers(self, conversation: Conversation, gateway: Gateway) -> None:
        """Each message goes with those before it, until reset."""
        for text in ("one", "two"):
            assert "".join(conversation.say(text, Answer())) == "Hello"
        conversation.reset()
        assert "".join(conversation.say("three", Answer())) == "Hello"

        def said(body: dict[str, object]) -> list[str]:
            messages = body["messages"]
            assert isinstance(messages, list)
            return [message["content"] for message in messages]

        assert [said(body) for body in gateway.seen] == [
            ["one"],
            ["one", "Hello", "two"],
            ["three"],
        ]

    def test_a_stopped_answer_is_remembered(
        self, conversation: Conversation, gateway: Gateway
    ) -> None:
        """The model is told what it had said when it was stopped."""
        parts = conversation.say("one", Answer())
        next(parts)
        parts.close()
        list(conversation.say("two", Answer()))

        assert gateway.seen[-1]["messages"] == [
            {"role": "user", "content": "one"},
            {"role": "assistant", "content": "Hel"},
            {"role": "user", "content": "two"},
        ]

    def test_a_refused_message_is_forgotten(
        self, conversation: Conversation, gateway: Gateway
    ) -> None:
        """Saying it again does not say it twice."""
        gateway.status, gateway.body = 503, error("Try later.")
        with pytest.raises(ChatError, match=r"^Try later\.$"):
            list(conversation.say("one", Answer()))
        gateway.status = 200
        list(conversation.say("one", Answer()))

        assert gateway.seen[-1]["messages"] == [{"role": "user", "content": "one"}]

    @pytest.mark.parametrize("body", ["<html>", [], {"error": {}}, {"error": None}])
    def test_an_error_without_a_sentence(
        self, conversation: Conversation, gateway: Gateway, body: object
    ) -> None:
        """Whatever a proxy answers, it is one sentence."""
        gateway.status, gateway.body = 502, body

        with pytest.raises(ChatError, match=r"^The gateway answered with status 502\.$"):
            list(conversation.say("one", Answer()))

    @pytest.mark.parametrize(
        ("chunks", "sentence"),
        [
            ((delta(content="a"),), "The answer broke off before its end."),
            (("data: {nonsense\n\n",), "The answer is not what the OpenAI API sends."),
        ],
    )
    def test_an_answer_that_is_not_one(
        self,
        conversation: Conversation,
        gateway: Gateway,
        chunks: tuple[str, ...],
        sentence: str,
    ) -> None:
        """A stream without its end, or without JSON, is an error."""
        gateway.chunks = chunks

        with pytest.raises(ChatError) as caught:
            list(conversation.say("one", Answer()))

        assert str(caught.value) == sentence

    def test_something_else_at_the_url(self, gateway: Gateway) -> None:
        """A server that is no gateway, and an address that is none."""
        gateway.models = [{"no": "id"}]  # type: ignore[list-item]
        with Conversation(Target(gateway.url, ""), None, None) as conversation:
            assert conversation.models() == ["{'no': 'id'}"]
        with (
            Conversation(Target("nonsense", ""), None, None) as conversation,
            pytest.raises(StartError, match="Nothing answers at nonsense"),
        ):
            conversation.models()


class TestStats:
    """``TTFT 123 ms · 45 tokens · 31.2 tokens/s``."""

    def test_the_rate_is_that_of_the_stream(self) -> None:
        """The wait for the first token does not count as generation."""
        answer = Answer(parts=3, reported=5, started_at=10.0, first_at=10.25, last_at=12.25)

        assert answer.stats() == "TTFT 250 ms · 5 tokens · 2.0 tokens/s"

    def test_without_usage_the_parts_count(self) -> None:
        """An engine that reports nothing still gets a line."""
        answer = Answer(parts=1, started_at=1.0, first_at=1.5, last_at=1.5)

        assert answer.stats() == "TTFT 500 ms · 1 token"

    def test_nothing_came(self) -> None:
        """No token, no numbers."""
        assert Answer().stats() == "no tokens"


@pytest.fixture
def keyboard() -> Iterator[PipeInput]:
    """What the user types: Enter is CR, Alt-Enter ESC CR, Ctrl-C 03, Ctrl-D 04."""
    with create_pipe_input() as keys, create_app_session(input=keys, output=DummyOutput()):
        yield keys


class TestTerminal:
    """The prompt and its commands."""

    def talk(self, keyboard: PipeInput, conversation: Conversation, typed: str) -> None:
        keyboard.send_text(typed)
        Terminal(conversation, InMemoryHistory()).talk()

    def test_a_conversation(
        self,
        keyboard: PipeInput,
        conversation: Conversation,
        gateway: Gateway,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        """Answers are streamed, with a line of timing below; Alt-Enter starts a new line."""
        self.talk(keyboard, conversation, "one\x1b\rtwo\r\x04")

        out = capsys.readouterr().out
        assert "first at http://" in out
        assert "\nHello\nTTFT " in out
        assert gateway.seen[0]["messages"] == [{"role": "user", "content": "one\ntwo"}]

    def test_commands(
        self,
        keyboard: PipeInput,
        conversation: Conversation,
        gateway: Gateway,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        """/help, /model, /system, /reset and /exit do what /help says."""
        typed = "/help\r/model\r/model second\r/system Be brief.\rhi\r/reset\r/system\rho\r/exit\r"

        self.talk(keyboard, conversation, typed)

        out = capsys.readouterr().out
        for expected in (
            "forget the conversation",
            "  first\n  second\n",
            "Now talking to second.",
            "The system prompt is set.",
            "The conversation starts anew.",
            "There is no system prompt.",
        ):
            assert expected in out
        assert [body["messages"] for body in gateway.seen] == [
            [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}],
            [{"role": "user", "content": "ho"}],
        ]
        assert {body["model"] for body in gateway.seen} == {"second"}

    def test_mistakes_end_nothing(
        self,
        keyboard: PipeInput,
        conversation: Conversation,
        gateway: Gateway,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        """An unknown command or model, a refusal, Ctrl-C at the prompt: the chat goes on."""
        gateway.status, gateway.body = 503, error("Try later.")

        self.talk(keyboard, conversation, "/nope\r/model nope\rhi\roops\x03\r/quit\r")

        out = capsys.readouterr().out
        assert "There is no command /nope" in out
        assert "There is no model nope" in out
        assert "Try later." in out
        assert len(gateway.seen) == 1

    def test_a_path_is_not_a_command(
        self, keyboard: PipeInput, conversation: Conversation, gateway: Gateway
    ) -> None:
        """Only a word after the slash is a command; anything else is said."""
        self.talk(keyboard, conversation, "/etc/passwd is what?\r\x04")

        assert len(gateway.seen) == 1

    def test_ctrl_c_stops_the_answer_only(
        self,
        keyboard: PipeInput,
        gateway: Gateway,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        """The answer ends where it is, the line says so, and the next message is answered."""

        class Interrupted(Conversation):
            def _stream(self, answer: Answer) -> Iterator[str]:
                answer.arrived()
                yield "Once upon"
                if not gateway.seen:
                    gateway.seen.append({})
                    raise KeyboardInterrupt

        with Interrupted(Target(gateway.url, "first"), None, None) as conversation:
            self.talk(keyboard, conversation, "one\rtwo\r\x04")

        lines = capsys.readouterr().out.splitlines()
        assert lines.count("Once upon") == 2
        assert [line.endswith("· stopped") for line in lines if "TTFT" in line] == [True, False]

    def test_an_answer_cannot_move_the_cursor(
        self,
        keyboard: PipeInput,
        conversation: Conversation,
        gateway: Gateway,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        """Control characters of a model do not reach the terminal; lines and tabs do."""
        gateway.chunks = (delta(content="a\x1b[2Jb\x07\tc\nd"), DONE)

        self.talk(keyboard, conversation, "hi\r\x04")

        assert "a[2Jb\tc\nd\n" in capsys.readouterr().out

    def test_thinking_counts_but_is_not_shown(
        self, conversation: Conversation, gateway: Gateway
    ) -> None:
        """A reasoning model's first token is its first thought."""
        gateway.chunks = (delta(reasoning_content="hm"), delta(content="yes"), DONE)
        answer = Answer()

        assert list(conversation.say("hi", answer)) == ["yes"]
        assert answer.parts == 2

    def test_history_is_kept_where_it_can_be(self, tmp_path: Path) -> None:
        """It lies in the state folder, for its owner only; a read-only home is no obstacle."""
        kept = _history(tmp_path)
        (tmp_path / "file").touch()

        assert isinstance(kept, FileHistory)
        assert (tmp_path / "headrace" / "history").stat().st_mode & 0o777 == 0o600
        assert isinstance(_history(tmp_path / "file"), InMemoryHistory)


@pytest.mark.e2e
@pytest.mark.timeout(300)
def test_talks_to_the_real_thing(tmp_path: Path) -> None:
    """``echo hi | headrace chat`` gets tokens of a model from ``headrace up``, at once."""
    with Program(["up", "--port", "0"], tmp_path) as up:
        url = up.read_until(r"url +(http://\S+)")

        code, out, err = headrace_chat(tmp_path, "--url", url, "--max-tokens", "5")

    assert code == 0
    assert out.strip()
    assert "· 5 tokens ·" in err
