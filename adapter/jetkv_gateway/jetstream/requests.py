"""The request multiplexer of a connection: one wildcard inbox, one timer for all deadlines.

Sizes are checked before anything is sent, because one publish that is too large ends the connection
for every request (`-ERR maximum payload`). Every wait has a deadline, a lost connection ends all
waits at once, and a reply resumes its request in the callback that received it.

While the connection accepts no more data (`NatsProtocol.full`), requests wait in a queue. It holds
at most as many as the gateway admits. A request that times out there has certainly sent nothing.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from secrets import token_hex
from time import perf_counter
from typing import NamedTuple

from jetkv_gateway.jetstream.headers import NO_RESPONDERS, write_headers
from jetkv_gateway.jetstream.inbox import Inbox
from jetkv_gateway.jetstream.permission_violations import PermissionViolations
from jetkv_gateway.jetstream.protocol import HEADER_RESERVE, MessageHandler, NatsProtocol
from jetkv_gateway.jetstream.request_errors import (
    ConnectionLost,
    NoResponders,
    NotConnected,
    NotPermitted,
    PayloadTooLarge,
    RequestFailed,
    RequestTimeout,
    Unreadable,
    unsent,
)
from jetkv_gateway.jetstream.wire import Violation
from jetkv_gateway.stepping import Pending
from jetkv_gateway.telemetry.events import EVENTS, NatsCallEvent

__all__ = [
    "HEADER_RESERVE",
    "MAX_SUBJECT",
    "ConnectionLost",
    "Inbox",
    "Multiplexer",
    "NoResponders",
    "NotConnected",
    "NotPermitted",
    "PayloadTooLarge",
    "Reply",
    "Request",
    "RequestFailed",
    "RequestTimeout",
    "Unreadable",
]

MAX_SUBJECT = 3072
"""A control line of more than 4096 bytes closes the connection; verb, inbox and sizes need the
rest."""

_SWEEP_SECONDS = 0.05
_BARRIER_SECONDS = 5.0
_REFUSED_WITHIN = 10.0
"""Seconds. The gateway leaves a server that is silent for longer."""

_STALLED = "the connection to NATS accepts no more data for now; nothing was applied"


class Reply(NamedTuple):
    """The reply to a request: its data, and its raw header block, which may be empty."""

    data: bytes
    headers: bytes


class Request(Pending[tuple[bytes, bytes]]):
    """A request in flight. Await it for its reply: data and header block, as in `Reply`.

    A plain tuple takes a tenth of the time of a `Reply`.

    Raises:
        RequestFailed: one of its subclasses; each one tells whether anything was sent.

    `reply` is the subject of its reply, None until it is sent; `operation` is the label of metrics;
    `began` is when it was sent, or 0 once that is counted; `on_end` is what `nats_call_began`
    returned. All times are by `time.perf_counter`: one look serves the deadline and the metrics.
    """

    __slots__ = ("_mux", "began", "deadline", "on_end", "operation", "reply", "subject")

    def __init__(
        self, mux: "Multiplexer", subject: bytes, deadline: float, operation: str, began: float
    ) -> None:
        # The body of `Pending.__init__`, inlined to save a call per request.
        self.done = False
        self.resume = None
        self._error = None
        self._mux = mux
        self.subject = subject
        self.deadline = deadline
        self.operation = operation
        self.began = began
        self.reply: bytes | None = None
        self.on_end: NatsCallEvent | None = None

    def forgotten(self) -> None:
        self._mux.forget(self)


class Multiplexer:
    """Requests on one connection. Create it with `await Multiplexer.open(protocol, prefix)`."""

    not_permitted: type[NotPermitted] = NotPermitted

    def __init__(self, protocol: NatsProtocol, prefix: str) -> None:
        self._protocol = protocol
        self._publish = protocol.publish
        self._prefix = prefix
        self._inbox = self.new_inbox().encode() + b"."
        self._cut = len(self._inbox)
        self._reply_format = self._inbox.replace(b"%", b"%%") + b"%d"
        self._loop = asyncio.get_running_loop()
        self._sent = 0
        self._waiters: dict[bytes, Request] = {}
        self._queue: dict[Request, tuple[bytes, bytes]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._lost = False
        self._inboxes: dict[Inbox, Callable[[], None] | None] = {}
        self._abandoned: dict[bytes, tuple[bytes, float]] = {}
        self._on_denied: dict[str, Callable[[], None]] = {}
        self._violations = PermissionViolations(protocol.barrier, lambda: self._sent, self._resolve)

    @classmethod
    async def open(cls, protocol: NatsProtocol, prefix: str) -> "Multiplexer":
        """Open a multiplexer.

        Args:
            prefix: of the subjects for replies.

        Raises:
            Exception: the connection has ended or the server does not answer; the reason.
        """
        self = cls(protocol, prefix)
        protocol.subscribe(self._inbox + b"*", self._take)
        protocol.on_writable = self._send_queued
        # The account's limits arrive after the answer to CONNECT, so wait for them.
        await protocol.barrier(self._loop.create_future(), _BARRIER_SECONDS)
        return self

    def new_inbox(self) -> str:
        return f"{self._prefix}.{token_hex(11)}"

    @property
    def max_value_bytes(self) -> int:
        """The largest payload that fits with the gateway's headers, by the server's newest INFO."""
        return self._protocol.max_value_bytes

    def ask(
        self,
        subject: bytes,
        payload: bytes = b"",
        headers: bytes = b"",
        *,
        timeout: float,
        kind: type[Request] = Request,
        operation: str = "other",
    ) -> Request:
        """Send a request, and return it; await it for the reply.

        Args:
            headers: a complete block, such as `write_headers` returns.
            kind: the class of the returned request, such as one that takes several replies.
            timeout: seconds until `RequestTimeout`, with a precision of 50 ms.
            operation: the label of the request in metrics.

        Raises:
            NotConnected, PayloadTooLarge: nothing was sent.
        """
        if self._lost:
            raise unsent(NotConnected)
        protocol = self._protocol
        if len(payload) > protocol.max_value_bytes:
            raise unsent(PayloadTooLarge, protocol.max_value_bytes)
        if len(subject) > MAX_SUBJECT:
            raise unsent(PayloadTooLarge)
        now = perf_counter()
        request = kind(self, subject, now + timeout, operation, now)
        if EVENTS.nats_call_began is not None:
            request.on_end = EVENTS.nats_call_began()
        if self._timer is None:
            self._timer = self._loop.call_later(_SWEEP_SECONDS, self._sweep)
        if protocol.full:
            self._queue[request] = payload, headers
        else:
            request.reply = token = self._reply_format % self._sent
            self._sent += 1
            self._waiters[token] = request
            self._publish(subject, token, headers, payload)
        return request

    def ask_last(
        self, messages: Sequence[tuple[bytes, bytes, bytes]], *, timeout: float
    ) -> Request:
        """Send messages one behind the other, and return a request for the reply to the last one.

        Args:
            messages: subject, payload and header block of each.

        Raises:
            NotConnected, PayloadTooLarge: nothing was sent.
        """
        protocol = self._protocol
        if self._lost:
            raise NotConnected
        if protocol.full:
            raise NotConnected(_STALLED)
        for subject, payload, headers in messages:
            if len(payload) + len(headers) > protocol.max_value_bytes + HEADER_RESERVE:
                raise PayloadTooLarge(protocol.max_value_bytes)
            if len(subject) > MAX_SUBJECT:
                raise PayloadTooLarge
        for subject, payload, headers in messages[:-1]:
            self._publish(subject, b"", headers, payload)
        subject, payload, headers = messages[-1]
        return self.ask(subject, payload, headers, timeout=timeout, operation="batch")

    async def request(
        self,
        subject: str,
        payload: bytes = b"",
        headers: Mapping[str, str] | None = None,
        *,
        timeout: float,
        operation: str = "other",
    ) -> Reply:
        """Send a request and return its reply; see `ask`.

        Raises:
            RequestFailed: one of its subclasses; each one tells whether anything was sent.
        """
        block = write_headers(headers) if headers else b""
        return Reply(
            *await self.ask(subject.encode(), payload, block, timeout=timeout, operation=operation)
        )

    def _send_queued(self) -> None:
        """Send queued requests as long as the connection accepts data."""
        while self._queue and not self._protocol.full:
            request = next(iter(self._queue))
            payload, headers = self._queue.pop(request)
            request.reply = token = self._reply_format % self._sent
            self._sent += 1
            self._waiters[token] = request
            self._publish(request.subject, token, headers, payload)

    def wait_on(self, request: Request, timeout: float) -> None:
        """Wait for one more reply to a request.

        Args:
            timeout: seconds from now, 0 to leave the deadline as it is.
        """
        assert request.reply is not None, "it was sent"
        if timeout:
            request.deadline = perf_counter() + timeout
        self._waiters[request.reply] = request

    def forget(self, request: Request) -> None:
        """Stop waiting for the reply to a request."""
        if request.reply is None:
            self._queue.pop(request, None)
        elif self._waiters.pop(request.reply, None) is not None:
            self._abandon(request)

    def _abandon(self, request: Request) -> None:
        # The server may still report it as refused, so it counts among the refused requests.
        assert request.reply is not None, "it was sent"
        self._abandoned[request.reply] = request.subject, perf_counter() + _REFUSED_WITHIN

    async def subscribe(
        self, on_message: MessageHandler, on_lost: Callable[[], None] | None = None
    ) -> Inbox:
        """Open an inbox whose messages all go to `on_message`, as bytes and in order.

        Messages that JetStream delivers carry their stream's subject, so the shared inbox cannot
        tell them apart. Close the inbox when done. A lost connection closes it too, and calls
        `on_lost`.

        Raises:
            NotConnected: nothing was sent.
        """
        if self._lost:
            raise NotConnected
        subject = self.new_inbox()
        inbox = Inbox(
            subject, self._protocol.subscribe(subject.encode(), on_message), self._close_inbox
        )
        self._inboxes[inbox] = on_lost
        return inbox

    def _close_inbox(self, inbox: Inbox) -> None:
        self._inboxes.pop(inbox, None)
        self._protocol.unsubscribe(inbox.sid)

    async def send(self, subject: str, payload: bytes, reply: str) -> None:
        """Publish without waiting for a reply; replies go to the inbox `reply`.

        Use it for small messages only: they bypass the queue.

        Raises:
            NotConnected: nothing was sent.
        """
        if self._lost:
            raise NotConnected
        self._publish(subject.encode(), reply.encode(), b"", payload)

    @property
    def in_flight(self) -> int:
        """The number of requests that wait for a reply or to be sent."""
        return len(self._waiters) + len(self._queue)

    @property
    def idle(self) -> bool:
        """Whether a close would interrupt nothing.

        An inbox with `on_lost` does not count: its owner waits for the next connection.
        """
        return not self.in_flight and None not in self._inboxes.values()

    @property
    def lost(self) -> bool:
        return self._lost

    async def flush(self, timeout: float) -> None:
        """Wait until the server has processed everything sent, or the connection has ended.

        Args:
            timeout: seconds.
        """
        with suppress(Exception):
            await self._protocol.barrier(self._loop.create_future(), timeout)

    def close(self, reason: type[RequestFailed]) -> None:
        """End every wait with `reason`; later requests raise `NotConnected`."""
        self._lost = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for request in self._waiters.values():
            self._fail_soon(request, reason)
        for request in self._queue:
            self._fail_soon(request, NotConnected)
        self._waiters.clear()
        self._queue.clear()
        self._violations.close()
        for on_lost in list(self._inboxes.values()):
            if on_lost is not None:
                on_lost()
        self._inboxes.clear()

    def on_denied(self, subject: str, refused: Callable[[], None] | None) -> None:
        """Call `refused` when the server does not permit a `send` to a subject; None ends that."""
        if refused is None:
            self._on_denied.pop(subject, None)
        else:
            self._on_denied[subject] = refused

    def on_violation(self, refused: Violation) -> None:
        """Handle the refusal of a publish; see `PermissionViolations`."""
        if refused.kind == "reply":
            request = self._waiters.pop(refused.subject.encode(), None)
            if request is not None:
                _fail(request, self.not_permitted, (request.subject.decode(),))
        elif refused.kind == "publish":
            on_denied = self._on_denied.get(refused.subject)
            if on_denied is not None:
                on_denied()
            else:
                self._violations.add(refused.subject)

    def _resolve(self, complaints: dict[str, int], first: int, end: int) -> None:
        """End the waits on a subject if as many requests were refused as wait: none can be applied.

        This covers only the requests `first` to `end`: earlier ones are resolved, later ones will
        be.
        """
        waiting: dict[bytes, list[Request]] = {subject.encode(): [] for subject in complaints}
        left = dict.fromkeys(waiting, 0)
        for token, request in self._waiters.items():
            if request.subject in waiting and first <= int(token[self._cut :]) < end:
                waiting[request.subject].append(request)
        for token, (subject, _) in list(self._abandoned.items()):
            number = int(token[self._cut :])
            if number < end:
                del self._abandoned[token]
                if subject in left and number >= first:
                    left[subject] += 1
        for text, count in complaints.items():
            subject = text.encode()
            if count >= len(waiting[subject]) + left[subject]:
                for request in waiting[subject]:
                    assert request.reply is not None, "it was sent"
                    del self._waiters[request.reply]
                    self._fail_soon(request, self.not_permitted, text)

    def _take(self, token: bytes, _reply: bytes, headers: bytes, data: bytes) -> None:
        request = self._waiters.pop(token, None)
        if request is None:
            self._abandoned.pop(token, None)
        elif headers and not data and headers.startswith(NO_RESPONDERS):
            _fail(request, NoResponders, ())
        else:
            if request.began:
                seconds = self._protocol.arrived - request.began
                if EVENTS.nats_call_ended is not None:
                    EVENTS.nats_call_ended(request.operation, seconds, None)
                if request.on_end is not None:
                    request.on_end(request.operation, seconds, None)
                request.began = 0.0
            request.end((data, headers))

    def _fail_soon(self, request: Request, kind: type[RequestFailed], *args: str) -> None:
        """Fail a request in a turn of its own, because a Task cannot resume others."""
        # Create the error only then: an error held by the event loop would form a cycle.
        self._loop.call_soon(_fail, request, kind, args)

    def _sweep(self) -> None:
        now = perf_counter()
        late = [request for request in self._waiters.values() if request.deadline <= now]
        never_sent = [request for request in self._queue if request.deadline <= now]
        while self._abandoned:
            # All are kept for the same time, so the oldest one expires first.
            token, (_, until) = next(iter(self._abandoned.items()))
            if until > now:
                break
            del self._abandoned[token]
        for request in late:
            self.forget(request)
            self._fail_soon(request, RequestTimeout, request.subject.decode())
        for request in never_sent:
            del self._queue[request]
            self._fail_soon(request, NotConnected, _STALLED)
        again = self._waiters or self._abandoned or self._queue
        self._timer = self._loop.call_later(_SWEEP_SECONDS, self._sweep) if again else None


def _fail(request: Request, kind: type[RequestFailed], args: tuple[str, ...]) -> None:
    if request.began:
        seconds = perf_counter() - request.began
        for ended in (EVENTS.nats_call_ended, request.on_end):
            if ended is not None:
                ended(request.operation, seconds, kind.kind)
        request.began = 0.0
    request.fail(kind(*args))
