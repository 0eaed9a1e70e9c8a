"""
How long Headrace takes to be useful: `serve` until it is ready, `up` until its first token.
On all cores, as a user would start it; nothing is pinned here.
"""

import http.client
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from .install import Missing
from .peers import Peer, Place
from .process import Tree
from .results import Startup
from .rig import Rig, status

_POLL_S = 0.01
_LIMIT_S = 60.0


def measure(rig: Rig, headrace: Peer, tries: int) -> Startup:
    """Each start `tries` times, one after another. What fails is reported, not raised."""
    startup = Startup()
    for _ in range(tries):
        for name, times, attempt in (
            ("serve", startup.serve_ready_s, _serve),
            ("up", startup.up_first_token_s, _up),
        ):
            if name in startup.missing:
                continue
            try:
                times.append(attempt(rig, headrace))
            except Missing as reason:
                startup.missing[name] = str(reason)
    return startup


def _serve(rig: Rig, headrace: Peer) -> float:
    folder = Path(tempfile.mkdtemp(prefix="start-", dir=rig.folder))
    port = rig.layout.proxy_port
    place = Place(folder, port, rig.replicas(1), None)
    argv = headrace.argv(place)
    started_s = time.perf_counter()
    with Tree.start(argv, folder / "log", headrace.env) as tree:
        _until(tree, started_s, lambda: status(port, headrace.ready) == 200)
        return time.perf_counter() - started_s


def _up(rig: Rig, _headrace: Peer) -> float:
    folder = Path(tempfile.mkdtemp(prefix="up-", dir=rig.folder))
    port = rig.layout.proxy_port
    argv = [sys.executable, "-m", "headrace", "up", "--port", str(port)]
    started_s = time.perf_counter()
    with Tree.start(argv, folder / "log", {}) as tree:
        _until(tree, started_s, lambda: status(port, "/ready") == 200)
        _first_token(port)
        return time.perf_counter() - started_s


def _until(tree: Tree, started_s: float, done: Callable[[], object]) -> None:
    while not done():
        if not tree.alive:
            raise Missing(f"ended while starting: {tree.tail()}")
        if time.perf_counter() - started_s > _LIMIT_S:
            raise Missing(f"not ready after {_LIMIT_S:.0f} s: {tree.tail()}")
        time.sleep(_POLL_S)


def _first_token(port: int) -> None:
    """Streams one answer of the first model on offer, up to its first piece of text."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_LIMIT_S)
    try:
        connection.request("GET", "/v1/models")
        ask = {
            "model": json.loads(connection.getresponse().read())["data"][0]["id"],
            "messages": [{"role": "user", "content": "Say hello."}],
            "max_tokens": 8,
            "stream": True,
        }
        headers = {"content-type": "application/json"}
        connection.request("POST", "/v1/chat/completions", json.dumps(ask), headers)
        response = connection.getresponse()
        if not any(_has_text(line) for line in response):
            raise Missing(f"`headrace up` answered {response.status} without a token")
    except (OSError, http.client.HTTPException, ValueError, LookupError) as error:
        raise Missing(f"no answer from `headrace up`: {error!r}") from error
    finally:
        connection.close()


def _has_text(line: bytes) -> bool:
    if not line.startswith(b"data: {"):
        return False
    choices = json.loads(line[6:]).get("choices")
    return bool(choices and choices[0]["delta"].get("content"))
