"""Where replicas are discovered: files, DNS, Kubernetes. Finding them is fleet/discovery's."""

from ipaddress import ip_address
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from headrace.config.address import Key
from headrace.config.section import Seconds, Section, Serves

# What each type needs, and what it takes beside `type`, `serves` and the settings of a backend.
NEEDED = {"file": {"path"}, "dns": {"name"}, "kubernetes": {"selector"}}
TAKEN = {
    "file": {"path", "poll_s"},
    "dns": {"name", "record", "port", "nameservers", "min_s", "max_s", "tls"},
    "kubernetes": {
        "selector",
        "namespace",
        "port",
        "port_name",
        "serves_from",
        "kubeconfig",
        "context",
        "resync_s",
        "tls",
    },
}
SHARED = {"type", "serves", "api_key", "tls_verify", "tls_ca"}


class Discovery(Section):
    """A source of replicas that come and go. Which settings it takes depends on its `type`."""

    type: Literal["file", "dns", "kubernetes"] = Field(description="What kind of source it is.")
    serves: Serves = Field(
        default_factory=dict,
        description="Models that its replicas serve, unless the source says so for each replica.",
    )
    path: Path | None = Field(
        default=None,
        description="file: a YAML or JSON list of backends, read again when it changes.",
    )
    poll_s: Seconds = Field(default=1.0, description="file: how often to look for a change.")
    name: str = Field(default="", description="dns: the name to look up.")
    record: Literal["a", "aaaa", "srv"] = Field(
        default="a",
        description="dns: addresses (IPv4 or IPv6) with `port`, or services with their own ports.",
    )
    port: int | None = Field(
        default=None,
        ge=1,
        le=65_535,
        description="dns, kubernetes: port of the engines; by default the only one the source has.",
    )
    nameservers: tuple[str, ...] = Field(
        default=(),
        description="dns: `address` or `address:port` of name servers; by default the system's.",
    )
    min_s: Seconds = Field(default=5.0, description="dns: look up no more often than this.")
    max_s: Seconds = Field(default=60.0, description="dns: look up at least this often.")
    selector: str = Field(
        default="",
        description="kubernetes: label selector, for example kubernetes.io/service-name=qwen.",
    )
    namespace: str = Field(
        default="", description="kubernetes: by default the one that the gateway runs in."
    )
    port_name: str = Field(default="", description="kubernetes: name of the port of the engines.")
    serves_from: str = Field(
        default="",
        description="kubernetes: annotation or label of an EndpointSlice that names the models.",
    )
    kubeconfig: Path | None = Field(
        default=None,
        description="kubernetes: file with the cluster's address; by default the pod's own access.",
    )
    context: str = Field(
        default="", description="kubernetes: context of the kubeconfig; by default its current one."
    )
    resync_s: Seconds = Field(
        default=600.0, description="kubernetes: list everything anew at least this often."
    )
    tls: bool = Field(default=False, description="dns, kubernetes: the engines speak https.")
    api_key: Key | None = Field(default=None, description="Sent to its replicas as a bearer token.")
    tls_verify: bool = Field(default=True, description="Check the certificates of https replicas.")
    tls_ca: Path | None = Field(default=None, description="PEM file of the authority that signed.")

    @field_validator("nameservers")
    @classmethod
    def _are_endpoints(cls, nameservers: tuple[str, ...]) -> tuple[str, ...]:
        for each in nameservers:
            endpoint(each)
        return nameservers

    @property
    def label(self) -> str:
        """How log events name it."""
        return f"{self.type}:{self.path or self.name or self.selector}"

    @model_validator(mode="before")
    @classmethod
    def _has_what_its_type_takes(cls, data: Any) -> Any:
        """Checked before the values, so that one sentence tells what the type is about."""
        kind = data.get("type") if isinstance(data, dict) else None
        if kind not in TAKEN:
            return data
        given = {key for key, value in data.items() if value is not None} & cls.model_fields.keys()
        foreign = sorted(given - TAKEN[kind] - SHARED)
        if foreign:
            raise ValueError(f"`{foreign[0]}` is not a setting of the type {kind}, which takes"
                             f" {', '.join(sorted(TAKEN[kind]))}")  # fmt: skip
        missing = sorted(NEEDED[kind] - given)
        if missing:
            raise ValueError(f"the type {kind} needs `{missing[0]}`")
        if kind == "dns" and data.get("record", "a") != "srv" and "port" not in given:
            raise ValueError("the type dns needs `port`, unless `record` is srv")
        return data

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if self.type == "dns" and not self.serves:
            raise ValueError("the type dns needs `serves`: DNS does not say which models there are")
        if self.type == "kubernetes" and not (self.serves or self.serves_from):
            raise ValueError("the type kubernetes needs `serves` or `serves_from`")
        if self.min_s > self.max_s:
            raise ValueError("`min_s` must be at most `max_s`")
        return self


def endpoint(nameserver: str) -> tuple[str, int]:
    """
    Address and port of a name server: ``10.0.0.2``, ``10.0.0.2:8600``, ``[fd00::2]:8600``.

    Raises:
        ValueError: it is not one of these.

    """
    host, _, port = nameserver.rpartition(":")
    if not host or (":" in host and not host.startswith("[")):
        host, port = nameserver, "53"
    host = host.removeprefix("[").removesuffix("]")
    try:
        ip_address(host)
    except ValueError:
        raise ValueError(f"{nameserver!r} must be an IP address, or address:port") from None
    if not (port.isascii() and port.isdigit() and 0 < int(port) <= 65_535):
        raise ValueError(f"{nameserver!r} must end with a port from 1 to 65535")
    return host, int(port)
