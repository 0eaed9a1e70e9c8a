"""
Ports for servers that start later, or again on theirs.

They lie below those that Linux gives to outgoing connections (ip_local_port_range): one of those
may be taken by any client on this machine between two moments, even by one that asks for itself.
"""

import errno
import secrets
import socket

FIRST, LAST = 10_000, 32_000


def free_port(count: int = 1) -> int:
    """The first of so many neighbouring ports on which nobody listens."""
    while True:
        # Not `random`: under pytest each worker has the same seed.
        port = FIRST + secrets.randbelow(LAST - FIRST - count)
        if all(_free(port + number) for number in range(count)):
            return port


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            return False
    return True
