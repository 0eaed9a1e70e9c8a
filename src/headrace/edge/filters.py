"""
The checks that a well-formed request meets at the edge, in their order; the last sends it on.

Cheap ones first: who may see the path, how often an address asks, the token, then the body, which
goes on only when all of it is there.
"""

from typing import Any

from headrace.config.edge import EdgeJwt, EdgePrivate, EdgeRate
from headrace.config.schema import Config
from headrace.edge.node import seconds, typed

REFUSED_METHODS = ("CONNECT", "TRACE")  # a tunnel, and an echo of what proxies added
HEALTH = "/edge/ready"  # answered here; 503 while it drains


def chain(config: Config) -> list[dict[str, Any]]:
    """The HTTP filters."""
    edge = config.edge
    filters = [_health(), _private(edge.private)]
    if edge.per_ip.requests_per_s:
        filters.append(_rate(edge.per_ip))
    if edge.jwt is not None:
        filters.append(_jwt(edge.jwt))
    filters += [
        # Refuses what is said to be too long at once; the buffer, what turns out to be.
        _filter("body_size_limit", "extensions.filters.http.body_size_limit.v3.BodySizeLimit",
                max_request_bytes=body_bytes(config)),
        _filter("buffer", "extensions.filters.http.buffer.v3.Buffer",
                max_request_bytes=body_bytes(config)),
        _filter("router", "extensions.filters.http.router.v3.Router", suppress_envoy_headers=True),
    ]  # fmt: skip
    return filters


def body_bytes(config: Config) -> int:
    """Largest body of a request."""
    return config.edge.limits.max_body_bytes or config.server.max_body_bytes


def _filter(name: str, message: str, **fields: Any) -> dict[str, Any]:
    return {"name": f"envoy.filters.http.{name}", "typed_config": typed(message, **fields)}


def _health() -> dict[str, Any]:
    return _filter(
        "health_check",
        "extensions.filters.http.health_check.v3.HealthCheck",
        pass_through_mode=False,
        headers=[{"name": ":path", "string_match": {"exact": HEALTH}}],
    )


def _private(private: EdgePrivate) -> dict[str, Any]:
    """403: methods that nobody needs; paths for operators to others, by the client's address."""
    networks = [network.rpartition("/") for network in private.allow_from]
    operators = [
        {"remote_ip": {"address_prefix": address, "prefix_len": int(length)}}
        for address, _, length in networks
    ]
    stranger: dict[str, Any] = {"any": True}
    if operators:
        stranger = {"not_id": {"or_ids": {"ids": operators}}}
    paths = [{"url_path": {"path": {"prefix": path}}} for path in private.paths]
    refused = [
        {"header": {"name": ":method", "string_match": {"exact": method}}}
        for method in REFUSED_METHODS
    ]
    policies = {"methods": {"permissions": refused, "principals": [{"any": True}]}}
    if paths:
        policies["private"] = {"permissions": paths, "principals": [stranger]}
    return _filter(
        "rbac",
        "extensions.filters.http.rbac.v3.RBAC",
        rules={"action": "DENY", "policies": policies},
    )


def _rate(rate: EdgeRate) -> dict[str, Any]:
    def bucket(burst: int, per_s: int) -> dict[str, Any]:
        # Ten fills a second are fine enough, and fewer where a second gives less than ten.
        fills = min(10, per_s)
        return {
            "max_tokens": burst,
            "tokens_per_fill": per_s // fills,
            "fill_interval": seconds(1 / fills),
        }

    everybody = {"max_tokens": 2**31 - 1, "tokens_per_fill": 2**31 - 1, "fill_interval": "1s"}
    always = {"default_value": {"numerator": 100, "denominator": "HUNDRED"}}
    by_address = {"v4_prefix_mask_len": 32, "v6_prefix_mask_len": 64}
    return _filter(
        "local_ratelimit",
        "extensions.filters.http.local_ratelimit.v3.LocalRateLimit",
        stat_prefix="per_ip",
        token_bucket=everybody,
        filter_enabled=always,
        filter_enforced=always,
        rate_limits=[{"actions": [{"masked_remote_address": by_address}]}],
        # Without a value the entry stands for every address; each has a bucket of its own.
        descriptors=[
            {
                "entries": [{"key": "masked_remote_address"}],
                "token_bucket": bucket(rate.burst, rate.requests_per_s),
            }
        ],
        max_dynamic_descriptors=rate.addresses,
        always_consume_default_token_bucket=False,
        response_headers_to_add=[{"header": {"key": "retry-after", "value": "1"}}],
    )


def _jwt(jwt: EdgeJwt) -> dict[str, Any]:
    keys: dict[str, Any] = {"local_jwks": {"filename": jwt.jwks}}
    if jwt.is_remote:
        uri = {"uri": jwt.jwks, "cluster": "jwks", "timeout": "5s"}
        fetched = {"http_uri": uri, "cache_duration": "300s", "async_fetch": {}}
        keys = {"remote_jwks": fetched}
    provider = {
        "issuer": jwt.issuer,
        **({"audiences": list(jwt.audiences)} if jwt.audiences else {}),
        "forward": True,  # the gateway finds the tenant in it
        **keys,
    }
    match: dict[str, Any] = {"prefix": "/v1/"}
    if not jwt.required:
        token = {"prefix": "bearer eyJ", "ignore_case": True}  # how the JSON of a head begins
        match["headers"] = [{"name": "authorization", "string_match": token}]
    return _filter(
        "jwt_authn",
        "extensions.filters.http.jwt_authn.v3.JwtAuthentication",
        providers={"issuer": provider},
        rules=[{"match": match, "requires": {"provider_name": "issuer"}}],
    )
