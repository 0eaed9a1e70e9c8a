"""A stand-in of the Hugging Face hub: the API's answer about a repository, its files, bad days."""

import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

SHA = "0123456789abcdef0123456789abcdef01234567"
REPO = "org/tiny"


class HubServer:
    """
    Repositories as ``{"org/name": {path: bytes}}``; files over ``lfs_over`` bytes are LFS files.

    ``cut_after`` ends each answer after so many bytes; ``wrong`` names files whose content is not
    what the API says.
    """

    def __init__(self) -> None:
        self.repos: dict[str, dict[str, bytes]] = {}
        self.sha = SHA
        self.lfs_over = 1000
        self.cut_after: int | None = None
        self.wrong: set[str] = set()
        self.refuse: tuple[int, str] | None = None  # status and the hub's code of an error
        self.ranges: list[tuple[str, int, int]] = []
        self.tokens: set[str] = set()
        self.failures: list[int] = []  # statuses of the next answers to file requests
        self.ignore_ranges = False
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                server.answer(self)

            def log_message(self, *_: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                """Clients that hang up are no news."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        path = request.path.partition("?")[0]
        if "authorization" in request.headers:
            self.tokens.add(request.headers["authorization"])
        api = re.fullmatch(r"/api/models/([^/]+/[^/]+)/revision/([^/]+)", path)
        file = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        if self.refuse is not None:
            status, code = self.refuse
            self._send(request, status, b"{}", {"X-Error-Code": code})
        elif api and api[1] in self.repos and api[2] in {"main", self.sha}:
            self._send(request, 200, json.dumps(self._info(api[1])).encode())
        elif api:
            code = "RevisionNotFound" if api[1] in self.repos else "RepoNotFound"
            self._send(request, 404, b"{}", {"X-Error-Code": code})
        elif file:
            self._file(request, self.repos[file[1]][file[3]], file[3])
        else:
            self._send(request, 404, b"{}")

    def _info(self, repo: str) -> dict[str, Any]:
        return {
            "id": repo,
            "modelId": repo,
            "sha": self.sha,
            "siblings": [self._sibling(path, data) for path, data in self.repos[repo].items()],
        }

    def _sibling(self, path: str, data: bytes) -> dict[str, Any]:
        blob = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
        sibling = {"rfilename": path, "size": len(data), "blobId": blob}
        if len(data) > self.lfs_over:
            digest = hashlib.sha256(data).hexdigest()
            sibling["lfs"] = {"sha256": digest, "size": len(data), "pointerSize": 130}
        return sibling

    def _file(self, request: BaseHTTPRequestHandler, data: bytes, path: str) -> None:
        if self.failures:
            self._send(request, self.failures.pop(), b"")
            return
        if path in self.wrong:
            data = bytes(len(data))
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", request.headers.get("range", ""))
        if not found or self.ignore_ranges:
            self._send(request, 200, data)
            return
        begin, end = int(found[1]), int(found[2]) + 1
        self.ranges.append((path, begin, end))
        part = data[begin:end]
        if self.cut_after is not None:
            request.send_response(206)
            request.send_header("Content-Length", str(len(part)))
            request.end_headers()
            request.wfile.write(part[: self.cut_after])
            request.wfile.flush()
            request.connection.close()
            request.close_connection = True
            return
        self._send(request, 206, part)

    def _send(
        self,
        request: BaseHTTPRequestHandler,
        status: int,
        body: bytes,
        headers: dict[str, str] | None = None,
    ) -> None:
        request.send_response(status)
        for name, value in (headers or {}).items():
            request.send_header(name, value)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)
