"""
The routers that are compared: one row each. A row says how a router is started in front of a fleet,
what it needs of the replicas, and how it is told that one has come. A new router is a new row.

Settings that are times are divided by the speed at which the engines run, so that a router lives in
the same time as its engines do. Everything else is as it ships.
"""

import http.client
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from benchmarks.overhead import install

from .jobs import MODEL

_VLLM = ("vllm-router==0.1.17",)
_SGLANG = ("sglang-router==0.3.2",)
_HEALTH_S = 1.0


@dataclass(frozen=True, slots=True)
class Place:
    """What a router is started with. ``joining`` are replicas that it is told of later."""

    folder: Path
    port: int
    urls: Sequence[str]
    events: Sequence[str]  # where each of the replicas publishes; empty if they do not
    pieces: int  # tokens of text in a block that an event tells of
    speed: float
    bin: Path | None
    settings: dict[str, Any] = field(default_factory=dict)


Argv = Callable[[Place], list[str]]
Join = Callable[[Place, str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Router:
    """One row."""

    name: str
    label: str
    policy: str
    argv: Argv
    join: Join
    ours: bool = False
    requirements: tuple[str, ...] = ()
    get_load: Literal["none", "object", "array"] = "none"
    kv_events: bool = False
    ready: str = "/health"
    workers: Callable[[int], int] | None = None
    doubt: Callable[[Place], str] = lambda _: ""
    """Why a router, after a run, did not do what its policy says; nothing if it did."""
    settings: dict[str, Any] = field(default_factory=dict)

    def prepare(self, env_dir: Path) -> Path | None:
        """
        Install it, if it comes from PyPI.

        Raises:
            install.Missing: it cannot be had.

        """
        if not self.requirements:
            return None
        # The same environments as the benchmark of the overhead has.
        return install.environment(env_dir / self.name.partition("-")[0], self.requirements)


def _headrace(place: Place) -> list[str]:
    replicas = place.folder / "replicas.yaml"
    _write(replicas, place.urls)
    tree = {
        "server": {"host": "127.0.0.1", "port": place.port},
        "models": [{"name": MODEL}],
        "discovery": [
            {"type": "file", "path": str(replicas), "poll_s": 0.2, "serves": {MODEL: MODEL}}
        ],
        "health": {"slow_start_s": 10 / place.speed, "interval_s": _HEALTH_S, "trust_static": True},
        "admin": {"enabled": False},
        **place.settings,
    }
    config = place.folder / "headrace.yaml"
    config.write_text(json.dumps(tree))
    return [sys.executable, "-m", "headrace", "serve", "--config", str(config)]


def _write(path: Path, urls: Sequence[str]) -> None:
    rows = [{"name": url.rpartition(":")[2], "url": url} for url in urls]
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(rows))
    fresh.replace(path)


def _join_file(place: Place, url: str) -> None:
    path = place.folder / "replicas.yaml"
    urls = [row["url"] for row in json.loads(path.read_text())]
    _write(path, [*urls, url])


def _rust(program: Sequence[str], policy: str) -> Argv:
    """vllm-router and sglang-router share their ancestry and most of their flags."""

    def argv(place: Place) -> list[str]:
        assert place.bin is not None
        eviction_s = max(1, round((120 if program[0] == "vllm-router" else 60) / place.speed))
        flags = {
            "--host": "127.0.0.1",
            "--port": place.port,
            "--prometheus-host": "127.0.0.1",
            "--prometheus-port": place.port + 1,
            "--worker-startup-check-interval": 1,
            "--worker-startup-timeout-secs": 30,
            "--health-check-interval-secs": round(_HEALTH_S),
            "--eviction-interval-secs": eviction_s,
            "--log-level": "warning" if program[0] == "vllm-router" else "warn",
            "--policy": policy,
        }
        listed = [str(word) for pair in flags.items() for word in pair]
        for url, endpoint in zip(place.urls, place.events, strict=False):
            listed += ["--kv-event-source", f"{url}={endpoint}"]
        if place.events:
            listed += ["--kv-event-model", MODEL, "--kv-event-block-size", str(place.pieces)]
        command = [str(place.bin / program[0]), *program[1:]]
        return [*command, *listed, "--worker-urls", *place.urls]

    return argv


def _join_vllm(place: Place, url: str) -> None:
    _post(place.port, f"/add_worker?url={quote(url, safe='')}")


def _join_sglang(place: Place, url: str) -> None:
    _post(place.port, "/workers", {"url": url})


def _post(port: int, path: str, body: object = None) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        payload = b"" if body is None else json.dumps(body).encode()
        connection.request("POST", path, payload, {"content-type": "application/json"})
        response = connection.getresponse()
        said = response.read()
    finally:
        connection.close()
    if response.status >= 300:
        raise OSError(f"{path} answered {response.status} {said[:200]!r}")


def _count(path: str) -> Callable[[int], int]:
    """How many replicas a router lists under a path."""

    def workers(port: int) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", path)
            found = json.loads(connection.getresponse().read())
        finally:
            connection.close()
        listed = found.get("workers", found.get("urls", ()))
        return sum(1 for worker in listed if isinstance(worker, str) or worker["is_healthy"])

    return workers


def _without_render(place: Place) -> str:
    """cache_aware and kv_aware go by load alone, in silence, when prompts cannot be rendered."""
    connection = http.client.HTTPConnection("127.0.0.1", place.port + 1, timeout=5)
    try:
        connection.request("GET", "/metrics")
        page = connection.getresponse().read().decode()
    finally:
        connection.close()
    return unrendered(page)


def unrendered(page: str) -> str:
    """What vllm-router's own metrics say of the prompts that it had rendered."""
    counts = {"render": 0.0, "other": 0.0}
    for line in page.splitlines():
        if line.startswith("vllm_router_kv_routing_inputs_total{"):
            kind = "render" if 'result="render"' in line else "other"
            counts[kind] += float(line.rpartition(" ")[2])
    if counts["other"] or not counts["render"]:
        return f"{counts['other']:.0f} of its prompts were not rendered"
    return ""


def _vllm(policy: str, **given: Any) -> Router:
    return Router(
        name=f"vllm-{policy}",
        label=f"vllm-router 0.1.17, {policy}",
        policy=policy,
        argv=_rust(("vllm-router",), policy),
        join=_join_vllm,
        requirements=_VLLM,
        workers=_count("/workers"),
        **given,
    )


def _sglang(policy: str, **given: Any) -> Router:
    return Router(
        name=f"sglang-{policy}",
        label=f"sglang-router 0.3.2, {policy}",
        policy=policy,
        argv=_rust(("sglang-router", "launch"), policy),
        join=_join_sglang,
        requirements=_SGLANG,
        workers=_count("/workers"),
        **given,
    )


def _ours(name: str, label: str, settings: dict[str, Any]) -> Router:
    return Router(
        name=name,
        label=label,
        policy=name,
        argv=_headrace,
        join=_join_file,
        ours=True,
        ready="/ready",
        settings=settings,
    )


ROUTERS: tuple[Router, ...] = (
    _ours("headrace", "Headrace, as it ships", {}),
    _vllm("round_robin"),
    _vllm("power_of_two", get_load="object"),
    _vllm("consistent_hash"),
    _vllm("cache_aware", doubt=_without_render),
    _vllm("kv_aware", kv_events=True, doubt=_without_render),
    _sglang("power_of_two", get_load="array"),
    _sglang("cache_aware"),
)


def wait(router: Router, place: Place, alive: Callable[[], bool], limit_s: float = 40.0) -> None:
    """
    Until a router is ready and has all its replicas.

    Raises:
        install.Missing: it ended, or was not ready in time.

    """
    deadline_s = time.monotonic() + limit_s
    reason = "no answer"
    while time.monotonic() < deadline_s:
        if not alive():
            raise install.Missing("ended while starting")
        try:
            reason = _lacks(router, place)
        except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
            reason = f"{type(error).__name__}: {error}"
        if not reason:
            return
        time.sleep(0.1)
    raise install.Missing(f"not ready after {limit_s:.0f} s: {reason}")


def _lacks(router: Router, place: Place) -> str:
    """What a router lacks to be ready; nothing if it is."""
    status = _status(place.port, router.ready)
    if status != 200:
        return f"{router.ready} answers {status}"
    wanted = len(place.urls)
    count = wanted if router.workers is None else router.workers(place.port)
    return "" if count >= wanted else f"{count} of {wanted} replicas"


def _status(port: int, path: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        response.read()
        return response.status
    finally:
        connection.close()
