"""
What is kept of each request and told about it afterwards: decision records, and traces. Keeping
them is the gateway's, sending them telemetry's.
"""

from pathlib import Path
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, model_validator

from headrace.config.database import Database
from headrace.config.section import MIB, Seconds, Section

TRACES_PATH = "/v1/traces"  # https://opentelemetry.io/docs/specs/otlp/#otlphttp-request


def _collector(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query:
        raise ValueError("must be http(s)://host:port of a collector that speaks OTLP over HTTP")
    return url


class Archive(Section):
    """Decision records in a database, for longer than memory has room. Off without a `url`."""

    url: Database | None = Field(
        default=None,
        description="sqlite:PATH, or postgresql://user:password@host/database (extra `postgres`);"
        " may be the ledger's. By default nothing is kept.",
    )
    share: float = Field(
        default=1.0,
        ge=0,
        le=1,
        description="Share of the requests that is kept; failed, retried and slow ones always are.",
    )
    retention_h: float = Field(
        default=72.0, gt=0, le=24 * 366, description="Records older than this are removed."
    )
    interval_s: Seconds = Field(default=1.0, description="How often records are written.")
    queue: int = Field(
        default=5000,
        ge=100,
        le=1_000_000,
        description="Records that wait to be written at most; beyond it they are dropped, and"
        " counted.",
    )
    timeout_s: Seconds = Field(
        default=5.0, description="How long the database may take; then it counts as down."
    )


class Decisions(Section):
    """Decision records: what `headrace explain` knows of a request after its end."""

    requests: int = Field(
        default=5000,
        ge=0,
        le=1_000_000,
        description="Requests whose records are kept in memory, the latest; 0 keeps none.",
    )
    bytes: int = Field(
        default=32 * MIB, ge=64 * 1024, description="Memory for these records at most, about."
    )
    notable: int = Field(
        default=500,
        ge=0,
        le=100_000,
        description="Of failed, retried and slow requests so many are kept longer than the others.",
    )
    slow_s: Seconds = Field(
        default=10.0,
        description="A request is slow when the first byte of its stream, or its whole answer where"
        " it is not streamed, took longer than this.",
    )
    trust_request_start: bool | None = Field(
        default=None,
        description="Whether x-request-start tells when the request reached what stands before us;"
        " by default where `edge.enabled`, since our edge lets no client say it.",
    )
    archive: Archive = Archive()


class Tracing(Section):
    """Spans for a collector, one tree for each request. Off without an `endpoint`."""

    endpoint: Annotated[str, AfterValidator(_collector)] | None = Field(
        default=None,
        description="Collector that speaks OTLP over HTTP, for example http://otel:4318; needs the"
        " extra `otlp`. A path is used as it is, else it is /v1/traces.",
    )
    headers: dict[str, SecretStr] = Field(
        default={}, description="Sent with each export, for example an authorization."
    )
    ca: Path | None = Field(
        default=None, description="PEM file of the authority that signed the collector's."
    )
    share: float = Field(
        default=0.01,
        ge=0,
        le=1,
        description="Share of the requests that is traced, where no caller has decided already.",
    )
    follow_parent: bool = Field(
        default=True,
        description="Whether the sampled flag of a caller's traceparent decides; off: the share"
        " does, by the trace id.",
    )
    notable_per_s: float = Field(
        default=10.0,
        ge=0,
        le=10_000,
        description="So many failed, retried and slow requests a second are traced beyond the"
        " share.",
    )
    service: str = Field(
        default="headrace", min_length=1, max_length=255, description="The spans' service.name."
    )
    queue: int = Field(
        default=2048,
        ge=16,
        le=1_000_000,
        description="Requests that wait for export at most; beyond it they are dropped, and"
        " counted.",
    )
    interval_s: Seconds = Field(default=1.0, description="How often spans are sent.")
    timeout_s: Seconds = Field(
        default=10.0, description="How long one export may take, its retries included."
    )

    @property
    def address(self) -> str:
        """Where spans are posted; empty where nothing is traced."""
        if self.endpoint is None:
            return ""
        bare = not urlsplit(self.endpoint).path.strip("/")
        return self.endpoint.rstrip("/") + TRACES_PATH if bare else self.endpoint

    @model_validator(mode="after")
    def _has_ascii_headers(self) -> Self:
        for name, value in self.headers.items():
            text = value.get_secret_value()
            if not name.isascii() or not text.isascii() or not (name + text).isprintable():
                raise ValueError(f"has a header {name!r} that cannot be sent")
        return self
