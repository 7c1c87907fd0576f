"""The transport of the sync client, on httpcore."""

import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import httpcore

from jetkv._core.address import Address
from jetkv._core.bodies import Body, Decoder
from jetkv._core.messages import (
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
from jetkv._core.process import fork_lock
from jetkv._sync.connections import Connections
from jetkv._sync.streams import Call
from jetkv.errors import ClientClosedError

__all__ = ["Stream", "Transport"]


class Transport:
    """The connections of one client, for any number of threads. A forked child makes its own.

    Args:
        address: the gateway's address.
        max_connections: how many calls may run at once.
        max_bytes: the largest answer with values or lists, after decompression.
    """

    def __init__(self, address: Address, *, max_connections: int, max_bytes: int) -> None:
        self._address = address
        self._max_bytes = max_bytes
        self._max_connections = max_connections
        self._connections: Connections | None = None
        self._closed = False

    def send(self, request: Request, timeout: float, read_timeout: float) -> Answer:
        """Send a request and return the complete answer.

        Args:
            request: the request.
            timeout: seconds for all of it.
            read_timeout: seconds without a byte after which the connection counts as dead. The
                idle connections may be dead, too, and are closed.

        Raises:
            TransportError: there is no complete answer.
            ClientClosedError: the client is closed.
        """
        connections = self.ready()
        call = connections.backend.call = Call(timeout, read_timeout)
        connections.running.add(call)
        if self._closed:
            # `close` may have run before this call was in `running`, so it did not end it.
            call.abort()
        try:
            with connections.borrow(timeout) as connection, _translating(call, timeout):
                response = connection.handle_request(connections.request(request))
                try:
                    headers = _mapping(response)
                    body = Body(response.status, headers, request, self._max_bytes)
                    for chunk in response.iter_stream():
                        body.add(chunk)
                finally:
                    response.close()
        except NoAnswer:
            connections.close_idle()
            raise
        except TransportError:
            if call.aborted and not call.sent:
                self.ready()
            raise
        finally:
            connections.running.discard(call)
        return Answer(response.status, headers, body.end())

    def stream(self) -> "Stream":
        """Return an unopened stream, which gets a connection of its own.

        Raises:
            ClientClosedError: the client is closed.
        """
        connections = self.ready()
        stream = Stream(connections)
        with connections.lock:
            connections.streams.add(stream)
        return stream

    def close(self) -> None:
        """Close all connections. Calls and streams that use them end with an error."""
        self._closed = True
        connections = self._connections
        if connections is None or not connections.in_this_process:
            return
        connections.close()

    def ready(self) -> Connections:
        """Return the connections of this process; make them at the first call.

        Raises:
            ClientClosedError: the client is closed.
        """
        if self._closed:
            raise ClientClosedError("the client is closed", hint="make another client")
        connections = self._connections
        if connections is None or not connections.in_this_process:
            with fork_lock():
                connections = self._connections
                if connections is None or not connections.in_this_process:
                    connections = Connections(self._address, self._max_connections)
                    self._connections = connections
        return connections


class Stream:
    """An answer that is read while it arrives. One thread reads; any thread may `abort`.

    Attributes:
        status: the answer's status, once the stream is open.
        headers: the answer's headers, once the stream is open.
    """

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._call = Call(0)
        self._read_timeout = 0.0
        self._connection = connections.new_connection()
        self._chunks: Iterator[bytes] = iter(())
        self._pieces: Iterator[bytes] = iter(())
        self._decoder = Decoder({})
        self._request: Request | None = None
        # Re-entrant: a signal handler may close the stream while its thread holds the lock.
        self._guard = threading.RLock()
        self._busy = False
        self._aborted = False
        self.status = 0
        self.headers: Mapping[str, str] = {}

    def open(self, request: Request, timeout: float, read_timeout: float) -> None:
        """Send a request, and return when the head of the answer has arrived.

        Args:
            request: the request.
            timeout: seconds until the head must have arrived.
            read_timeout: seconds without a byte after which the connection counts as dead.

        Raises:
            TransportError: there is no answer.
        """
        self._read_timeout = read_timeout
        self._request = request
        with self._using(timeout):
            response = self._connection.handle_request(self._connections.request(request))
            self.status = response.status
            self.headers = _mapping(response)
            self._chunks = response.iter_stream()
            self._decoder = Decoder(self.headers)

    def read(self) -> bytes:
        """Return the next bytes, decoded; empty bytes at the end of the answer.

        Raises:
            TransportError: the connection failed.
        """
        return self._read(self._read_timeout)

    def _read(self, seconds: float) -> bytes:
        while True:
            if piece := next(self._pieces, b""):
                return piece
            with self._using(seconds):
                chunk = next(self._chunks, b"")
            if not chunk:
                self._decoder.end()
                return b""
            self._pieces = self._decoder.pieces(chunk)

    def answer(self) -> Answer:
        """Read the rest of an answer that is not an event stream, and close the connection.

        Raises:
            TransportError: the connection failed, or the answer is too large or too slow.
        """
        assert self._request is not None
        deadline = time.monotonic() + REFUSAL_SECONDS
        try:
            body = Body(self.status, {}, self._request, MAX_SMALL_ANSWER_BYTES)
            while (left := deadline - time.monotonic()) > 0:
                chunk = self._read(left)
                if chunk:
                    body.add(chunk)
                elif self._aborted:
                    raise Broken("the connection was closed")
                else:
                    return Answer(self.status, self.headers, body.end())
        finally:
            self.abort()
        raise NoAnswer(f"no complete answer within {REFUSAL_SECONDS:g} s")

    def abort(self) -> None:
        """Close the connection. A call that waits for it in another thread raises `Broken`."""
        # A forked child must not close its parent's connection.
        if not self._connections.in_this_process:
            return
        with self._guard:
            self._aborted = True
            busy = self._busy
        if busy:
            # The reading thread closes it. If this thread did, the reading thread could go on to
            # use the number of the closed socket, which another socket may have by then.
            self._call.abort()
        else:
            self._connection.close()

    @contextmanager
    def _using(self, seconds: float) -> Iterator[None]:
        call = Call(seconds)
        with self._guard:
            if self._aborted:
                raise Broken("the connection was closed")
            self._busy = True
            call.continues(self._call)
            self._call = self._connections.backend.call = call
        try:
            with _translating(call, seconds):
                yield
        finally:
            with self._guard:
                self._busy = False
                aborted = self._aborted
            if aborted:
                self._connection.close()


@contextmanager
def _translating(call: Call, seconds: float) -> Iterator[None]:
    """Turn the errors of httpcore into a `TransportError`."""
    try:
        yield
    except (
        httpcore.NetworkError,
        httpcore.TimeoutException,
        httpcore.ProtocolError,
        httpcore.ProxyError,
        OSError,
    ) as error:
        raise _translated(error, call, seconds) from _cause(error)


def _translated(error: Exception, call: Call, seconds: float) -> TransportError:
    reason = _reason(error)
    if error_of_protocol := not_http(reason):
        return error_of_protocol
    if not call.sent:
        if isinstance(error, httpcore.ConnectTimeout):
            reason = "it does not answer"
        elif isinstance(error, httpcore.ProxyError):
            reason = f"the proxy: {reason}"
        return NotSent(reason, permanent=isinstance(_cause(error), ssl.SSLCertVerificationError))
    if isinstance(error, httpcore.TimeoutException):
        return NoAnswer(
            f"no answer within {call.read_timeout if call.timed_out_reading else seconds:.3g} s"
        )
    return Broken(f"the connection broke: {reason}")


def _reason(error: BaseException) -> str:
    cause = _cause(error)
    return str(getattr(cause, "strerror", None) or cause) or type(error).__name__


def _cause(error: BaseException) -> BaseException:
    """Return the operating system's error that caused an error, or else the error itself."""
    # httpcore's pool hides it as a suppressed context. A context that is not suppressed belongs to
    # an error that the caller was handling.
    hidden = error.__context__ if error.__suppress_context__ else None
    cause = error.__cause__ or hidden
    return cause if isinstance(cause, OSError) else error


def _mapping(response: httpcore.Response) -> Mapping[str, str]:
    return {
        name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers
    }
