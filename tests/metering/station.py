"""A gateway process over simulated engines, with a ledger; clients that keep their own books."""

import asyncio
import contextlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from tests.cli.program import Program

CHAT = "/v1/chat/completions"
PRICES = {"tokens": [{"model": "sim", "input": 0.15, "cached": 0.03, "output": 0.6}]}
USAGE = re.compile(rb'"usage":(\{(?:[^{}]|\{[^{}]*\})*\})')
REQUEST_ID = re.compile(rb"x-request-id: (\S+)", re.IGNORECASE)
ENDS = (b"data: [DONE]", b"\r\n0\r\n\r\n")


class Told(NamedTuple):
    """What a client was told. ``complete``: nothing is missing that an SDK would wait for."""

    request_id: str
    complete: bool
    tokens_in: int = 0
    tokens_out: int = 0
    tokens_cached: int = 0


@contextlib.contextmanager
def engines(folder: Path, *options: str) -> Iterator[list[str]]:
    """Two simulated engines; their URLs."""
    arguments = ["engine", "sim", "--port", "0", "--replicas", "2", *options]
    with Program(arguments, folder) as program:
        first = program.read_until(r"(http://\S+) to")
        last = program.read_until(r"http://\S+ to (\d+)")
        yield [first, f"http://127.0.0.1:{last}"]


def configure(folder: Path, urls: list[str], **metering: Any) -> Path:
    """A configuration in a folder."""
    ledger = {"url": f"sqlite:{folder}/usage.db", "spill_dir": f"{folder}/spill", "prices": PRICES}
    tree = {
        "server": {"port": 0},
        "admin": {"enabled": False},
        "backends": [{"url": url, "serves": ["sim"]} for url in urls],
        "logging": {"file": f"{folder}/log.jsonl"},
        "metering": ledger | metering,
    }
    file = folder / "headrace.yaml"
    file.write_text(json.dumps(tree), encoding="utf-8")
    return file


@contextlib.contextmanager
def gateway(folder: Path, file: Path) -> Iterator[tuple[Program, str]]:
    """The gateway as a process, and its URL; it is killed at the end."""
    with Program(["serve", "--config", str(file)], folder) as program:
        url = program.read_until(r"listens on (http://\S+)")
        until_ready(url)
        yield program, url


def until_ready(url: str) -> None:
    """Wait until it has replicas."""

    async def ready() -> None:
        async with asyncio.timeout(30):
            while b" 200 " not in await _exchange(url, b"GET /ready HTTP/1.1\r\n"):  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.05)

    asyncio.run(ready())


async def ask(
    url: str, number: int, *, stream: bool, most: int = 30, leave_after: int | None = None
) -> Told:
    """
    A request on a connection of its own for ``most`` tokens and a few; ``leave_after`` bytes of the
    answer hang up.
    """
    body = {
        "model": "sim",
        "messages": [{"role": "user", "content": f"request {number} " + "word " * (number % 50)}],
        "max_tokens": most + number % 13,
        "stream": stream,
        "ignore_eos": True,
    }
    if stream:
        body["stream_options"] = {"include_usage": True}
    data = json.dumps(body).encode()
    head = f"POST {CHAT} HTTP/1.1\r\ncontent-type: application/json\r\n".encode()
    answer = await _exchange(url, head + b"content-length: %d\r\n" % len(data), data, leave_after)
    found = REQUEST_ID.search(answer)
    request_id = found[1].decode() if found else ""
    return _told(request_id, answer, stream=stream)


def usage(folder: Path, *options: str) -> Any:
    """What ``headrace usage`` says, as JSON."""
    with Program(["usage", *options, "--format", "json"], folder) as program:
        assert not program.wait(), program.text()
        return json.loads(program.out)


def _told(request_id: str, answer: bytes, *, stream: bool) -> Told:
    counts = [json.loads(found) for found in USAGE.findall(answer)]
    head, _, body = answer.partition(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head)
    if stream:
        complete = any(end in answer for end in ENDS)
    else:
        complete = length is not None and len(body) == int(length[1])
    if not counts or b" 200 " not in head[:16]:
        return Told(request_id, complete and b" 200 " in head[:16])
    last = counts[-1]
    cached = (last.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    return Told(
        request_id, complete, last["prompt_tokens"], last.get("completion_tokens", 0), cached
    )


async def _exchange(
    url: str, head: bytes, body: bytes = b"", leave_after: int | None = None
) -> bytes:
    parts = urlsplit(url)
    answer = b""
    try:
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    except OSError:
        return answer
    try:
        writer.write(head + b"host: gateway\r\nconnection: close\r\n\r\n" + body)
        while leave_after is None or len(answer) < leave_after:
            piece = await reader.read(65_536)
            if not piece:
                break
            answer += piece
    except OSError:
        return answer
    finally:
        writer.transport.abort()
    return answer


def kill(program: Program) -> None:
    """End it as the kernel does when memory is short: nothing is finished, nothing is flushed."""
    program.process.kill()
    program.process.wait()
