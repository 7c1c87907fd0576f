"""The connections of one process. One thread uses a connection at a time."""

import os
import ssl
import threading
import time
import weakref
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol

import httpcore

from jetkv._core.address import Address
from jetkv._core.messages import CONNECT_SECONDS, IDLE_SECONDS, NotSent, Request
from jetkv._core.private_apis import check
from jetkv._sync.streams import Backend, Call

__all__ = ["Connection", "Connections"]

Connection = httpcore.HTTPConnection | httpcore.ConnectionPool
"""A connection, or behind a proxy a pool with one connection. It opens with its first request.

Threads do not share a pool: httpcore may close a pool's connection that another thread has just
started to use.
"""

_EXTENSIONS = {"timeout": {"connect": CONNECT_SECONDS}}
_PORTS = {"http": 80, "https": 443}


class _Abortable(Protocol):
    def abort(self) -> None: ...


class Connections:
    """The connections of a client in one process. A forked child makes its own.

    Args:
        address: the gateway's address.
        max_connections: how many calls may run at once.

    Attributes:
        pid: the process.
        backend: makes the TCP connections.
        lock: guards `streams` and the idle connections.
        streams: those that `close` ends.
        running: the calls that `close` ends.
    """

    def __init__(self, address: Address, max_connections: int) -> None:
        check("httpcore")
        self.pid = os.getpid()
        self.backend = Backend()
        # Re-entrant: a signal handler may close the client while its thread holds the lock.
        self.lock = threading.RLock()
        self.streams: weakref.WeakSet[_Abortable] = weakref.WeakSet()
        self.running: set[Call] = set()
        self._free = threading.Semaphore(max_connections)
        self._idle: deque[tuple[float, Connection]] = deque()
        self._closed = False
        self._address = address
        self._context = address.ssl_context
        if address.scheme == "https" and self._context is None:
            self._context = ssl.create_default_context()
        self._scheme, self._host = address.scheme.encode(), address.host.encode()
        host = address.origin.partition("://")[2]
        if address.port == _PORTS[address.scheme]:
            host = host.rpartition(":")[0]
        self._headers = [(b"Host", host.encode()), *_encoded(address.headers.items())]
        # Closes the sockets of a client that the caller has not closed, without a ResourceWarning.
        weakref.finalize(self, _close_idle, self._idle, self.pid)

    @property
    def in_this_process(self) -> bool:
        return self.pid == os.getpid()

    def request(self, request: Request) -> httpcore.Request:
        """Return a request in the form that httpcore takes."""
        headers = [*self._headers, *_encoded(request.headers.items())]
        if request.body is not None:
            headers.append((b"Content-Length", b"%d" % len(request.body)))
        target = (self._address.base + request.target).encode("ascii")
        return httpcore.Request(
            request.method.encode(),
            httpcore.URL(
                scheme=self._scheme, host=self._host, port=self._address.port, target=target
            ),
            headers=headers,
            content=request.body,
            extensions=_EXTENSIONS,
        )

    def new_connection(self) -> Connection:
        """Return a new connection, which is not open yet."""
        address = self._address
        if address.proxy is None:
            return httpcore.HTTPConnection(
                httpcore.Origin(self._scheme, self._host, address.port),
                ssl_context=self._context,
                keepalive_expiry=IDLE_SECONDS,
                network_backend=self.backend,
            )
        return httpcore.ConnectionPool(
            ssl_context=self._context,
            proxy=httpcore.Proxy(address.proxy, auth=address.proxy_login),
            max_connections=1,
            keepalive_expiry=IDLE_SECONDS,
            network_backend=self.backend,
        )

    @contextmanager
    def borrow(self, seconds: float) -> Iterator[Connection]:
        """Lend a connection for one call: the idle one that was used last, or a new one.

        Args:
            seconds: how long to wait while `max_connections` calls run.

        Raises:
            NotSent: no call ended in that time.
        """
        if not self._free.acquire(timeout=seconds):
            raise NotSent(f"all connections of this client were in use for {seconds:.3g} s")
        connection = None
        try:
            with self.lock:
                connection = self._idle.pop()[1] if self._idle else None
            if connection is None or _is_stale(connection):
                if connection is not None:
                    connection.close()
                connection = self.new_connection()
            yield connection
        finally:
            self._give_back(connection)
            self._free.release()

    def _give_back(self, connection: Connection | None) -> None:
        now = time.monotonic()
        expired = []
        with self.lock:
            if connection is not None:
                self._idle.append((now, connection))
            while self._idle and (self._closed or self._idle[0][0] < now - IDLE_SECONDS):
                expired.append(self._idle.popleft()[1])
        for other in expired:
            other.close()

    def close_idle(self) -> None:
        """Close the connections that no call uses."""
        with self.lock:
            kept = [connection for _, connection in self._idle]
            self._idle.clear()
        for connection in kept:
            connection.close()

    def close(self) -> None:
        """Close all connections, and end all calls and streams."""
        with self.lock:
            self._closed = True
            streams = list(self.streams)
        for stream in streams:
            stream.abort()
        # `tuple` copies in one step, so that other threads may add calls meanwhile.
        calls = tuple(self.running)
        # All know it before one ends: its connection would go to a call that waits for one.
        for call in calls:
            call.aborted = True
        for call in calls:
            call.abort()
        self._give_back(None)


def _is_stale(connection: Connection) -> bool:
    return isinstance(connection, httpcore.HTTPConnection) and (
        connection.is_closed() or connection.has_expired()
    )


def _encoded(lines: Iterable[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode()) for name, value in lines]


def _close_idle(idle: deque[tuple[float, Connection]], pid: int) -> None:
    # In a forked child, a thread that it does not have may hold a lock of these.
    if pid == os.getpid():
        for _, connection in idle:
            connection.close()
