"""The connections whose TLS handshakes are not complete, and their limits.

A handshake costs memory and computing time before anything is known of its client. So a worker has
at most 512. When one more begins, the caller with the most of them loses its oldest. So slow or
silent handshakes of one caller end those of the same caller. Each also counts as a connection that
has sent no request, which is the first to be closed when there is no room.
"""

import asyncio
import ssl
from collections import Counter
from typing import TYPE_CHECKING

from jetkv_gateway.serving.callers import Callers
from jetkv_gateway.serving.connections import Rank
from jetkv_gateway.serving.shares import Account
from jetkv_gateway.serving.tls import ServerTls
from jetkv_gateway.telemetry.events import EVENTS

if TYPE_CHECKING:
    from jetkv_gateway.serving.worker_state import WorkerState

__all__ = ["HANDSHAKE_SECONDS", "SHUTDOWN_SECONDS", "Handshake", "Handshakes"]

HANDSHAKE_SECONDS = 10.0
SHUTDOWN_SECONDS = 60.0
"""How long a close may take: the client reads the rest of its answer, and then closes, too."""


class Handshake:
    """A connection whose handshake is not complete.

    Attributes:
        account: the caller's.
        since: when it began, in the time of the event loop.
        task: performs the handshake; set as soon as it runs.
        outdone: whether it ended for the sake of other connections.
    """

    __slots__ = ("account", "outdone", "since", "task")

    rank = Rank.UNUSED

    def __init__(self, account: Account, since: float) -> None:
        self.account = account
        self.since = since
        self.task: asyncio.Task[None] | None = None
        self.outdone = False

    def can_evict(self) -> bool:
        return True

    def evict(self) -> None:
        """End it, since another connection needs the room."""
        self.outdone = True
        if self.task is not None:
            self.task.cancel()

    drop_slow = evict


class Handshakes:
    """The handshakes of a worker.

    Args:
        tls: the current context.
    """

    MOST = 512

    def __init__(self, worker: "WorkerState", tls: ServerTls) -> None:
        self._worker = worker
        self._callers: Callers = worker.callers
        self._tls = tls
        # By the protocol of each connection, in the order of arrival.
        self._all: dict[object, Handshake] = {}
        self._by_caller: Counter[Account] = Counter()

    def __len__(self) -> int:
        return len(self._all)

    @property
    def context(self) -> ssl.SSLContext:
        """The context for the next handshake."""
        return self._tls.context

    def begin(self, protocol: object, address: str, now: float) -> Handshake | None:
        """Count a handshake, or return None if there is no room for the connection.

        Args:
            protocol: of the connection.
            address: of the client.
            now: the time of the event loop.
        """
        if len(self._all) >= self.MOST:
            self._end_one()
        one = Handshake(self._callers.peer(address).account, now)
        if not self._worker.add(one, one.account):
            _report("no_room")
            return None
        self._all[protocol] = one
        self._by_caller[one.account] += 1
        return one

    def end(self, protocol: object) -> None:
        """Stop counting a handshake that is complete or has failed."""
        one = self._all.pop(protocol, None)
        if one is not None:
            self._worker.connections.remove(one)
            self._by_caller[one.account] -= 1
            if not self._by_caller[one.account]:
                del self._by_caller[one.account]

    def fail(self, one: Handshake, error: OSError | None) -> None:
        """Report a handshake that has failed.

        Args:
            error: why, or None if it was cancelled.
        """
        if one.outdone:
            _report("no_room")
        elif isinstance(error, ssl.SSLError):
            _report("protocol")
        elif isinstance(error, ConnectionAbortedError):
            # The event loops raise it at their deadline.
            _report("timeout")
        elif error is not None:
            _report("gone")

    def _end_one(self) -> None:
        busiest = max(self._by_caller, key=self._by_caller.__getitem__)
        protocol, oldest = next(item for item in self._all.items() if item[1].account is busiest)
        self.end(protocol)
        oldest.evict()


def _report(reason: str) -> None:
    if EVENTS.handshake_failed is not None:
        EVENTS.handshake_failed(reason)
