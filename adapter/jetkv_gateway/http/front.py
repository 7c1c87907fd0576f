"""The front door: every request passes here first, single keys then past FastAPI.

In this order: host and origin, OPTIONS, who is calling, the route. Whatever goes wrong on the way
becomes an answer of contract 1.4 here and nowhere else.
"""

import asyncio
import logging
from collections.abc import Callable

from jetkv_gateway.http.admission import REFUSED, Admission, refused
from jetkv_gateway.http.auth import Authenticator, socket_credential
from jetkv_gateway.http.entries import KEY_METHODS, EntryRoutes
from jetkv_gateway.http.exchange import (
    EXCHANGE,
    ASGIApp,
    ClientGone,
    Exchange,
    Message,
    Receive,
    Scope,
    Send,
)
from jetkv_gateway.http.origins import Origins
from jetkv_gateway.http.paths import PUBLIC, key_route, watch_route
from jetkv_gateway.http.watch import Watches
from jetkv_gateway.kv.access import Policy
from jetkv_gateway.kv.errors import (
    GatewayError,
    InternalError,
    NotFound,
    OutcomeUnknown,
    Unavailable,
)

__all__ = ["Defects", "Front"]

_log = logging.getLogger("jetkv.http")

_READS = frozenset({"GET", "HEAD", "OPTIONS"})


class Front:
    """An ASGI app.

    Args:
        entries: the routes of single keys.
        watches: WebSockets.
        inner: FastAPI, for all other routes; it routes on the path as it was sent.
        methods_of: what methods a path of `inner` has, "" for no such path.
        admission: where `protocol.py` looks for it: the line stands before this.
        reload: reads files again; for `server.py`, which hears of it.
    """

    def __init__(
        self,
        *,
        entries: EntryRoutes,
        watches: Watches,
        inner: ASGIApp,
        methods_of: Callable[[bytes], str],
        origins: Origins,
        authenticator: Authenticator,
        policy: Policy,
        admission: Admission,
        reload: Callable[[], None],
    ) -> None:
        self.admission = admission
        self.reload = reload
        self._entries = entries
        self._watches = watches
        self._inner = inner
        self._methods_of = methods_of
        self._origins = origins
        self._authenticator = authenticator
        self._policy = policy

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._answer_no_request(scope, receive, send)
            return
        exchange = Exchange(scope, receive, send, self._policy)
        try:
            self._origins.check(exchange)
            if REFUSED in scope:
                raise refused()  # noqa: TRY301 - a call of its own costs each request
            key = key_route(exchange.path)
            if key is None or exchange.method == "OPTIONS":
                await self._answer_other(exchange, key is not None)
            else:
                self._authenticate(exchange)
                await self._entries.answer(exchange, *key)
        except asyncio.CancelledError:
            # A server that stops and can wait no longer; nobody else cancels a request.
            await _answer_trouble(exchange, _unfinished(exchange))
        except Exception as error:  # noqa: BLE001 - all of them become answers
            await _answer_trouble(exchange, error)

    async def _answer_no_request(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "websocket":
            await self._inner(scope, receive, send)
            return

        async def refuse(message: Message) -> None:
            # What is refused before the upgrade is a plain answer: the same, by other names.
            await send({**message, "type": f"websocket.{message['type']}"})

        exchange = Exchange({**scope, "method": "GET"}, receive, refuse, self._policy)
        try:
            self._origins.check(exchange)
            await self._open_socket(exchange, send)
        except Exception as error:  # noqa: BLE001 - all of them become answers
            await _answer_trouble(exchange, error)

    async def _open_socket(self, exchange: Exchange, send: Send) -> None:
        bucket = watch_route(exchange.path)
        if bucket is None:
            raise NotFound(hint="only …/{bucket}/watch is a WebSocket")
        exchange.principal = self._authenticator.authenticate(
            socket_credential(
                exchange.headers.get(b"authorization"), exchange.scope.get("subprotocols", ())
            )
        )
        await self._watches.websocket(exchange, bucket, send)

    def _authenticate(self, exchange: Exchange) -> None:
        exchange.principal = self._authenticator.authenticate(
            exchange.headers.get(b"authorization")
        )

    async def _answer_other(self, exchange: Exchange, is_key: bool) -> None:
        if exchange.method == "OPTIONS":
            await self._options(
                exchange, KEY_METHODS if is_key else self._methods_of(exchange.path)
            )
            return
        if exchange.path not in PUBLIC:
            self._authenticate(exchange)
        path = exchange.path.decode("ascii")
        scope = {**exchange.scope, "path": path, "raw_path": exchange.path, EXCHANGE: exchange}
        await self._inner(scope, exchange.receive_through, exchange.send_through)

    async def _options(self, exchange: Exchange, methods: str) -> None:
        if not methods:
            raise NotFound
        await exchange.respond(
            204, b"", [(b"allow", methods.encode("ascii")), *self._origins.preflight(exchange)]
        )


class Defects:
    """Starlette's own last resort answers in plain text; this stands inside it and is first."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._app(scope, receive, send)
        except ClientGone:
            raise
        except Exception:
            exchange = scope.get(EXCHANGE)
            if exchange is None or exchange.started:
                raise
            await _fail_as_defect(exchange)


def _unfinished(exchange: Exchange) -> Exception:
    """Return what is known of a request that a stop breaks off."""
    if exchange.started:
        return ClientGone()
    if exchange.method in _READS or (exchange.method != "DELETE" and not exchange.whole):
        return Unavailable("the gateway stops", retry_after=1)
    return OutcomeUnknown(
        "the gateway stopped before NATS answered: read what stands now",
        repeatable=b"idempotency-key" in exchange.headers and key_route(exchange.path) is not None,
    )


async def _answer_trouble(exchange: Exchange, error: Exception) -> None:
    """Make an answer of whatever went wrong; the last resort."""
    if isinstance(error, GatewayError):
        await exchange.fail(error)
    elif isinstance(error, ClientGone):
        return
    elif exchange.started:
        raise error
    else:
        await _fail_as_defect(exchange)


async def _fail_as_defect(exchange: Exchange) -> None:
    """Answer with an id, and log the traceback under it."""
    _log.exception("request %s failed", exchange.request_id.decode("ascii"))
    await exchange.fail(InternalError(hint="report it with the request id"))
