"""Free ports of loopback, kept for servers that may be down for a while."""

import socket
import sys
from typing import Self

__all__ = ["PortHolder"]


class PortHolder:
    """A free port, kept while its server is down.

    A socket bound to it keeps the kernel from giving it to anybody else, such as to a client that
    tries to reconnect. On Linux a server can listen beside it, elsewhere it cannot.
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
