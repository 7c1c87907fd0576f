"""Tells systemd, or another service manager, how the gateway is.

The manager names a datagram socket in `NOTIFY_SOCKET`, and takes one message in each datagram, such
as `READY=1`. The rules are those of sd_notify(3) and sd_watchdog_enabled(3):
https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html
"""

import logging
import os
import socket
from collections.abc import MutableMapping

__all__ = ["ServiceManager"]

_log = logging.getLogger("jetkv")

_SOCKET, _WATCHDOG, _WATCHDOG_PID = "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"


class ServiceManager:
    """Sends the state of this process to the manager. Without a manager, it does nothing.

    A message is lost, and nothing waits or fails, if the manager does not take it.

    Args:
        environment: where the manager says what it wants. Its variables are removed, so that no
            process started later takes them for its own.
    """

    def __init__(self, environment: MutableMapping[str, str]) -> None:
        address = environment.pop(_SOCKET, "")
        wanted = environment.pop(_WATCHDOG, None)
        # The watchdog may be meant for another process, such as a wrapper around this one.
        meant_for = environment.pop(_WATCHDOG_PID, str(os.getpid()))
        self._has_watchdog = wanted is not None and meant_for == str(os.getpid())
        self._socket: socket.socket | None = None
        # `@` stands for the abstract namespace of Linux. `vsock:` is for virtual machines alone.
        if address.startswith(("/", "@")):
            self._address = "\0" + address[1:] if address[0] == "@" else address
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._socket.setblocking(False)

    def ready(self) -> None:
        """Say that connections are accepted. Whether NATS answers is what `/ready` says."""
        self._send("READY=1\nSTATUS=serves")

    def alive(self) -> None:
        """Give the sign of life that the watchdog waits for, if there is one."""
        if self._has_watchdog:
            self._send("WATCHDOG=1")

    def stopping(self) -> None:
        """Say that the stop has begun. A signal handler may call it."""
        self._send("STOPPING=1\nSTATUS=stops")

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, message: str) -> None:
        if self._socket is None:
            return
        try:
            self._socket.sendto(message.encode(), self._address)
        except OSError as error:
            # It is full or gone; systemd notices a missing sign by itself.
            _log.debug("the service manager does not take %r: %s", message, error)
