"""A listening socket: for the gateway, and for its admin API. Who accepts is not said here."""

import errno
import socket

BACKLOG = 4096


def listen(host: str, port: int) -> socket.socket:
    """
    A socket that listens; port 0 picks a free one.

    Raises:
        OSError: the address cannot be listened on.

    """
    family, _, _, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener


def unheard(error: OSError, host: str, port: int) -> str:
    """Why nobody can listen there, for people."""
    if error.errno == errno.EADDRINUSE:
        return (
            f"Port {port} on {host} is in use; stop that program, or choose another port "
            "(--port, or `server.port`)."
        )
    return f"Cannot listen on {host}:{port}: {error.strerror}."
