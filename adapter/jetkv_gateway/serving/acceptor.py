"""Accepts the connections of a listening socket.

The acceptors of the event loops are not sufficient. At the limit of descriptors, uvloop closes new
connections and asyncio stops accepting. Both accept as many connections as possible before another
worker or a request can run, and neither can be limited. This acceptor takes a connection only if
the worker has room, and if it is this worker's turn. If the other workers do not take a connection
in time, this worker takes it, so no client waits for a worker that hangs.
"""

import asyncio
import errno
import logging
import select
import socket
from collections.abc import Callable, Set
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from jetkv_gateway.serving.balance import Balance
from jetkv_gateway.serving.tls_handshakes import (
    HANDSHAKE_SECONDS,
    SHUTDOWN_SECONDS,
    Handshake,
    Handshakes,
)

__all__ = ["Acceptor"]

_log = logging.getLogger("jetkv")

_BATCH = 4
"""Connections per turn of the event loop. Requests run in between, and other workers see the true
counts.
"""
_BATCH_ALONE = 64
"""The same without other workers, if there is room. A burst must be accepted fast, or the kernel's
queue overflows, and clients then retry after 1, 3 and 7 seconds.
"""
_BACKLOG = 4096
_PAUSE_SECONDS = 0.001
_PATIENCE_SECONDS = 0.1
_NO_ROOM_SECONDS = 0.05
_QUIET_SECONDS = 10.0
_START_SECONDS = 1.0
_NO_ROOM = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


@dataclass(frozen=True, slots=True)
class _Starting:
    """A connection that is accepted, and not open yet."""

    connection: socket.socket
    protocol: asyncio.Protocol
    handshake: Handshake | None


class Acceptor:
    """Accepts the connections of one listening socket, in the running event loop.

    Args:
        listening: the socket, which may be shared with other processes.
        make_protocol: creates the protocol of a new connection.
        connections: the protocols of open connections. Each one adds and removes itself.
        may_accept: called before each connection. Up to three that were just accepted may not be in
            `connections` yet. If it returns False, accepting pauses for a moment.
        free: returns how many more connections certainly fit.
        on_full: called when the system lacks descriptors or memory for another connection.
        balance: with other workers, or None without any.
        handshakes: of TLS, or None for connections without TLS.
    """

    def __init__(
        self,
        listening: socket.socket,
        make_protocol: Callable[[], asyncio.Protocol],
        connections: Set[object],
        *,
        may_accept: Callable[[], bool] = lambda: True,
        free: Callable[[], int] = lambda: 0,
        on_full: Callable[[], None] = lambda: None,
        balance: Balance | None = None,
        handshakes: Handshakes | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._listening = listening
        self._make_protocol = make_protocol
        self._connections = connections
        self._may_accept = may_accept
        self._free = free
        self._on_full = on_full
        self._balance = balance
        self._handshakes = handshakes
        self._starting: dict[asyncio.Task[None], _Starting] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._left_since = 0.0
        self._next_log_at = 0.0
        self._reading = False
        self._full = False
        self._closed = False
        listening.setblocking(False)
        self.publish()
        self._listen()

    @property
    def connections(self) -> int:
        """The number of open connections and of those being accepted."""
        starting = sum(one.protocol not in self._connections for one in self._starting.values())
        return len(self._connections) + starting

    def publish(self) -> None:
        """Tell the other workers how many connections there are."""
        if self._balance is not None and not self._full and not self._closed:
            self._balance.publish(self.connections)

    async def close(self) -> None:
        """Accept the waiting connections, which clients regard as open, then close the socket."""
        if self._closed:
            return
        self._pause()
        self._closed = True
        if self._balance is not None:
            self._balance.leave()
        for _ in range(_BACKLOG):
            try:
                connection, address = self._listening.accept()
            except ConnectionAbortedError:
                continue
            except OSError:
                break
            self._start(connection, address)
        self._listening.close()
        if self._starting:
            await asyncio.wait(self._starting, timeout=_START_SECONDS)

    def _listen(self) -> None:
        self._timer = None
        self._reading = True
        self._loop.add_reader(self._listening, self._accept)

    def _pause(self) -> None:
        if self._reading:
            self._reading = False
            self._loop.remove_reader(self._listening)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _accept(self) -> None:
        """Accept waiting connections if it is this worker's turn and there is room."""
        self.publish()
        count = _BATCH
        if self._balance is None and self._handshakes is None:
            # A handshake computes for a while, so requests run after each few.
            count = max(count, min(_BATCH_ALONE, self._free() - len(self._starting)))
        for _ in range(count):
            if self._balance is not None and not self._balance.should_accept(self.connections):
                self._leave_to_others()
                return
            if not self._may_accept():
                self._wait_for_room()
                return
            try:
                connection, address = self._listening.accept()
            except (BlockingIOError, InterruptedError):
                break
            except ConnectionAbortedError:
                continue
            except OSError as error:
                self._fail(error)
                return
            self._start(connection, address)
        else:
            if self._balance is not None and not self._balance.others_alive():
                self._leave_to_others()

    def _start(self, connection: socket.socket, address: Any) -> None:
        self._full = False
        protocol, handshake = self._make_protocol(), None
        if self._handshakes is not None:
            host = str(address[0]) if isinstance(address, tuple) else ""
            handshake = self._handshakes.begin(protocol, host, self._loop.time())
            if handshake is None:
                connection.close()
                return
        starting = _Starting(connection, protocol, handshake)
        task = self._loop.create_task(self._connect(starting))
        if handshake is not None:
            handshake.task = task
        self._starting[task] = starting
        task.add_done_callback(self._on_started)
        self.publish()

    async def _connect(self, one: "_Starting") -> None:
        connection, protocol = one.connection, one.protocol
        connection.setblocking(False)
        try:
            if one.handshake is None or self._handshakes is None:
                await self._loop.connect_accepted_socket(lambda: protocol, connection)
                return
            await self._loop.connect_accepted_socket(
                lambda: protocol,
                connection,
                ssl=self._handshakes.context,
                ssl_handshake_timeout=HANDSHAKE_SECONDS,
                ssl_shutdown_timeout=SHUTDOWN_SECONDS,
            )
        except OSError as error:
            # The client has left already, or does not speak TLS.
            connection.close()
            if one.handshake is not None and self._handshakes is not None:
                self._handshakes.fail(one.handshake, error)
        except BaseException:
            connection.close()
            raise

    def _on_started(self, task: asyncio.Task[None]) -> None:
        one = self._starting.pop(task)
        if one.handshake is not None and self._handshakes is not None:
            self._handshakes.end(one.protocol)
            if task.cancelled():
                # A task that is cancelled before its first step has not closed its connection.
                one.connection.close()
                self._handshakes.fail(one.handshake, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("a connection could not be begun", exc_info=error)
        self.publish()

    def _wait_for_room(self) -> None:
        """Pause accepting, and let other workers accept without regard to this one."""
        self._full = True
        if self._balance is not None:
            self._balance.leave()
        self._pause()
        self._timer = self._loop.call_later(_NO_ROOM_SECONDS, self._listen)

    def _leave_to_others(self) -> None:
        """Pause for a moment, so that other workers can accept the connection."""
        self.publish()
        self._pause()
        self._left_since = self._loop.time()
        self._timer = self._loop.call_later(_PAUSE_SECONDS, self._retry)

    def _retry(self) -> None:
        assert self._balance is not None, "there are others"
        self.publish()
        if self._has_pending() and not self._balance.should_accept(self.connections):
            if self._loop.time() < self._left_since + _PATIENCE_SECONDS:
                self._timer = self._loop.call_later(_PAUSE_SECONDS, self._retry)
                return
            self._balance.skip_idle(self.connections)
        self._listen()

    def _has_pending(self) -> bool:
        """Return whether a connection is waiting to be accepted."""
        poll = select.poll()
        poll.register(self._listening, select.POLLIN)
        return bool(poll.poll(0))

    def _fail(self, error: OSError) -> None:
        """Pause, and log it occasionally. Without a pause, accepting would fail again at once."""
        self._wait_for_room()
        now = self._loop.time()
        if now >= self._next_log_at:
            self._next_log_at = now + _QUIET_SECONDS
            _log.error(
                "cannot accept connections: %s; they wait, with %d open",
                error.strerror or error,
                self.connections,
            )
        if error.errno in _NO_ROOM:
            with suppress(OSError):
                self._on_full()
