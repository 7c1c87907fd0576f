"""Counts the open connections, and selects which ones to close when there is no room.

A process without free file descriptors cannot accept connections, and event loops handle that
badly. So connections are closed before that happens. To make room for a new one, some connections
without a running request are closed: first those of callers over their share, then those that never
sent a request, then idle ones, then those with an incomplete request. Among equals, the longest in
its state goes first. A caller over its share gets no new connection from the reserve of others
(`serving/shares.py`), unless it closes one of its own.

No order is maintained while there is room, since each connection knows its state. One scan of all
connections makes room for several, so that a flood does not cause a scan for each.
"""

import heapq
from dataclasses import dataclass
from enum import IntEnum
from typing import Generic, Protocol, TypeVar

from jetkv_gateway.serving.shares import Account, Share

__all__ = ["MAX_CONNECTIONS", "Admitted", "Connections", "Evictable", "Rank", "connections_for"]

MAX_CONNECTIONS = 16_384
"""The default limit of a worker, whatever the number of descriptors: 10,000 watches and some more.
"""

_LEAST_MARGIN = 48
_MARGIN = 16
"""One descriptor in this many is for other uses: NATS, files, pipes, connections being accepted.
`_LEAST_MARGIN` is the minimum.
"""
_AT_ONCE = 64
"""One scan closes one connection in this many."""


class Rank(IntEnum):
    """The state of a connection. Lower states are closed first."""

    UNUSED = 0
    """It has never sent a request."""
    IDLE = 1
    """All its requests are answered."""
    HEAD = 2
    """A part of a request's head has arrived."""
    BODY = 3
    """A part of a request's body has arrived."""
    BUSY = 4
    """A request or a watch is running. The connection stays."""


class Evictable(Protocol):
    """A connection that can be closed to make room.

    Attributes:
        rank: the state of the connection.
        since: the time when it entered this state.
    """

    @property
    def rank(self) -> Rank: ...
    @property
    def since(self) -> float: ...
    def can_evict(self) -> bool:
        """Return whether all data that has arrived is read."""
        ...


C = TypeVar("C", bound=Evictable)


@dataclass(frozen=True, slots=True)
class Admitted(Generic[C]):
    """The result of adding a connection.

    Attributes:
        admitted: whether it may stay. If not, close it.
        evicted: other connections to close. They have no running request.
    """

    admitted: bool
    evicted: tuple[C, ...] = ()


class Connections(Generic[C]):
    """The connections of a worker. Call `add` for a new one, and `remove` when it is closed.

    Args:
        limit: connections that may be open at the same time.
        share: the part of the limit that one caller may take without leaving a reserve.
    """

    def __init__(self, limit: int, share: float) -> None:
        self._share = Share.of(limit, share)
        self._batch = max(1, limit // _AT_ONCE)
        # In the order of arrival.
        self._all: dict[C, Account] = {}
        self._over_share: set[Account] = set()
        self._skips: dict[Account | None, int] = {}

    def __len__(self) -> int:
        return len(self._all)

    @property
    def limit(self) -> int:
        return self._share.total

    def add(self, connection: C, account: Account) -> Admitted[C]:
        """Add an accepted connection, and return which others to close for it."""
        evicted: list[C] = []
        stays = self._fits(account)
        if not stays and account in self._over_share:
            # Connections that a caller gives up make room for that caller only.
            evicted = self._evict_idlest(account)
            stays = bool(evicted)
        elif not stays:
            evicted = self._evict_idlest(None)
            stays = self._fits(account)
        if stays:
            self._all[connection] = account
            account.connections += 1
            if account.limited and account.connections >= self._share.own:
                self._over_share.add(account)
        return Admitted(stays, tuple(evicted))

    def remove(self, connection: C) -> None:
        """Remove a connection. Those that were not admitted or were evicted are removed already."""
        account = self._all.pop(connection, None)
        if account is not None:
            account.connections -= 1
            self._skips.pop(None, None)
            if account.limited and account.connections < self._share.own:
                self._over_share.discard(account)
                self._skips.pop(account, None)

    def move(self, connection: C, account: Account) -> Admitted[C]:
        """Count a connection for another caller, whom the proxy has named."""
        self.remove(connection)
        return self.add(connection, account)

    def replace(self, connection: C, other: C) -> None:
        """Replace a connection by the object that continues it, such as a WebSocket."""
        account = self._all.pop(connection, None)
        if account is not None:
            self._all[other] = account

    def make_room(self, *, full: bool = False) -> list[C]:
        """Return the connections to close before another one is accepted, if any.

        Args:
            full: whether the system has reported that it has no room.
        """
        return self._evict_idlest(None) if full or len(self._all) >= self.limit else []

    @property
    def has_room(self) -> bool:
        """Whether there is room for one more connection."""
        return len(self._all) < self.limit

    def free(self) -> int:
        """Return how many more connections fit."""
        return self.limit - len(self._all)

    def _fits(self, account: Account) -> bool:
        by_caller = account.connections if account.limited else -1
        return self._share.allows(len(self._all), by_caller)

    def _evict_idlest(self, account: Account | None) -> list[C]:
        """Remove and return the idlest connections, of one caller or of all."""
        skips = self._skips.get(account, 0)
        if skips:
            self._skips[account] = skips - 1
            return []
        shed = [] if account is None and self._over_share else self._unused(account)
        if len(shed) < self._batch:
            shed = self._ranked(account)
        for connection in shed:
            self.remove(connection)
        if not shed:
            # A scan found nothing, so skip as many calls as a scan costs.
            self._skips[account] = len(self._all) // _AT_ONCE
        return shed

    def _unused(self, account: Account | None) -> list[C]:
        """Return connections that never sent a request, the oldest first, by a short scan."""
        shed = []
        for one, of in self._all.items():
            if one.rank is Rank.UNUSED and account in (None, of) and one.can_evict():
                shed.append(one)
                if len(shed) == self._batch:
                    break
        return shed

    def _ranked(self, account: Account | None) -> list[C]:
        candidates = (
            (of not in self._over_share, rank, one.since, number, one)
            for number, (one, of) in enumerate(self._all.items())
            if (rank := one.rank) is not Rank.BUSY and account in (None, of)
        )
        # Some may have received data meanwhile, so select twice as many.
        first = heapq.nsmallest(2 * self._batch, candidates)
        return [one for *_, one in first if one.can_evict()][: self._batch]


def connections_for(descriptors: int) -> int:
    """Return the connection limit for a number of file descriptors."""
    margin = max(_LEAST_MARGIN, descriptors // _MARGIN)
    return max(1, min(MAX_CONNECTIONS, descriptors - margin))
