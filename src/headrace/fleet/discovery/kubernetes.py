"""
Replicas behind Kubernetes Services: EndpointSlices are listed, then watched. How a slice becomes
replicas is slices.py's.

The protocol: https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import yaml
from kubernetes_asyncio import config as access
from kubernetes_asyncio.client import ApiClient, ApiException, Configuration, DiscoveryV1Api
from kubernetes_asyncio.config import ConfigException

from headrace.config.discovery import Discovery
from headrace.fleet.discovery import slices
from headrace.fleet.discovery.slices import Slice
from headrace.fleet.discovery.source import Changed, Log, Trouble, pauses

NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
PAGE = 500  # slices in one answer to a list
CALL_S = 30.0  # for a list
# The server ends a watch after so long; only this, not silence, says that a connection is alive.
WATCH_S = 240
GRACE_S = 15.0  # on top of it, before the connection counts as dead
LEAST_S = 1.0  # a watch that ends sooner failed, whatever the server says

FAILURES = (
    ApiException,
    ConfigException,
    aiohttp.ClientError,
    yaml.YAMLError,
    OSError,
    ValueError,  # no JSON, or not as documented
)


class Meta(msgspec.Struct, rename="camel"):
    """The part of a change that every object has."""

    resource_version: str = ""
    name: str = ""


class Named(msgspec.Struct):
    """An object whose kind does not matter yet."""

    metadata: Meta = msgspec.field(default_factory=Meta)


class Change(msgspec.Struct):
    """One line of a watch."""

    type: str
    object: msgspec.Raw


class Status(msgspec.Struct):
    """What an ERROR carries."""

    code: int = 500
    reason: str = ""
    message: str = ""


class Page(msgspec.Struct):
    """A part of a list."""

    class Meta(msgspec.Struct, rename={"resource_version": "resourceVersion", "more": "continue"}):
        """Where a watch goes on from here, and how to get the next part."""

        resource_version: str = ""
        more: str = ""

    metadata: Meta
    items: list[Slice] | None = None


class KubernetesSource:
    """
    List, watch from there, and list anew when the server has forgotten the place (410 Gone) or
    after ``resync_s``. A broken watch goes on where it was; while the server is away, what was
    known stays.
    """

    def __init__(self, config: Discovery, log: Log) -> None:
        self._config = config
        self._log = log
        self._trouble = Trouble(config.label, log)
        self._slices: dict[str, Slice] = {}
        self._skipped: dict[str, str] = {}
        self._version = ""
        self._resync_at = 0.0
        self._namespace = config.namespace
        self._waits = pauses()

    async def watch(self, changed: Changed) -> None:
        """See ``Source``."""
        while True:
            try:
                async with ApiClient(await self._access()) as client:
                    await self._follow(DiscoveryV1Api(client), changed)
            except FAILURES as error:
                self._trouble.begins(_reason(error))
                await asyncio.sleep(next(self._waits))

    async def _follow(self, api: DiscoveryV1Api, changed: Changed) -> None:
        """One client's life: ends with an error, after which the next one goes on."""
        now = asyncio.get_running_loop().time
        while True:
            if not self._version or now() >= self._resync_at:
                await self._list(api)
                self._resync_at = now() + self._config.resync_s
                self._tell(changed)
            begun_at = now()
            within_s = max(1, min(WATCH_S, int(self._resync_at - begun_at)))
            try:
                async with asyncio.timeout(within_s + GRACE_S):
                    await self._changes(api, within_s, changed)
            except ApiException as error:
                if error.status != 410:
                    raise
                self._version = ""  # forgotten: list anew
            if self._version and now() - begun_at >= LEAST_S:
                self._waits = pauses()
            else:
                await asyncio.sleep(next(self._waits))  # a server that cannot watch is not hammered

    async def _list(self, api: DiscoveryV1Api) -> None:
        listed: dict[str, Slice] = {}
        more = ""
        while True:
            options = {"_continue": more} if more else {}
            answer = await self._ask(api, CALL_S, limit=PAGE, **options)
            async with answer:
                page = msgspec.json.decode(await answer.read(), type=Page)
            listed.update({each.metadata.name: each for each in page.items or ()})
            more = page.metadata.more
            if not more:
                break
        self._slices, self._version = listed, page.metadata.resource_version

    async def _changes(self, api: DiscoveryV1Api, within_s: int, changed: Changed) -> None:
        """
        Apply changes until the server ends the watch.

        Raises:
            ApiException: the server refused, or ended it with an error; 410 for "list anew".

        """
        answer = await self._ask(
            api,
            within_s + GRACE_S,
            watch=True,
            allow_watch_bookmarks=True,
            resource_version=self._version,
            timeout_seconds=within_s,
        )
        self._trouble.ends()
        async with answer, aclosing(_lines(answer.content)) as lines:
            async for line in lines:
                if self._apply(msgspec.json.decode(line, type=Change)):
                    self._tell(changed)
                self._waits = pauses()  # it works, however soon it may break

    async def _ask(
        self, api: DiscoveryV1Api, within_s: float, **options: object
    ) -> aiohttp.ClientResponse:
        """The open answer; its body is ours to read, because a model of it would cost more."""
        call: Any = api.list_namespaced_endpoint_slice  # typed for answers that it has decoded
        answer: aiohttp.ClientResponse = await call(
            self._namespace,
            label_selector=self._config.selector,
            _preload_content=False,
            _request_timeout=within_s,
            **options,
        )
        if answer.status >= 400:
            async with answer:
                text = (await answer.text())[:200]
            raise ApiException(status=answer.status, reason=text)
        return answer

    def _tell(self, changed: Changed) -> None:
        skipped = {each.metadata.name: slices.fault(each, self._config) for each in self._all()}
        for name, reason in skipped.items():
            if reason and self._skipped.get(name) != reason:
                self._log.event(
                    "slice_skipped", source=self._config.label, slice=name, reason=reason
                )
        self._skipped = skipped
        changed(slices.replicas(self._all(), self._config))

    def _all(self) -> list[Slice]:
        return [*self._slices.values()]

    def _apply(self, change: Change) -> bool:
        """Take in one line of a watch; whether a slice has changed."""
        if change.type == "ERROR":
            status = msgspec.json.decode(change.object, type=Status)
            raise ApiException(status=status.code, reason=status.reason or status.message)
        meta = msgspec.json.decode(change.object, type=Named).metadata
        if change.type == "DELETED":
            self._slices.pop(meta.name, None)
        elif change.type in {"ADDED", "MODIFIED"}:
            self._slices[meta.name] = msgspec.json.decode(change.object, type=Slice)
        self._version = meta.resource_version or self._version
        return change.type != "BOOKMARK"

    async def _access(self) -> Configuration:
        """The cluster's address and our rights: the kubeconfig's, else the pod's own."""
        settings = Configuration()
        context = self._config.context or None
        if self._config.kubeconfig is not None:
            file = str(self._config.kubeconfig.expanduser())
            await access.load_kube_config(file, context, settings, persist_config=False)
        else:
            access.load_incluster_config(client_configuration=settings)  # type: ignore[no-untyped-call]
        if not self._namespace:
            self._namespace = await asyncio.to_thread(_own_namespace)
        return settings


def _own_namespace() -> str:
    try:
        return NAMESPACE_FILE.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return "default"


async def _lines(content: aiohttp.StreamReader) -> AsyncGenerator[bytes]:
    """
    Whole lines, however long: the client library's own watch gives up on a line over its buffer's
    size, which a slice of a large Service has.
    """
    rest = b""
    async for piece in content.iter_any():
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            if line.strip():
                yield line


def _reason(error: BaseException) -> str:
    """Short and always the same for the same failure."""
    if isinstance(error, ApiException):
        return f"the API server answered {error.status} ({error.reason})"
    return f"{type(error).__name__}: {error}"
