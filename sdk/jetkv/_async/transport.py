"""The transport of the async client, on aiohttp."""

import asyncio
import ssl
import weakref
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

import aiohttp
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
# Less than the whole: what was only waited for, a connection, is known not to have been sent.
_SHARE = 0.95


class _Calls:
    """The connections of calls, until one of them is found to lead nowhere.

    Attributes:
        busy: how many calls use them.
        retired: no further one will.
    """

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self.session = session
        self.busy = 0
        self.retired = False


class _Sessions(NamedTuple):
    calls: _Calls
    watches: aiohttp.ClientSession


class Transport:
    """Connections of one client, in the event loop that first used it."""

    def __init__(self, address: Address, *, max_connections: int, max_bytes: int) -> None:
        self._address = address
        self._max_bytes = max_bytes
        self._base = str(address)
        # A tunnel's proxy is told in the request for the tunnel, any other in the request itself.
        # Not as the session's own: those aiohttp tells the proxy, too, the token among them.
        tunnel = address.scheme == "https"
        self._headers = address.headers | ({} if tunnel else address.proxy_headers)
        self._proxy_headers = address.proxy_headers if tunnel else None
        self._max_connections = max_connections
        self._sessions: _Sessions | None = None
        self._retired: set[_Calls] = set()
        self._streams: weakref.WeakSet[Stream] = weakref.WeakSet()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False

    async def send(self, request: Request, timeout: float, silence: float) -> Answer:
        """Send a request, and return the whole answer.

        Args:
            timeout: seconds for all of it.
            silence: seconds without a byte after which the connection leads nowhere, as may all
                that have been kept: none of them is used again.

        Raises:
            TransportError, ClientClosedError
        """
        calls = self.ready().calls
        calls.busy += 1
        try:
            return await self._send(calls.session, request, timeout, silence)
        except NoAnswer:
            self._retire(calls)
            raise
        finally:
            calls.busy -= 1
            if calls.retired and not calls.busy:
                self._retired.discard(calls)
                await calls.session.close()

    async def _send(
        self, session: aiohttp.ClientSession, request: Request, timeout: float, silence: float
    ) -> Answer:
        limits = aiohttp.ClientTimeout(
            total=timeout,
            connect=timeout * _SHARE,
            sock_connect=min(CONNECT_SECONDS, timeout * _SHARE),
            sock_read=silence,
        )
        try:
            async with session.request(**self.arguments(request), timeout=limits) as response:
                body = Body(response.status, response.headers, request, self._max_bytes)
                while chunk := await response.content.readany():
                    body.add(chunk)
                return Answer(response.status, response.headers, body.end())
        except (aiohttp.ClientError, OSError) as error:
            failed = error
        except asyncio.CancelledError:
            # Of a session that is closed, aiohttp cancels whoever waits for a connection.
            task = asyncio.current_task()
            if self._closed and task is not None and not task.cancelling():
                self.ready()
            raise
        quiet = isinstance(failed, aiohttp.SocketTimeoutError)
        raise _translated(failed, silence if quiet else timeout)

    def _retire(self, calls: _Calls) -> None:
        """Have later calls make connections of their own; those under way keep theirs."""
        if self._sessions is None or self._sessions.calls is not calls:
            return
        fresh = _Calls(self._session(self._max_connections))
        self._sessions = self._sessions._replace(calls=fresh)
        calls.retired = True
        self._retired.add(calls)

    def stream(self) -> "Stream":
        """Return what can become an answer that goes on, on a connection of its own.

        Raises:
            ClientClosedError
        """
        stream = Stream(self, self.ready().watches)
        self._streams.add(stream)
        return stream

    async def aclose(self) -> None:
        """Close all connections; what still goes on there ends."""
        self._closed = True
        for stream in list(self._streams):
            stream.abort()
        if self._sessions is None:
            return
        calls, watches = self._sessions
        for session in (watches, *(one.session for one in {calls, *self._retired})):
            await session.close()

    def arguments(self, request: Request) -> dict[str, Any]:
        """Return a request as aiohttp takes it."""
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
        if self._closed:
            raise ClientClosedError("the client is closed", hint="make another one")
        loop = asyncio.get_running_loop()
        if self._sessions is None:
            check("aiohttp")
            self._loop = loop
            calls = _Calls(self._session(self._max_connections))
            self._sessions = _Sessions(calls, self._session(0))
        elif self._loop is not loop:
            raise InvalidArgumentError(
                "an AsyncClient belongs to the event loop that first used it",
                hint="make one client for each loop",
            )
        return self._sessions

    def _session(self, limit: int) -> aiohttp.ClientSession:
        context: ssl.SSLContext | bool = self._address.ssl_context or True
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=limit, keepalive_timeout=IDLE_SECONDS, ssl=context
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("Content-Type", "Accept-Encoding"),
            read_bufsize=_CHUNK,
            # Its own decompression has no bound.
            auto_decompress=False,
        )
        # Without this, aiohttp resends a PUT or DELETE if a kept connection breaks, even though the
        # first one may have been applied. There is no public option for it.
        session._retry_connection = False  # noqa: SLF001 - see `private_apis`
        return session


class Stream:
    """An answer that goes on. `abort` may be called at any time."""

    def __init__(self, transport: Transport, session: aiohttp.ClientSession) -> None:
        self._transport = transport
        self._session = session
        self._opening: asyncio.Task[aiohttp.ClientResponse] | None = None
        self._response: aiohttp.ClientResponse | None = None
        self._request: Request | None = None
        self._decoder: Decoder | None = None
        self._pieces: Iterator[bytes] = iter(())
        self._silence = 0.0
        self._aborted = False
        self.status = 0
        self.headers: Mapping[str, str] = {}

    async def open(self, request: Request, within: float, silence: float) -> None:
        """Send a request, and return when its answer begins.

        Args:
            within: seconds that it may take to begin.
            silence: seconds without a byte after which the connection is dead.

        Raises:
            TransportError
        """
        if self._aborted:
            raise Broken("the connection was closed")
        self._silence = silence
        self._request = request
        opening = self._opening = asyncio.ensure_future(self._ask(request, silence))
        try:
            async with asyncio.timeout(within):
                self._response = await opening
        except TimeoutError:
            raise NoAnswer(f"no answer within {within:.3g} s") from None
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self._aborted and not (task is not None and task.cancelling()):
                raise Broken("the connection was closed") from None
            opening.cancel()
            raise
        finally:
            self._opening = None
        if self._aborted:
            # Between its answer's beginning and here.
            self._response.close()
            raise Broken("the connection was closed")
        self.status = self._response.status
        self.headers = self._response.headers
        self._decoder = Decoder(self.headers)

    async def _ask(self, request: Request, silence: float) -> aiohttp.ClientResponse:
        limits = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=silence)
        try:
            arguments = self._transport.arguments(request)
            return await self._session.request(**arguments, timeout=limits)
        except (aiohttp.ClientError, OSError) as error:
            failed = error
        raise _translated(failed, silence)

    async def read(self) -> bytes:
        """Return what has come, empty at the end.

        Raises:
            TransportError
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
        raise _translated(failed, self._silence)

    async def answer(self) -> Answer:
        """Return the whole of an answer that is no stream.

        Raises:
            TransportError
        """
        assert self._request is not None
        try:
            body = Body(self.status, {}, self._request, MAX_SMALL_ANSWER_BYTES)
            async with asyncio.timeout(REFUSAL_SECONDS):
                while chunk := await self.read():
                    body.add(chunk)
        except TimeoutError:
            raise NoAnswer(f"no whole answer within {REFUSAL_SECONDS:g} s") from None
        finally:
            self.abort()
        return Answer(self.status, self.headers, body.end())

    def abort(self) -> None:
        """Close the connection; whatever waits on it ends."""
        self._aborted = True
        # A loop that is closed has closed its connections.
        with suppress(RuntimeError):
            if self._opening is not None:
                self._opening.cancel()
            if self._response is not None:
                self._response.close()


def _translated(error: Exception, seconds: float) -> TransportError:
    """Return what became of the request.

    It is raised outside of the `except`, so that nothing of aiohttp's sticks to it: those have the
    headers in their repr, the token and a proxy's password among them.
    """
    failure = not_http(str(error)) or _judged(error, seconds)
    if isinstance(error, aiohttp.ClientConnectorError):
        failure.__cause__ = error.os_error
    elif not isinstance(error, aiohttp.ClientResponseError):
        failure.__cause__ = error
    return failure


def _judged(error: Exception, seconds: float) -> TransportError:
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return NotSent(f"no connection was free, or made, within {seconds:.3g} s")
    if isinstance(error, TimeoutError):
        return NoAnswer(f"no answer within {seconds:.3g} s")
    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ClientHttpProxyError):
        permanent = isinstance(
            error, aiohttp.ClientSSLError | aiohttp.ClientConnectorCertificateError
        )
        return NotSent(_reason(error), permanent=permanent)
    return Broken(f"the connection broke: {_reason(error)}")


def _reason(error: Exception) -> str:
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return f"the proxy: {error.status} {error.message}"
    if isinstance(error, aiohttp.ClientResponseError):
        return str(error.message)
    cause = getattr(error, "os_error", None) or error
    return str(getattr(cause, "strerror", None) or cause) or type(error).__name__
