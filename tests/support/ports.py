"""Ports for servers that have to know their own before they listen."""

import random
import socket

__all__ = ["free_port", "free_ports"]

_LOWEST, _END = 10_000, 30_000
"""Below the ports that the system gives to connections that go out: none of those comes between the
choice of a port and its use."""


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody listens on now."""
    found: set[int] = set()
    while len(found) < count:
        port = random.SystemRandom().randrange(_LOWEST, _END)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.add(port)
    return sorted(found)


def free_port() -> int:
    """As `free_ports`, one."""
    return free_ports(1)[0]
