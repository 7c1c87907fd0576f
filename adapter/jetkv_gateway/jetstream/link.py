"""nats-py's client, with a reader of ours: the one place that touches its private parts.

nats-py parses headers, decodes subjects, queues each message and hands it to a task, and an
exception on that way ends its read loop while the client still counts as connected: one stored
message could do it. So its parser is replaced (`wire.WireReader`), and what comes goes as bytes to
whoever waits for it. A handler that raises is logged, and reading goes on.
"""

import asyncio
import fcntl
import json
import sys
import termios
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from nats import errors as nats_errors
from nats.aio.client import Client

from jetkv_gateway.jetstream.headers import bucket_of
from jetkv_gateway.jetstream.wire import (
    Control,
    ProtocolBroken,
    Violation,
    WireReader,
    violation,
)
from jetkv_gateway.kv.oddities import note

__all__ = ["HEADER_RESERVE", "ReplyClient", "Taker"]

HEADER_RESERVE = 1024
"""Bytes of max_payload kept for headers, which the server counts: ours never reach this."""

_PING = b"PING\r\n"
_STALE = "stale connection"
_SURVIVED = ("permissions violation", "maximum subscriptions exceeded")
"""After these the server goes on with a connection, and so do we: many requests share it."""

Taker = Callable[[bytes, bytes, bytes, bytes], None]
"""Takes (subject, reply subject, header block, data) of a message."""


class ReplyClient(Client):
    """nats-py's client, which hands on bytes.

    Attributes:
        on_info: takes each INFO of the server, with whether it is the first one, which comes before
            anything is sent. It may change the first one, which nats-py then goes by, or raise; a
            later one must not.
        on_violation: takes what the server refuses for want of a permission.
        max_value_bytes: the largest payload that fits with our headers, by the newest INFO.
    """

    on_info: Callable[[dict[str, Any], bool], None] | None = None
    on_violation: Callable[[Violation], None] | None = None

    def __init__(self) -> None:
        super().__init__()
        self._takers: dict[int, Taker] = {}
        self._heard = 0
        self.max_value_bytes = 0
        self._wire = WireReader(self._dispatch)
        self._ps = self  # type: ignore[assignment] # `parse` and `reset` are all that is used of it

    def hand_over(self, sid: int, take: Taker | None) -> None:
        """Hand what comes for a subscription to `take` as it is; None ends that."""
        if take is None:
            self._takers.pop(sid, None)
        else:
            self._takers[sid] = take

    async def barrier(self, pong: asyncio.Future[bool], timeout: float) -> None:
        """Return when the server has taken in all that was sent, and its complaints have come.

        Args:
            pong: ends at that moment.
            timeout: seconds.

        Raises:
            TimeoutError: not in time.
        """
        async with asyncio.timeout(timeout):
            await self._send_ping(pong)
            await pong

    def reset(self) -> None:
        """Forget what has come so far, as nats-py's parser does."""
        self._wire.reset()

    async def parse(self, data: bytes = b"") -> None:
        """Take in what the server sends; nats-py's read loop calls this.

        Raises:
            ProtocolError: it is no NATS protocol; nats-py then closes the connection.
        """
        self._heard += 1
        try:
            controls = self._wire.feed(data)
        except ProtocolBroken as error:
            await self._error_cb(error)
            raise nats_errors.ProtocolError from error
        for control in controls:
            try:
                await self._obey(control)
            except Exception:  # noqa: BLE001 - nothing may end the read loop
                note("protocol", f"a line {control.verb!r}", "it is skipped", exc_info=True)

    def _dispatch(
        self, sid: int, subject: bytes, reply: bytes, headers: bytes, data: bytes
    ) -> None:
        take = self._takers.get(sid)
        if take is None:
            return  # closed a moment ago
        try:
            take(subject, reply, headers, data)
        except Exception:  # noqa: BLE001 - nothing may end the read loop
            note("message", bucket_of(subject), "it is skipped", exc_info=True)

    async def _obey(self, control: Control) -> None:
        verb, rest = control
        if verb == b"PING":
            await self._process_ping()
        elif verb == b"PONG":
            await self._process_pong()
        elif verb == b"-ERR":
            await self._process_err(rest.decode("utf-8", "replace"))
        elif verb == b"INFO":
            info = json.loads(rest.decode("utf-8", "replace"))
            if isinstance(info, dict):
                # nats-py reads some of it only when it connects.
                self._server_info.update(info)
                await self._process_info(info)
        elif verb != b"+OK":
            note("protocol", f"a line {verb[:20]!r}", "it is skipped")

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
        # An account's limit comes with the second INFO, after CONNECT.
        limit = info.get("max_payload")
        if isinstance(limit, int) and limit > 0:
            self._max_payload = limit
            self.max_value_bytes = max(0, limit - HEADER_RESERVE)
        # The list of servers is ours. nats-py adds each member that it is told of to one of its
        # own, which has no bound, and breaks over a member's address that it cannot read.
        await super()._process_info({**info, "connect_urls": None}, initial_connection)
        if self.on_info is not None:
            self.on_info(info, initial_connection)

    async def _process_err(self, err_msg: str) -> None:
        """Take what the server complains of, in its own case: subjects are told apart by it."""
        text = err_msg.strip("'")
        plain = text.lower()
        if _STALE in plain:
            await super()._process_err(plain)
            return
        refused = violation(text)
        if refused is not None and self.on_violation is not None:
            self.on_violation(refused)
        await self._error_cb(nats_errors.Error(f"nats: {text}"))
        if not plain.startswith(_SURVIVED):
            await super()._process_err(plain)

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

    async def _send_ping(self, future: Any = None) -> None:
        """Send a PING behind all that waits to be written; nats-py's own overtakes it.

        What the server had to say to anything before it has come when the PONG has.
        """
        self._pongs.append(asyncio.get_running_loop().create_future() if future is None else future)
        await self._send_command(_PING)
        await self._flush_pending()

    async def _process_pong(self) -> None:
        if self._pongs and self._pongs[0].done():
            # Nobody waits for it any more, and nats-py would break over that.
            self._pongs.pop(0)
            self._pings_outstanding = 0
        else:
            await super()._process_pong()
