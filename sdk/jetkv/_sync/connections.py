"""The connections of one process, each to one thread at a time."""

import os
import ssl
import threading
import time
import weakref
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import httpcore

from jetkv._core.address import Address
from jetkv._core.private_parts import check
from jetkv._core.wire import CONNECT_SECONDS, IDLE_SECONDS, NotSent, Request
from jetkv._sync.wires import Backend, Call

if TYPE_CHECKING:
    from jetkv._sync.transport import Stream

__all__ = ["Connections", "Way"]

Way = httpcore.HTTPConnection | httpcore.ConnectionPool
"""A connection, or behind a proxy a pool of one; it opens with its first request.

A pool that threads share would not do: httpcore may close a connection of it that one of them has
just begun to use.
"""

_EXTENSIONS = {"timeout": {"connect": CONNECT_SECONDS}}
_PORTS = {"http": 80, "https": 443}


class Connections:
    """What belongs to one process: a forked child must not speak on its parent's connections."""

    def __init__(self, address: Address, max_connections: int) -> None:
        check("httpcore")
        self.pid = os.getpid()
        self.backend = Backend()
        # A signal handler may close what its own thread is at.
        self.lock = threading.RLock()
        self.streams: weakref.WeakSet[Stream] = weakref.WeakSet()
        self.running: set[Call] = set()
        self._free = threading.Semaphore(max_connections)
        self._idle: deque[tuple[float, Way]] = deque()
        self._closed = False
        self._address = address
        self._context = address.ssl_context
        if address.scheme == "https" and self._context is None:
            self._context = ssl.create_default_context()
        self._scheme, self._host = address.scheme.encode(), address.host.encode()
        where = address.origin.partition("://")[2]
        if address.port == _PORTS[address.scheme]:
            where = where.rpartition(":")[0]
        self._headers = [(b"Host", where.encode()), *_encoded(address.headers.items())]
        # For a client that nobody closes: its sockets end with it, without a warning.
        weakref.finalize(self, _close_idle, self._idle, self.pid)

    @property
    def ours(self) -> bool:
        return self.pid == os.getpid()

    def request(self, request: Request) -> httpcore.Request:
        """Return a request as it goes out."""
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

    def way(self) -> Way:
        """Return a way to the gateway that nobody has used yet."""
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
    def borrowed(self, seconds: float) -> Iterator[Way]:
        """Have a connection for one call, the one that was used last where there is one.

        Raises:
            NotSent: all are in use for as long as that.
        """
        if not self._free.acquire(timeout=seconds):
            raise NotSent(f"all connections of this client were in use for {seconds:.3g} s")
        way = None
        try:
            with self.lock:
                way = self._idle.pop()[1] if self._idle else None
            if way is None or _is_stale(way):
                if way is not None:
                    way.close()
                way = self.way()
            yield way
        finally:
            self._give_back(way)
            self._free.release()

    def _give_back(self, way: Way | None) -> None:
        now = time.monotonic()
        left_over = []
        with self.lock:
            if way is not None:
                self._idle.append((now, way))
            while self._idle and (self._closed or self._idle[0][0] < now - IDLE_SECONDS):
                left_over.append(self._idle.popleft()[1])
        for other in left_over:
            other.close()

    def forget(self) -> None:
        """Close what was kept."""
        with self.lock:
            kept = [way for _, way in self._idle]
            self._idle.clear()
        for way in kept:
            way.close()

    def close(self) -> None:
        with self.lock:
            self._closed = True
            streams = list(self.streams)
        for stream in streams:
            stream.abort()
        # A copy in one step, whatever other threads add meanwhile.
        for call in tuple(self.running):
            call.abort()
        self._give_back(None)


def _is_stale(way: Way) -> bool:
    return isinstance(way, httpcore.HTTPConnection) and (way.is_closed() or way.has_expired())


def _encoded(lines: Iterable[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode()) for name, value in lines]


def _close_idle(idle: deque[tuple[float, Way]], pid: int) -> None:
    # In a forked child, a thread that it does not have may hold a lock of these.
    if pid == os.getpid():
        for _, way in idle:
            way.close()
