"""absent.py: what is not there."""

from headrace.gateway.admin.absent import absent


def test_what_there_is_is_named() -> None:
    """The answer says what was asked for, and what could be asked for instead."""
    error = absent("replica", "gpu-9", {"gpu-1": 1, "gpu-2": 2})

    assert 404 == error.status_code
    assert "There is no replica 'gpu-9'; there are: gpu-1, gpu-2." == error.detail
    assert "There is no arm 'b'; there are: none." == absent("arm", "b", ()).detail
