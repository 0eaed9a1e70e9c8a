"""The benchmark of the diagnosis before a real gateway: its cases, its table, its stage."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.diagnosis.real import CASES, table
from benchmarks.diagnosis.stage import Ports, Process, Way, interrupted
from headrace.diagnose.table import NAMES


def test_cases_expect_what_can_be_said() -> None:
    """Every name that is right for a case is one that the table can give."""
    assert {name for case in CASES.values() for name in case.expected} <= {*NAMES}


def test_the_table_counts_what_was_right() -> None:
    """A row for each case: how often it was right, and all that was said."""
    text = table(["nothing", "slow replica"], [["nothing"] * 2, ["unknown", "slow-replica"]])

    assert [
        "| nothing | 2 | 2 | `nothing` |",
        "| slow replica | 1 | 2 | `slow-replica`, `unknown` |",
    ] == text.splitlines()[2:]


def test_no_port_is_given_twice() -> None:
    """Stages beside each other do not meet."""
    ports = Ports(24_000)
    found = [ports.free() for _ in range(20)]

    assert len(found) == len({*found})


def test_a_way_carries_and_delays() -> None:
    """Bytes pass both ways, unchanged and in order, and later while it is slow."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readexactly(4))
        writer.close()

    async def said() -> tuple[bytes, float]:
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        way = Way(server.sockets[0].getsockname()[1])
        await way.start()
        way.delay_s = 0.05
        reader, writer = await asyncio.open_connection("127.0.0.1", way.port)
        began = time.monotonic()
        writer.write(b"text")
        answer = await reader.read()
        took = time.monotonic() - began
        writer.close()
        await writer.wait_closed()
        await way.end()
        server.close()
        return answer, took

    answer, took = asyncio.run(said())
    assert b"text" == answer
    assert took >= 0.1


@pytest.mark.e2e
def test_a_process_is_interrupted_and_goes_on(tmp_path: Path) -> None:
    """One that is stopped again and again still comes to its end, and is told from one that is."""

    async def ended() -> str:
        process = Process(tmp_path, "counter")
        await process.start("sh", "-c", "for i in 1 2 3; do echo $i; sleep 0.1; done; echo end")
        let = interrupted(process, 0.5, 0.1)
        while "end" not in process.said():  # noqa: ASYNC110 - of another process
            await asyncio.sleep(0.02)
        let()
        await process.end()
        return process.said()

    assert "1\n2\n3\nend\n" == asyncio.run(ended())


STARTED = """
import asyncio, sys
from pathlib import Path
from benchmarks.diagnosis.stage import Process, orderly

async def work():
    process = Process(Path(sys.argv[1]), "child")
    try:
        await process.start("sh", "-c", "echo $$; kill -STOP $$; sleep 600")
        while not process.said():
            await asyncio.sleep(0.01)
        print(process.said(), end="", flush=True)
        await asyncio.sleep(600)
    finally:
        await process.end()

orderly(work())
"""


@pytest.mark.e2e
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_no_process_is_left_behind(tmp_path: Path, number: signal.Signals) -> None:
    """However the benchmark is ended, its processes end, and those that were stopped, too."""
    with subprocess.Popen(
        [sys.executable, "-c", STARTED, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as bench:
        assert bench.stdout is not None
        child = int(bench.stdout.readline())
        bench.send_signal(number)
        code = bench.wait()
    deadline = time.monotonic() + 10
    while _runs(child) and time.monotonic() < deadline:
        time.sleep(0.01)  # the system ends what a killed process leaves a moment later

    assert not _runs(child)
    assert (-number if number is signal.SIGKILL else 128 + number) == code


def _runs(pid: int) -> bool:
    """Whether there is such a process that is no zombie."""
    try:
        os.kill(pid, 0)
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (ProcessLookupError, FileNotFoundError):
        return False
    return state != "Z"
