"""A listening socket: for the gateway, and for its admin API. Who accepts is not said here."""

import errno
import socket

BACKLOG = 4096
# Bytes that the kernel keeps for a client beyond what is on its way. By itself it takes up to 4 MB
# (tcp_wmem): longer than any answer, so that nobody would see who does not read, and a thousand of
# them had gigabytes (tcp_notsent_lowat in https://docs.kernel.org/networking/ip-sysctl.html).
UNSENT = 128 * 1024


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
        # Accepted connections inherit it: it costs a request nothing.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT)
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
