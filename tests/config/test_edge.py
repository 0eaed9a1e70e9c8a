"""The edge's settings: what cannot work is refused where it stands."""

from typing import Any

import pytest
from pydantic import ValidationError

from headrace.config.edge import Edge

JWT = {"issuer": "i", "jwks": "keys.json"}


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"gateways": ["gateway"]}, "must be host:port"),
        ({"gateways": ["gateway:0"]}, "must be host:port"),
        ({"gateways": ["http://gateway:1"]}, "must be host:port"),
        ({"gateways": ["::1:8000"]}, "must be host:port"),
        ({"private": {"allow_from": ["10.0.0.1/8"]}}, "must be a network"),
        ({"private": {"paths": ["metrics"]}}, "must be the beginning of a path"),
        ({"tls": {"cert": "a.crt"}}, "needs both `cert` and `key`"),
        ({"tls": {"names": []}}, "at least 1"),
        ({"jwt": JWT | {"jwks": "http://i/keys"}}, "neither a file nor https"),
        ({"jwt": JWT | {"jwks": "https:///keys"}}, "neither a file nor https"),
        ({"otlp": "https://otel:4317"}, "must be http://host:port"),
        ({"otlp": "http://otel:4317/v1/traces"}, "must be http://host:port"),
        ({"http3": True, "tls": {"enabled": False}}, "needs `tls.enabled`"),
        ({"http3": True, "port": 0}, "needs a `port`"),
        ({"limits": {"max_header_bytes": 9_000_000}}, "less than or equal to"),
    ],
)
def test_refused(given: dict[str, Any], reason: str) -> None:
    """Each with a sentence that says what would be right."""
    with pytest.raises(ValidationError, match=reason):
        Edge.model_validate(given)


def test_networks_and_addresses() -> None:
    """One address is a network, too; IPv6 stands in brackets."""
    edge = Edge.model_validate(
        {"private": {"allow_from": ["10.1.2.3", "::1"]}, "gateways": ["[::1]:80", "a-b.c:9"]}
    )

    assert ("10.1.2.3/32", "::1/128") == edge.private.allow_from
    assert ("[::1]:80", "a-b.c:9") == edge.gateways
