"""
What HTTP must look like at the edge: paths, headers, clocks, the way to the gateway, the log.

The checks that a well-formed request then meets are filters.py's.
"""

from typing import Any

from headrace.config.edge import Edge
from headrace.config.schema import Config
from headrace.edge.filters import chain
from headrace.edge.node import seconds, typed
from headrace.edge.replies import replies

# What the gateway takes for a request id of a client's (gateway/app.py).
SAFE_ID = "[A-Za-z0-9._:-]{1,128}"
SERVER = "headrace-edge"
# Headers by which a client could speak for a proxy, for Envoy or for Headrace.
SPOOFED = (
    "forwarded", "x-forwarded-host", "x-forwarded-port", "x-forwarded-prefix", "x-real-ip",
    "x-request-start",
)  # fmt: skip
SPOOFED_BY_CLIENTS = ("x-forwarded-for", "x-forwarded-proto")  # proxies that we trust say these
SPOOFED_PREFIXES = ("x-headrace-", "x-envoy-")
# The gateway's clocks run out first and say which; this much later Envoy's would.
MARGIN_S = 30.0
STREAM_WINDOW, CONNECTION_WINDOW = 64 * 1024, 1024 * 1024  # bytes; Envoy's advice for edges
HTTP3_DAYS = 1


def connections(config: Config, codec: str, cluster: str) -> dict[str, Any]:
    """The filter that makes requests of a connection's bytes (HttpConnectionManager)."""
    edge = config.edge
    manager = typed(
        "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix="edge",
        codec_type=codec,
        **_trust(edge),
        **_clocks(config),
        **_shape(config),
        **_trace(config),
        local_reply_config=replies(),
        route_config=_routes(edge, cluster),
        http_filters=chain(config),
    )
    if codec == "HTTP3":
        manager["http3_protocol_options"] = {}
    if edge.access_log:
        manager["access_log"] = [_access_log()]
    return {
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": manager,
    }


def idle_s(config: Config) -> float:
    """
    Longest silence in seconds: more than a request may take at the gateway in all.

    An answer that is not streamed is silent until it is whole, and a rule may give a request more
    time than `timeouts` does.
    """
    if config.edge.timeouts.idle_s is not None:
        return config.edge.timeouts.idle_s
    clocks = [config.timeouts.total_s, config.timeouts.chunk_s]
    for rule in config.rules:
        own = (rule.timeouts.total_s, rule.timeouts.chunk_s)
        clocks += [clock for clock in own if clock is not None]
    return max(clocks) + MARGIN_S


def _trust(edge: Edge) -> dict[str, Any]:
    """Who a client is, and what nobody outside may say."""
    names = SPOOFED if edge.trusted_hops else SPOOFED + SPOOFED_BY_CLIENTS
    mutations: list[dict[str, Any]] = [{"remove": name} for name in names]
    mutations += [
        {"remove_on_match": {"key_matcher": {"prefix": prefix, "ignore_case": True}}}
        for prefix in SPOOFED_PREFIXES
    ]
    early = typed(
        "extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation",
        mutations=mutations,
    )
    return {
        "use_remote_address": True,
        "xff_num_trusted_hops": edge.trusted_hops,
        "generate_request_id": True,
        "preserve_external_request_id": edge.trust_request_id,
        "server_name": SERVER,
        "early_header_mutation_extensions": [
            {"name": "envoy.http.early_header_mutation.header_mutation", "typed_config": early}
        ],
    }


def _clocks(config: Config) -> dict[str, Any]:
    """Clocks for what a client sends; none of them cuts a long answer."""
    timeouts = config.edge.timeouts
    return {
        "request_headers_timeout": seconds(timeouts.headers_s),
        "request_timeout": seconds(timeouts.request_s),
        "stream_idle_timeout": seconds(idle_s(config)),
        "drain_timeout": seconds(config.edge.drain_s),
        "delayed_close_timeout": "1s",
    }


def _shape(config: Config) -> dict[str, Any]:
    """Which requests are well-formed, in HTTP/1 and HTTP/2."""
    limits, timeouts = config.edge.limits, config.edge.timeouts
    return {
        "max_request_headers_kb": -(-header_bytes(config) // 1024),
        # `//metrics` is what the gateway would see as `/metrics`, so that it cannot pass for
        # another path here. `%2F` stays: names of models have slashes (/v1/models/a%2Fb).
        "normalize_path": True,
        "merge_slashes": True,
        "path_with_escaped_slashes_action": "KEEP_UNCHANGED",
        "common_http_protocol_options": {
            "idle_timeout": seconds(timeouts.keep_alive_s),
            "max_headers_count": limits.max_headers,
            # x_real_ip and x-real-ip are one header to many programs.
            "headers_with_underscores_action": "REJECT_REQUEST",
        },
        "http_protocol_options": {"accept_http_10": False, "allow_chunked_length": False},
        "http2_protocol_options": {
            "max_concurrent_streams": limits.max_streams,
            "initial_stream_window_size": STREAM_WINDOW,
            "initial_connection_window_size": CONNECTION_WINDOW,
        },
    }


def header_bytes(config: Config) -> int:
    """Largest head of a request."""
    return config.edge.limits.max_header_bytes or config.server.max_header_bytes


# --- the way to the gateway -----------------------------------------------------------------


def _routes(edge: Edge, cluster: str) -> dict[str, Any]:
    routes: list[dict[str, Any]] = []
    if edge.trust_request_id:
        unsafe = {"safe_regex": {"regex": SAFE_ID}}
        header = {"name": "x-request-id", "string_match": unsafe, "invert_match": True}
        routes.append(
            {
                "match": {"prefix": "/", "headers": [header]},
                "direct_response": {"status": 400},
            }
        )
    routes.append({"match": {"prefix": "/"}, "route": _route(cluster)})
    # When the request's head was here, so that the gateway can tell what it took before it.
    start = {"header": {"key": "x-request-start", "value": "t=%START_TIME(%s.%6f)%"}}
    host: dict[str, Any] = {
        "name": "gateway",
        "domains": ["*"],
        "routes": routes,
        "request_headers_to_add": [start],
    }
    if edge.http3:
        offer = f'h3=":{edge.port}"; ma={HTTP3_DAYS * 86_400}'
        host["response_headers_to_add"] = [{"header": {"key": "alt-svc", "value": offer}}]
    return {"name": "edge", "virtual_hosts": [host]}


def _route(cluster: str) -> dict[str, Any]:
    return {
        "cluster": cluster,
        "timeout": "0s",  # an answer may last as long as the gateway lets it
        "retry_policy": {
            # Only what no gateway has begun to read; the gateway itself retries at replicas.
            "retry_on": "connect-failure,refused-stream,reset-before-request",
            "num_retries": 1,
            "retry_host_predicate": [
                {
                    "name": "envoy.retry_host_predicates.previous_hosts",
                    "typed_config": typed(
                        "extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
                    ),
                }
            ],
            "host_selection_retry_max_attempts": 3,
        },
    }


# --- what is told of it ---------------------------------------------------------------------


def _trace(config: Config) -> dict[str, Any]:
    """
    Spans where there is a collector; without one a client's trace context passes as it is. The
    share is the gateway's, where that traces: who comes first decides about a trace.
    """
    if config.edge.otlp is None:
        return {}
    share = 1.0 if config.tracing.endpoint is None else config.tracing.share
    provider = typed(
        "config.trace.v3.OpenTelemetryConfig",
        grpc_service={"envoy_grpc": {"cluster_name": "otlp"}, "timeout": "0.5s"},
        service_name=SERVER,
    )
    return {
        "tracing": {
            "random_sampling": {"value": share * 100},
            "spawn_upstream_span": True,
            "provider": {"name": "envoy.tracers.opentelemetry", "typed_config": provider},
        }
    }


def _access_log() -> dict[str, Any]:
    """No header but the request id: keys and prompts are nobody's business here."""
    fields = {
        "time": "%START_TIME%",
        "event": "edge_request",
        "request_id": "%REQ(X-REQUEST-ID)%",
        "method": "%REQ(:METHOD)%",
        "path": "%PATH(NQ)%",
        "protocol": "%PROTOCOL%",
        "status": "%RESPONSE_CODE%",
        "flags": "%RESPONSE_FLAGS%",
        "details": "%RESPONSE_CODE_DETAILS%",
        "total_ms": "%DURATION%",
        "ttfb_ms": "%RESPONSE_DURATION%",
        "bytes_in": "%BYTES_RECEIVED%",
        "bytes_out": "%BYTES_SENT%",
        "client": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
        "gateway": "%UPSTREAM_HOST%",
        "tls": "%DOWNSTREAM_TLS_VERSION%",
        "traceparent": "%REQ(TRACEPARENT)%",
    }
    return {
        "name": "envoy.access_loggers.stdout",
        "typed_config": typed(
            "extensions.access_loggers.stream.v3.StdoutAccessLog",
            log_format={"json_format": fields},
        ),
    }
