"""
A stand-in of the Kubernetes API server: lists and watches EndpointSlices over HTTP/1.1 with chunked
JSON, as https://kubernetes.io/docs/reference/using-api/api-concepts/ describes; and its bad days.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

import yaml

KIND = {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice"}
PATH = "/apis/discovery.k8s.io/v1/namespaces/models/endpointslices"


def endpoint(host: str, pod: str = "", uid: str = "", **conditions: bool) -> dict[str, Any]:
    target = {"targetRef": {"kind": "Pod", "name": pod, "uid": uid or f"uid-{pod}"}} if pod else {}
    return {"addresses": [host], "conditions": conditions or {"ready": True}, **target}


def a_slice(name: str, *endpoints: dict[str, Any], **more: Any) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "models", **more.pop("metadata", {})}
    ports = [{"name": "http", "port": 8000, "protocol": "TCP"}]
    return {
        **KIND,
        "metadata": metadata,
        "addressType": "IPv4",
        "endpoints": list(endpoints),
        "ports": ports,
        **more,
    }


class ApiServer:
    """Objects, a history of changes since ``forgotten``, and watchers that follow it."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.version = 100
        self.forgotten = 0  # watches from before this version get 410
        self.history: list[tuple[int, bytes]] = []
        self.lists: list[dict[str, str]] = []
        self.watches: list[dict[str, str]] = []
        self.refuse = 0  # status of every answer, when set
        self.page = 500
        self.split = 0  # bytes in one write of a watch, when set
        self.expire_by_status = False
        self.tokens: list[str] = []
        self.port = 0
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._moved = asyncio.Condition()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    def kubeconfig(self, folder: Path) -> Path:
        """A file that leads here."""
        path = folder / "kubeconfig"
        url = f"http://127.0.0.1:{self.port}"
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "here",
            "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}],
            "clusters": [{"name": "here", "cluster": {"server": url}}],
            "users": [{"name": "me", "user": {"token": "token-1"}}],
        }
        path.write_text(yaml.safe_dump(content))
        return path

    # --- what happens in the cluster

    async def put(self, item: dict[str, Any]) -> None:
        name = item["metadata"]["name"]
        await self._happens("MODIFIED" if name in self.objects else "ADDED", item)
        self.objects[name] = item

    async def delete(self, name: str) -> None:
        await self._happens("DELETED", self.objects.pop(name))

    async def bookmark(self) -> None:
        await self._happens("BOOKMARK", {**KIND, "metadata": {}})

    async def forget(self) -> None:
        """Compaction: who watches from an older version must list anew."""
        self.version += 1
        self.forgotten = self.version
        self.history.clear()
        async with self._moved:
            self._moved.notify_all()

    def cut(self) -> None:
        """Break every connection."""
        for writer in tuple(self._writers):
            writer.transport.abort()

    async def _happens(self, kind: str, item: dict[str, Any]) -> None:
        self.version += 1
        item["metadata"]["resourceVersion"] = str(self.version)
        line = json.dumps({"type": kind, "object": item}).encode() + b"\n"
        self.history.append((self.version, line))
        async with self._moved:
            self._moved.notify_all()

    # --- what clients see

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._tasks.add(task := asyncio.create_task(self._serve(reader, writer)))
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                self.tokens += [
                    line.split(": ", 1)[1]
                    for line in head.split("\r\n")
                    if line.lower().startswith("authorization:")
                ]
                await self._answer(head.split(" ")[1], writer)
        self._writers.discard(writer)
        writer.close()

    async def _answer(self, target: str, writer: asyncio.StreamWriter) -> None:
        parts = urlsplit(target)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        if parts.path != PATH:
            await self._whole(writer, 404, {"message": f"no {parts.path}"})
        elif self.refuse:
            await self._whole(writer, self.refuse, {"kind": "Status", "code": self.refuse})
        elif query.get("watch"):
            self.watches.append(query)
            await self._watch(writer, query)
        else:
            self.lists.append(query)
            await self._list(writer, query)

    async def _list(self, writer: asyncio.StreamWriter, query: dict[str, str]) -> None:
        begin = int(query.get("continue", "0"))
        items = list(self.objects.values())
        metadata = {"resourceVersion": str(self.version)}
        if begin + self.page < len(items):
            metadata["continue"] = str(begin + self.page)
        body = {"metadata": metadata, "items": items[begin : begin + self.page]}
        await self._whole(writer, 200, body)

    async def _watch(self, writer: asyncio.StreamWriter, query: dict[str, str]) -> None:
        seen = int(query["resourceVersion"])
        if seen < self.forgotten and self.expire_by_status:
            await self._whole(writer, 410, {"kind": "Status", "code": 410})
            return
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(float(query["timeoutSeconds"])):
                async for line in self._since(seen):
                    await self._chunks(writer, line)
        writer.write(b"0\r\n\r\n")
        await writer.drain()

    async def _since(self, seen: int) -> AsyncIterator[bytes]:
        while seen >= self.forgotten:
            for version, line in [*self.history]:
                if version > seen:
                    seen = version
                    yield line
            async with self._moved:
                while seen >= max(self.forgotten, self._newest()):
                    await self._moved.wait()
        status = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"}
        yield json.dumps({"type": "ERROR", "object": status}).encode() + b"\n"

    def _newest(self) -> int:
        return max((version for version, _ in self.history), default=0)

    async def _chunks(self, writer: asyncio.StreamWriter, line: bytes) -> None:
        size = self.split or len(line)
        for begin in range(0, len(line), size):
            part = line[begin : begin + size]
            writer.write(b"%x\r\n%b\r\n" % (len(part), part))
            await writer.drain()
            await asyncio.sleep(0)

    async def _whole(self, writer: asyncio.StreamWriter, status: int, body: Any) -> None:
        data = json.dumps(body).encode()
        head = f"HTTP/1.1 {status} Status\r\nContent-Length: {len(data)}\r\n\r\n"
        writer.write(head.encode() + data)
        await writer.drain()
