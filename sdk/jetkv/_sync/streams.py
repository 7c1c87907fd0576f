"""TCP streams that keep a call's deadline, and know whether any of its bytes were sent."""

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
    """The progress of one request.

    Args:
        seconds: for all of it.
        read_timeout: seconds without a byte in either direction after which the connection counts
            as dead.

    Attributes:
        deadline: when it must be complete, by `time.monotonic`.
        read_timeout: as in the arguments.
        sent: whether a byte of it may have reached the server. The request to a proxy for a tunnel
            does not count.
        answered: whether a byte of the answer has arrived.
        aborted: whether `abort` was called.
        stream: the stream that carries it, once there is one.
    """

    def __init__(self, seconds: float, read_timeout: float = math.inf) -> None:
        now = time.monotonic()
        self.deadline = now + seconds
        self.read_timeout = read_timeout
        self._read_deadline = now + read_timeout
        self.sent = False
        self.answered = False
        self.aborted = False
        self.stream: _DeadlineStream | None = None

    def left(self, too_late: type[Exception]) -> float:
        """Return the seconds until the deadline. If it has passed, raise a `too_late`."""
        left = min(self.deadline, self._read_deadline) - time.monotonic()
        if left <= 0 or self.aborted:
            raise too_late("the time is up")
        return left

    def progressed(self) -> None:
        """Record that bytes were sent or received."""
        if self.read_timeout != math.inf:
            self._read_deadline = time.monotonic() + self.read_timeout

    @property
    def timed_out_reading(self) -> bool:
        """Whether the read timeout ended the call before its deadline."""
        return self._read_deadline < self.deadline and self._read_deadline <= time.monotonic()

    def continues(self, before: "Call") -> None:
        """Take over the stream of an earlier call, to read the rest of its answer."""
        self.sent = before.sent
        self.answered = before.answered
        self.stream = before.stream

    def use_stream(self, stream: "_DeadlineStream") -> None:
        self.stream = stream
        if self.aborted:
            stream.shut_down()

    def abort(self) -> None:
        """End the call, from any thread: a wait for its stream fails at once."""
        self.aborted = True
        if self.stream is not None:
            self.stream.shut_down()


class Backend(httpcore.NetworkBackend):
    """Makes TCP streams. `call` is the call that the current thread makes."""

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
            # All addresses share the time, because only the last one may work.
            left = self.call.left(httpcore.ConnectTimeout) / (len(addresses) - number)
            try:
                stream = self._inner.connect_tcp(
                    address, port, min(left, timeout or left), local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failed = error
            else:
                return _DeadlineStream(stream, self)
        assert failed is not None
        raise failed


def _addresses(host: str, port: int) -> list[str]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise httpcore.ConnectError(str(error)) from error
    return list(dict.fromkeys(str(info[4][0]) for info in found))


class _DeadlineStream(httpcore.NetworkStream):
    """A TCP or TLS stream whose reads and writes end with the deadline of the current call."""

    def __init__(self, inner: httpcore.NetworkStream, backend: Backend) -> None:
        self._inner = inner
        self._backend = backend
        self._duplicate: socket.socket | None = None
        backend.call.use_stream(self)

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        call = self._backend.call
        left = call.left(httpcore.ReadTimeout)
        data = self._inner.read(max_bytes, min(left, timeout or left))
        call.progressed()
        if not call.answered:
            call.answered = True
            # h11 would wait for more bytes, and its error would not show those that came.
            if not_http(beginning := data[:16].decode("latin-1")):
                raise httpcore.RemoteProtocolError(beginning)
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        call = self._backend.call
        call.use_stream(self)
        if not call.sent:
            # The read timeout starts when the connection is there.
            call.progressed()
        if buffer and not buffer.startswith(b"CONNECT "):
            call.sent = True
        for start in range(0, len(buffer), _PIECE):
            left = call.left(httpcore.WriteTimeout)
            self._inner.write(buffer[start : start + _PIECE], min(left, timeout or left))
            call.progressed()

    def start_tls(
        self, ssl_context: Any, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        left = self._backend.call.left(httpcore.ConnectTimeout)
        # `start_tls` detaches the socket, so a duplicate is kept for `shut_down`.
        with self._inner.get_extra_info("socket").dup() as self._duplicate:
            inner = self._inner.start_tls(ssl_context, server_hostname, min(left, timeout or left))
            return _DeadlineStream(inner, self._backend)

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)

    def close(self) -> None:
        self._inner.close()

    def shut_down(self) -> None:
        """Shut the socket down, so that the thread that waits for it goes on and closes it."""
        with suppress(OSError):
            (self._duplicate or self._inner.get_extra_info("socket")).shutdown(socket.SHUT_RDWR)
