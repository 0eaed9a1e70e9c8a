"""How replicas are watched: health, outliers, the load view, the admin API. Schema.py holds all."""

from typing import Self

from pydantic import Field, model_validator

from headrace.config.address import Key
from headrace.config.section import Seconds, Section

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


class Health(Section):
    """How a replica earns and loses its place: probes, warm-up, slow start, stuck detection."""

    enabled: bool = Field(default=True, description="Whether replicas are probed at all.")
    interval_s: Seconds = Field(
        default=2.0,
        description="Between two `GET /health` of a replica, give or take a tenth; in fleets of"
        " more than 64 up to four times as long while its answers show that it lives.",
    )
    timeout_s: Seconds = Field(
        default=1.5, description="For the answer to `GET /health`; later is a failure."
    )
    failures: int = Field(
        default=3, ge=1, le=100, description="Failed probes in a row that eject a replica."
    )
    successes: int = Field(
        default=2, ge=1, le=100, description="Good probes in a row before an ejected one returns."
    )
    warm_up: bool = Field(
        default=True,
        description="Let a replica answer one token before it gets requests, so that no user"
        " waits for compilation or cold caches.",
    )
    warm_up_s: Seconds = Field(
        default=120.0, description="For that token; a replica that needs longer is tried again."
    )
    trust_static: bool = Field(
        default=True,
        description="Send requests to configured backends at once; otherwise only after a good"
        " probe and the warm-up.",
    )
    slow_start_s: float = Field(
        default=10.0,
        ge=0,
        le=3600,
        description="A replica that joins others reaches its full share of requests over this"
        " time; 0 gives it at once.",
    )
    stuck_s: float = Field(
        default=7.0,
        ge=0,
        le=3600,
        description="A replica with requests and no sign of progress for this long is stuck;"
        " 0 looks for none.",
    )


class Outliers(Section):
    """When a replica is set aside for what its requests met. 4xx and hang-ups never count."""

    enabled: bool = Field(default=True, description="Whether replicas are ejected for failures.")
    consecutive: int = Field(
        default=5, ge=1, le=1000, description="Failures in a row that eject a replica."
    )
    window_s: Seconds = Field(
        default=30.0, description="Requests of this long count for the success rate."
    )
    min_requests: int = Field(
        default=20,
        ge=1,
        le=100_000,
        description="Requests in the window without which a success rate says nothing.",
    )
    margin: float = Field(
        default=0.3,
        gt=0,
        le=1,
        description="A success rate this far below that of its peers ejects a replica.",
    )
    max_ejected_share: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="Of a model's replicas, outliers and stuck ones are ejected up to this share.",
    )
    ejection_s: Seconds = Field(
        default=10.0, description="First ejection; each one that follows soon lasts twice as long."
    )
    max_ejection_s: Seconds = Field(default=300.0, description="Longest ejection.")


class Load(Section):
    """The load view: what replicas say about themselves in /metrics."""

    enabled: bool = Field(default=True, description="Whether /metrics of replicas is read.")
    interval_s: Seconds = Field(
        default=1.5,
        description="Between two readings of a replica, give or take a tenth; in fleets of"
        " more than 64 up to four times as long while it idles, or its answers show that it lives.",
    )
    timeout_s: Seconds = Field(default=1.0, description="For one reading.")


class Admin(Section):
    """The admin API's own listener: the fleet's states, drain and undrain."""

    enabled: bool = Field(default=True, description="Whether `serve` and `up` open it.")
    host: str = Field(
        default="127.0.0.1",
        min_length=1,
        description="Address to listen on; one that others can reach needs a token.",
    )
    port: int = Field(
        default=8001,
        ge=0,
        le=65_535,
        description="Port to listen on; 0 picks a free one, and so does a busy default.",
    )
    token: Key | None = Field(default=None, description="Callers must send it as a bearer token.")

    @model_validator(mode="after")
    def _others_need_the_token(self) -> Self:
        if self.enabled and self.host not in LOOPBACK and self.token is None:
            raise ValueError(
                f"listens on {self.host}, where others can reach it, and needs a `token`"
            )
        return self
