"""listener.py: a socket that listens, or an error and no socket."""

import contextlib
import socket

import pytest

from headrace.gateway.door.listener import UNSENT, listen


def test_a_busy_port_is_an_error() -> None:
    """Port 0 picks a free one, and nobody else gets that."""
    with listen("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with pytest.raises(OSError, match="in use"):
            listen("127.0.0.1", port)

    listen("127.0.0.1", port).close()


def test_who_does_not_read_is_seen_soon() -> None:
    """The kernel takes some bytes for such a client, and not the megabytes that it would."""
    with listen("127.0.0.1", 0) as listener, socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(listener.getsockname())
        ours, _ = listener.accept()
        ours.setblocking(False)
        taken = 0
        with ours, contextlib.suppress(BlockingIOError):
            while taken < 8_000_000:
                taken += ours.send(bytes(1000))

    assert UNSENT <= taken < 4 * UNSENT
