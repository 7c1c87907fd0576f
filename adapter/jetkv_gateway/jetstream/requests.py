"""One request multiplexer for a connection: a wildcard inbox, a table of waiters, one timer.

nats-py's own `request` makes a future map without bounds, leaks an entry on a failed publish and
checks only the payload's size; one oversized publish closes a nats-py client for good
(`-ERR maximum payload`). Here sizes are checked before anything is sent, every wait has a
deadline, and a lost connection ends all waits at once.
"""

import asyncio
import fcntl
import itertools
import sys
import termios
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from nats import errors as nats_errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

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
    "RequestTimeout",
    "Signal",
]

HEADER_RESERVE = 1024
"""Bytes of max_payload kept for headers, which the server counts: ours never reach this."""

MAX_SUBJECT = 3072
"""A longer control line than 4096 bytes closes the connection; verb, inbox and sizes need room."""

_SWEEP_SECONDS = 0.05

_NOTHING_SENT = (
    nats_errors.OutboundBufferLimitError,
    nats_errors.ConnectionClosedError,
    nats_errors.ConnectionDrainingError,
)


class Signal(Exception):
    """What became of a request that got no reply. Never leaves this package."""


class NotConnected(Signal):
    """Nothing was sent."""


class PayloadTooLarge(Signal):
    """Nothing was sent."""


class NoResponders(Signal):
    """Nobody listens on the subject: no such stream, no leader, or no JetStream. Not applied."""


class NotPermitted(Signal):
    """The server refused the publish. Not applied."""


class RequestTimeout(Signal):
    """Sent, and no reply in time: it may be applied, now or later."""


class ConnectionLost(Signal):
    """Sent, and the connection broke before the reply: it may be applied, now or later."""


class Reply(NamedTuple):
    """The answer to a request."""

    data: bytes
    headers: Mapping[str, str] | None


Taker = Callable[[bytes, bytes, bytes], None]
"""Takes (subject, reply subject, header block) of a message."""


class ReplyClient(Client):
    """nats-py's client with a short cut for plain replies.

    nats-py hands each message to its subscription's task through a queue, which is a tenth of the
    time of a small request. A reply needs neither: it ends one wait. Messages with headers take
    nats-py's way, and all do should a later nats-py dispatch by another name.

    Attributes:
        on_info: takes each INFO of the server, with whether it is the first one, which comes before
            anything is sent. It may change the first one, which nats-py then goes by, or raise; a
            later one must not.
    """

    on_info: Callable[[dict[str, Any], bool], None] | None = None
    _heard = 0
    _reply_prefix: bytes | None = None
    _take_reply: Callable[[str, Reply], None]
    _takers: dict[int, Taker]

    def short_cut(self, prefix: str, take: Callable[[str, Reply], None]) -> None:
        """Hand replies below the subject `prefix` to `take`, with the rest of their subject."""
        self._take_reply = take
        self._takers = {}
        self._reply_prefix = prefix.encode("ascii")

    def hand_over(self, sid: int, take: Taker | None) -> None:
        """Hand what comes for a subscription to `take` as it is; None ends that."""
        if take is None:
            self._takers.pop(sid, None)
        else:
            self._takers[sid] = take

    async def _process_msg(
        self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes
    ) -> None:
        prefix = self._reply_prefix
        if prefix is not None and not headers and subject.startswith(prefix):
            self._take_reply(subject[len(prefix) :].decode("ascii"), Reply(data, None))
        elif prefix is not None and sid in self._takers:
            self._takers[sid](subject, reply, headers or b"")
        else:
            await super()._process_msg(sid, subject, reply, data, headers)

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
        await super()._process_info(info, initial_connection)
        if self.on_info is not None:
            self.on_info(info, initial_connection)

    def listen(self) -> None:
        """Count what comes from the server from here on, for `signs`."""
        parse = self._ps.parse

        async def count(data: bytes = b"") -> None:
            self._heard += 1
            await parse(data)

        self._ps.parse = count  # type: ignore[method-assign] # each chunk passes here

    @property
    def signs(self) -> tuple[int, int]:
        """Another value than before says that the link is alive.

        Bytes count, not messages: on a slow link a large one takes seconds. The second number is
        what is still to be sent, by this process and by its kernel.
        """
        unsent = 0
        writer = getattr(self._transport, "_io_writer", None)
        if writer is not None:
            unsent = writer.transport.get_write_buffer_size()
            raw = writer.get_extra_info("socket")
            if raw is not None:
                with suppress(OSError, ValueError):
                    queued = fcntl.ioctl(raw.fileno(), termios.TIOCOUTQ, bytes(4))
                    unsent += int.from_bytes(queued, sys.byteorder)
        return self._heard, unsent

    async def _process_pong(self) -> None:
        if self._pongs and self._pongs[0].done():
            # Nobody waits for it any more, and nats-py would break over that.
            self._pongs.pop(0)
        else:
            await super()._process_pong()


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
        # nats-py leaves the task of a subscription behind when its connection is gone.
        stop = getattr(self._subscription, "_stop_processing", None)
        if stop is not None:
            stop()
        with suppress(nats_errors.Error):
            await self._subscription.unsubscribe()


class Multiplexer:
    """Requests over one connected client. Use `await Multiplexer.open(client)`."""

    def __init__(self, client: ReplyClient, inbox: str) -> None:
        self._client = client
        self._inbox = inbox
        self._cut = len(inbox)
        self._loop = asyncio.get_running_loop()
        self._tokens = itertools.count()
        self._waiters: dict[str, _Waiter] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._lost: Signal | None = None
        self._inboxes: dict[Inbox, Callable[[], None] | None] = {}
        self.max_value_bytes = client.max_payload - HEADER_RESERVE

    @classmethod
    async def open(cls, client: ReplyClient) -> "Multiplexer":
        self = cls(client, client.new_inbox() + ".")
        # No limits on pending replies: they are answers to requests of ours, whose number is
        # bounded, and nats-py would drop what is over a limit.
        await client.subscribe(
            self._inbox + "*", cb=self._on_message, pending_msgs_limit=0, pending_bytes_limit=0
        )
        client.short_cut(self._inbox, self._take)
        client.listen()
        return self

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
            Signal: one of its kinds; each says whether anything was sent.
        """
        if self._lost is not None:
            raise NotConnected
        if len(payload) > self.max_value_bytes or len(subject) > MAX_SUBJECT:
            raise PayloadTooLarge
        token = str(next(self._tokens))
        future: asyncio.Future[Reply] = self._loop.create_future()
        self._waiters[token] = (future, subject, self._loop.time() + timeout)
        if self._timer is None:
            self._timer = self._loop.call_later(_SWEEP_SECONDS, self._sweep)
        try:
            await self._client.publish(subject, payload, self._inbox + token, headers)
            reply = await future
        except _NOTHING_SENT as error:
            raise NotConnected from error
        finally:
            self._waiters.pop(token, None)
        if not reply.data and reply.headers and reply.headers.get("Status") == "503":
            raise NoResponders
        return reply

    async def subscribe(
        self, on_message: Callable[[Msg], None], on_lost: Callable[[], None] | None = None
    ) -> "Inbox":
        """Open an inbox of its own whose messages all go to `on_message`, in order.

        Messages that JetStream delivers carry their stream's subject, so the shared inbox cannot
        tell them apart. Close it when done. `on_lost` is called when the connection is lost, which
        closes it, too.

        Raises:
            NotConnected
        """
        subject = self._client.new_inbox()

        async def deliver(message: Msg) -> None:
            on_message(message)

        if self._lost is not None:
            raise NotConnected
        try:
            subscription = await self._client.subscribe(
                subject, cb=deliver, pending_msgs_limit=0, pending_bytes_limit=0
            )
        except nats_errors.Error as error:
            raise NotConnected from error
        inbox = Inbox(subject, subscription, self._forget)
        self._inboxes[inbox] = on_lost
        return inbox

    async def collect(self, take: Taker) -> "Inbox":
        """Open an inbox as `subscribe` does, for many small messages whose data do not matter.

        To have each parsed, queued and handed to a task by nats-py is half of what it costs.

        Raises:
            NotConnected
        """

        def taken_in_full(message: Msg) -> None:
            raise AssertionError(f"nats-py has dispatched {message.subject} by another name")

        inbox = await self.subscribe(taken_in_full)
        self._client.hand_over(inbox.number, take)
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
    def lost(self) -> bool:
        return self._lost is not None

    def close(self, reason: Signal) -> None:
        """End every wait with `reason`; later requests raise `NotConnected`."""
        self._lost = reason
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for future, _, _ in self._waiters.values():
            if not future.done():
                future.set_exception(reason)
        self._waiters.clear()
        for on_lost in list(self._inboxes.values()):
            if on_lost is not None:
                on_lost()
        self._inboxes.clear()

    def refuse(self, subject: str) -> None:
        """End the waits on a subject that the server forbids; it names subjects in lower case."""
        for future, asked, _ in self._waiters.values():
            if asked.lower() == subject.lower() and not future.done():
                future.set_exception(NotPermitted(asked))

    async def _on_message(self, message: Msg) -> None:
        self._take(message.subject[self._cut :], Reply(message.data, message.headers))

    def _take(self, token: str, reply: Reply) -> None:
        waiter = self._waiters.get(token)
        if waiter is not None and not waiter[0].done():
            waiter[0].set_result(reply)

    def _sweep(self) -> None:
        now = self._loop.time()
        for future, asked, deadline in self._waiters.values():
            if deadline <= now and not future.done():
                future.set_exception(RequestTimeout(asked))
        self._timer = self._loop.call_later(_SWEEP_SECONDS, self._sweep) if self._waiters else None
