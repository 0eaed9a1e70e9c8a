"""
Media that requests name by URL: whose, who fetches them, and how large they may be. The check of a
body is gateway/body/media.py's, the fetching gateway/guards/fetching.py's.
"""

import ipaddress
import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from headrace.config.section import MIB, Seconds, Section

ANY = "*"  # every host, where the gateway fetches

_TYPE = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]*/(?:\*|[a-z0-9][a-z0-9!#$&^_.+-]*)")


def _network(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text))
    except ValueError:
        raise ValueError("must be a network like 10.20.0.0/16") from None


def _type(text: str) -> str:
    if not _TYPE.fullmatch(text.lower()):
        raise ValueError("must be a content type like image/png or image/*")
    return text.lower()


class Media(Section):
    """Which media may be named by URL, and who fetches them. Data URLs are always allowed."""

    allowed_hosts: tuple[str, ...] = Field(
        default=(),
        description="Hosts (exact, or *.example.com) from which media may be fetched; `*`, where "
        "the gateway fetches, is every host with a public address.",
    )
    fetch: Literal["engine", "gateway"] = Field(
        default="engine",
        description="Who fetches: the engine, which gets the URL as it came; or the gateway, which "
        "checks addresses and redirects, and sends the engine the file itself.",
    )
    networks: tuple[Annotated[str, AfterValidator(_network)], ...] = Field(
        default=(),
        description="Networks that are not public from which the gateway may fetch all the same, "
        "such as that of a store of your own. Link-local and metadata addresses never count.",
    )
    types: tuple[Annotated[str, AfterValidator(_type)], ...] = Field(
        default=("image/*", "audio/*", "video/*", "application/pdf"),
        min_length=1,
        description="Content types that the gateway takes.",
    )
    redirects: int = Field(
        default=3, ge=0, le=10, description="Redirects that the gateway follows, each one checked."
    )
    timeout_s: Seconds = Field(
        default=10.0, description="How long the gateway may take to fetch one file, redirects too."
    )
    max_bytes: int = Field(
        default=20 * MIB,
        ge=1,
        description="The largest file that the gateway fetches. A request with all of its files "
        "may have server.max_body_bytes.",
    )
    max_files: int = Field(
        default=16, ge=1, le=1000, description="URLs that the gateway fetches for one request."
    )
    max_fetches: int = Field(
        default=64, ge=1, le=10_000, description="Files that the gateway fetches at one time."
    )

    @model_validator(mode="after")
    def _any_host_is_for_the_gateway(self) -> Self:
        if ANY in self.allowed_hosts and self.fetch != "gateway":
            raise ValueError(
                "has the host '*', which needs `fetch: gateway`: engines check no addresses"
            )
        return self
