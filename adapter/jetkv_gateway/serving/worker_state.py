"""The state that all connections of a worker share."""

import asyncio
from email.utils import formatdate
from typing import TYPE_CHECKING, Protocol

from jetkv_gateway.serving.admission import Admission
from jetkv_gateway.serving.body_pacing import BodyPacer
from jetkv_gateway.serving.buffered import BufferedBytes
from jetkv_gateway.serving.callers import Callers
from jetkv_gateway.serving.closing import LingeringConnections
from jetkv_gateway.serving.connections import Admitted, Connections, Evictable, connections_for
from jetkv_gateway.serving.descriptors import raise_limit
from jetkv_gateway.serving.options import ServerOptions
from jetkv_gateway.serving.shares import Account
from jetkv_gateway.serving.tls_handshakes import Handshakes

if TYPE_CHECKING:
    from jetkv_gateway.http.gateway import Gateway

__all__ = ["Connection", "WorkerState"]


class Connection(Evictable, Protocol):
    """A connection that can be closed to make room."""

    def evict(self) -> None:
        """Close the connection, since another one needs the room."""
        ...

    def drop_slow(self) -> None:
        """Drop the buffered bytes of this slow client, since all clients together hold too many."""
        ...


class WorkerState:
    """The shared state of a worker: gateway, limits, time, and whether it stops.

    Attributes:
        gateway: set when uvicorn has loaded the app, before the first connection.
        admission: the limit on running requests, and the queue.
        callers: the callers and their accounts.
        connections: the open connections.
        buffered: the bytes that are buffered for clients.
        body_pacer: limits how much of request bodies is read at a time.
        draining: whether the server is about to stop, so that clients should use another one.
        is_stopping: whether the server is stopping. `stopping` is set at the same time.
        now: the time of the event loop as of the last tick.
        date: the `Date` line of every answer.
        lingering: connections that are still read after their last answer.
        ping_seconds: how often a WebSocket pings its peer.
        handshakes: the TLS handshakes, or None without TLS.
    """

    gateway: "Gateway"

    def __init__(self, options: ServerOptions) -> None:
        self.admission = Admission(options.admission)
        self.callers = Callers(options.callers)
        self.connections: Connections[Connection] = Connections(
            options.connections or connections_for(raise_limit()), options.admission.share
        )
        self.buffered: BufferedBytes[Connection] = BufferedBytes(
            options.held_bytes, options.admission.share
        )
        self.body_pacer = BodyPacer()
        self.lingering = LingeringConnections()
        self.ping_seconds = options.ping
        self.handshakes = None if options.tls is None else Handshakes(self, options.tls)
        self.draining = False
        self.stopping = asyncio.Event()
        self.is_stopping = False
        self._dropping = False
        self.now = 0.0
        self.date = b""

    def tick(self, now: float) -> None:
        """Update the time. The server calls it once a second, before the ticks of connections."""
        self.now = now
        self.date = b"date: %s\r\n" % formatdate(usegmt=True).encode("ascii")

    def add(self, connection: Connection, account: Account) -> bool:
        """Add a connection, and return whether it may stay. Others may be closed for it."""
        return self._evict(self.connections.add(connection, account))

    def move(self, connection: Connection, account: Account) -> bool:
        """Count a connection for another caller. Returns as `add`."""
        return self._evict(self.connections.move(connection, account))

    def make_room(self, *, full: bool = False) -> bool:
        """Make room for one more connection if necessary. Return whether there is room.

        Args:
            full: whether the system has reported that it has no room.
        """
        for one in self.connections.make_room(full=full):
            one.evict()
        return self.connections.has_room

    def set_buffered(
        self,
        connection: Connection,
        size: int,
        *,
        moved: int = 0,
        running: bool = False,
        account: Account | None = None,
        token: Account | None = None,
    ) -> None:
        """Set the buffered bytes of a connection. Drop slow clients if the total is too large.

        Args:
            size: buffered bytes now.
            moved: bytes that the client has sent or read since.
            running: whether a request is running.
        """
        held, loop = self.buffered, asyncio.get_running_loop()
        now = loop.time()
        if held.note(
            connection, size, now, moved=moved, running=running, account=account, token=token
        ):
            nested, self._dropping = self._dropping, True
            try:
                for one in held.excess():
                    if one is connection or nested:
                        # It may be the caller of this method, so drop it in the next turn.
                        loop.call_soon(one.drop_slow)
                    else:
                        # Drop it at once, since as many bytes again may be read before the next
                        # turn.
                        one.drop_slow()
            finally:
                self._dropping = nested

    @staticmethod
    def _evict(opened: Admitted[Connection]) -> bool:
        for one in opened.evicted:
            one.evict()
        return opened.admitted
