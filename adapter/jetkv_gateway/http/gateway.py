"""The gateway as an ASGI app: every request passes here, and leaves with an answer.

In this order: host and origin, the row of the table, who is calling, names, whether the caller may,
the query, the row's handler. Whatever goes wrong on the way becomes an answer here and nowhere else
(docs/http-api.md#errors).
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager

from jetkv_gateway.http.auth import Authenticator, socket_credential
from jetkv_gateway.http.call import Call, ClientGone, Message, Receive, Scope, Send
from jetkv_gateway.http.origins import Origins
from jetkv_gateway.http.paths import bucket_name, key_name
from jetkv_gateway.http.router import MATCH, Match, Route
from jetkv_gateway.http.routes import ROUTER
from jetkv_gateway.kv.access import Policy
from jetkv_gateway.kv.errors import (
    GatewayError,
    InternalError,
    MethodNotAllowed,
    NotFound,
    OutcomeUnknown,
    Unavailable,
)
from jetkv_gateway.serving.admission import REFUSED, Admission, refused

__all__ = ["Gateway", "Handler", "Lifespan"]

_log = logging.getLogger("jetkv.http")

_READS = frozenset({"GET", "HEAD", "OPTIONS"})
_DECODE: Mapping[str, Callable[[bytes], str]] = {"bucket": bucket_name, "key": key_name}
_KEY = ("bucket", "key")
_ONLY_WATCHES = "only …/{bucket}/watch is a WebSocket"

Handler = Callable[..., Awaitable[None]]
"""Answers a call of its row; takes the call, and the names of the path in their order."""

Lifespan = Callable[[], AbstractAsyncContextManager[None]]


class Gateway:
    """An ASGI app.

    Args:
        handlers: one for each row of the table, by its name.
        socket: answers a WebSocket handshake on the row of watches.
        lifespan: what is open while the gateway serves.
        admission: where `serving/http1.py` looks for it: the line stands before this.
        reload: reads files again; for `serving/server.py`, which hears of it.
    """

    def __init__(
        self,
        *,
        handlers: Mapping[str, Handler],
        socket: Handler,
        lifespan: Lifespan,
        origins: Origins,
        authenticator: Authenticator,
        policy: Policy,
        admission: Admission,
        reload: Callable[[], None],
    ) -> None:
        if handlers.keys() != ROUTER.names:
            raise ValueError(f"rows and handlers differ: {handlers.keys() ^ ROUTER.names}")
        self.admission = admission
        self.reload = reload
        self._handlers = handlers
        self._socket = socket
        self._lifespan = lifespan
        self._origins = origins
        self._authenticator = authenticator
        self._policy = policy

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        handshake = scope["type"] == "websocket"
        call = Call(scope, receive, _refusals(send) if handshake else send, self._policy)
        try:
            self._origins.check(call)
            if REFUSED in scope:
                raise refused()  # noqa: TRY301 - a function of its own costs each request
            match = scope[MATCH] if MATCH in scope else ROUTER.find(scope["raw_path"])
            if handshake:
                await self._shake_hands(call, match, send)
            else:
                await self._handle(call, match)
        except asyncio.CancelledError:
            # A server that stops and can wait no longer; nobody else cancels a request.
            await _answer_trouble(call, _unfinished(call))
        except Exception as error:  # noqa: BLE001 - all of them become answers
            await _answer_trouble(call, error)

    def _handle(self, call: Call, match: Match | None) -> Awaitable[None]:
        """Return what answers a call: its handler, begun.

        Raises:
            GatewayError: no handler may answer it.
        """
        method = call.method
        if method == "OPTIONS":
            return self._options(call, match)
        if match is None or not match[0].public:
            call.principal = self._authenticator.authenticate(call.headers.get(b"authorization"))
        if match is None:
            raise NotFound
        resource = match[0]
        names = _decoded(match)
        route = resource.routes.get(method)
        if route is None:
            raise MethodNotAllowed(resource.allow)
        self._admit(call, route, names)
        return self._handlers[route.name](call, *names)

    async def _shake_hands(self, call: Call, match: Match | None, send: Send) -> None:
        """Answer a handshake: a GET by other means, and on one row alone."""
        route = None if match is None else match[0].routes.get("GET")
        if match is None or route is None or not route.socket:
            raise NotFound(hint=_ONLY_WATCHES)
        call.principal = self._authenticator.authenticate(
            socket_credential(
                call.headers.get(b"authorization"), call.scope.get("subprotocols", ())
            )
        )
        names = _decoded(match)
        self._admit(call, route, names)
        await self._socket(call, *names, send)

    @staticmethod
    def _admit(call: Call, route: Route, names: tuple[str, ...]) -> None:
        """Make sure that the caller may do what the row is for, and asks for nothing unknown.

        Raises:
            PermissionDenied, InvalidArgument
        """
        call.route = route
        if route.verb is not None:
            call.require(route.verb, *names)
        if call.query:
            call.read_query(route.query, route.repeated)

    async def _options(self, call: Call, match: Match | None) -> None:
        if match is None:
            raise NotFound
        allow = (b"allow", match[0].allow.encode("ascii"))
        await call.respond(204, b"", [allow, *self._origins.preflight(call)])

    async def _live(self, receive: Receive, send: Send) -> None:
        """Open and close what is open while the gateway serves, as ASGI's lifespan says."""
        await receive()
        started = False
        try:
            async with self._lifespan():
                started = True
                await send({"type": "lifespan.startup.complete"})
                await receive()
        except Exception as error:
            stage = "shutdown" if started else "startup"
            await send({"type": f"lifespan.{stage}.failed", "message": str(error)})
            raise
        await send({"type": "lifespan.shutdown.complete"})


def _decoded(match: Match) -> tuple[str, ...]:
    """Return what a path names.

    Raises:
        InvalidBucketName, InvalidArgument: a name breaks its rule.
    """
    resource, raw = match
    if resource.parameters == _KEY:
        return bucket_name(raw[0]), key_name(raw[1])
    return tuple([_DECODE[name](held) for name, held in zip(resource.parameters, raw, strict=True)])


def _refusals(send: Send) -> Send:
    async def refuse(message: Message) -> None:
        # What is refused before the upgrade is a plain answer: the same, by other names.
        await send({**message, "type": f"websocket.{message['type']}"})

    return refuse


def _unfinished(call: Call) -> Exception:
    """Return what is known of a request that a stop breaks off."""
    if call.started:
        return ClientGone()
    if call.method in _READS or (call.method != "DELETE" and not call.whole):
        return Unavailable("the gateway stops", retry_after=1)
    return OutcomeUnknown(
        "the gateway stopped before NATS answered: read what stands now",
        repeatable=b"idempotency-key" in call.headers
        and call.route is not None
        and call.route.repeatable,
    )


async def _answer_trouble(call: Call, error: Exception) -> None:
    """Make an answer of whatever went wrong; the last resort."""
    if isinstance(error, GatewayError):
        await call.fail(error)
    elif isinstance(error, ClientGone):
        return
    elif call.started:
        raise error
    else:
        _log.exception("request %s failed", call.request_id.decode("ascii"))
        await call.fail(InternalError(hint="report it with the request id"))
