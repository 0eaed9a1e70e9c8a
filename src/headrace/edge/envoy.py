"""
Envoy's whole configuration from ours: the parts that other files of this room make, put together.

Deterministic and without I/O, so that a rendered file can be compared. What HTTP must look like is
http.py's, the checks on requests are filters.py's, running it is process.py's.
"""

from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from headrace.config.edge import Edge
from headrace.config.schema import Config
from headrace.edge import http
from headrace.edge.certificate import Pair
from headrace.edge.node import seconds, typed

CLUSTER = "gateway"
# Where Kubernetes mounts a secret of the type kubernetes.io/tls.
CERT, KEY = Path("/etc/headrace/tls/tls.crt"), Path("/etc/headrace/tls/tls.key")
# Envoy's best practices for edges: small buffers for each connection
# (https://www.envoyproxy.io/docs/envoy/latest/configuration/best_practices/edge).
CONNECTION_BUFFER = 32 * 1024
# A pooled connection must end here before the gateway ends it, or a request may meet its end.
KEPT = 0.8
SHED_KEEP_ALIVE, SHED_REQUESTS, SHED_CONNECTIONS = 0.90, 0.95, 0.98
# What our own process asks Envoy; all else of its admin interface is closed.
ADMIN_PATHS = ("/ready", "/listeners", "/drain_listeners", "/stats", "/healthcheck/fail")

HEADER = """\
# Envoy before the gateway: TLS, limits, malformed traffic. It knows no model and no engine.
# Rendered by `headrace edge config`; change headrace.yaml, not this file.
"""

_ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - what is asked, not listened on


def render(config: Config, pair: Pair | None = None) -> str:
    """Envoy's configuration as YAML; ``pair`` is used where no certificate is configured."""
    text = yaml.dump(
        bootstrap(config, pair), Dumper=_Plain, sort_keys=False, width=100, allow_unicode=True
    )
    return HEADER + text


def bootstrap(config: Config, pair: Pair | None = None) -> dict[str, Any]:
    """The same as a tree (``envoy.config.bootstrap.v3.Bootstrap``)."""
    edge = config.edge
    tls = _tls(edge, pair)
    listeners = [_listener(config, tls)]
    if edge.http3:
        listeners.append(_quic(config, tls))
    return {
        "admin": _admin(edge),
        "layered_runtime": {"layers": [{"name": "static", "static_layer": _runtime(edge)}]},
        "overload_manager": _overload(edge),
        "static_resources": {"listeners": listeners, "clusters": _clusters(config)},
    }


def _admin(edge: Edge) -> dict[str, Any]:
    return {
        "address": _socket("127.0.0.1", edge.admin_port),
        "allow_paths": [{"prefix": path} for path in ADMIN_PATHS],
    }


def _runtime(edge: Edge) -> dict[str, Any]:
    """
    What Envoy reads from its runtime only.

    One request of a connection for each turn of its loop keeps one client from taking a thread for
    itself; a connection that resets most of its requests early is closed (CVE-2023-44487).
    """
    return {
        "http.max_requests_per_io_cycle": 1,
        "overload.premature_reset_total_stream_count": edge.limits.max_resets,
        "overload.premature_reset_min_stream_lifetime_seconds": 1,
        "envoy.reloadable_features.strict_chunk_parsing": True,
        "re2.max_program_size.error_level": 1000,  # the pattern of request ids has 643
    }


def _overload(edge: Edge) -> dict[str, Any]:
    def at(monitor: str, share: float) -> list[dict[str, Any]]:
        name = f"envoy.resource_monitors.{monitor}"
        return [{"name": name, "threshold": {"value": share}}]

    limits = edge.limits
    monitors = "extensions.resource_monitors"
    return {
        "refresh_interval": "0.25s",
        "resource_monitors": [
            {
                "name": "envoy.resource_monitors.fixed_heap",
                "typed_config": typed(
                    f"{monitors}.fixed_heap.v3.FixedHeapConfig",
                    max_heap_size_bytes=limits.max_memory_bytes,
                ),
            },
            {
                "name": "envoy.resource_monitors.global_downstream_max_connections",
                "typed_config": typed(
                    f"{monitors}.downstream_connections.v3.DownstreamConnectionsConfig",
                    max_active_downstream_connections=limits.max_connections,
                ),
            },
        ],
        "actions": [
            {
                "name": "envoy.overload_actions.shrink_heap",
                "triggers": at("fixed_heap", SHED_KEEP_ALIVE),
            },
            {
                "name": "envoy.overload_actions.disable_http_keepalive",
                "triggers": at("fixed_heap", SHED_KEEP_ALIVE),
            },
            {
                "name": "envoy.overload_actions.stop_accepting_requests",
                "triggers": at("fixed_heap", SHED_REQUESTS),
            },
            {
                "name": "envoy.overload_actions.stop_accepting_connections",
                "triggers": at("fixed_heap", SHED_CONNECTIONS),
            },
        ],
    }


# --- listeners ------------------------------------------------------------------------------


def _listener(config: Config, tls: dict[str, Any] | None) -> dict[str, Any]:
    edge = config.edge
    chain: dict[str, Any] = {"filters": [http.connections(config, "AUTO", CLUSTER)]}
    if tls is not None:
        context = {"common_tls_context": tls | {"alpn_protocols": ["h2", "http/1.1"]}}
        chain["transport_socket"] = {
            "name": "envoy.transport_sockets.tls",
            "typed_config": typed(
                "extensions.transport_sockets.tls.v3.DownstreamTlsContext", **context
            ),
        }
        chain["transport_socket_connect_timeout"] = seconds(edge.timeouts.handshake_s)
    return {
        "name": "edge",
        "address": _socket(edge.host, edge.port),
        "per_connection_buffer_limit_bytes": CONNECTION_BUFFER,
        "filter_chains": [chain],
    }


def _quic(config: Config, tls: dict[str, Any] | None) -> dict[str, Any]:
    edge = config.edge
    context = {"common_tls_context": tls}
    return {
        "name": "edge_quic",
        "address": _socket(edge.host, edge.port, protocol="UDP"),
        "udp_listener_config": {
            "quic_options": {},
            "downstream_socket_config": {"prefer_gro": True},
        },
        "filter_chains": [
            {
                "filters": [http.connections(config, "HTTP3", CLUSTER)],
                "transport_socket": {
                    "name": "envoy.transport_sockets.quic",
                    "typed_config": typed(
                        "extensions.transport_sockets.quic.v3.QuicDownstreamTransport",
                        downstream_tls_context=context,
                    ),
                },
            }
        ],
    }


def _tls(edge: Edge, pair: Pair | None) -> dict[str, Any] | None:
    """A CommonTlsContext; None without TLS."""
    if not edge.tls.enabled:
        return None
    if edge.tls.cert is not None and edge.tls.key is not None:
        pair = Pair(edge.tls.cert, edge.tls.key)
    pair = pair or Pair(CERT, KEY)
    return {
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
        "tls_certificates": [
            {
                "certificate_chain": {"filename": str(pair.cert)},
                "private_key": {"filename": str(pair.key)},
            }
        ],
    }


# --- clusters -------------------------------------------------------------------------------


def _clusters(config: Config) -> list[dict[str, Any]]:
    edge = config.edge
    clusters = [_gateways(config)]
    if edge.jwt is not None and edge.jwt.is_remote:
        clusters.append(_issuer(edge.jwt.jwks))
    if edge.otlp is not None:
        parts = urlsplit(edge.otlp)
        otlp = _cluster("otlp", [(parts.hostname or "", parts.port or 4317)])
        clusters.append(otlp | _protocol("http2_protocol_options", {}))
    return clusters


def _gateways(config: Config) -> dict[str, Any]:
    edge, limits = config.edge, config.edge.limits
    keep_alive_s = config.server.keep_alive_s * KEPT
    breaker = {
        "max_connections": limits.max_requests,
        "max_pending_requests": limits.max_pending,
        "max_requests": limits.max_requests,
        "max_retries": 16,
    }
    return (
        _cluster(CLUSTER, gateways(config))
        | {
            "connect_timeout": seconds(edge.timeouts.connect_s),
            "lb_policy": "LEAST_REQUEST",
            "circuit_breakers": {"thresholds": [breaker]},
            # Where all of them fail, they are asked all the same: their errors say more than ours.
            "health_checks": [
                {
                    "timeout": "2s",
                    "interval": "2s",
                    "no_traffic_interval": "2s",
                    "unhealthy_threshold": 2,
                    "healthy_threshold": 1,
                    "http_health_check": {"path": "/ready"},
                }
            ],
        }
        | _protocol("http_protocol_options", {"idle_timeout": seconds(keep_alive_s)})
    )


def gateways(config: Config) -> list[tuple[str, int]]:
    """Host and port of each gateway; by default of this configuration's own."""
    server = config.server
    if not config.edge.gateways:
        return [(_ANYWHERE.get(server.host, server.host), server.port)]
    pairs = [address.rpartition(":") for address in config.edge.gateways]
    return [(host.strip("[]"), int(port)) for host, _, port in pairs]


def _issuer(url: str) -> dict[str, Any]:
    parts = urlsplit(url)
    host = parts.hostname or ""
    context = typed(
        "extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        sni=host,
        auto_sni_san_validation=True,
        common_tls_context={
            "validation_context": {
                "trusted_ca": {"filename": "/etc/ssl/certs/ca-certificates.crt"},
            }
        },
    )
    socket = {"name": "envoy.transport_sockets.tls", "typed_config": context}
    return _cluster("jwks", [(host, parts.port or 443)]) | {"transport_socket": socket}


def _cluster(name: str, addresses: list[tuple[str, int]]) -> dict[str, Any]:
    numeric = all(_is_number(host) for host, _ in addresses)
    endpoints = [{"endpoint": {"address": _socket(host, port)}} for host, port in addresses]
    dns = typed("extensions.clusters.dns.v3.DnsCluster", respect_dns_ttl=True)
    found: dict[str, Any] = {"cluster_type": {"name": "envoy.clusters.dns", "typed_config": dns}}
    return {
        "name": name,
        **({"type": "STATIC"} if numeric else found),
        "connect_timeout": "2s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]},
    }


def _protocol(kind: str, common: Mapping[str, Any]) -> dict[str, Any]:
    options = typed(
        "extensions.upstreams.http.v3.HttpProtocolOptions",
        **({"common_http_protocol_options": dict(common)} if common else {}),
        explicit_http_config={kind: {}},
    )
    name = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    return {"typed_extension_protocol_options": {name: options}}


# --- values ---------------------------------------------------------------------------------


def _socket(host: str, port: int, **more: str) -> dict[str, Any]:
    return {"socket_address": {**more, "address": host, "port_value": port}}


def _is_number(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


class _Plain(yaml.SafeDumper):
    """Writes what stands in the tree twice twice: anchors make a file that nobody can read."""

    def ignore_aliases(self, _data: Any) -> bool:
        return True
