"""One request and its answer: what every route needs, read once."""

import asyncio
import itertools
import re
import secrets
from collections.abc import Awaitable, Callable, Coroutine, Mapping, MutableMapping
from typing import Any, TypeVar

from jetkv_gateway.http.failures import failure
from jetkv_gateway.http.metrics import RETRIES
from jetkv_gateway.http.paths import parse_query
from jetkv_gateway.http.router import JSON_BASE, Route
from jetkv_gateway.http.views import View
from jetkv_gateway.kv.access import ANONYMOUS, Policy, Verb
from jetkv_gateway.kv.errors import (
    CodingUnsupported,
    GatewayError,
    InvalidArgument,
    PermissionDenied,
    ValueTooLarge,
)
from jetkv_gateway.kv.retries import Retries

__all__ = [
    "ABORT",
    "SOCKET",
    "STOPPING",
    "STOPS",
    "WRITER",
    "ASGIApp",
    "Call",
    "ClientGone",
    "Headers",
    "Message",
    "Receive",
    "Scope",
    "Send",
]

T = TypeVar("T")

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

WRITER = "jetkv.writer"
"""Where a protocol that can write a whole answer at once leaves a `Writer` in the scope."""

SOCKET = "jetkv.socket"
"""Where a protocol that writes WebSocket frames as they are leaves itself in the scope."""

STOPPING = "jetkv.stopping"
"""Where a protocol leaves an `asyncio.Event`, which is set when the server stops."""

STOPS = "jetkv.stops"
"""Where a server that is about to stop says so, in the lifespan's state."""

ABORT = "jetkv.abort"
"""Where a protocol leaves what ends a connection whose reader does not read any more."""

Writer = Callable[[int, bytes, bytes], bool]
"""(status, header lines, body) → whether it was written; if not, send it as ASGI says."""

_NO_PARAMETERS: Mapping[str, list[str]] = {}

JSON_TYPE = (b"content-type", b"application/json")

_SANE_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")

_process = secrets.token_hex(6).encode()
_numbers = itertools.count(1)


def new_request_id() -> bytes:
    """Return an id that no other request of any gateway has."""
    return b"%s-%x" % (_process, next(_numbers))


def sane_request_id(given: bytes | None) -> bytes:
    """Return the caller's request id when it is sane, else one of ours."""
    if given is None or _SANE_REQUEST_ID.fullmatch(given) is None:
        return new_request_id()
    return given


class ClientGone(Exception):
    """The client went away before its request was whole: nothing is done, nobody to answer."""


class Call:
    """A request, and the way to answer it.

    Attributes:
        path: as it was sent, still percent-encoded, without the `/json` base.
        headers: lower-case names; repeated lines are joined by a comma (RFC 9110 §5.3).
        request_id: the caller's when it is sane, else one of ours.
        whole: whether the body was read to its end.
        view: how values are shown unless the request says otherwise.
        answer_headers: what goes on every answer: the request id, and CORS where it applies.
        parameters: the query's, by name; the gateway reads them by the route's row.
        retries: of this request, counted by whatever carries it out.
        route: the row of the table that it is answered by, None until that is known.
    """

    __slots__ = (
        "_receive",
        "_send",
        "answer_headers",
        "headers",
        "method",
        "parameters",
        "path",
        "policy",
        "principal",
        "query",
        "request_id",
        "retries",
        "route",
        "scope",
        "started",
        "view",
        "whole",
    )

    def __init__(self, scope: Scope, receive: Receive, send: Send, policy: Policy) -> None:
        self.scope = scope
        self._receive = receive
        self._send = send
        self.policy = policy
        self.principal = ANONYMOUS
        self.started = False
        self.whole = False
        self.parameters: Mapping[str, list[str]] = _NO_PARAMETERS
        self.retries = Retries()
        self.route: Route | None = None
        # A handshake has no method of its own: RFC 6455 makes it a GET.
        self.method: str = scope.get("method", "GET")
        self.query: bytes = scope["query_string"]
        path: bytes = scope["raw_path"]
        self.view = View.BASE64
        if path.startswith(JSON_BASE):
            path = path[len(JSON_BASE) - 1 :]
            self.view = View.JSON
        self.path = path
        lines: Headers = scope["headers"]
        headers = dict(lines)
        if len(headers) != len(lines):
            headers = {}
            for name, value in lines:
                headers[name] = headers[name] + b", " + value if name in headers else value
        self.headers = headers
        self.request_id = request_id = sane_request_id(headers.get(b"x-request-id"))
        self.answer_headers: Headers = [(b"x-request-id", request_id)]

    def read_query(self, allowed: frozenset[str], repeated: frozenset[str]) -> None:
        """Read the query's parameters; raises as `parse_query`."""
        if self.query:
            self.parameters = parse_query(self.query, allowed, repeated)

    def parameter(self, name: str) -> str | None:
        """Return a query parameter, None where it is not given."""
        values = self.parameters.get(name)
        return values[0] if values else None

    def flag(self, name: str) -> bool:
        """Return a query parameter that is true or false, false where it is not given.

        Raises:
            InvalidArgument: it is neither `true` nor `false`.
        """
        value = self.parameter(name)
        if value not in (None, "true", "false"):
            raise InvalidArgument(f"query parameter {name!r} must be true or false")
        return value == "true"

    def require(self, verb: Verb, bucket: str | None = None, key: str | None = None) -> None:
        """Ask whether the caller may.

        Raises:
            PermissionDenied: the text names verb and bucket.
        """
        if not self.policy(self.principal, verb, bucket, key):
            where = f" in bucket {bucket}" if bucket is not None else ""
            raise PermissionDenied(f"permission denied: {verb}{where}")

    async def body(self, limit: int) -> bytes:
        """Return the request's body.

        Raises:
            ValueTooLarge: it is over `limit` bytes; found before it has arrived.
            ClientGone: it was cut off before its end.
            InvalidArgument, CodingUnsupported: see `_require_known_length`.
        """
        declared = self.headers.get(b"content-length")
        if declared is None:
            self._require_known_length()
        elif int(declared) > limit:
            raise ValueTooLarge(limit)
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        self.whole = not message.get("more_body", False)
        if not message.get("more_body", False):
            whole: bytes = message.get("body", b"")
            if len(whole) > limit:
                raise ValueTooLarge(limit)
            return whole
        chunks = [message.get("body", b"")]
        size = len(chunks[0])
        while message.get("more_body", False):
            if size > limit:
                raise ValueTooLarge(limit)
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            self.whole = not message.get("more_body", False)
            chunks.append(message.get("body", b""))
            size += len(chunks[-1])
        if size > limit:
            raise ValueTooLarge(limit)
        return b"".join(chunks)

    def _require_known_length(self) -> None:
        """Refuse a body whose bytes are not the value, or that ends nobody knows where.

        Raises:
            CodingUnsupported: it is coded otherwise than in chunks (RFC 9112 §6.1).
            InvalidArgument: HTTP/1.0 needs a length (RFC 1945 §7.2.2).
        """
        coding = self.headers.get(b"transfer-encoding")
        if coding is None:
            if self.scope.get("http_version") == "1.0":
                raise InvalidArgument("a body over HTTP/1.0 needs a Content-Length")
        elif coding.strip().lower() != b"chunked":
            raise CodingUnsupported

    async def while_there(self, work: Coroutine[Any, Any, T]) -> T:
        """Return what `work` returns; it is cancelled when the client goes first.

        For what takes long: clients that give up and ask again would else have it done for nobody,
        over and over.

        Raises:
            ClientGone
        """
        doing, leaving = asyncio.ensure_future(work), asyncio.ensure_future(self._left())
        try:
            await asyncio.wait({doing, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not doing.done():
                raise ClientGone
            return await doing
        finally:
            for task in (doing, leaving):
                task.cancel()
            await asyncio.gather(doing, leaving, return_exceptions=True)

    async def _left(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def respond(self, status: int, body: bytes, headers: Headers) -> None:
        """Send an answer; `headers` come beside the length and `answer_headers`."""
        self._show_retries()
        if status not in (204, 304):
            headers.append((b"content-length", b"%d" % len(body)))
        headers += self.answer_headers
        self.started = True
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
        await self._send({"type": "http.response.body", "body": body})

    async def respond_lines(self, status: int, body: bytes, lines: bytes) -> None:
        """Send an answer as `respond` does; `lines` are its headers, each ended by CRLF.

        The cheaper form for single keys: uvicorn looks at each header of ASGI by two regular
        expressions. Nothing of a caller's may be in `lines` that could hold a line break.
        """
        if status not in (204, 304):
            lines = b"%scontent-length: %d\r\n" % (lines, len(body))
        self._show_retries()
        if len(self.answer_headers) == 1:
            lines = b"%sx-request-id: %s\r\n" % (lines, self.request_id)
        else:
            lines += b"".join([b"%s: %s\r\n" % header for header in self.answer_headers])
        self.started = True
        writer: Writer | None = self.scope.get(WRITER)
        if writer is not None and writer(status, lines, body):
            return
        headers = [tuple(line.split(b": ", 1)) for line in lines.split(b"\r\n")[:-1]]
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
        await self._send({"type": "http.response.body", "body": body})

    async def respond_json(self, status: int, body: bytes) -> None:
        """Send an answer whose body is JSON."""
        await self.respond(status, body, [JSON_TYPE])

    def _show_retries(self) -> None:
        count = self.retries.count
        if count:
            self.answer_headers.append((b"jetkv-retries", b"%d" % count))
            RETRIES.inc(count)

    async def fail(self, error: GatewayError) -> None:
        """Answer with an error."""
        status, headers, body = failure(error, self.request_id)
        await self.respond(status, b"" if self.method == "HEAD" else body, headers)

    async def send_through(self, message: Message) -> None:
        """Pass on what an inner ASGI app sends, with this call's headers on it."""
        if message["type"] == "http.response.start":
            self.started = True
            self._show_retries()
            message["headers"] = [*message.get("headers", []), *self.answer_headers]
        await self._send(message)

    async def receive_through(self) -> Message:
        """Pass on what the client sends."""
        return await self._receive()
