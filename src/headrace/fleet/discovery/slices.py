"""
EndpointSlices as replicas: which endpoints count, their ports, names and models. Pure.

https://kubernetes.io/docs/concepts/services-networking/endpoint-slices/
"""

from collections.abc import Iterable

import msgspec

from headrace.config.discovery import Discovery
from headrace.fleet.discovery.source import Found, replica


class Meta(msgspec.Struct):
    """Name, labels and annotations of a slice."""

    name: str
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None


class Conditions(msgspec.Struct):
    """What is known of an endpoint; None is "unknown", which counts as ready."""

    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class Target(msgspec.Struct):
    """The pod behind an endpoint."""

    kind: str = ""
    name: str = ""
    uid: str = ""


class Endpoint(msgspec.Struct, rename="camel"):
    """One engine; its addresses are all the same to us, and the first is used."""

    addresses: list[str]
    conditions: Conditions = msgspec.field(default_factory=Conditions)
    target_ref: Target | None = None


class Port(msgspec.Struct):
    """A port that all endpoints of a slice have."""

    name: str | None = ""
    port: int | None = None


class Slice(msgspec.Struct, rename="camel"):
    """Some of the endpoints of a Service."""

    metadata: Meta
    endpoints: list[Endpoint] | None = None
    ports: list[Port] | None = None
    address_type: str = "IPv4"


def replicas(known: Iterable[Slice], config: Discovery) -> list[Found]:
    """
    The engines that may get new requests, ordered by name.

    An endpoint stands in two slices while Kubernetes moves it, and a pod with two address families
    in one slice of each: it is one replica.
    """
    found: dict[str, Found] = {}
    for each in sorted(known, key=lambda one: (one.address_type != "IPv4", one.metadata.name)):
        port, serves = _port(each, config), _serves(each.metadata, config)
        if port is None or not serves:
            continue
        for endpoint in each.endpoints or ():
            if endpoint.addresses and takes_requests(endpoint.conditions):
                one = _found(endpoint, port, serves, config)
                found.setdefault(one.backend.name, one)
    return [found[name] for name in sorted(found)]


def fault(each: Slice, config: Discovery) -> str:
    """Why none of a slice's endpoints can be a replica; empty when they can."""
    if not _serves(each.metadata, config):
        return f"it has no annotation or label {config.serves_from}, and there is no `serves`"
    if each.endpoints and _port(each, config) is None:
        ports = ", ".join(f"{port.name or 'unnamed'} {port.port}" for port in each.ports or ())
        return f"which of its ports? Set `port_name` or `port`; it has {ports or 'none'}"
    return ""


def takes_requests(conditions: Conditions) -> bool:
    """
    Whether an engine may get new requests: ready (or unknown) and not on its way out. One that is
    terminating goes on with what it has, also while it still says that it serves.
    """
    return conditions.ready is not False and not conditions.terminating


def _found(endpoint: Endpoint, port: int, serves: dict[str, str], config: Discovery) -> Found:
    host, target = endpoint.addresses[0], endpoint.target_ref
    shown = f"[{host}]" if ":" in host else host
    name = target.name if target is not None and target.name else f"{shown}:{port}"
    uid = target.uid if target is not None else ""
    return Found(replica(config, name, host, port, serves), uid)


def _port(each: Slice, config: Discovery) -> int | None:
    """The named port, the configured number, or the only port; None when that says nothing."""
    ports = [port for port in each.ports or () if port.port is not None]
    if config.port_name:
        return next((port.port for port in ports if port.name == config.port_name), None)
    if config.port is not None:
        return config.port
    return ports[0].port if len(ports) == 1 else None


def _serves(meta: Meta, config: Discovery) -> dict[str, str]:
    """
    ``qwen3-8b, small=Qwen/Qwen3-0.6B``: names, or our name and the engine's; what the
    configuration says where the slice says nothing.
    """
    key = config.serves_from
    text = (meta.annotations or {}).get(key) or (meta.labels or {}).get(key) or ""
    pairs = [part.partition("=") for part in text.split(",") if part.strip()]
    named = {ours.strip(): theirs.strip() or ours.strip() for ours, _, theirs in pairs}
    return named or dict(config.serves)
