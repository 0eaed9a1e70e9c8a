"""``headrace explain``: from a running gateway, from a log file, and what is wrong if it cannot."""

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from headrace.cli.app import app
from headrace.conformance.ports import RefusingPort
from headrace.gateway.admin.annex import Annex
from tests.edge.rig import Rig, ask, streamed


class Running:
    """A gateway with its admin API and some requests behind it, on a thread of its own."""

    def __init__(self, log: Path) -> None:
        self.url = ""
        self.log = log
        self._loop = asyncio.new_event_loop()
        self._up = threading.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._live(),))

    def start(self) -> None:
        self._thread.start()
        assert self._up.wait(20)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(20)
        self._loop.close()

    async def _live(self) -> None:
        self._over = asyncio.Event()
        rig = Rig()
        for _ in range(2):
            await rig.engine()
        urls = [*(engine.url for engine in rig.engines), rig.refusing().url]
        gateway = await rig.gateway(
            urls=urls, admin={"port": 0}, logging={"file": self.log}, retries={"attempts": 2}
        )
        annex = Annex(gateway)
        await annex.start()
        self.url = annex.url
        for number in range(4):
            text = f"number {number} " + "and so on " * 200
            body = streamed(messages=[{"role": "user", "content": text}])
            await rig.post(body, x_request_id=f"r-{number}")
        await rig.post(ask(model="nobody"), x_request_id="mistaken")
        gateway.log.flush()
        self._up.set()
        await self._over.wait()
        await annex.stop()
        await rig.close()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    up = Running(tmp_path_factory.mktemp("explain") / "headrace.log")
    up.start()
    yield up
    up.stop()


def run(*words: str) -> Result:
    return CliRunner().invoke(app, ["explain", *words], env={"COLUMNS": "160"})


def from_gateway(running: Running, *words: str) -> Result:
    return run("--admin-url", running.url, *words)


def from_log(running: Running, *words: str) -> Result:
    return run("--log", str(running.log), *words)


each_source = pytest.mark.parametrize("ask_for", [from_gateway, from_log])


def test_tells_a_request(running: Running) -> None:
    """For people: the waterfall, the decision with its candidates, what was expected and came."""
    result = from_gateway(running, "r-3")

    assert 0 == result.exit_code, result.output
    for part in ("r-3  completed  200", "prefill", "decode", "<- chosen", "lowest cost",
                 "time to first token", "cached tokens", "model    m"):  # fmt: skip
        assert part in result.output


def test_tells_a_request_to_programs(running: Running) -> None:
    """JSON with all of it."""
    told = json.loads(from_gateway(running, "r-3", "--json").output)

    assert "r-3" == told["request_id"]
    assert 2 <= len(told["attempts"][0]["candidates"])


@each_source
def test_lists(ask_for: object, running: Running) -> None:
    """Without an id the latest requests, the last one first."""
    assert callable(ask_for)
    lines = ask_for(running).output.splitlines()

    assert lines[0].split()[:3] == ["request", "ended", "outcome"]
    assert ["mistaken", "r-3", "r-2", "r-1", "r-0"] == [line.split()[0] for line in lines[1:]]
    found = json.loads(ask_for(running, "--json", "--model", "m").output)
    assert ["r-3", "r-2", "r-1", "r-0"] == [each["request_id"] for each in found]


@each_source
def test_by_choice(ask_for: object, running: Running) -> None:
    """The last one, and the one that took longest, need no id."""
    assert callable(ask_for)
    last = json.loads(ask_for(running, "--last", "--json").output)
    slowest = json.loads(ask_for(running, "--slowest", "--json").output)
    known = json.loads(ask_for(running, "--json").output)

    assert "mistaken" == last["request_id"]
    assert max(each["total_ms"] for each in known) == slowest["total_ms"]


@each_source
def test_none_fits(ask_for: object, running: Running) -> None:
    """Nothing failed, or nothing is of that tenant: that is said, with exit code 2."""
    assert callable(ask_for)
    for words in (("--failed",), ("--last", "--tenant", "acme")):
        result = ask_for(running, *words)
        assert 2 == result.exit_code
        assert "No request is known that fits" in result.output
    assert "No request is known" in ask_for(running, "--tenant", "acme").output


def test_from_a_log(running: Running) -> None:
    """A log line knows the prediction and the next best, not the others."""
    result = from_log(running, "r-3")

    assert 0 == result.exit_code, result.output
    for part in ("r-3  completed  200", "prefill", "decode", "time to first token", "would have"):
        assert part in result.output


def test_torn_lines_are_passed_over(running: Running, tmp_path: Path) -> None:
    """A line that a crash has cut, or that another program wrote, hides no other."""
    lines = running.log.read_bytes().splitlines(keepends=True)
    requests = [line for line in lines if b'"event":"request"' in line]
    file = tmp_path / "torn.log"
    file.write_bytes(b"garbage\n" + requests[0][:60] + b"\n" + requests[1])

    found = json.loads(run("--log", str(file), "--json").output)
    assert ["r-1"] == [each["request_id"] for each in found]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("nobody",), "There is no request 'nobody' among the 5 that are kept"),
        (("r-1", "--last"), "Ask for one request: REQUEST_ID, or --last, --slowest or --failed."),
        (("--last", "--slowest"), "Ask for one request"),
        (("--last", "--log", "/nowhere/file"), "/nowhere/file: cannot be read"),
    ],
)
def test_says_what_is_wrong(words: tuple[str, ...], text: str, running: Running) -> None:
    """An unknown id, two wishes at once, a file that is not there: one sentence and exit code 2."""
    result = from_gateway(running, *words)

    assert 2 == result.exit_code
    assert text in result.output


def test_unknown_in_a_log(running: Running) -> None:
    """The file is named that has no such line."""
    result = from_log(running, "nobody")

    assert 2 == result.exit_code
    assert f"{running.log} has no line of a request 'nobody'" in result.output


def test_nobody_there() -> None:
    """Without a gateway: how to say where it is."""
    port = RefusingPort()
    result = run("--last", "--admin-url", port.url)
    port.close()

    assert 2 == result.exit_code
    assert "No admin API answers" in result.output
