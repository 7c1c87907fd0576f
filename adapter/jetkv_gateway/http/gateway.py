"""The gateway: it receives every request and makes sure that it is answered.

The server calls the gateway twice for a request. `begin` checks the head without waiting: host and
origin, route, credential, names, permission, query, and body size. `run` calls the route's handler
when the body is complete. All errors become answers here and nowhere else
(docs/http-api.md#errors).
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from time import perf_counter
from typing import NoReturn

from jetkv_gateway.auth.authenticator import Authenticator, PendingLogin
from jetkv_gateway.auth.tickets import Tickets
from jetkv_gateway.http.asgi import Receive, Scope, Send, run_lifespan, serve_request
from jetkv_gateway.http.auth import socket_credential
from jetkv_gateway.http.call import Call, ClientGone, Handler
from jetkv_gateway.http.caller_limits import CallerLimits
from jetkv_gateway.http.origins import AllowedOrigins
from jetkv_gateway.http.paths import decode_names
from jetkv_gateway.http.recent_callers import RecentCallers
from jetkv_gateway.http.request import Request
from jetkv_gateway.http.router import Match, Route
from jetkv_gateway.http.routes import ROUTER
from jetkv_gateway.http.standing import Standing
from jetkv_gateway.http.ticket_urls import takes_tickets, ticket_url
from jetkv_gateway.kv.access import OF_ONE_KEY, Principal
from jetkv_gateway.kv.errors import (
    GatewayError,
    InternalError,
    InvalidArgument,
    MethodNotAllowed,
    NotFound,
    OutcomeUnknown,
    TooManyRequests,
    Unauthenticated,
    Unavailable,
    ValueTooLarge,
)
from jetkv_gateway.kv.scopes import FULL, NOBODY
from jetkv_gateway.stepping import NEEDS_TASK

__all__ = ["Gateway", "Lifespan", "refuse", "refuse_body"]

_log = logging.getLogger("jetkv.http")

_READS = frozenset({"GET", "HEAD", "OPTIONS"})
_IDENTIFY_SECONDS = 10.0
_LOOK_AGAIN_SECONDS = 1.0
_NOT_KNOWN = Principal("not known yet", "none", NOBODY)
_ONLY_WATCHES = "only …/{bucket}/watch is a WebSocket"

Lifespan = Callable[[], AbstractAsyncContextManager[None]]


class Gateway:
    """Answers requests. It is also an ASGI app, for servers other than `serving`.

    Args:
        handlers: one for each route, by its name.
        body_limits: the largest body in bytes, for each route that takes a body.
        lifespan: opens the gateway's resources at start and closes them at the end.
        limits: of the callers.
        backends: returns the handlers on the connection of a caller that presents a login of NATS;
            None if none can.
        tickets: None if no URL can have one.
        standing: ends long answers; None if credentials never end.
        reload: reads files again. The server calls it on a reload.

    Attributes:
        in_flight: requests that run now, without watches.
    """

    def __init__(
        self,
        *,
        handlers: Mapping[str, Handler],
        body_limits: Mapping[str, Callable[[], int]],
        lifespan: Lifespan,
        origins: AllowedOrigins,
        authenticator: Authenticator,
        backends: Callable[[Principal], Mapping[str, Handler]] | None = None,
        tickets: Tickets | None = None,
        limits: CallerLimits,
        standing: Standing | None = None,
        reload: Callable[[], None],
    ) -> None:
        if handlers.keys() != ROUTER.names:
            raise ValueError(f"routes and handlers differ: {handlers.keys() ^ ROUTER.names}")
        self.reload = reload
        self.lifespan = lifespan
        self._handlers = handlers
        self._body_limits = body_limits
        self._origins = origins
        self._authenticator = authenticator
        self._backends = backends
        self._tickets = tickets
        self._limits = limits
        self._standing = standing
        self._recent = RecentCallers()
        self._looks_at_callers = authenticator.required or limits.per_address > 0
        self.in_flight = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await run_lifespan(self.lifespan, receive, send)
        else:
            await serve_request(self, scope, receive, send)

    def begin(self, request: Request) -> Call | None:
        """Return the call to run, or None if the head alone was enough to answer.

        The body may arrive later; it is not needed here.
        """
        call = Call(request)
        target = call.target
        match, route = target.match, target.route
        try:
            if request.findings.origins is not self._origins:
                self._origins.check(call)
            if target.method == "OPTIONS":
                self._answer_options(call)
                return None
            if self._looks_at_callers and (match is None or not match[0].public):
                self._look_at_caller(call, match)
            if match is None or route is None or (request.is_websocket and not route.websocket):
                _refuse_target(call)
            call.names = names = target.names
            call.route = route
            call.limited = route.limited
            grants = call.principal.grants
            if grants is not FULL and route.verb is not None and call.pending is None:
                # A quick look at one key; `_require` decides the rest, and raises.
                one_key = OF_ONE_KEY.get(route.verb)
                if one_key is None or not grants.allows(one_key, *names):
                    _require(call, route)
            if target.query:
                call.read_query(route.query, route.repeated)
            if route.body:
                self._limit_body(call, route)
            call.handler = self._handlers[route.name]
            if self._backends is not None and call.pending is None:
                self._choose_backend(call, route)
        except Unauthenticated as error:
            if b"authorization" in call.headers or request.is_websocket:
                return call if self._limits.refuse_login(call, error) else None
            call.fail(error)
            return None
        except Exception as error:  # noqa: BLE001 - every error becomes an answer
            _answer_error(call, error)
            return None
        return call

    def _look_at_caller(self, call: Call, match: Match | None) -> None:
        """Find out who the caller is, and count the request for its rates.

        Raises:
            Unauthenticated, Unavailable, TooManyRequests
        """
        limits = self._limits
        if limits.per_address:
            limits.check_address(call, match)
        if self._authenticator.required:
            caller = self._recent.find(call.request.headers.get(b"authorization"))
            if caller is None:
                self._identify(call, match)
            else:
                call.principal, call.standing = caller, self._standing
            if limits.per_token or call.principal.requests_per_second is not None:
                limits.check_token(call, match)

    def _identify(self, call: Call, match: Match | None) -> None:
        """Find out who the caller is, by a header or by the ticket in a URL.

        Raises:
            Unauthenticated, Unavailable
        """
        call.standing = self._standing
        credential = call.headers.get(b"authorization")
        if call.request.is_websocket:
            credential = socket_credential(credential, _subprotocols(call))
        if credential is None and b"ticket=" in call.query and match is not None:
            principal = self._ticket_holder(call, match)
            if principal is not None:
                call.principal = principal
                return
        found = self._authenticator.authenticate(credential)
        if type(found) is Principal:
            call.principal = found
            # The pool has to see each use of a login of NATS.
            remember = self._backends is None and not call.request.is_websocket
            if remember and credential is not None:
                self._recent.add(credential, found)
        else:
            assert not isinstance(found, Principal), "nobody makes a subclass"
            call.principal, call.pending = _NOT_KNOWN, found

    def _ticket_holder(self, call: Call, match: Match) -> Principal | None:
        if self._tickets is None or not takes_tickets(match[0]):
            return None
        route = match[0].routes["GET"]
        url, ticket = ticket_url(call.target.sent_path, match, route, call.query)
        if ticket is None:
            return None
        principal = self._authenticator.current(self._tickets.read(ticket, url))
        if principal is None:
            raise Unauthenticated(
                hint="the credential that this ticket is of is not valid any more"
            )
        return principal

    async def _admit(self, call: Call, pending: PendingLogin) -> None:
        """Wait until it is known who the caller is, and check that the caller may run the call.

        Raises:
            GatewayError
        """
        call.pending = None
        await NEEDS_TASK
        try:
            async with asyncio.timeout(_IDENTIFY_SECONDS):
                call.principal = await pending.resolve()
        except TimeoutError:
            raise Unavailable("the credentials cannot be checked now") from None
        route = call.route
        assert route is not None, "`begin` has found it"
        self._limits.check_token(call, call.target.match)
        _require(call, route)
        if self._backends is not None:
            self._choose_backend(call, route)

    def _look_again(self, call: Call) -> None:
        """Check once more who the caller is, since a body or a place took its time to come.

        Otherwise, a withdrawn credential could still write with a body that arrives slowly.

        Raises:
            GatewayError
        """
        current = self._authenticator.current(call.principal)
        if current is None:
            raise Unauthenticated(hint="this credential is withdrawn or has expired")
        call.principal = current
        assert call.route is not None, "`begin` has found it"
        _require(call, call.route)

    def _choose_backend(self, call: Call, route: Route) -> None:
        """Let the call run on the caller's own connection to NATS, if it has one.

        Raises:
            Unavailable: the connection was closed a moment ago.
        """
        assert self._backends is not None, "the caller has checked it"
        if call.principal.method == "nats":
            call.handler = self._backends(call.principal).get(route.name, call.handler)

    def _limit_body(self, call: Call, route: Route) -> None:
        """Refuse a body that is too large, or has no length, before it arrives.

        Raises:
            ValueTooLarge
            InvalidArgument: a body over HTTP/1.0 has no length (RFC 1945 §7.2.2).
        """
        call.body_limit = limit = self._body_limits[route.name]()
        declared = call.request.headers.get(b"content-length")
        if declared is not None:
            if int(declared) > limit:
                raise ValueTooLarge(limit)
        elif call.request.version == "1.0":
            raise InvalidArgument("a body over HTTP/1.0 needs a Content-Length")

    def _answer_options(self, call: Call) -> None:
        match = call.target.match
        if match is not None:
            methods = match[0].allow
        elif call.target.sent_path == b"*":
            methods = ROUTER.allow
        else:
            raise NotFound
        allow = b"allow: %s\r\n" % methods.encode("ascii")
        call.answer(204, allow + self._origins.preflight(call), b"")

    async def run(self, call: Call) -> None:
        """Answer the call that `begin` returned. `call.request.body` must be complete."""
        route = call.route
        # A refused caller has no route.
        counted = route is not None and not route.endless
        self.in_flight += counted
        try:
            if self._looks_at_callers:
                if call.pending is not None:
                    await self._admit(call, call.pending)
                elif call.standing is not None and (
                    perf_counter() - call.began > _LOOK_AGAIN_SECONDS
                ):
                    self._look_again(call)
            handler = call.handler
            assert handler is not None, "`begin` has found it"
            await handler(call, *call.names)
        except Unauthenticated as error:
            # NATS has refused the login, or the credential was withdrawn since `begin`.
            if self._limits.refuse_login(call, error):
                # The call has another handler now, which waits and refuses, and no check is left.
                # Called from here, its errors would get no answer, if the client leaves or the
                # server stops meanwhile.
                await self.run(call)
        except asyncio.CancelledError:
            # The server stops and cannot wait any longer. Nothing else cancels a request.
            _answer_error(call, _interruption_error(call))
        except Exception as error:  # noqa: BLE001 - every error becomes an answer
            _answer_error(call, error)
        finally:
            self.in_flight -= counted
            if call.streamed:
                call.report_streamed()


def refuse(call: Call, error: TooManyRequests | None = None) -> None:
    """Answer a call that exceeds a limit.

    Args:
        error: the reason, or None if the client left the queue.
    """
    call.fail(error or TooManyRequests())


def refuse_body(call: Call) -> None:
    """Answer a call whose body is too large."""
    call.fail(ValueTooLarge(call.body_limit))


def _refuse_target(call: Call) -> NoReturn:
    """Refuse a request that no route answers.

    Raises:
        NotFound: the path is unknown, or it is not that of a WebSocket.
        MethodNotAllowed
        GatewayError: a name in the path breaks its rule.
    """
    match = call.target.match
    if match is not None:
        resource, raw, names = match
        # Metrics and logs name the bucket all the same.
        call.names = decode_names(resource.parameters, raw) if names is None else names
        if call.target.route is None:
            raise MethodNotAllowed(resource.allow)
    raise NotFound(hint=_ONLY_WATCHES if call.request.is_websocket else None)


def _require(call: Call, route: Route) -> None:
    """Check that the caller may run a route. Raises PermissionDenied."""
    match = call.target.match
    assert match is not None, "it has a route"
    if route.verb is not None:
        call.require(route.verb, *(call.names if match[0].of_bucket else ()))


def _subprotocols(call: Call) -> list[str]:
    offered = call.headers.get(b"sec-websocket-protocol", b"").decode("latin-1")
    return [one.strip() for one in offered.split(",")]


def _interruption_error(call: Call) -> Exception:
    """Return the error for a request that a stop of the server interrupts."""
    if call.started:
        return ClientGone()
    if call.method in _READS or (call.route is not None and call.route.evaluates):
        return Unavailable("the gateway stops", retry_after=1)
    return OutcomeUnknown(
        "the gateway stopped before NATS answered: read the key to see its current value",
        repeatable=b"idempotency-key" in call.headers
        and call.route is not None
        and call.route.repeatable,
    )


def _answer_error(call: Call, error: Exception) -> None:
    """Turn any error into an answer, as the last resort."""
    if call.started:
        # It is too late for an error answer, and the part that was sent must not look complete.
        if not isinstance(error, ClientGone):
            _log.error("request %s broke off", call.request_id.decode("ascii"), exc_info=error)
        call.request.abort()
    elif isinstance(error, GatewayError):
        call.fail(error)
    elif isinstance(error, ClientGone):
        call.end_without_answer()
    else:
        _log.error("request %s failed", call.request_id.decode("ascii"), exc_info=error)
        call.fail(InternalError(hint="report it with the request id"))
