"""The port, held before any worker exists: found free, or found for port 0, and never lost.

The supervisor binds the address with SO_REUSEPORT and never listens on it: such a socket gets no
connection, but keeps the port while workers come and go. SO_REUSEPORT alone would let two servers
share a port by accident, so a bind without it is tried first.
"""

from __future__ import annotations

import contextlib
import socket
from typing import Any


class Reservation:
    """Bound, not listening sockets on every address of a host."""

    def __init__(self, host: str, port: int) -> None:
        """Hold the port (0: any free one).

        Raises:
            OSError: somebody listens there, the host has no such address, or the system has no
                SO_REUSEPORT.
        """
        if not hasattr(socket, "SO_REUSEPORT"):
            raise OSError(0, "this system has no SO_REUSEPORT; set FASTBRIDGE_WORKERS to 1")
        self.port = port
        found = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE, proto=socket.IPPROTO_TCP
        )
        with contextlib.ExitStack() as stack:
            for family, _, _, _, address in found:
                at = (address[0], self.port, *address[2:])
                if self.port:
                    _bound(family, at, shared=False).close()
                held = stack.enter_context(_bound(family, at, shared=True))
                self.port = held.getsockname()[1]
            self._held = stack.pop_all()

    def release(self) -> None:
        """Let go of the port."""
        self._held.close()


def _bound(family: int, address: tuple[Any, ...], *, shared: bool) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        # As the server does it: a port in TIME_WAIT is free, one that is listened on is not.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(address)
    except OSError:
        sock.close()
        raise
    return sock
