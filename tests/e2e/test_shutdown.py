"""
``headrace up`` in a terminal, from the first line to the last process.

What signals do without a terminal, and what cannot start, is in tests/cli/test_up.py.
"""

import os
import re
import select
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx2
import pytest

from headrace.engines import llamacpp
from tests.e2e import rig
from tests.e2e.rig import CURL, MODEL

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
CTRL_C = b"\x03"


class Terminal:
    """A terminal in which ``headrace up`` runs, and somebody who reads and types."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self._keyboard, screen = os.openpty()
        self._shown = b""
        self.process = subprocess.Popen(
            ["setsid", "--ctty", *rig.program(), "up", "--port", "0", *arguments],
            stdin=screen,
            stdout=screen,
            stderr=screen,
            cwd=folder,
            env=rig.environment(folder) | {"TERM": "xterm-256color"},
        )
        os.close(screen)

    def text(self) -> str:
        """What was shown so far, without colours."""
        return ESCAPES.sub("", self._shown.decode(errors="replace")).replace("\r\n", "\n")

    def read_until(self, pattern: str) -> str:
        """Read until the pattern is there; returns the first group or the match."""
        deadline = time.monotonic() + rig.START_S
        while not (match := re.search(pattern, self.text())):
            assert time.monotonic() < deadline, self.text()
            assert self._read(deadline - time.monotonic()), self.text()
        return match[match.re.groups and 1]

    def type(self, keys: bytes) -> None:
        os.write(self._keyboard, keys)

    def wait(self) -> int:
        """Its exit code; the rest of what it shows is read."""
        deadline = time.monotonic() + rig.STOP_S
        while self._read(deadline - time.monotonic()):
            assert time.monotonic() < deadline, self.text()
        return self.process.wait(rig.STOP_S)

    def close(self) -> None:
        """Close the window: who runs in it gets SIGHUP."""
        if self._keyboard >= 0:
            os.close(self._keyboard)
            self._keyboard = -1

    def _read(self, timeout_s: float) -> bool:
        """Whether somebody still has the screen."""
        if not select.select([self._keyboard], [], [], max(0.0, timeout_s))[0]:
            return True
        try:
            chunk = os.read(self._keyboard, 65_536)
        except OSError:  # EIO: the last process has gone
            return False
        self._shown += chunk
        return bool(chunk)


@contextmanager
def terminal(folder: Path, *arguments: str) -> Iterator[Terminal]:
    """Whatever happens, nothing of it is left."""
    shown = Terminal(folder, *arguments)
    try:
        yield shown
    finally:
        if shown.process.poll() is None:
            shown.process.kill()
            shown.process.wait()
        shown.close()


class Talk:
    """A request whose answer is read in a thread, as another program would."""

    def __init__(self, url: str, tokens: int) -> None:
        self._body = {
            "model": MODEL,
            "prompt": "Once",
            "max_tokens": tokens,
            "ignore_eos": True,
            "stream": True,
        }
        self._url = url
        self.began = threading.Event()
        self.received = ""
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def join(self) -> str:
        """All that came."""
        self._thread.join(rig.STOP_S)
        assert not self._thread.is_alive()
        return self.received

    def _run(self) -> None:
        try:
            with httpx2.stream(
                "POST", f"{self._url}/v1/completions", json=self._body, timeout=40, trust_env=False
            ) as answer:
                for text in answer.iter_text():
                    self.received += text
                    self.began.set()
        except httpx2.TransportError as error:
            self.received += repr(error)


def test_in_a_terminal(tmp_path: Path) -> None:
    """URL, model and a curl that works when it is pasted; Ctrl-C ends all of it with code 0."""
    with terminal(tmp_path) as shown:
        shown.read_until("ready in")
        url = shown.read_until(r"url +(http://\S+)")
        command = shown.read_until(CURL.pattern.replace(".*?", r"[\s\S]*?"))
        limited = command.replace('"stream":true', '"stream":true,"max_tokens":4')
        pasted = subprocess.run(
            ["sh", "-c", limited],
            capture_output=True,
            env=rig.environment(tmp_path),
            timeout=30,
            check=True,
        )
        shown.type(CTRL_C)

        assert shown.wait() == 0
        rig.nothing_lives_in(tmp_path)
        assert f"model    {MODEL}" in shown.text()
        assert limited != command
        assert b"data: [DONE]" in pasted.stdout
        assert "stopping\n" in shown.text()
        assert "Traceback" not in shown.text()
        with pytest.raises(httpx2.ConnectError):
            httpx2.get(f"{url}/health", trust_env=False, timeout=30)


def test_ctrl_c_lets_an_answer_finish(tmp_path: Path) -> None:
    """The terminal's Ctrl-C goes to all that runs in it; a running answer still gets its end."""
    with terminal(tmp_path) as shown:
        url = shown.read_until(r"url +(http://\S+)")
        shown.read_until("ready in")
        talk = Talk(url, tokens=120)
        assert talk.began.wait(rig.START_S)
        shown.type(CTRL_C)
        shown.read_until("stopping: 1 running request gets up to 30 s; Ctrl-C again to kill")

        assert talk.join().endswith("data: [DONE]\n\n")
        assert shown.wait() == 0
        assert "Traceback" not in shown.text()


def test_a_second_ctrl_c(tmp_path: Path) -> None:
    """It ends everything at once, running answers too, with code 130 and no traceback."""
    with terminal(tmp_path) as shown:
        url = shown.read_until(r"url +(http://\S+)")
        shown.read_until("ready in")
        talk = Talk(url, tokens=8000)
        assert talk.began.wait(rig.START_S)
        shown.type(CTRL_C)
        shown.read_until("Ctrl-C again to kill")
        shown.type(CTRL_C)

        assert shown.wait() == 130
        rig.nothing_lives_in(tmp_path)
        assert "[DONE]" not in talk.join()
        assert "Traceback" not in shown.text()


@pytest.mark.parametrize("when", ["loading the model", "ready in"])
def test_a_closed_window(tmp_path: Path, when: str) -> None:
    """Closing the terminal ends the program and its engine, while it loads and afterwards."""
    with terminal(tmp_path) as shown:
        shown.read_until(when)
        shown.close()

        shown.process.wait(rig.STOP_S)
        rig.nothing_lives_in(tmp_path)


def test_again_on_the_same_port(tmp_path: Path) -> None:
    """A port is free for the next start at once, though a client had a connection to it."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    for number in (signal.SIGTERM, signal.SIGINT):
        with (
            rig.started(tmp_path, "--port", port, end=number) as up,
            httpx2.Client(trust_env=False, timeout=30) as client,
        ):
            assert client.get(f"{up.url}/health").status_code == 200


def test_a_model_of_ones_own(tmp_path: Path) -> None:
    """``--model`` serves a file under its name; the curl, the chat and the engine all use it."""
    (tmp_path / "my-model.Q4_1.gguf").symlink_to(llamacpp.weights(None).path)
    with rig.started(tmp_path, "--port", "0", "--model", "my-model.Q4_1.gguf") as up:
        body = {"model": "my-model", "prompt": "1, 2, 3, 4,", "max_tokens": 2, "temperature": 0}
        url = f"{up.url}/v1/completions"
        answer = httpx2.post(url, json=body, timeout=30, trust_env=False)
        other = httpx2.post(url, json={**body, "model": MODEL}, timeout=30, trust_env=False)
        chat = subprocess.run(
            [*rig.program(), "chat", "--max-tokens", "4"],
            input=b"hi\n",
            capture_output=True,
            env=rig.environment(tmp_path) | {"HEADRACE_URL": up.url},
            timeout=60,
            check=False,
        )

        assert answer.json()["model"] == "my-model"
        assert answer.json()["choices"][0]["text"] == " 5"
        assert other.status_code == 404
        assert chat.returncode == 0, chat.stderr
        assert chat.stdout.strip()
        assert '"model":"my-model"' in up.curl()


def test_output_that_nobody_reads(tmp_path: Path) -> None:
    """``headrace up | head -1``: when the reader has gone, nothing is left running."""
    done = subprocess.run(
        ["sh", "-c", f"{' '.join(rig.program())} up --port 0 2>err.txt | head -1"],
        cwd=tmp_path,
        env=rig.environment(tmp_path),
        timeout=rig.START_S,
        check=False,
    )

    assert done.returncode == 0
    assert "Traceback" not in (tmp_path / "err.txt").read_text()
    rig.nothing_lives_in(tmp_path)
