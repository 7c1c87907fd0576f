"""One request multiplexer for a connection: a wildcard inbox, a table of waiters, one timer.

Sizes are checked before anything is sent, since one publish that is too large ends the connection
of everybody (`-ERR maximum payload`). Every wait has a deadline, a lost connection ends all waits
at once, and a reply resumes who waits for it in the callback that has brought it.

While the connection takes no more (`Link.full`), requests stand in a line. It holds as many as the
gateway lets in, and who leaves it by its deadline has certainly sent nothing.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from secrets import token_hex
from typing import NamedTuple

from jetkv_gateway.jetstream.headers import NO_RESPONDERS, write_headers
from jetkv_gateway.jetstream.link import HEADER_RESERVE, Link, Taker
from jetkv_gateway.jetstream.refusals import Refusals
from jetkv_gateway.jetstream.wire import Violation
from jetkv_gateway.stepping import Pending

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
    "Taker",
    "Unreadable",
]

MAX_SUBJECT = 3072
"""A longer control line than 4096 bytes closes the connection; verb, inbox and sizes need room."""

_SWEEP_SECONDS = 0.05
_BARRIER_SECONDS = 5.0
_REFUSED_WITHIN = 10.0
"""Seconds. A server that is silent for longer is left."""


_STALLED = "the connection to NATS takes no more for now; nothing was applied"


class RequestFailed(Exception):
    """What became of a request that got no reply. Never leaves this package."""


class NotConnected(RequestFailed):
    """Nothing was sent. Its argument is why, where a connection stands."""


class PayloadTooLarge(RequestFailed):
    """Nothing was sent. Its argument is the limit in bytes, where the payload is over it."""


class NoResponders(RequestFailed):
    """Nobody listens on the subject: no such stream, no leader, or no JetStream. Not applied."""


class NotPermitted(RequestFailed):
    """The server refused the publish. Not applied."""


class RequestTimeout(RequestFailed):
    """Sent, and no reply in time: it may be applied, now or later."""


class Unreadable(RequestFailed):
    """An answer came, and is none of JetStream's: it may be applied."""


class ConnectionLost(RequestFailed):
    """Sent, and the connection broke before the reply: it may be applied, now or later."""


class Reply(NamedTuple):
    """The answer to a request: its data, and its header block as it came, empty where none did."""

    data: bytes
    headers: bytes


class Request(Pending[Reply]):
    """A request under way: await it for its reply.

    Raises:
        RequestFailed: one of its kinds; each says whether anything was sent.
    """

    __slots__ = ("_mux", "deadline", "subject", "token")

    def __init__(self, mux: "Multiplexer", subject: bytes, deadline: float) -> None:
        # As `Pending.__init__` does, without the call: one comes with each request.
        self.done = False
        self.resume = None
        self._error = None
        self._mux = mux
        self.subject = subject
        self.deadline = deadline
        self.token: bytes | None = None

    def forgotten(self) -> None:
        self._mux.forget(self)


class Inbox:
    """A subject of our own with a subscription behind it."""

    def __init__(self, subject: str, sid: bytes, forget: "Callable[[Inbox], None]") -> None:
        self.subject = subject
        self.sid = sid
        self._forget = forget

    async def close(self) -> None:
        """Unsubscribe; a connection that is gone has done so already."""
        self._forget(self)


class Multiplexer:
    """Requests over one connected link. Use `await Multiplexer.open(link, prefix)`."""

    def __init__(self, link: Link, prefix: str) -> None:
        self._link = link
        self._prefix = prefix
        self._inbox = self.new_inbox().encode() + b"."
        self._cut = len(self._inbox)
        self._loop = asyncio.get_running_loop()
        self._sent = 0
        self._waiters: dict[bytes, Request] = {}
        self._line: dict[Request, tuple[bytes, bytes]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._lost = False
        self._inboxes: dict[Inbox, Callable[[], None] | None] = {}
        self._left: dict[bytes, tuple[bytes, float]] = {}
        self._heeded: dict[str, Callable[[], None]] = {}
        self._refusals = Refusals(link.barrier, lambda: self._sent, self._settle)

    @classmethod
    async def open(cls, link: Link, prefix: str) -> "Multiplexer":
        """Open one.

        Args:
            prefix: of the subjects that replies come to.

        Raises:
            Exception: the connection has ended meanwhile, or does not answer; why.
        """
        self = cls(link, prefix)
        link.subscribe(self._inbox + b"*", self._take)
        link.on_room = self._let_in
        # The limits of the account come behind the answer to CONNECT.
        await link.barrier(self._loop.create_future(), _BARRIER_SECONDS)
        return self

    def new_inbox(self) -> str:
        return f"{self._prefix}.{token_hex(11)}"

    @property
    def max_value_bytes(self) -> int:
        """The largest payload that fits with our headers, by the server's newest INFO."""
        return self._link.max_value_bytes

    def ask(
        self,
        subject: bytes,
        payload: bytes = b"",
        headers: bytes = b"",
        *,
        timeout: float,
        kind: type[Request] = Request,
    ) -> Request:
        """Send a request, and return it for its reply to be awaited.

        Args:
            headers: a whole block, such as `write_headers` makes.
            kind: of what is returned, such as one that takes several replies.
            timeout: seconds until `RequestTimeout`, to within a twentieth of a second.

        Raises:
            NotConnected, PayloadTooLarge
        """
        if self._lost:
            raise NotConnected
        link = self._link
        if len(payload) > link.max_value_bytes:
            raise PayloadTooLarge(link.max_value_bytes)
        if len(subject) > MAX_SUBJECT:
            raise PayloadTooLarge
        request = kind(self, subject, self._loop.time() + timeout)
        if self._timer is None:
            self._timer = self._loop.call_later(_SWEEP_SECONDS, self._sweep)
        if link.full:
            self._line[request] = payload, headers
        else:
            request.token = token = b"%d" % self._sent
            self._sent += 1
            self._waiters[token] = request
            link.publish(subject, self._inbox + token, headers, payload)
        return request

    async def request(
        self,
        subject: str,
        payload: bytes = b"",
        headers: Mapping[str, str] | None = None,
        *,
        timeout: float,
    ) -> Reply:
        """Send a request and return its reply; see `ask`.

        Raises:
            RequestFailed: one of its kinds; each says whether anything was sent.
        """
        block = write_headers(headers) if headers else b""
        return await self.ask(subject.encode(), payload, block, timeout=timeout)

    def _let_in(self) -> None:
        """Send what stands in the line, as far as the connection takes it."""
        while self._line and not self._link.full:
            request = next(iter(self._line))
            payload, headers = self._line.pop(request)
            request.token = token = b"%d" % self._sent
            self._sent += 1
            self._waiters[token] = request
            self._link.publish(request.subject, self._inbox + token, headers, payload)

    def wait_on(self, request: Request, timeout: float) -> None:
        """Wait for one more reply to a request, `timeout` seconds from now at most."""
        assert request.token is not None, "it was sent"
        request.deadline = self._loop.time() + timeout
        self._waiters[request.token] = request

    def forget(self, request: Request) -> None:
        """Take in that nobody waits for a request any more."""
        if request.token is None:
            self._line.pop(request, None)
        elif self._waiters.pop(request.token, None) is not None:
            self._leave(request)

    def _leave(self, request: Request) -> None:
        # The server may still complain of it, and then of nobody else.
        assert request.token is not None, "it was sent"
        self._left[request.token] = request.subject, self._loop.time() + _REFUSED_WITHIN

    async def subscribe(self, take: Taker, on_lost: Callable[[], None] | None = None) -> "Inbox":
        """Open an inbox of its own whose messages all go to `take`, as bytes and in order.

        Messages that JetStream delivers carry their stream's subject, so the shared inbox cannot
        tell them apart. Close it when done. `on_lost` is called when the connection is lost, which
        closes it, too.

        Raises:
            NotConnected
        """
        if self._lost:
            raise NotConnected
        subject = self.new_inbox()
        inbox = Inbox(subject, self._link.subscribe(subject.encode(), take), self._close_inbox)
        self._inboxes[inbox] = on_lost
        return inbox

    def _close_inbox(self, inbox: Inbox) -> None:
        self._inboxes.pop(inbox, None)
        self._link.unsubscribe(inbox.sid)

    async def send(self, subject: str, payload: bytes, reply: str) -> None:
        """Publish without a wait for one reply; answers go to the inbox `reply`.

        It is for what is small, and does not stand in the line.

        Raises:
            NotConnected: nothing was sent.
        """
        if self._lost:
            raise NotConnected
        self._link.publish(subject.encode(), reply.encode(), b"", payload)

    @property
    def in_flight(self) -> int:
        """Requests that wait for a reply, or to be sent."""
        return len(self._waiters) + len(self._line)

    @property
    def idle(self) -> bool:
        """Whether nothing would be broken off by a close: no request, and no inbox but of those
        who wait for the next connection by themselves (`on_lost`)."""  # noqa: D205, D209 - one thought
        return not self.in_flight and None not in self._inboxes.values()

    @property
    def lost(self) -> bool:
        return self._lost

    async def flush(self, timeout: float) -> None:
        """Return when the server has taken in what was sent, or there is no more to be done.

        Args:
            timeout: seconds.
        """
        with suppress(Exception):
            await self._link.barrier(self._loop.create_future(), timeout)

    def close(self, reason: type[RequestFailed]) -> None:
        """End every wait with `reason`; later requests raise `NotConnected`."""
        self._lost = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for request in self._waiters.values():
            self._fail_soon(request, reason)
        for request in self._line:
            self._fail_soon(request, NotConnected)
        self._waiters.clear()
        self._line.clear()
        self._refusals.close()
        for on_lost in list(self._inboxes.values()):
            if on_lost is not None:
                on_lost()
        self._inboxes.clear()

    def heed(self, subject: str, refused: Callable[[], None] | None) -> None:
        """Call `refused` when the server does not permit a `send` to a subject; None ends that."""
        if refused is None:
            self._heeded.pop(subject, None)
        else:
            self._heeded[subject] = refused

    def violated(self, refused: Violation) -> None:
        """Take in that the server refused a publish; see `Refusals` for what follows."""
        if refused.kind == "reply" and refused.subject.encode().startswith(self._inbox):
            request = self._waiters.pop(refused.subject.encode()[self._cut :], None)
            if request is not None:
                request.fail(NotPermitted(request.subject.decode()))
        elif refused.kind == "publish":
            heeds = self._heeded.get(refused.subject)
            if heeds is not None:
                heeds()
            else:
                self._refusals.count(refused.subject)

    def _settle(self, complaints: dict[str, int], first: int, end: int) -> None:
        """End the waits on a subject where as many were refused as wait: none can be applied.

        Only of requests `first` to `end`: what went before was settled, what comes after will be.
        """
        waiting: dict[bytes, list[Request]] = {subject.encode(): [] for subject in complaints}
        left = dict.fromkeys(waiting, 0)
        for token, request in self._waiters.items():
            if request.subject in waiting and first <= int(token) < end:
                waiting[request.subject].append(request)
        for token, (subject, _) in list(self._left.items()):
            if int(token) < end:
                del self._left[token]
                if subject in left and int(token) >= first:
                    left[subject] += 1
        for text, count in complaints.items():
            subject = text.encode()
            if count >= len(waiting[subject]) + left[subject]:
                for request in waiting[subject]:
                    assert request.token is not None, "it was sent"
                    del self._waiters[request.token]
                    self._fail_soon(request, NotPermitted, text)

    def _take(self, subject: bytes, _reply: bytes, headers: bytes, data: bytes) -> None:
        token = subject[self._cut :]
        request = self._waiters.pop(token, None)
        if request is None:
            self._left.pop(token, None)
        elif headers and not data and headers.startswith(NO_RESPONDERS):
            request.fail(NoResponders())
        else:
            # As `Reply(data, headers)`, without a call in Python: one comes with each request.
            request.end(tuple.__new__(Reply, (data, headers)))

    def _fail_soon(self, request: Request, kind: type[RequestFailed], *args: str) -> None:
        """Fail a request in a turn of its own: in a Task, nobody else can be resumed."""
        # The error is made then: one that the event loop holds meanwhile would be a cycle.
        self._loop.call_soon(_fail, request, kind, args)

    def _sweep(self) -> None:
        now = self._loop.time()
        late = [request for request in self._waiters.values() if request.deadline <= now]
        unsent = [request for request in self._line if request.deadline <= now]
        while self._left:
            # The oldest first: all are kept equally long.
            token, (_, until) = next(iter(self._left.items()))
            if until > now:
                break
            del self._left[token]
        for request in late:
            assert request.token is not None, "it was sent"
            del self._waiters[request.token]
            self._leave(request)
            self._fail_soon(request, RequestTimeout, request.subject.decode())
        for request in unsent:
            del self._line[request]
            self._fail_soon(request, NotConnected, _STALLED)
        again = self._waiters or self._left or self._line
        self._timer = self._loop.call_later(_SWEEP_SECONDS, self._sweep) if again else None


def _fail(request: Request, kind: type[RequestFailed], args: tuple[str, ...]) -> None:
    request.fail(kind(*args))
