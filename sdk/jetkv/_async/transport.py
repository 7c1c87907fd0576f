"""The transport of the async client, on aiohttp."""

import asyncio
import ssl
import weakref
from collections.abc import Iterator, Mapping
from contextlib import suppress
from contextvars import ContextVar
from typing import Any, NamedTuple

import aiohttp
from aiohttp.connector import Connection
from aiohttp.tracing import Trace
from yarl import URL

from jetkv._core.address import Address
from jetkv._core.bodies import Body, Decoder
from jetkv._core.messages import (
    CONNECT_SECONDS,
    IDLE_SECONDS,
    MAX_SMALL_ANSWER_BYTES,
    REFUSAL_SECONDS,
    Answer,
    Broken,
    NoAnswer,
    NotSent,
    Request,
    TransportError,
    not_http,
)
from jetkv._core.private_apis import check
from jetkv.errors import ClientClosedError, InvalidArgumentError

__all__ = ["Stream", "Transport"]

_CHUNK = 256 * 1024
# The part of the timeout for getting a connection. It is less than 1, so that a request that only
# waited for a connection ends with "not sent" and not with "no answer".
_CONNECT_SHARE = 0.95


class _Progress:
    """How far a call has come.

    Attributes:
        connected: whether it has had a connection. From then on, it may have been sent.
    """

    connected = False


_progress: ContextVar[_Progress] = ContextVar("jetkv_progress")


class _Connector(aiohttp.TCPConnector):
    """A connector that tells a call when it has a connection."""

    async def connect(
        self, req: aiohttp.ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout
    ) -> Connection:
        connection = await super().connect(req, traces, timeout)
        if (progress := _progress.get(None)) is not None:
            progress.connected = True
        return connection


class _CallSession:
    """The connections that calls share, until one of them turns out to be dead.

    Attributes:
        session: aiohttp's session.
        busy: how many calls use it now.
        retired: whether later calls use another session.
    """

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self.session = session
        self.busy = 0
        self.retired = False


class _Sessions(NamedTuple):
    calls: _CallSession
    watches: aiohttp.ClientSession


class Transport:
    """The connections of one client. They belong to the event loop that first uses it.

    Args:
        address: the gateway's address.
        max_connections: how many calls may run at once.
        max_bytes: the largest answer with values or lists, after decompression.
    """

    def __init__(self, address: Address, *, max_connections: int, max_bytes: int) -> None:
        self._address = address
        self._max_bytes = max_bytes
        self._base = str(address)
        # For https, the proxy gets its login in the request for the tunnel; for http, in the
        # request itself. Headers of the session would not do: aiohttp also sends those to the
        # proxy, and the token is one of them.
        tunnel = address.scheme == "https"
        self._headers = address.headers | ({} if tunnel else address.proxy_headers)
        self._proxy_headers = address.proxy_headers if tunnel else None
        self._max_connections = max_connections
        self._sessions: _Sessions | None = None
        self._retired: set[_CallSession] = set()
        self._streams: weakref.WeakSet[Stream] = weakref.WeakSet()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False

    async def send(self, request: Request, timeout: float, read_timeout: float) -> Answer:
        """Send a request and return the complete answer.

        Args:
            request: the request.
            timeout: seconds for all of it.
            read_timeout: seconds without a byte after which the connection counts as dead. The
                other connections may be dead, too, so later calls use new ones.

        Raises:
            TransportError: there is no complete answer.
            ClientClosedError: the client is closed.
        """
        calls = self.ready().calls
        calls.busy += 1
        try:
            return await self._send(calls.session, request, timeout, read_timeout)
        except NoAnswer:
            self._retire(calls)
            raise
        finally:
            calls.busy -= 1
            if calls.retired and not calls.busy:
                self._retired.discard(calls)
                await calls.session.close()

    async def _send(
        self, session: aiohttp.ClientSession, request: Request, timeout: float, read_timeout: float
    ) -> Answer:
        limits = aiohttp.ClientTimeout(
            total=timeout,
            connect=timeout * _CONNECT_SHARE,
            sock_connect=min(CONNECT_SECONDS, timeout * _CONNECT_SHARE),
            sock_read=read_timeout,
        )
        progress = _Progress()
        outer = _progress.set(progress)
        try:
            async with session.request(**self.arguments(request), timeout=limits) as response:
                body = Body(response.status, response.headers, request, self._max_bytes)
                while chunk := await response.content.readany():
                    body.add(chunk)
                return Answer(response.status, response.headers, body.end())
        except (aiohttp.ClientError, OSError) as error:
            failed = error
        except asyncio.CancelledError:
            # When a session is closed, aiohttp cancels the tasks that wait for a connection of it.
            # `ready` then raises ClientClosedError. A cancellation by the caller stays one.
            task = asyncio.current_task()
            if self._closed and task is not None and not task.cancelling():
                self.ready()
            raise
        finally:
            _progress.reset(outer)
        if isinstance(failed, TimeoutError) and not progress.connected:
            # If the event loop was busy while `connect` and `total` ended, both end the call at
            # once, and aiohttp raises the error of `total`.
            raise _not_connected(timeout)
        timed_out_reading = isinstance(failed, aiohttp.SocketTimeoutError)
        raise _translated(failed, read_timeout if timed_out_reading else timeout)

    def _retire(self, calls: _CallSession) -> None:
        """Have later calls use new connections. Calls that are running keep theirs."""
        if self._sessions is None or self._sessions.calls is not calls:
            return
        fresh = _CallSession(self._session(self._max_connections))
        self._sessions = self._sessions._replace(calls=fresh)
        calls.retired = True
        self._retired.add(calls)

    def stream(self) -> "Stream":
        """Return an unopened stream, which gets a connection of its own.

        Raises:
            ClientClosedError: the client is closed.
        """
        stream = Stream(self, self.ready().watches)
        self._streams.add(stream)
        return stream

    async def aclose(self) -> None:
        """Close all connections. Calls and streams that use them end with an error."""
        self._closed = True
        for stream in list(self._streams):
            stream.abort()
        if self._sessions is None:
            return
        calls, watches = self._sessions
        for session in (watches, *(each.session for each in {calls, *self._retired})):
            await session.close()

    def arguments(self, request: Request) -> dict[str, Any]:
        """Return the arguments of aiohttp's `request` for a request."""
        return {
            "method": request.method,
            "url": URL(self._base + request.target, encoded=True),
            "headers": {**self._headers, **request.headers},
            "data": request.body,
            "allow_redirects": False,
            "proxy": self._address.proxy,
            "proxy_headers": self._proxy_headers,
        }

    def ready(self) -> "_Sessions":
        """Return the sessions; make them at the first call.

        Raises:
            ClientClosedError: the client is closed.
            InvalidArgumentError: another event loop has used the client.
        """
        if self._closed:
            raise ClientClosedError("the client is closed", hint="make another client")
        loop = asyncio.get_running_loop()
        if self._sessions is None:
            check("aiohttp")
            self._loop = loop
            calls = _CallSession(self._session(self._max_connections))
            self._sessions = _Sessions(calls, self._session(0))
        elif self._loop is not loop:
            raise InvalidArgumentError(
                "an AsyncClient belongs to the event loop that first used it",
                hint="make a client for each event loop",
            )
        return self._sessions

    def _session(self, limit: int) -> aiohttp.ClientSession:
        context: ssl.SSLContext | bool = self._address.ssl_context or True
        session = aiohttp.ClientSession(
            connector=_Connector(limit=limit, keepalive_timeout=IDLE_SECONDS, ssl=context),
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("Content-Type", "Accept-Encoding"),
            read_bufsize=_CHUNK,
            # aiohttp's own decompression has no size limit.
            auto_decompress=False,
        )
        # Without this, aiohttp resends a PUT or DELETE if a kept connection breaks, even though the
        # first one may have been applied. There is no public option for it.
        session._retry_connection = False  # noqa: SLF001 - see `private_apis`
        return session


class Stream:
    """An answer that is read while it arrives. `abort` may be called at any time.

    Attributes:
        status: the answer's status, once the stream is open.
        headers: the answer's headers, once the stream is open.
    """

    def __init__(self, transport: Transport, session: aiohttp.ClientSession) -> None:
        self._transport = transport
        self._session = session
        self._opening: asyncio.Task[aiohttp.ClientResponse] | None = None
        self._response: aiohttp.ClientResponse | None = None
        self._request: Request | None = None
        self._decoder: Decoder | None = None
        self._pieces: Iterator[bytes] = iter(())
        self._read_timeout = 0.0
        self._aborted = False
        self.status = 0
        self.headers: Mapping[str, str] = {}

    async def open(self, request: Request, timeout: float, read_timeout: float) -> None:
        """Send a request, and return when the head of the answer has arrived.

        Args:
            request: the request.
            timeout: seconds until the head must have arrived.
            read_timeout: seconds without a byte after which the connection counts as dead.

        Raises:
            TransportError: there is no answer.
        """
        if self._aborted:
            raise Broken("the connection was closed")
        self._read_timeout = read_timeout
        self._request = request
        opening = self._opening = asyncio.ensure_future(self._send(request, read_timeout))
        try:
            async with asyncio.timeout(timeout):
                self._response = await opening
        except TimeoutError:
            raise NoAnswer(f"no answer within {timeout:.3g} s") from None
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self._aborted and not (task is not None and task.cancelling()):
                raise Broken("the connection was closed") from None
            opening.cancel()
            raise
        finally:
            self._opening = None
        if self._aborted:
            # `abort` was called after the answer began and before this task went on.
            self._response.close()
            raise Broken("the connection was closed")
        self.status = self._response.status
        self.headers = self._response.headers
        self._decoder = Decoder(self.headers)

    async def _send(self, request: Request, read_timeout: float) -> aiohttp.ClientResponse:
        limits = aiohttp.ClientTimeout(
            total=None, sock_connect=CONNECT_SECONDS, sock_read=read_timeout
        )
        try:
            arguments = self._transport.arguments(request)
            return await self._session.request(**arguments, timeout=limits)
        except (aiohttp.ClientError, OSError) as error:
            failed = error
        raise _translated(failed, read_timeout)

    async def read(self) -> bytes:
        """Return the next bytes, decoded; empty bytes at the end of the answer.

        Raises:
            TransportError: the connection failed.
        """
        while True:
            if piece := next(self._pieces, b""):
                return piece
            if self._response is None or self._decoder is None:
                raise Broken("the connection was closed")
            try:
                chunk = await self._response.content.readany()
            except (aiohttp.ClientError, OSError) as error:
                failed = error
                break
            if not chunk:
                self._decoder.end()
                return b""
            self._pieces = self._decoder.pieces(chunk)
        raise _translated(failed, self._read_timeout)

    async def answer(self) -> Answer:
        """Read the rest of an answer that is not an event stream, and close the connection.

        Raises:
            TransportError: the connection failed, or the answer is too large or too slow.
        """
        assert self._request is not None
        try:
            body = Body(self.status, {}, self._request, MAX_SMALL_ANSWER_BYTES)
            async with asyncio.timeout(REFUSAL_SECONDS):
                while chunk := await self.read():
                    body.add(chunk)
        except TimeoutError:
            raise NoAnswer(f"no complete answer within {REFUSAL_SECONDS:g} s") from None
        finally:
            self.abort()
        return Answer(self.status, self.headers, body.end())

    def abort(self) -> None:
        """Close the connection. A call that waits for it raises `Broken`."""
        self._aborted = True
        # A RuntimeError means that the event loop is closed, and its connections with it.
        with suppress(RuntimeError):
            if self._opening is not None:
                self._opening.cancel()
            if self._response is not None:
                self._response.close()


def _translated(error: Exception, seconds: float) -> TransportError:
    """Return the error to raise for an error of aiohttp.

    Raise it outside of the `except` block, so that aiohttp's error does not become its context: the
    repr of aiohttp's errors shows headers, and with them the token and a proxy's password.
    """
    failure = not_http(str(error)) or _error_of(error, seconds)
    if isinstance(error, aiohttp.ClientConnectorError):
        failure.__cause__ = error.os_error
    elif not isinstance(error, aiohttp.ClientResponseError):
        failure.__cause__ = error
    return failure


def _error_of(error: Exception, seconds: float) -> TransportError:
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return _not_connected(seconds)
    if isinstance(error, TimeoutError):
        return NoAnswer(f"no answer within {seconds:.3g} s")
    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ClientHttpProxyError):
        permanent = isinstance(
            error, aiohttp.ClientSSLError | aiohttp.ClientConnectorCertificateError
        )
        return NotSent(_reason(error), permanent=permanent)
    return Broken(f"the connection broke: {_reason(error)}")


def _not_connected(seconds: float) -> NotSent:
    return NotSent(f"no connection was free or could be made within {seconds:.3g} s")


def _reason(error: Exception) -> str:
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return f"the proxy: {error.status} {error.message}"
    if isinstance(error, aiohttp.ClientResponseError):
        return str(error.message)
    cause = getattr(error, "os_error", None) or error
    return str(getattr(cause, "strerror", None) or cause) or type(error).__name__
