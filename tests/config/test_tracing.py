"""tracing.py: what is kept of requests, and where spans go."""

from typing import Any

import pytest
from pydantic import ValidationError

from headrace.config.schema import Config
from headrace.config.tracing import Tracing


@pytest.mark.parametrize(
    ("endpoint", "address"),
    [
        ("http://otel:4318", "http://otel:4318/v1/traces"),
        ("http://otel:4318/", "http://otel:4318/v1/traces"),
        ("https://tempo.example/otlp/v1/traces", "https://tempo.example/otlp/v1/traces"),
        (None, ""),
    ],
)
def test_address(endpoint: str | None, address: str) -> None:
    """A collector's address gets OTLP's usual path; one with a path is used as it is."""
    assert address == Tracing(endpoint=endpoint).address


@pytest.mark.parametrize(
    ("section", "text"),
    [
        ({"tracing": {"endpoint": "otel:4317"}}, "must be http\\(s\\)://host:port of a collector"),
        ({"tracing": {"endpoint": "grpc://otel:4317"}}, "must be http"),
        ({"tracing": {"headers": {"a": "b\r\nc: d"}}}, "has a header 'a' that cannot be sent"),
        ({"tracing": {"share": 1.5}}, "less than or equal to 1"),
        ({"decisions": {"archive": {"url": "mysql://h/d"}}}, "must be sqlite:PATH or postgresql"),
        ({"decisions": {"archive": {"url": "sqlite:"}}}, "must be sqlite:PATH or postgresql"),
        ({"decisions": {"bytes": 10}}, "greater than or equal to 65536"),
    ],
)
def test_refused(section: dict[str, Any], text: str) -> None:
    """What cannot work is refused when it is read."""
    with pytest.raises(ValidationError, match=text):
        Config.model_validate(section)


def test_secrets_are_hidden() -> None:
    """Neither a header's value nor a password is shown with the configuration."""
    tree = {
        "tracing": {"headers": {"authorization": "Bearer s3cret"}},
        "decisions": {"archive": {"url": "postgresql://u:s3cret@h/d"}},
    }

    assert "s3cret" not in repr(Config.model_validate(tree))
