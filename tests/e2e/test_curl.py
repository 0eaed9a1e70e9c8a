"""The real curl: what a user types, and what HTTP allows."""

import json
import re
import signal
import subprocess
from pathlib import Path

import pytest

from tests.e2e import rig
from tests.e2e.rig import SECRET, Up
from tests.e2e.test_openai import CHAT, ECHOED

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300), pytest.mark.xdist_group("e2e")]

TALK_S = 30.0  # the answer to the printed command has no limit; whoever is tired of it hits Ctrl-C
WHOLE = json.dumps(CHAT)
STREAMED = json.dumps({**CHAT, "stream": True})


class Answer:
    """What curl printed: heads (an interim 100 has one too), body, and its ``-w``."""

    def __init__(self, printed: bytes) -> None:
        text, _, written = printed.decode().rpartition("\n--\n")
        self.uploaded = int(written)
        *heads, self.body = text.split("\r\n\r\n", text.count("\r\n\r\nHTTP/1.1 ") + 1)
        self.statuses = [int(head.split()[1]) for head in heads]
        fields = [line.split(": ", 1) for line in heads[-1].split("\r\n")[1:]]
        self.headers = dict(fields)

    @property
    def status(self) -> int:
        return self.statuses[-1]

    @property
    def error(self) -> str:
        """The code of the error in its body."""
        return str(json.loads(self.body)["error"]["code"])

    def text(self) -> str:
        """What the model said."""
        if self.headers["content-type"].startswith("application/json"):
            return str(json.loads(self.body)["choices"][0]["message"]["content"])
        return spoken(self.body)


def spoken(stream: str) -> str:
    """What the model said in a stream; it must have ended."""
    *frames, done = re.findall(r"^data: (.*)$", stream, re.MULTILINE)
    assert done == "[DONE]"
    deltas = [json.loads(frame)["choices"][0]["delta"] for frame in frames]
    return "".join(delta.get("content") or "" for delta in deltas)


def curl(up: Up, path: str, *options: str) -> Answer:
    """Run curl with its head shown; it must end well within its time."""
    done = subprocess.run(
        [
            *("curl", "-q", "--silent", "--show-error", "--include", "--max-time", "30"),
            *("--write-out", "\n--\n%{size_upload}", "--header", f"authorization: Bearer {SECRET}"),
            *("--header", "content-type: application/json", *options, up.url + path),
        ],
        capture_output=True,
        env=rig.environment(up.out.parent),
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    return Answer(done.stdout)


def test_the_printed_command(gateway: Up) -> None:
    """The command that ``up`` prints, run by a shell as it is, streams an answer."""
    shell = subprocess.Popen(
        ["sh", "-c", gateway.curl()],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=rig.environment(gateway.out.parent),
        start_new_session=True,
    )
    try:
        printed, _ = shell.communicate(timeout=TALK_S)
    except subprocess.TimeoutExpired:
        shell.send_signal(signal.SIGINT)
        printed, _ = shell.communicate()
        assert b'"delta":{"content":' in printed
    else:
        assert shell.returncode == 0
        assert spoken(printed.decode())


class TestAnswers:
    """The same answer, however it is asked for."""

    def test_whole(self, gateway: Up) -> None:
        """JSON with its length, the request's id, and the replica that answered."""
        answer = curl(gateway, "/v1/chat/completions", "-d", WHOLE)

        assert answer.status == 200
        assert answer.text() == ECHOED
        assert answer.headers["content-type"] == "application/json; charset=utf-8"
        assert int(answer.headers["content-length"]) == len(answer.body.encode())
        assert answer.headers["x-headrace-replica"] == "llamacpp"
        assert re.fullmatch(r"req_[0-9a-f]{24}", answer.headers["x-request-id"])
        assert "connection" not in answer.headers

    def test_streamed(self, gateway: Up) -> None:
        """An event stream that no proxy holds back."""
        answer = curl(gateway, "/v1/chat/completions", "-N", "-d", STREAMED)

        assert answer.status == 200
        assert answer.text() == ECHOED
        assert answer.headers["content-type"] == "text/event-stream"
        assert answer.headers["transfer-encoding"] == "chunked"
        assert answer.headers["x-accel-buffering"] == "no"
        assert answer.headers["x-headrace-replica"] == "llamacpp"
        assert answer.headers["x-request-id"]

    @pytest.mark.parametrize("body", [WHOLE, STREAMED], ids=["whole", "streamed"])
    def test_http_1_0(self, gateway: Up, body: str) -> None:
        """A client that knows no chunks gets none; the end of the connection is the end."""
        answer = curl(gateway, "/v1/chat/completions", "--http1.0", "-N", "-d", body)

        assert answer.text() == ECHOED
        assert "transfer-encoding" not in answer.headers
        assert answer.headers["connection"] == "close"

    def test_chunked_upload(self, gateway: Up) -> None:
        """A body whose length is not told before it comes."""
        answer = curl(
            gateway, "/v1/chat/completions", "-H", "Transfer-Encoding: chunked", "-d", WHOLE
        )

        assert answer.text() == ECHOED

    def test_expect_continue(self, gateway: Up) -> None:
        """A client that asks before it sends is told to go on, and is answered."""
        answer = curl(gateway, "/v1/chat/completions", "-H", "Expect: 100-continue", "-d", WHOLE)

        assert answer.statuses == [100, 200]
        assert answer.text() == ECHOED

    @pytest.mark.parametrize("body", [WHOLE, STREAMED], ids=["whole", "streamed"])
    def test_compressed(self, gateway: Up, body: str) -> None:
        """Asked for gzip, the answer still comes plain: a stream must not wait for a compressor."""
        answer = curl(gateway, "/v1/chat/completions", "--compressed", "-N", "-d", body)

        assert answer.text() == ECHOED
        assert "content-encoding" not in answer.headers

    def test_two_on_one_connection(self, gateway: Up) -> None:
        """The connection is kept for the next request."""
        paths = [gateway.url + path for path in ("/v1/models", "/health")]
        done = subprocess.run(
            ["curl", "-q", "-s", "-w", "\n%{num_connects}\n", *paths],
            capture_output=True,
            text=True,
            env=rig.environment(gateway.out.parent),
            check=True,
        )

        assert done.stdout.splitlines()[1::2] == ["1", "0"]


class TestRefusals:
    """What is not served is told, with the same shape everywhere."""

    def test_head(self, gateway: Up) -> None:
        """HEAD has the head of the GET and no body."""
        get, head = curl(gateway, "/health"), curl(gateway, "/health", "--head")

        assert get.status == head.status == 200
        assert head.body == ""
        assert head.headers["content-length"] == str(len(get.body)) == get.headers["content-length"]

    def test_not_found(self, gateway: Up) -> None:
        """No such endpoint."""
        answer = curl(gateway, "/v1/nothing", "-d", WHOLE)

        assert (answer.status, answer.error) == (404, "not_found")
        assert answer.headers["x-request-id"]

    def test_method(self, gateway: Up) -> None:
        """No such method, and which one there is."""
        answer = curl(gateway, "/v1/chat/completions")

        assert (answer.status, answer.error) == (405, "method_not_allowed")
        assert answer.headers["allow"] == "POST"

    @pytest.mark.parametrize(
        ("options", "sent"),
        [
            (("-H", "Expect: 100-continue"), (0, 0)),
            (("-H", "Expect:"), (0, 40_000_000)),
            (("-H", "Transfer-Encoding: chunked"), (0, 40_100_000)),  # with the chunks' sizes
            (("--http1.0",), (0, 40_000_000)),
        ],
        ids=["asks first", "sends at once", "chunked", "http 1.0"],
    )
    def test_too_large(
        self, gateway: Up, tmp_path: Path, options: tuple[str, ...], sent: tuple[int, int]
    ) -> None:
        """However a big file comes, curl reads the answer and not a broken connection."""
        file = tmp_path / "big"
        with file.open("wb") as sparse:
            sparse.truncate(40_000_000)

        answer = curl(gateway, "/v1/chat/completions", *options, "--data-binary", f"@{file}")

        assert (answer.status, answer.error) == (413, "request_too_large")
        assert answer.headers["connection"] == "close"
        assert sent[0] <= answer.uploaded <= sent[1]
