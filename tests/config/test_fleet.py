"""fleet.py: the sections that say how replicas are watched."""

import pytest
from pydantic import ValidationError

from headrace.config.fleet import Admin, Health


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.7", "gateway.example"])
def test_an_open_admin_api_needs_a_token(host: str) -> None:
    """Where others can reach it, it is refused without a token, and fine with one."""
    with pytest.raises(ValidationError, match="needs a `token`"):
        Admin(host=host)

    assert host == Admin.model_validate({"host": host, "token": "t"}).host
    assert host == Admin(host=host, enabled=False).host


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_a_local_admin_api_needs_none(host: str) -> None:
    """On this machine it opens without one."""
    assert Admin(host=host).token is None


def test_the_token_is_not_shown() -> None:
    """A token is in no repr."""
    assert "hidden-words" not in repr(Admin.model_validate({"token": "hidden-words"}))


def test_detection_fits_into_ten_seconds() -> None:
    """With the defaults a dead and a stuck replica are out within 10 s."""
    health = Health()

    assert health.failures * health.interval_s * 1.1 + health.timeout_s <= 10
    assert health.stuck_s + 1 <= 10
