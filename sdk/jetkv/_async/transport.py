"""The driver of the async client: aiohttp."""

import asyncio
import ssl
import weakref
from collections.abc import Mapping
from contextlib import suppress

import aiohttp
from yarl import URL

from jetkv._core.address import Address
from jetkv._core.wire import Answer, Broken, NoAnswer, NotSent, Request, TransportError
from jetkv.errors import ClientClosedError, InvalidArgumentError

__all__ = ["Stream", "Transport"]

_CONNECT_SECONDS = 5.0
# Shorter than servers and proxies keep a quiet connection: one that they close just as a request
# goes out leaves a write unknown.
_IDLE_SECONDS = 50.0
_CHUNK = 256 * 1024


class Transport:
    """Connections of one client, in the event loop that first used it."""

    def __init__(self, address: Address, *, max_connections: int) -> None:
        self._address = address
        self._base = str(address)
        self._max_connections = max_connections
        self._calls: aiohttp.ClientSession | None = None
        self._watches: aiohttp.ClientSession | None = None
        self._streams: weakref.WeakSet[Stream] = weakref.WeakSet()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False

    async def send(self, request: Request, timeout: float) -> Answer:
        """Send a request, and return the whole answer.

        Raises:
            TransportError, ClientClosedError
        """
        session = self._calls if self._ready() else self._open()
        assert session is not None
        limits = aiohttp.ClientTimeout(
            total=timeout, sock_connect=min(_CONNECT_SECONDS, timeout * 0.9)
        )
        try:
            async with session.request(
                request.method,
                URL(self._base + request.target, encoded=True),
                headers=request.headers,
                data=request.body,
                allow_redirects=False,
                timeout=limits,
                proxy=self._address.proxy,
            ) as response:
                return Answer(response.status, response.headers, await response.read())
        except (aiohttp.ClientError, OSError) as error:
            raise _translated(error, timeout) from error

    async def stream(self, request: Request, silence: float) -> "Stream":
        """Send a request whose answer goes on, on a connection of its own.

        Args:
            silence: seconds without a byte after which the connection is dead.

        Raises:
            TransportError, ClientClosedError
        """
        if not self._ready():
            self._open()
        assert self._watches is not None
        limits = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS, sock_read=silence)
        try:
            response = await self._watches.request(
                request.method,
                URL(self._base + request.target, encoded=True),
                headers=request.headers,
                allow_redirects=False,
                timeout=limits,
                proxy=self._address.proxy,
            )
        except (aiohttp.ClientError, OSError) as error:
            raise _translated(error, silence) from error
        stream = Stream(response, silence)
        self._streams.add(stream)
        return stream

    async def aclose(self) -> None:
        """Close all connections; what still goes on there ends."""
        self._closed = True
        for stream in list(self._streams):
            stream.abort()
        for session in (self._calls, self._watches):
            if session is not None:
                await session.close()

    def _ready(self) -> bool:
        if self._closed:
            raise ClientClosedError("the client is closed", hint="make another one")
        if self._loop is None:
            return False
        if self._loop is not asyncio.get_running_loop():
            raise InvalidArgumentError(
                "an AsyncClient belongs to the event loop that first used it",
                hint="make one client for each loop",
            )
        return True

    def _open(self) -> aiohttp.ClientSession:
        self._loop = asyncio.get_running_loop()
        self._calls = self._session(self._max_connections)
        self._watches = self._session(0)
        return self._calls

    def _session(self, limit: int) -> aiohttp.ClientSession:
        context: ssl.SSLContext | bool = self._address.ssl_context or True
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=limit, keepalive_timeout=_IDLE_SECONDS, ssl=context
            ),
            headers=self._address.headers,
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("Content-Type", "Accept-Encoding"),
            read_bufsize=_CHUNK,
        )
        # aiohttp sends a PUT or DELETE a second time when a kept connection breaks, whatever
        # became of the first one. It has no public switch for that.
        session._retry_connection = False
        return session


class Stream:
    """An answer that goes on."""

    def __init__(self, response: aiohttp.ClientResponse, silence: float) -> None:
        self._response = response
        self._silence = silence
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers

    async def read(self) -> bytes:
        """Return what has come, empty at the end.

        Raises:
            TransportError
        """
        try:
            return await self._response.content.readany()
        except (aiohttp.ClientError, OSError) as error:
            raise _translated(error, self._silence) from error

    async def answer(self) -> Answer:
        """Return the whole of an answer that is no stream.

        Raises:
            TransportError
        """
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                body = await self._response.read()
        except (aiohttp.ClientError, OSError) as error:
            raise _translated(error, _CONNECT_SECONDS) from error
        finally:
            self.abort()
        return Answer(self.status, self.headers, body)

    def abort(self) -> None:
        """Close the connection; a `read` that waits ends."""
        # A loop that is closed has closed its connections.
        with suppress(RuntimeError):
            self._response.close()


def _translated(error: Exception, timeout: float) -> TransportError:
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return NotSent("it does not answer")
    if isinstance(error, TimeoutError):
        return NoAnswer(f"no answer within {timeout:g} s")
    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ClientHttpProxyError):
        permanent = isinstance(
            error, aiohttp.ClientSSLError | aiohttp.ClientConnectorCertificateError
        )
        return NotSent(_reason(error), permanent=permanent)
    return Broken(f"the connection broke: {_reason(error)}")


def _reason(error: Exception) -> str:
    cause = getattr(error, "os_error", None) or error
    return str(getattr(cause, "strerror", None) or cause) or type(error).__name__
