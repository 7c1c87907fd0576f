"""What all connections of a worker share."""

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

if TYPE_CHECKING:
    from jetkv_gateway.http.gateway import Gateway

__all__ = ["Connection", "WorkerState"]


class Connection(Evictable, Protocol):
    """A connection that can be let go."""

    def evict(self) -> None:
        """Close: another one needs the room."""
        ...

    def drop_slow(self) -> None:
        """End what is held for its client, which is slow, as too much is held for all."""
        ...


class WorkerState:
    """The gateway that answers, the places there are, the time, and whether it all ends.

    Attributes:
        gateway: known once uvicorn has loaded the app, before the first connection.
        admission: the places there are for requests, and the line.
        callers: who calls.
        connections: all that stand.
        buffered: bytes that are held for clients.
        body_pacer: how much is read of bodies at a time.
        draining: whether the server is about to stop: others should be asked.
        is_stopping: whether it stops; `stopping` is set then.
        now: the time of the event loop, to the second: it goes on with each tick.
        date: the `Date` line of every answer.
        lingering: connections that are read on after their last answer.
        ping_seconds: how often a WebSocket pings its peer.
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
        self.draining = False
        self.stopping = asyncio.Event()
        self.is_stopping = False
        self._dropping = False
        self.now = 0.0
        self.date = b""

    def tick(self, now: float) -> None:
        """Let time go on; the server says so once a second, before it tells the connections."""
        self.now = now
        self.date = b"date: %s\r\n" % formatdate(usegmt=True).encode("ascii")

    def add(self, connection: Connection, account: Account) -> bool:
        """Count a new connection, and return whether it may stay; others may give way for it."""
        return self._evict(self.connections.add(connection, account))

    def move(self, connection: Connection, account: Account) -> bool:
        """Count a connection for another caller; returns as `opened`."""
        return self._evict(self.connections.move(connection, account))

    def make_room(self, *, full: bool = False) -> bool:
        """Return whether there is room for one more connection, or has been made.

        Args:
            full: whether the system has said that there is none.
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
    ) -> None:
        """Note what is held for a connection, and let go who is slow where that is too much.

        Args:
            size: bytes; 0 for nothing any more.
            moved: bytes that its client has sent or taken in.
            running: whether it is carried out.
        """
        held, loop = self.buffered, asyncio.get_running_loop()
        if held.note(connection, size, loop.time(), moved=moved, running=running, account=account):
            nested, self._dropping = self._dropping, True
            try:
                for one in held.excess():
                    if one is connection or nested:
                        # Not from here: it is, or may be, in the middle of what it says this from.
                        loop.call_soon(one.drop_slow)
                    else:
                        # At once: until the next turn as much again may have been read.
                        one.drop_slow()
            finally:
                self._dropping = nested

    @staticmethod
    def _evict(opened: Admitted[Connection]) -> bool:
        for one in opened.evicted:
            one.evict()
        return opened.admitted
