"""The driver of the sync client: urllib3."""

import os
import ssl
import threading
import time
import weakref
from contextlib import suppress
from typing import Any

import urllib3
from urllib3 import exceptions
from urllib3.connection import HTTPConnection, HTTPSConnection

from jetkv._core.address import Address
from jetkv._core.wire import Answer, Broken, NoAnswer, NotSent, Request, TransportError
from jetkv.errors import ClientClosedError

__all__ = ["Stream", "Transport"]

_CONNECT_SECONDS = 5.0
# Shorter than servers and proxies keep a quiet connection: one that they close just as a request
# goes out leaves a write unknown.
_IDLE_SECONDS = 50.0
_CHUNK = 256 * 1024


class _Fresh:
    """A connection that counts as dropped when it was quiet for too long."""

    _used: float | None = None

    @property
    def is_connected(self) -> bool:
        fresh = self._used is None or time.monotonic() - self._used < _IDLE_SECONDS
        connected: bool = fresh and super().is_connected  # type: ignore[misc]  # of the other base
        return connected

    def getresponse(self) -> Any:
        self._used = time.monotonic()
        return super().getresponse()  # type: ignore[misc]  # of the other base


class _Plain(_Fresh, HTTPConnection):
    pass


class _Secure(_Fresh, HTTPSConnection):
    pass


class Transport:
    """Connections of one client, for any number of threads, and for a forked child anew."""

    def __init__(self, address: Address, *, max_connections: int) -> None:
        self._address = address
        self._max_connections = max_connections
        self._streams: weakref.WeakSet[Stream] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._closed = False
        self._pid = 0
        self._pool: urllib3.HTTPConnectionPool | urllib3.PoolManager
        self._prefix = ""

    def send(self, request: Request, timeout: float) -> Answer:
        """Send a request, and return the whole answer.

        Raises:
            TransportError, ClientClosedError
        """
        self._ready()
        limits = urllib3.Timeout(total=timeout, connect=min(_CONNECT_SECONDS, timeout * 0.9))
        try:
            response = self._pool.urlopen(
                request.method,
                self._prefix + request.target,
                body=request.body,
                headers={**self._address.headers, **request.headers},
                retries=False,
                redirect=False,
                timeout=limits,
                decode_content=False,
                **self._waiting(timeout),
            )
        except (exceptions.HTTPError, OSError) as error:
            raise _translated(error, timeout) from error
        _check_head(response)
        return Answer(response.status, response.headers, response.data)

    def stream(self, request: Request, silence: float) -> "Stream":
        """Send a request whose answer goes on, on a connection of its own.

        Args:
            silence: seconds without a byte after which the connection is dead.

        Raises:
            TransportError, ClientClosedError
        """
        self._ready()
        pool, prefix = self._make(1)
        try:
            response = pool.urlopen(
                request.method,
                prefix + request.target,
                headers={**self._address.headers, **request.headers},
                retries=False,
                redirect=False,
                timeout=urllib3.Timeout(connect=_CONNECT_SECONDS, read=silence),
                decode_content=False,
                preload_content=False,
            )
        except (exceptions.HTTPError, OSError) as error:
            raise _translated(error, silence) from error
        _check_head(response)
        stream = Stream(response, pool, silence)
        with self._lock:
            self._streams.add(stream)
        if self._closed:
            stream.abort()
        return stream

    def close(self) -> None:
        """Close all connections; what still goes on there ends."""
        self._closed = True
        with self._lock:
            streams = list(self._streams)
        for stream in streams:
            stream.abort()
        if self._pid:
            _close(self._pool)

    def _ready(self) -> None:
        if self._closed:
            raise ClientClosedError("the client is closed", hint="make another one")
        # A forked child must not speak on its parent's connections.
        if self._pid != os.getpid():
            with self._lock:
                if self._pid != os.getpid():
                    self._pool, self._prefix = self._make(self._max_connections)
                    self._pid = os.getpid()

    def _waiting(self, timeout: float) -> dict[str, Any]:
        # A ProxyManager hands this on to the pool, too, but does not declare it.
        return {"pool_timeout": timeout}

    def _make(self, size: int) -> tuple[urllib3.HTTPConnectionPool | urllib3.PoolManager, str]:
        """Return a pool, and what stands before a target in its requests."""
        address = self._address
        context: ssl.SSLContext | None = address.ssl_context
        if address.scheme == "https" and context is None:
            context = ssl.create_default_context()
        if address.proxy:
            manager = urllib3.ProxyManager(
                address.proxy, maxsize=size, block=True, ssl_context=context
            )
            return manager, str(address)
        pool: urllib3.HTTPConnectionPool
        if address.scheme == "https":
            pool = urllib3.HTTPSConnectionPool(
                address.host, address.port, maxsize=size, block=True, ssl_context=context
            )
            pool.ConnectionCls = _Secure
        else:
            pool = urllib3.HTTPConnectionPool(address.host, address.port, maxsize=size, block=True)
            pool.ConnectionCls = _Plain
        return pool, address.base


class Stream:
    """An answer that goes on."""

    def __init__(
        self,
        response: urllib3.BaseHTTPResponse,
        pool: urllib3.HTTPConnectionPool | urllib3.PoolManager,
        silence: float,
    ) -> None:
        self._response = response
        self._pool = pool
        self._silence = silence
        self.status = response.status
        self.headers = response.headers

    def read(self) -> bytes:
        """Return what has come, empty at the end.

        Raises:
            TransportError
        """
        try:
            return self._response.read1(_CHUNK)
        except (exceptions.HTTPError, OSError, ValueError) as error:
            raise _translated(error, self._silence) from error

    def answer(self) -> Answer:
        """Return the whole of an answer that is no stream.

        Raises:
            TransportError
        """
        try:
            body = self._response.data
        except (exceptions.HTTPError, OSError) as error:
            raise _translated(error, self._silence) from error
        finally:
            self.abort()
        return Answer(self.status, self.headers, body)

    def abort(self) -> None:
        """Close the connection; a `read` that waits in another thread ends."""
        # What has ended already cannot be shut down.
        with suppress(OSError, RuntimeError, ValueError):
            self._response.shutdown()
        _close(self._pool)


def _close(pool: urllib3.HTTPConnectionPool | urllib3.PoolManager) -> None:
    if isinstance(pool, urllib3.PoolManager):
        pool.clear()
    else:
        pool.close()


def _check_head(response: urllib3.BaseHTTPResponse) -> None:
    """Check that an answer's head came whole: http.client takes one that breaks off for all of it.

    Raises:
        Broken: nothing says where the body ends (RFC 9112 §6.3).
    """
    headers = response.headers
    ends = "Content-Length" in headers or "Transfer-Encoding" in headers
    closes = response.version == 10 or "close" in headers.get("Connection", "").lower()
    if not (ends or closes or response.status in (204, 304)):
        raise Broken("the connection broke: the answer's head broke off")


def _translated(error: Exception, timeout: float) -> TransportError:
    if isinstance(error, exceptions.ProxyError):
        return NotSent(f"the proxy: {_reason(error.original_error)}")
    if isinstance(error, exceptions.ReadTimeoutError):
        return NoAnswer(f"no answer within {timeout:g} s")
    if isinstance(error, exceptions.EmptyPoolError):
        return NotSent(f"all connections of this client were in use for {timeout:g} s")
    if isinstance(error, exceptions.NewConnectionError):
        return NotSent(_reason(error.__cause__ or error))
    if isinstance(error, exceptions.ConnectTimeoutError):
        return NotSent("it does not answer")
    if isinstance(error, exceptions.SSLError):
        reason = error.args[0] if error.args else error
        if isinstance(reason, ssl.SSLCertVerificationError):
            return NotSent(_reason(reason), permanent=True)
    return Broken(f"the connection broke: {_reason(error)}")


def _reason(error: BaseException) -> str:
    if isinstance(error, exceptions.ProtocolError) and len(error.args) > 1:
        error = error.args[1]
    return str(getattr(error, "strerror", None) or error) or type(error).__name__
