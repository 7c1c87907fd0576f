"""One request multiplexer for a connection: a wildcard inbox, a table of waiters, one timer.

nats-py's own `request` makes a future map without bounds, leaks an entry on a failed publish and
checks only the payload's size; one oversized publish closes a nats-py client for good
(`-ERR maximum payload`). Here sizes are checked before anything is sent, every wait has a
deadline, and a lost connection ends all waits at once.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from nats import errors as nats_errors
from nats.aio.subscription import Subscription

from jetkv_gateway.jetstream.headers import NO_RESPONDERS
from jetkv_gateway.jetstream.link import HEADER_RESERVE, ReplyClient, Taker
from jetkv_gateway.jetstream.refusals import Refusals
from jetkv_gateway.jetstream.wire import Violation

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
    "ReplyClient",
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

_NOTHING_SENT = (
    nats_errors.OutboundBufferLimitError,
    nats_errors.ConnectionClosedError,
    nats_errors.ConnectionDrainingError,
)


class RequestFailed(Exception):
    """What became of a request that got no reply. Never leaves this package."""


class NotConnected(RequestFailed):
    """Nothing was sent."""


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


# (future, subject, deadline); a bare tuple, since one is made for every request
_Waiter = tuple[asyncio.Future[Reply], str, float]


class Inbox:
    """A subject of our own with a subscription behind it."""

    def __init__(
        self, subject: str, subscription: Subscription, forget: "Callable[[Inbox], None]"
    ) -> None:
        self.subject = subject
        self.number: int = subscription._id
        self._subscription = subscription
        self._forget = forget

    async def close(self) -> None:
        """Unsubscribe; a connection that is gone has done so already."""
        self._forget(self)
        with suppress(nats_errors.Error):
            await self._subscription.unsubscribe()


class Multiplexer:
    """Requests over one connected client. Use `await Multiplexer.open(client)`."""

    def __init__(self, client: ReplyClient, inbox: str) -> None:
        self._client = client
        self._inbox = inbox
        self._cut = len(inbox)
        self._loop = asyncio.get_running_loop()
        self._sent = 0
        self._waiters: dict[bytes, _Waiter] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._lost: RequestFailed | None = None
        self._inboxes: dict[Inbox, Callable[[], None] | None] = {}
        self._left: dict[bytes, tuple[str, float]] = {}
        self._heeded: dict[str, Callable[[], None]] = {}
        self._refusals = Refusals(client.barrier, lambda: self._sent, self._settle)

    @classmethod
    async def open(cls, client: ReplyClient) -> "Multiplexer":
        self = cls(client, client.new_inbox() + ".")
        subscription = await client.subscribe(self._inbox + "*")
        client.hand_over(subscription._id, self._take)
        # The limits of the account come behind the answer to CONNECT.
        await client.barrier(self._loop.create_future(), _BARRIER_SECONDS)
        return self

    @property
    def max_value_bytes(self) -> int:
        """The largest payload that fits with our headers, by the server's newest INFO."""
        return self._client.max_value_bytes

    async def request(
        self,
        subject: str,
        payload: bytes = b"",
        headers: dict[str, str] | None = None,
        *,
        timeout: float,
    ) -> Reply:
        """Send a request and return its reply.

        Args:
            timeout: seconds until `RequestTimeout`, to within a twentieth of a second.

        Raises:
            RequestFailed: one of its kinds; each says whether anything was sent.
        """
        if self._lost is not None:
            raise NotConnected
        if len(payload) > self._client.max_value_bytes:
            raise PayloadTooLarge(self._client.max_value_bytes)
        if len(subject) > MAX_SUBJECT:
            raise PayloadTooLarge
        number = str(self._sent)
        token = number.encode("ascii")
        self._sent += 1
        future: asyncio.Future[Reply] = self._loop.create_future()
        self._waiters[token] = (future, subject, self._loop.time() + timeout)
        if self._timer is None:
            self._timer = self._loop.call_later(_SWEEP_SECONDS, self._sweep)
        try:
            await self._client.publish(subject, payload, self._inbox + number, headers)
            reply = await future
        except _NOTHING_SENT as error:
            raise NotConnected from error
        except (RequestTimeout, asyncio.CancelledError):
            # The server may still complain of it, and then of nobody else.
            self._left[token] = subject, self._loop.time() + _REFUSED_WITHIN
            raise
        finally:
            self._waiters.pop(token, None)
            # Its error holds this frame, and must not be held by it: that is a cycle.
            del future
        if reply.headers and not reply.data and reply.headers.startswith(NO_RESPONDERS):
            raise NoResponders
        return reply

    async def subscribe(self, take: Taker, on_lost: Callable[[], None] | None = None) -> "Inbox":
        """Open an inbox of its own whose messages all go to `take`, as bytes and in order.

        Messages that JetStream delivers carry their stream's subject, so the shared inbox cannot
        tell them apart. Close it when done. `on_lost` is called when the connection is lost, which
        closes it, too.

        Raises:
            NotConnected
        """
        if self._lost is not None:
            raise NotConnected
        subject = self._client.new_inbox()
        try:
            # With a future, which nobody needs, nats-py makes no iterator that holds what holds it.
            subscription = await self._client.subscribe(subject, future=self._loop.create_future())
        except nats_errors.Error as error:
            raise NotConnected from error
        inbox = Inbox(subject, subscription, self._forget)
        self._client.hand_over(inbox.number, take)
        self._inboxes[inbox] = on_lost
        return inbox

    def _forget(self, inbox: Inbox) -> None:
        self._inboxes.pop(inbox, None)
        self._client.hand_over(inbox.number, None)

    async def send(self, subject: str, payload: bytes, reply: str) -> None:
        """Publish without a wait for one reply; answers go to the inbox `reply`.

        Raises:
            NotConnected: nothing was sent.
        """
        if self._lost is not None:
            raise NotConnected
        try:
            await self._client.publish(subject, payload, reply)
        except _NOTHING_SENT as error:
            raise NotConnected from error

    @property
    def in_flight(self) -> int:
        """Requests that wait for a reply."""
        return len(self._waiters)

    @property
    def idle(self) -> bool:
        """Whether nothing would be broken off by a close: no request, and no inbox but of those
        who wait for the next connection by themselves (`on_lost`)."""  # noqa: D205, D209 - one thought
        return not self._waiters and None not in self._inboxes.values()

    @property
    def lost(self) -> bool:
        return self._lost is not None

    def close(self, reason: RequestFailed) -> None:
        """End every wait with `reason`; later requests raise `NotConnected`."""
        self._lost = reason
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for future, _, _ in self._waiters.values():
            if not future.done():
                future.set_exception(reason)
        self._waiters.clear()
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
        if refused.kind == "reply" and refused.subject.startswith(self._inbox):
            waiter = self._waiters.get(refused.subject[self._cut :].encode())
            if waiter is not None and not waiter[0].done():
                waiter[0].set_exception(NotPermitted(waiter[1]))
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
        waiting: dict[str, list[asyncio.Future[Reply]]] = {subject: [] for subject in complaints}
        left = dict.fromkeys(complaints, 0)
        for token, (future, subject, _) in self._waiters.items():
            if subject not in complaints or not first <= int(token) < end:
                continue
            if not future.done():
                waiting[subject].append(future)
            elif future.cancelled() or future.exception() is not None:
                left[subject] += 1
        for token, (subject, _) in list(self._left.items()):
            if int(token) < end:
                del self._left[token]
                if subject in complaints and int(token) >= first:
                    left[subject] += 1
        for subject, count in complaints.items():
            if count >= len(waiting[subject]) + left[subject]:
                for future in waiting[subject]:
                    future.set_exception(NotPermitted(subject))

    def _take(self, subject: bytes, _reply: bytes, headers: bytes, data: bytes) -> None:
        token = subject[self._cut :]
        waiter = self._waiters.get(token)
        if waiter is None:
            self._left.pop(token, None)
        elif not waiter[0].done():
            # As `Reply(data, headers)`, without a call in Python: one comes with each request.
            waiter[0].set_result(tuple.__new__(Reply, (data, headers)))

    def _sweep(self) -> None:
        now = self._loop.time()
        for future, asked, deadline in self._waiters.values():
            if deadline <= now and not future.done():
                future.set_exception(RequestTimeout(asked))
        while self._left:
            # The oldest first: all are kept equally long.
            token, (_, until) = next(iter(self._left.items()))
            if until > now:
                break
            del self._left[token]
        again = self._waiters or self._left
        self._timer = self._loop.call_later(_SWEEP_SECONDS, self._sweep) if again else None
