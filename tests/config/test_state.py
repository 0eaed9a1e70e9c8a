"""state.py: where gateways share what they share, and what of it is shown."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from headrace.config.dump import to_yaml
from headrace.config.load import load
from headrace.config.state import State
from headrace.errors import ConfigError


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("redis://host", "redis://host"),
        ("redis://host:6380/3", "redis://host:6380/3"),
        ("rediss://me:pass@host:6379/0", "rediss://host:6379/0"),
        ("redis://:p%40ss@[::1]:6379", "redis://[::1]:6379"),
        ("unix:///run/redis.sock", "unix:///run/redis.sock"),
        ("unix://me:pass@/run/redis.sock?db=2", "unix:///run/redis.sock"),
    ],
)
def test_urls_are_shown_without_their_secrets(url: str, place: str) -> None:
    """Each form is taken; where it is can be told, user and password cannot."""
    state = State.model_validate({"url": url})

    assert place == state.place
    assert "pass" not in repr(state)


@pytest.mark.parametrize(
    "url",
    ["http://host", "host:6379", "redis://", "redis://host:port", "redis://host/keys",
     "redis://host?ssl_cert_reqs=none", "unix://", "redis://ho\nst"],
)  # fmt: skip
def test_other_urls_are_refused(url: str) -> None:
    """What cannot work is told when it is read, and what would be right."""
    with pytest.raises(ValidationError, match="must be redis://"):
        State.model_validate({"url": url})


def test_an_empty_url_is_none() -> None:
    """A variable without a value leaves each gateway alone."""
    assert State.model_validate({"url": ""}).url is None
    assert "" == State().place


def test_an_authority_needs_tls() -> None:
    """A certificate authority for a connection without TLS is a mistake."""
    with pytest.raises(ValidationError, match="is not rediss://"):
        State.model_validate({"url": "redis://host", "tls_ca": "ca.pem"})

    assert State.model_validate({"url": "rediss://host", "tls_ca": "ca.pem"}).tls_ca is not None


def test_the_password_is_masked_where_settings_are_shown(tmp_path: Path) -> None:
    """`config show` has no password, and neither has an error about the URL."""
    file = tmp_path / "headrace.yaml"
    file.write_text("state: {url: 'redis://:hidden-words@host'}\n", encoding="utf-8")
    assert "hidden-words" not in to_yaml(load(file, {}))

    file.write_text("state: {url: 'http://:hidden-words@host'}\n", encoding="utf-8")
    with pytest.raises(ConfigError) as failed:
        load(file, {})
    assert "hidden-words" not in str(failed.value)
    assert "state.url" in str(failed.value)
