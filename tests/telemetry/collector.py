"""A collector for tests: receives spans by OTLP over HTTP, and keeps them."""

import gzip
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

SERVER, CLIENT, INTERNAL = Span.SPAN_KIND_SERVER, Span.SPAN_KIND_CLIENT, Span.SPAN_KIND_INTERNAL


class Collector:
    """On a thread of its own. ``status`` is what it answers."""

    def __init__(self) -> None:
        self.status = 200
        self.headers: list[dict[str, str]] = []
        self.resources: list[dict[str, Any]] = []
        self.spans: list[Span] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.path == "/v1/traces" and collector.status == 200:
                    collector.headers.append({k.lower(): v for k, v in self.headers.items()})
                    collector.take(gzip.decompress(body))
                self.send_response(collector.status if self.path == "/v1/traces" else 404)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def take(self, body: bytes) -> None:
        """Keep what one export holds."""
        request = ExportTraceServiceRequest.FromString(body)
        for of_resource in request.resource_spans:
            self.resources.append(values(of_resource.resource.attributes))
            for of_scope in of_resource.scope_spans:
                self.spans += of_scope.spans

    def roots(self) -> list[Span]:
        """The gateway's own spans of whole requests."""
        return [span for span in self.spans if span.kind == SERVER]

    def wait(self, enough: Callable[[], bool], timeout_s: float = 30.0) -> None:
        """Block until it has come; for threads that are no event loop."""
        until = time.monotonic() + timeout_s
        while not enough() and time.monotonic() < until:
            time.sleep(0.01)
        assert enough(), [span.name for span in self.spans]

    def under(self, parent: Span) -> list[Span]:
        """Its children, by the time they began."""
        found = [
            span
            for span in self.spans
            if span.parent_span_id == parent.span_id and span.trace_id == parent.trace_id
        ]
        return sorted(found, key=lambda span: span.start_time_unix_nano)


def values(attributes: Any) -> dict[str, Any]:
    """Attributes as plain values."""
    return {each.key: value(each.value) for each in attributes}


def value(any_value: Any) -> Any:
    kind = any_value.WhichOneof("value")
    if kind == "array_value":
        return [value(each) for each in any_value.array_value.values]
    return getattr(any_value, kind) if kind else None
