"""One request and its answer: the parts that every route needs."""

import asyncio
import itertools
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from jetkv_gateway.auth.authenticator import PendingLogin
from jetkv_gateway.http.auditing import Subject, report_audit
from jetkv_gateway.http.failures import failure
from jetkv_gateway.http.paths import parse_query
from jetkv_gateway.http.rates import Rate
from jetkv_gateway.http.reporting import report_error
from jetkv_gateway.http.request import Request
from jetkv_gateway.http.router import Route
from jetkv_gateway.http.views import View
from jetkv_gateway.kv.access import ANONYMOUS, NEEDS, Verb, conceal_revisions, denial, is_allowed
from jetkv_gateway.kv.errors import GatewayError, InvalidArgument, PreconditionFailed
from jetkv_gateway.kv.filter_sets import NOTHING
from jetkv_gateway.kv.filters import Filter
from jetkv_gateway.kv.retries import Retries
from jetkv_gateway.kv.scopes import FULL, Grants, ScopeVerb
from jetkv_gateway.telemetry.events import EVENTS, RequestEvent
from jetkv_gateway.telemetry.trace_context import echo_traceparent

__all__ = ["JSON_LINE", "Call", "ClientGone", "Handler", "new_request_id", "sane_request_id"]

if TYPE_CHECKING:
    from jetkv_gateway.http.standing import Standing

T = TypeVar("T")

Shown = tuple[ScopeVerb, str, tuple[Filter, ...]]
"""A verb, a bucket, and the filters of its keys."""

JSON_LINE = b"content-type: application/json\r\n"

_NO_PARAMETERS: Mapping[str, list[str]] = {}
_LOWEST_ERROR = 400
_SANE_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")
_FILTERED_LINE = b"jetkv-filtered: true\r\n"
_WITHOUT_LENGTH = frozenset({204, 304})

_NEW_ID = b"%s-%%x" % secrets.token_hex(6).encode()
_numbers = itertools.count(1)


def new_request_id() -> bytes:
    """Return an id that no other request of any gateway has."""
    return _NEW_ID % next(_numbers)


def sane_request_id(given: bytes | None) -> bytes:
    """Return the caller's request id if it is well-formed, else a new one."""
    if given is None or _SANE_REQUEST_ID.fullmatch(given) is None:
        return new_request_id()
    return given


class ClientGone(Exception):
    """The client left, or its connection was cut. Nobody can receive an answer."""


class Call(Retries):
    """A request, and how to answer it.

    Attributes:
        request: the request as the server received it.
        target: what it asks for.
        method, headers: of the request.
        request_id: the caller's if it is well-formed, else a new one.
        started: whether the answer has started.
        count: the number of its retries.
        lines: header lines of every answer besides the request id: the trace, and CORS headers if
            they apply.
        parameters: of the query, by name. The gateway reads them as the route allows.
        route: that answers the request, None until it is known.
        handler: of that route. It takes the `names` that the path holds.
        principal: the caller.
        pending: finds that out, if it takes I/O; until then, `principal` may do nothing.
        standing: ends answers of callers that may not see them any more; None with auth off.
        shown: what `narrow` has let the caller see.
        body_limit: the largest body, in bytes. With 0, the body is read and dropped.
        began: when the head was complete, by `time.perf_counter`.
        on_end: called with the arguments of `request_ended` besides that event, or None.
        streamed: the status of an answer in parts whose end is not reported yet, or 0.
        reason: the text of the error that was the answer, or None.
        rates: the rates that the items of a batch count for.
        subjects: what the request is about, for the audit log, if its path does not say so.
    """

    __slots__ = (
        "__dict__",
        "began",
        "body_limit",
        "handler",
        "limited",
        "lines",
        "names",
        "on_end",
        "principal",
        "request",
        "request_id",
        "route",
        "standing",
        "started",
        "streamed",
        "target",
    )

    # What few requests set has its value for all others here, since each assignment in `__init__`
    # is a part of the cost of every request. Where it is set, it is kept in `__dict__`.
    parameters = _NO_PARAMETERS
    pending: PendingLogin | None = None
    rates: tuple[Rate, ...] = ()
    reason: str | None = None
    shown: tuple[Shown, ...] = ()
    subjects: tuple[Subject, ...] = ()

    def __init__(self, request: Request) -> None:
        self.request = request
        self.began = time.perf_counter()
        self.target = request.target
        self.principal = ANONYMOUS
        self.count = self.streamed = self.body_limit = 0
        self.standing: Standing | None = None
        self.started = False
        self.limited = True
        self.names: tuple[str, ...] = ()
        self.route: Route | None = None
        self.handler: Handler | None = None
        self.on_end: RequestEvent | None = None
        headers = request.headers
        if b"x-request-id" in headers:
            request_id = sane_request_id(headers[b"x-request-id"])
        else:
            request_id = _NEW_ID % next(_numbers)
        self.request_id = request_id
        began = EVENTS.request_began
        if began is not None:
            continued = EVENTS.request_continued if b"traceparent" in headers else None
            lines, start = began() if continued is None else continued(headers)
            self.lines = lines
            if start is not None:
                self.on_end = start()
        elif b"traceparent" in headers:
            self.lines = echo_traceparent(headers[b"traceparent"])
        else:
            self.lines = b""

    @property
    def own_lines(self) -> bytes:
        """The header lines of every answer."""
        return b"x-request-id: %b\r\n%b" % (self.request_id, self.lines)

    @property
    def method(self) -> str:
        return self.target.method

    @property
    def headers(self) -> dict[bytes, bytes]:
        return self.request.headers

    @property
    def path(self) -> bytes:
        """As sent, percent-encoded, without the `/json` base."""
        return self.target.path

    @property
    def query(self) -> bytes:
        """The part of the URL after the first question mark."""
        return self.target.query

    @property
    def view(self) -> View:
        """How values are shown, unless the request says otherwise."""
        return self.target.view

    def drop_query(self) -> None:
        """Free the query, which has been read and may be long."""
        self.parameters = _NO_PARAMETERS
        self.target = self.request.target = self.target.without_query()

    def drop_headers(self) -> None:
        """Free the headers, which have been read."""
        self.request.headers = {}

    def read_query(self, allowed: frozenset[str], repeated: frozenset[str]) -> None:
        """Read the query's parameters. Raises as `parse_query` does."""
        if self.target.query:
            self.parameters = parse_query(self.target.query, allowed, repeated)

    def parameter(self, name: str) -> str | None:
        """Return a query parameter, or None if it is absent."""
        if not self.target.query:
            return None
        values = self.parameters.get(name)
        return values[0] if values else None

    def flag(self, name: str) -> bool:
        """Return a query parameter that is true or false. It is false if it is absent.

        Raises:
            InvalidArgument: it is neither `true` nor `false`.
        """
        value = self.parameter(name)
        if value not in (None, "true", "false"):
            raise InvalidArgument(f"query parameter {name!r} must be true or false")
        return value == "true"

    def require(self, verb: Verb, bucket: str | None = None, key: str | None = None) -> None:
        """Check that the caller has a permission.

        Raises:
            PermissionDenied: the text names verb and bucket.
        """
        grants = self.principal.grants
        if grants is not FULL and not is_allowed(grants, verb, bucket, key):
            raise denial(verb, bucket)

    def narrow(self, verb: Verb, bucket: str, wanted: tuple[Filter, ...]) -> tuple[Filter, ...]:
        """Return filters of the wanted keys that the caller may access; at least one filter.

        If those are not all wanted keys, the answer says so (`JetKV-Filtered`).

        Raises:
            PermissionDenied: the caller may access no key of the bucket.
        """
        grants, needed = self.principal.grants, NEEDS[verb].verbs[0]
        left = wanted
        if grants is not FULL:
            found = grants.narrow(needed, bucket, wanted)
            if found is None:
                raise denial(verb, bucket)
            if found is not wanted:
                self.mark_filtered()
            left = found
        self.shown = (*self.shown, (needed, bucket, left))
        return left or (NOTHING,)

    def narrow_one(self, verb: Verb, bucket: str, wanted: Filter) -> Filter:
        """Narrow one filter to one filter, as `narrow` does."""
        grants, needed = self.principal.grants, NEEDS[verb].verbs[0]
        left = wanted
        if grants is not FULL:
            found = grants.narrow_one(needed, bucket, wanted)
            if found is None:
                raise denial(verb, bucket)
            if found is not wanted:
                self.mark_filtered()
            left = found
        self.shown = (*self.shown, (needed, bucket, () if left is NOTHING else (left,)))
        return left

    def covered_by(self, grants: Grants) -> bool:
        """Return whether these grants allow all that `narrow` has let the caller see."""
        if grants is FULL or grants is self.principal.grants:
            return True
        return all(grants.cover(verb, bucket, filters) for verb, bucket, filters in self.shown)

    def mark_filtered(self) -> None:
        """Say in the answer that the caller's scopes do not cover the whole request.

        Call this by scopes and request alone: whether something was left out must not show.
        """
        if not self.lines.endswith(_FILTERED_LINE):
            self.lines += _FILTERED_LINE

    def charge(self, requests: int) -> None:
        """Count the items of a batch for the rates of its caller.

        Raises:
            TooManyRequests
        """
        now = time.perf_counter()
        for rate in self.rates:
            rate.take(requests, now)

    async def run_while_connected(self, work: Coroutine[Any, Any, T]) -> T:
        """Return the result of `work`. Cancel it if the client leaves first.

        Use it for slow work. Clients that give up and retry would otherwise start the same work
        repeatedly, and nobody would read the results.

        Raises:
            ClientGone
        """
        doing, leaving = (
            asyncio.ensure_future(work),
            asyncio.ensure_future(self.request.wait_closed()),
        )
        try:
            await asyncio.wait({doing, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not doing.done():
                raise ClientGone
            return await doing
        finally:
            for task in (doing, leaving):
                task.cancel()
            await asyncio.gather(doing, leaving, return_exceptions=True)

    def answer(self, status: int, lines: bytes, body: bytes) -> None:
        """Write a complete answer.

        Args:
            lines: its headers except the length and `own_lines`, each ended by CRLF. They must not
                contain a caller's text that could hold a line break.
        """
        if self.count:
            self._show_retries()
        self.started = True
        ended = EVENTS.request_ended
        if ended is not None:
            target = self.target
            ended(
                target.method,
                target.template,
                status,
                time.perf_counter() - self.began,
                self.request_id,
                None if status < _LOWEST_ERROR else self.reason,
                self.names,
            )
        if EVENTS.audited is not None:
            report_audit(self, status)
        if self.on_end is not None:
            self._report(self.on_end, status)
        if status in _WITHOUT_LENGTH:
            lines += self.own_lines
        else:
            told = lines, len(body), self.request_id, self.lines
            lines = b"%bcontent-length: %d\r\nx-request-id: %b\r\n%b" % told
        self.request.answer(status, lines, body)

    def answer_json(self, status: int, body: bytes) -> None:
        """Write a complete answer whose body is JSON."""
        self.answer(status, JSON_LINE, body)

    async def begin(self, status: int, lines: bytes) -> None:
        """Start an answer whose body follows in parts, by `request.send` and `end`."""
        if self.count:
            self._show_retries()
        self.started = True
        self.streamed = status
        await self.request.begin(status, lines + self.own_lines)

    async def end(self) -> None:
        """End an answer in parts."""
        self.report_streamed()
        await self.request.end()

    def fail(self, error: GatewayError) -> None:
        """Answer with an error."""
        grants = self.principal.grants
        if isinstance(error, PreconditionFailed) and grants is not FULL and self.names:
            conceal_revisions(error, grants, *self.names)
        self.reason = error.message
        report_error(error)
        match = self.target.match
        flag = self.names if match is not None and match[0].evaluates else None
        status, lines, body = failure(error, self.request_id, flag)
        if EVENTS.request_failed is not None:
            self._report(EVENTS.request_failed, status)
        self.answer(status, lines, body)

    def end_without_answer(self) -> None:
        """Report that the client left before there was an answer."""
        self._report_end(499)

    def report_streamed(self) -> None:
        """Report that an answer in parts has ended, or that a watch has begun. Repeats are void."""
        status, self.streamed = self.streamed, 0
        if status:
            self._report_end(status)

    def _report_end(self, status: int) -> None:
        if EVENTS.audited is not None:
            report_audit(self, status)
        for event in (EVENTS.request_ended, self.on_end):
            if event is not None:
                self._report(event, status)

    def _report(self, event: RequestEvent, status: int) -> None:
        event(
            self.method,
            self.target.template,
            status,
            time.perf_counter() - self.began,
            self.request_id,
            self.reason,
            self.names,
        )

    def _show_retries(self) -> None:
        count = self.count
        self.lines += b"jetkv-retries: %d\r\n" % count
        if EVENTS.retried is not None:
            EVENTS.retried(count)


Handler = Callable[..., Awaitable[None]]
"""Answers a call of its route. It takes the call, and the names in the path in their order."""
