"""TCP connections that keep a call's deadline, and know whether anything of it went out."""

import math
import socket
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import httpcore

from jetkv._core.messages import not_http

__all__ = ["Backend", "Call"]

_PIECE = 64 * 1024


class Call:
    """One request on its way.

    Args:
        seconds: for all of it.
        silence: seconds without a byte, either way, after which the connection leads nowhere.

    Attributes:
        deadline: by `time.monotonic`, when it has to be over.
        sent: whether a byte of it may have reached a server. What a proxy is told to make a
            tunnel is none of it.
        answered: whether anything came.
    """

    def __init__(self, seconds: float, silence: float = math.inf) -> None:
        now = time.monotonic()
        self.deadline = now + seconds
        self.silence = silence
        self._quiet_until = now + silence
        self.sent = False
        self.answered = False
        self.aborted = False
        self.stream: _DeadlineStream | None = None

    def left(self, late: type[Exception]) -> float:
        """Return the seconds until the deadline; raise `late` when it has passed."""
        left = min(self.deadline, self._quiet_until) - time.monotonic()
        if left <= 0 or self.aborted:
            raise late("the time is up")
        return left

    def moved(self) -> None:
        """Note that something came, or went."""
        if self.silence != math.inf:
            self._quiet_until = time.monotonic() + self.silence

    @property
    def quiet(self) -> bool:
        """Whether it was given up for its silence, with time left."""
        return self._quiet_until < self.deadline and self._quiet_until <= time.monotonic()

    def continues(self, before: "Call") -> None:
        """Take over the connection of a call that has got its answer's beginning."""
        self.sent = before.sent
        self.answered = before.answered
        self.stream = before.stream

    def runs_on(self, wire: "_DeadlineStream") -> None:
        self.stream = wire
        if self.aborted:
            wire.cut()

    def abort(self) -> None:
        """End it, from any thread: whatever waits on its connection fails at once."""
        self.aborted = True
        if self.stream is not None:
            self.stream.cut()


class Backend(httpcore.NetworkBackend):
    """Makes connections. `call` is what the current thread does with them."""

    def __init__(self) -> None:
        self._inner = httpcore.SyncBackend()
        self._current = threading.local()

    @property
    def call(self) -> Call:
        call: Call = self._current.call
        return call

    @call.setter
    def call(self, call: Call) -> None:
        self._current.call = call

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        addresses = _addresses(host, port)
        failed: httpcore.ConnectError | httpcore.ConnectTimeout | None = None
        for number, address in enumerate(addresses):
            # All of them share the time: the last one may be the one that lives.
            left = self.call.left(httpcore.ConnectTimeout) / (len(addresses) - number)
            try:
                wire = self._inner.connect_tcp(
                    address, port, min(left, timeout or left), local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failed = error
            else:
                return _DeadlineStream(wire, self)
        assert failed is not None
        raise failed


def _addresses(host: str, port: int) -> list[str]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise httpcore.ConnectError(str(error)) from error
    return list(dict.fromkeys(str(info[4][0]) for info in found))


class _DeadlineStream(httpcore.NetworkStream):
    def __init__(self, inner: httpcore.NetworkStream, backend: Backend) -> None:
        self._inner = inner
        self._backend = backend
        self._second: socket.socket | None = None
        backend.call.runs_on(self)

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        call = self._backend.call
        left = call.left(httpcore.ReadTimeout)
        data = self._inner.read(max_bytes, min(left, timeout or left))
        call.moved()
        if not call.answered:
            call.answered = True
            # h11 would wait for more, and then not say what came.
            if not_http(beginning := data[:16].decode("latin-1")):
                raise httpcore.RemoteProtocolError(beginning)
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        call = self._backend.call
        call.runs_on(self)
        if not call.sent:
            # From here on there is somebody who could answer.
            call.moved()
        if buffer and not buffer.startswith(b"CONNECT "):
            call.sent = True
        for start in range(0, len(buffer), _PIECE):
            left = call.left(httpcore.WriteTimeout)
            self._inner.write(buffer[start : start + _PIECE], min(left, timeout or left))
            call.moved()

    def start_tls(
        self, ssl_context: Any, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        left = self._backend.call.left(httpcore.ConnectTimeout)
        # Wrapping takes the socket away from whoever has it: a second one is there to be cut.
        with self._inner.get_extra_info("socket").dup() as self._second:
            inner = self._inner.start_tls(ssl_context, server_hostname, min(left, timeout or left))
            return _DeadlineStream(inner, self._backend)

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)

    def close(self) -> None:
        self._inner.close()

    def cut(self) -> None:
        """Shut it down for whoever waits on it, who closes it then."""
        with suppress(OSError):
            (self._second or self._inner.get_extra_info("socket")).shutdown(socket.SHUT_RDWR)
