"""How connections come off a listening socket.

Neither event loop does it well enough: at the limit of descriptors uvloop closes what it has just
accepted and asyncio falls silent, both take as many as they can get before another worker or a
request has its turn, and nobody can be asked first. Here a connection is accepted when this
worker has room for it and when it is this worker's turn. One that is left to other workers and is
still there after a moment is accepted all the same: nothing waits for a worker that hangs.
"""

import asyncio
import errno
import logging
import select
import socket
from collections.abc import Callable, Set
from contextlib import suppress

from jetkv_gateway.serving.balance import Balance

__all__ = ["Acceptor"]

_log = logging.getLogger("jetkv")

_AT_A_TIME = 4
"""Connections in one turn of the event loop: requests have theirs in between, and other workers
can tell how many they really have."""
_ALONE = 64
"""The same without other workers, where there is room. Where a crowd comes at once and is accepted
slowly, the queue of the kernel runs over: who comes then is tried again after 1, 3, 7 seconds."""
_BACKLOG = 4096
_PAUSE_SECONDS = 0.001
_PATIENCE_SECONDS = 0.1
_NO_ROOM_SECONDS = 0.05
_QUIET_SECONDS = 10.0
_BEGIN_SECONDS = 1.0
_NO_ROOM = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class Acceptor:
    """Accepts the connections of one listening socket, in the running event loop.

    Args:
        listening: it may be shared with other processes.
        make_protocol: of a new connection.
        connections: the protocols of those that stand; each adds itself, and takes itself out.
        may_accept: asked before each, of which up to three that were accepted just before may not
            stand yet; on False none is accepted for a moment, and then it is asked again.
        spare: how many connections more there is certainly room for.
        on_full: called when the system has no room for one more: no descriptor, no memory.
        balance: with other workers; None where there are none.
    """

    def __init__(
        self,
        listening: socket.socket,
        make_protocol: Callable[[], asyncio.Protocol],
        connections: Set[object],
        *,
        may_accept: Callable[[], bool] = lambda: True,
        spare: Callable[[], int] = lambda: 0,
        on_full: Callable[[], None] = lambda: None,
        balance: Balance | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._listening = listening
        self._make_protocol = make_protocol
        self._connections = connections
        self._may_accept = may_accept
        self._spare = spare
        self._on_full = on_full
        self._balance = balance
        self._beginning: dict[asyncio.Task[None], asyncio.Protocol] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._left_since = 0.0
        self._quiet_until = 0.0
        self._reading = False
        self._full = False
        self._closed = False
        listening.setblocking(False)
        self.show()
        self._listen()

    @property
    def connections(self) -> int:
        """Connections that stand, and those that are just being accepted."""
        beginning = sum(one not in self._connections for one in self._beginning.values())
        return len(self._connections) + beginning

    def show(self) -> None:
        """Tell the other workers how many connections there are."""
        if self._balance is not None and not self._full and not self._closed:
            self._balance.show(self.connections)

    async def close(self) -> None:
        """Accept what waits, for its clients have connected, then close the listening socket."""
        if self._closed:
            return
        self._pause()
        self._closed = True
        if self._balance is not None:
            self._balance.leave()
        for _ in range(_BACKLOG):
            try:
                connection, _ = self._listening.accept()
            except ConnectionAbortedError:
                continue
            except OSError:
                break
            self._begin(connection)
        self._listening.close()
        if self._beginning:
            await asyncio.wait(self._beginning, timeout=_BEGIN_SECONDS)

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
        """Accept what has come, as far as it is for this worker and there is room."""
        self.show()
        count = _AT_A_TIME
        if self._balance is None:
            count = max(count, min(_ALONE, self._spare() - len(self._beginning)))
        for _ in range(count):
            if self._balance is not None and not self._balance.is_turn(self.connections):
                self._leave_to_others()
                return
            if not self._may_accept():
                self._wait_for_room()
                return
            try:
                connection, _ = self._listening.accept()
            except (BlockingIOError, InterruptedError):
                break
            except ConnectionAbortedError:
                continue
            except OSError as error:
                self._fail(error)
                return
            self._begin(connection)
        else:
            if self._balance is not None and not self._balance.has_heard():
                self._leave_to_others()

    def _begin(self, connection: socket.socket) -> None:
        self._full = False
        protocol = self._make_protocol()
        task = self._loop.create_task(self._connect(connection, protocol))
        self._beginning[task] = protocol
        task.add_done_callback(self._begun)
        self.show()

    async def _connect(self, connection: socket.socket, protocol: asyncio.Protocol) -> None:
        connection.setblocking(False)
        try:
            await self._loop.connect_accepted_socket(lambda: protocol, connection)
        except OSError:
            # Its client has left already.
            connection.close()
        except BaseException:
            connection.close()
            raise

    def _begun(self, task: asyncio.Task[None]) -> None:
        del self._beginning[task]
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("a connection could not be begun", exc_info=error)
        self.show()

    def _wait_for_room(self) -> None:
        """Look away for longer; until it accepts again, the others need not wait for this one."""
        self._full = True
        if self._balance is not None:
            self._balance.leave()
        self._pause()
        self._timer = self._loop.call_later(_NO_ROOM_SECONDS, self._listen)

    def _leave_to_others(self) -> None:
        """Look away for a moment: they are awake, as this one is, or will be."""
        self.show()
        self._pause()
        self._left_since = self._loop.time()
        self._timer = self._loop.call_later(_PAUSE_SECONDS, self._look_again)

    def _look_again(self) -> None:
        assert self._balance is not None, "there are others"
        self.show()
        if self._is_waited_for() and not self._balance.is_turn(self.connections):
            if self._loop.time() < self._left_since + _PATIENCE_SECONDS:
                self._timer = self._loop.call_later(_PAUSE_SECONDS, self._look_again)
                return
            self._balance.pass_over(self.connections)
        self._listen()

    def _is_waited_for(self) -> bool:
        """Return whether a connection waits to be accepted."""
        poll = select.poll()
        poll.register(self._listening, select.POLLIN)
        return bool(poll.poll(0))

    def _fail(self, error: OSError) -> None:
        """Wait, and say so once in a while: it would fail again at once, and fill the log."""
        self._wait_for_room()
        now = self._loop.time()
        if now >= self._quiet_until:
            self._quiet_until = now + _QUIET_SECONDS
            _log.error(
                "cannot accept connections: %s; they wait, with %d open",
                error.strerror or error,
                self.connections,
            )
        if error.errno in _NO_ROOM:
            with suppress(OSError):
                self._on_full()
