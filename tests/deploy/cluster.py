"""
A cluster in one process: the rendered gateway configuration runs with Envoy, Redis and simulated
engines, and a kubelet that ends pods as the chart says. Kubernetes' API is a stand-in's.
"""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import yaml

from deploy.kit.helm import one
from headrace.config.load import read
from headrace.config.schema import Config
from headrace.config.simulator import Simulator
from headrace.edge.process import EdgeProcess
from headrace.engines.sim.server import Server
from headrace.gateway.app import Gateway
from tests.edge.rig import eventually
from tests.fleet.discovery.apiserver import ApiServer, a_slice, endpoint
from tests.state.server import RedisServer

SPEED = 20  # of simulated engines
WAIT_S = 30.0  # for what comes at once where nothing is broken
PRE_STOP_S = 0.3  # instead of the chart's ten seconds

Object = dict[str, Any]


def simulated(args: list[str]) -> dict[str, Any]:
    """The settings that an engine's command line of the chart stands for."""
    flags = dict(arg.removeprefix("--").split("=", 1) for arg in args)
    return {
        "model": flags["model"],
        "preset": flags["preset"],
        "shutdown_timeout_s": float(flags["shutdown-timeout"]),
    }


@dataclass
class Pod:
    """An engine in its pod."""

    name: str
    server: Server

    @property
    def port(self) -> int:
        return int(self.server.urls[0].rpartition(":")[2])


@dataclass
class Cluster:
    """What the chart has made of one model, running."""

    deployment: Object
    service: Object
    api: ApiServer
    gateway: Gateway
    edge: EdgeProcess
    client: httpx2.AsyncClient
    speed: float = SPEED
    pods: list[Pod] = field(default_factory=list)
    born: int = 0

    @property
    def settings(self) -> dict[str, Any]:
        container = self.deployment["spec"]["template"]["spec"]["containers"][0]
        return simulated(container["args"])

    @property
    def ready(self) -> set[str]:
        """The replicas that the gateway sends to."""
        (group,) = self.gateway.fleet.groups.values()
        return {replica.name for replica in group.replicas}

    async def start_pod(self) -> Pod:
        """A new pod; its endpoint is ready at once, as after its readiness probe."""
        self.born += 1
        settings = {"port": 0, "speed": self.speed, "answer_tokens": 8, **self.settings}
        pod = Pod(f"engine-{self.born}", Server(Simulator(**settings)))
        await pod.server.start()
        self.pods.append(pod)
        await self._tell(pod, ready=True)
        return pod

    async def end_pod(self, pod: Pod) -> None:
        """The kubelet's way: the endpoint first, then preStop, then SIGTERM, then it is gone."""
        await self._tell(pod, ready=False, serving=True, terminating=True)
        await asyncio.sleep(PRE_STOP_S)
        await pod.server.finish(self.settings["shutdown_timeout_s"])
        await pod.server.stop()
        self.pods.remove(pod)
        await self.api.delete(pod.name)

    async def roll(self) -> None:
        """A rolling restart as the Deployment has it: one pod less, then a new one, for all."""
        strategy = self.deployment["spec"]["strategy"]["rollingUpdate"]
        assert {"maxSurge": 0, "maxUnavailable": 1} == strategy
        for pod in [*self.pods]:
            await self.end_pod(pod)
            await self.serving(await self.start_pod())

    async def serving(self, pod: Pod) -> None:
        """Wait until the gateway sends to it."""
        await eventually(lambda: pod.name in self.ready, lambda: str(self.ready), WAIT_S)

    async def ask(self, number: int, tokens: int = 40) -> tuple[int, bytes]:
        """One stream through the edge: status and body."""
        body = {
            "model": self.settings["model"],
            "messages": [{"role": "user", "content": f"Tell me story {number}."}],
            "max_tokens": tokens,
            "ignore_eos": True,
            "stream": True,
        }
        answer = await self.client.post("/v1/chat/completions", json=body)
        return answer.status_code, answer.content

    async def _tell(self, pod: Pod, **conditions: bool) -> None:
        await self.api.put(
            a_slice(
                pod.name,
                endpoint("127.0.0.1", pod.name, f"uid-{pod.name}", **conditions),
                metadata={"labels": self.service["metadata"]["labels"]},
                ports=[{"name": self.service["spec"]["ports"][0]["name"], "port": pod.port}],
            )
        )


def runnable(objects: list[Object], kubeconfig: Path, edge_dir: Path) -> Object:
    """The rendered headrace.yaml with this machine's addresses in it, and nothing else changed."""
    text = one(objects, "ConfigMap", "prod-headrace")["data"]["headrace.yaml"]
    tree: Object = yaml.safe_load(text)
    tree["server"] |= {"host": "127.0.0.1", "port": 0}
    tree["admin"] = {"enabled": False}
    tree["edge"] |= {"host": "127.0.0.1", "port": 0, "workers": 1, "drain_s": 1}
    tree["edge"]["tls"] |= {"dir": str(edge_dir), "names": ["127.0.0.1"]}
    for source in tree["discovery"]:
        source["kubeconfig"] = str(kubeconfig)
    return tree


@asynccontextmanager
async def fronted(config: Config) -> AsyncIterator[tuple[Gateway, EdgeProcess]]:
    """The gateway, and Envoy before it."""
    gateway = Gateway(config)
    await gateway.start()
    front = config.edge.model_copy(update={"gateways": (f"127.0.0.1:{gateway.port}",)})
    edge = EdgeProcess(config.model_copy(update={"edge": front}), gateway.log.event)
    try:
        await edge.start(gateway.port)
        yield gateway, edge
    finally:
        await edge.stop()
        await gateway.stop(0)


@asynccontextmanager
async def cluster(
    objects: list[Object], folder: Path, *, pods: int, speed: float = SPEED
) -> AsyncIterator[Cluster]:
    """All of it, with so many pods that are ready."""
    async with AsyncExitStack() as stack:
        redis = stack.enter_context(RedisServer(folder))
        api = await stack.enter_async_context(ApiServer())
        file = folder / "headrace.yaml"
        file.write_text(json.dumps(runnable(objects, api.kubeconfig(folder), folder / "edge")))
        config = read(file, {"HEADRACE_STATE_URL": redis.url}).config
        gateway, edge = await stack.enter_async_context(fronted(config))
        trust = ssl.create_default_context(cafile=str(edge.cert))
        client = httpx2.AsyncClient(base_url=edge.url, verify=trust, timeout=60, trust_env=False)
        await stack.enter_async_context(client)
        name = config.discovery[0].selector.partition("=")[2]
        deployment, service = one(objects, "Deployment", name), one(objects, "Service", name)
        running = Cluster(deployment, service, api, gateway, edge, client, speed)
        try:
            for _ in range(pods):
                await running.start_pod()
            await eventually(lambda: len(running.ready) == pods, lambda: str(running.ready), WAIT_S)
            yield running
        finally:
            for pod in running.pods:
                await pod.server.stop()
