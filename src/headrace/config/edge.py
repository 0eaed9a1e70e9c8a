"""What stands before the gateway: Envoy's address, limits, clocks. edge/ renders and runs it."""

import re
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from headrace.config.section import MIB, Seconds, Section

_ADDRESS = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):(\d{1,5})")


def _address(text: str) -> str:
    found = _ADDRESS.fullmatch(text)
    if found is None or not 0 < int(found[2]) <= 65_535:
        raise ValueError("must be host:port, for example headrace-gateway:8000 or [::1]:8000")
    return text


def _network(text: str) -> str:
    try:
        return str(ip_network(text))
    except ValueError as error:
        raise ValueError(f"must be a network such as 10.0.0.0/8 or ::1/128: {error}") from error


def _path(text: str) -> str:
    if not text.startswith("/") or not text.isprintable() or " " in text:
        raise ValueError("must be the beginning of a path, such as /metrics")
    return text


def _collector(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.hostname or parts.path not in {"", "/"}:
        raise ValueError("must be http://host:port of a collector that speaks OTLP over gRPC")
    return url


class EdgeTls(Section):
    """Its certificate."""

    enabled: bool = Field(
        default=True, description="Off where something before it has ended TLS already."
    )
    cert: Path | None = Field(
        default=None, description="PEM file of the certificate and its chain; else self-signed."
    )
    key: Path | None = Field(default=None, description="PEM file of its key.")
    dir: Path = Field(
        default=Path("~/.cache/headrace/edge"),
        description="Where the Envoy that we run has its self-signed certificate.",
    )
    names: tuple[str, ...] = Field(
        default=("localhost", "127.0.0.1", "::1"),
        min_length=1,
        description="Names and addresses that a self-signed certificate is for.",
    )

    @model_validator(mode="after")
    def _cert_and_key(self) -> Self:
        if (self.cert is None) != (self.key is None):
            raise ValueError("needs both `cert` and `key`, or none of them")
        return self


class EdgeLimits(Section):
    """How much it takes in."""

    max_body_bytes: int | None = Field(
        default=None,
        ge=1024,
        le=2**32 - 1,
        description="Largest request body, else 413; by default `server.max_body_bytes`.",
    )
    max_header_bytes: int | None = Field(
        default=None,
        ge=1024,
        le=8192 * 1024,
        description="Largest request head, else 431; by default `server.max_header_bytes`. "
        "Envoy counts in KiB.",
    )
    max_headers: int = Field(default=100, ge=10, le=1000, description="Most headers of a request.")
    max_connections: int = Field(
        default=10_000, ge=1, description="Client connections; more are closed at once."
    )
    max_streams: int = Field(
        default=100, ge=1, le=2**31 - 1, description="Requests at one time on an HTTP/2 connection."
    )
    max_resets: int = Field(
        default=100,
        ge=1,
        description="An HTTP/2 connection that reset so many requests within a second of their "
        "start, and most of its requests, is closed.",
    )
    max_requests: int = Field(
        default=10_000, ge=1, description="Requests at the gateways at one time; more are 503."
    )
    max_pending: int = Field(
        default=1024, ge=1, description="Requests that wait for a connection to a gateway."
    )
    max_memory_bytes: int = Field(
        default=1024 * MIB,
        ge=64 * MIB,
        description="Memory at which it sheds load, first keep-alive, then requests.",
    )


class EdgeTimeouts(Section):
    """How slow a client may be. An answer has no time limit here: the gateway has its clocks."""

    headers_s: Seconds = Field(default=10.0, description="For the head of a request, else 408.")
    request_s: Seconds = Field(default=60.0, description="For a whole request, else 408.")
    handshake_s: Seconds = Field(default=10.0, description="For the TLS handshake.")
    keep_alive_s: Seconds = Field(default=75.0, description="An idle connection closes after this.")
    idle_s: Seconds | None = Field(
        default=None,
        description="Longest silence of a request or an answer; by default longer than the longest "
        "clock of the gateway.",
    )
    connect_s: Seconds = Field(default=2.0, description="To open a connection to a gateway.")


class EdgeRate(Section):
    """What one address may ask for; an IPv6 address counts as its /64 network."""

    requests_per_s: int = Field(
        default=500, ge=0, description="Requests a second, more are 429; 0 is no limit."
    )
    burst: int = Field(default=1000, ge=1, description="So many at once after a pause.")
    addresses: int = Field(
        default=10_000, ge=1, description="Addresses remembered at one time, the latest."
    )


class EdgeJwt(Section):
    """Tokens that are checked before the gateway sees a request. The gateway checks them, too."""

    issuer: str = Field(min_length=1, description="The `iss` that a token must have.")
    audiences: tuple[str, ...] = Field(default=(), description="The `aud`, one of these.")
    jwks: str = Field(
        min_length=1, description="The issuer's keys: a file, or an https URL that is fetched."
    )
    required: bool = Field(
        default=True,
        description="Off: what is no JWT, such as an API key, goes on to the gateway.",
    )

    @property
    def is_remote(self) -> bool:
        """Whether the keys are fetched."""
        return self.jwks.startswith("https://")

    @model_validator(mode="after")
    def _keys_are_safe(self) -> Self:
        if "://" in self.jwks and (not self.is_remote or not urlsplit(self.jwks).hostname):
            raise ValueError("has a `jwks` that is neither a file nor https://host/path")
        return self


class EdgePrivate(Section):
    """Paths that are for operators only."""

    paths: tuple[Annotated[str, AfterValidator(_path)], ...] = Field(
        default=("/metrics", "/admin"), description="Paths that begin so are 403 for all others."
    )
    allow_from: tuple[Annotated[str, AfterValidator(_network)], ...] = Field(
        default=("127.0.0.0/8", "::1/128"), description="The networks of operators."
    )


class Edge(Section):
    """Envoy before the gateway: TLS, limits, malformed traffic. It knows no model."""

    enabled: bool = Field(
        default=False, description="Whether `serve` and `up` start it; `up --edge` does, too."
    )
    host: str = Field(default="127.0.0.1", min_length=1, description="Address to listen on.")
    port: int = Field(
        default=8443, ge=0, le=65_535, description="Port to listen on; 0 picks a free one."
    )
    gateways: tuple[Annotated[str, AfterValidator(_address)], ...] = Field(
        default=(),
        description="host:port of each gateway; a name may have many addresses (a headless "
        "service). By default this configuration's.",
    )
    workers: int = Field(
        default=2, ge=0, le=256, description="Threads of the Envoy that we run; 0: one per core."
    )
    http3: bool = Field(default=False, description="Also HTTP/3, on the same port over UDP.")
    tls: EdgeTls = EdgeTls()
    limits: EdgeLimits = EdgeLimits()
    timeouts: EdgeTimeouts = EdgeTimeouts()
    per_ip: EdgeRate = EdgeRate()
    private: EdgePrivate = EdgePrivate()
    jwt: EdgeJwt | None = Field(default=None, description="Checks tokens here, too.")
    trusted_hops: int = Field(
        default=0,
        ge=0,
        le=10,
        description="Proxies before it that tell a client's address in x-forwarded-for.",
    )
    trust_request_id: bool = Field(
        default=False,
        description="Keep a client's x-request-id; else each request gets a new one.",
    )
    access_log: bool = Field(default=True, description="One JSON line per request.")
    otlp: Annotated[str, AfterValidator(_collector)] | None = Field(
        default=None, description="Collector of its spans, for example http://otel:4317."
    )
    admin_port: int = Field(
        default=9901,
        ge=1,
        le=65_535,
        description="Envoy's own interface on loopback; an Envoy that we run has a free one.",
    )
    drain_s: Seconds = Field(
        default=5.0, description="On a stop, clients get this long to hear that it closes."
    )

    @model_validator(mode="after")
    def _http3_has_tls(self) -> Self:
        if self.http3 and not self.tls.enabled:
            raise ValueError("has `http3`, which needs `tls.enabled`")
        if self.http3 and self.port == 0:
            raise ValueError("has `http3`, which needs a `port` of its own: 0 would pick two")
        return self
