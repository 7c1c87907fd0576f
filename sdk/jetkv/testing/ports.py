"""Free ports on loopback, reserved for servers that may be down for a while."""

import socket
import sys
from typing import Self

__all__ = ["PortHolder"]


class PortHolder:
    """Reserves a free port, also while its server is down.

    A bound socket keeps the kernel from giving the port to another socket, such as that of a client
    that reconnects. This works on Linux only: elsewhere a server could not listen on the port, so
    the socket is closed at once.
    """

    def __init__(self) -> None:
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        if sys.platform != "linux":
            self._socket.close()

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()
