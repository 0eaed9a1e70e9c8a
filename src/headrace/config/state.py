"""The state that several gateways share in Redis. Reaching it is state/redis.py's."""

from pathlib import Path
from typing import Annotated, Self
from urllib.parse import parse_qs, unquote, urlsplit

from pydantic import AfterValidator, Field, SecretStr, model_validator

from headrace.config.section import Seconds, Section

SCHEMES = ("redis", "rediss", "unix")
FORM = "must be redis://host:6379/0, rediss://host:6379/0 or unix:///path/to/redis.sock"


def _url(url: SecretStr) -> SecretStr | None:
    """A URL of one of our forms; an empty one (of an empty variable) is none."""
    text = url.get_secret_value().strip()
    if not text:
        return None
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise ValueError(FORM) from None
    if not text.isprintable() or parts.scheme not in SCHEMES or parts.fragment:
        raise ValueError(FORM)
    if parts.scheme == "unix":
        known, named = {"db"}, bool(parts.path)
    else:
        database = parts.path.strip("/")
        known, named = set(), bool(parts.hostname) and (not database or database.isdecimal())
    if not named or port == 0 or not parse_qs(parts.query).keys() <= known:
        raise ValueError(FORM)
    return SecretStr(text)


class State(Section):
    """
    What several gateways share: sessions' replicas, what each has in flight, and what they sent
    where. Without a URL each gateway is alone.
    """

    url: Annotated[SecretStr, AfterValidator(_url)] | None = Field(
        default=None,
        description="Redis or Valkey: redis://, rediss:// (TLS) or unix://, with user and password "
        "if it wants them.",
    )
    tls_verify: bool = Field(
        default=True, description="Check the certificate of a rediss:// server."
    )
    tls_ca: Path | None = Field(
        default=None, description="PEM file of the authority that signed it."
    )
    prefix: str = Field(
        default="headrace",
        pattern=r"^[A-Za-z0-9._:\-]{1,64}$",
        description="What all keys begin with; one for each group of gateways.",
    )
    timeout_s: Annotated[float, Field(gt=0, le=10)] = Field(
        default=0.25, description="For one operation; then Redis counts as lost until it answers."
    )
    pins_ttl_s: Seconds = Field(
        default=3600.0, description="How long a session's replica is kept after its last request."
    )
    share_s: Annotated[float, Field(ge=0.05, le=10)] = Field(
        default=0.1, description="How often a gateway tells the others what it has done."
    )

    @model_validator(mode="after")
    def _authority_of_tls(self) -> Self:
        if self.tls_ca is not None and self.url is not None and not self.place.startswith("rediss"):
            raise ValueError("has `tls_ca`, but `url` is not rediss://; mend one of them")
        return self

    @property
    def place(self) -> str:
        """Where it is, without user and password; empty for none. For logs and errors."""
        if self.url is None:
            return ""
        parts = urlsplit(self.url.get_secret_value())
        where = parts.netloc.rpartition("@")[2]
        return f"{parts.scheme}://{where}{unquote(parts.path)}"
