"""listener.py: a socket that listens, or an error and no socket."""

import pytest

from headrace.gateway.door.listener import listen


def test_a_busy_port_is_an_error() -> None:
    """Port 0 picks a free one, and nobody else gets that."""
    with listen("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with pytest.raises(OSError, match="in use"):
            listen("127.0.0.1", port)

    listen("127.0.0.1", port).close()
