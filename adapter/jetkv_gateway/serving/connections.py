"""Which connections stand: how many, whose, and which of them is let go where there is no room.

A process that runs out of descriptors cannot accept anybody, and an event loop does not take that
well. So connections end below that: where there is no room for one more, some are closed on
which nothing is carried out. Those of callers over their share go before all others; of the rest
those that never asked anything, then idle ones, then those whose request has not arrived whole;
and of equals the one that has been so for the longest. A caller over its share gets no further
connection where only the reserve of others is left (`serving/shares.py`), unless it makes room
itself.

Nothing is kept in order while there is room: a connection itself knows what is under way. One look
at all of them makes room for several, so that a flood does not bring a look at each.
"""

import heapq
from dataclasses import dataclass
from enum import IntEnum
from typing import Generic, Protocol, TypeVar

from jetkv_gateway.serving.shares import Account, Share

__all__ = ["MAX_CONNECTIONS", "Admitted", "Connections", "Evictable", "Rank", "connections_for"]

MAX_CONNECTIONS = 16_384
"""Connections of a worker by default, however many descriptors there are: 10,000 watches, and
some more."""

_LEAST_MARGIN = 48
_MARGIN = 16
"""One descriptor in so many is for other things than clients: NATS, files, pipes, what is just
being accepted; `_LEAST_MARGIN` at the least."""
_AT_ONCE = 64
"""One connection in so many is let go by one look."""


class Rank(IntEnum):
    """What is under way on a connection, in the order in which connections are let go."""

    UNUSED = 0
    """It has never asked anything."""
    IDLE = 1
    """All that it has asked is answered."""
    HEAD = 2
    """Part of a request's head has come."""
    BODY = 3
    """Part of a request's body has come."""
    BUSY = 4
    """A request is carried out or answered, or a watch goes on: it stays."""


class Evictable(Protocol):
    """A connection, as far as it is of interest here.

    Attributes:
        rank: what is under way.
        since: the time since which it is so.
    """

    @property
    def rank(self) -> Rank: ...
    @property
    def since(self) -> float: ...
    def can_evict(self) -> bool:
        """Return whether nothing has arrived on it that was not read yet."""
        ...


C = TypeVar("C", bound=Evictable)


@dataclass(frozen=True, slots=True)
class Admitted(Generic[C]):
    """What follows from a new connection.

    Attributes:
        admitted: whether it may; if not, close it.
        evicted: others to close; nothing that they asked for is being carried out.
    """

    admitted: bool
    evicted: tuple[C, ...] = ()


class Connections(Generic[C]):
    """The connections of a worker. Whoever has `opened` one says `closed` once it is gone.

    Args:
        limit: connections at the same time.
        share: of these, what one caller has without leaving any to others.
    """

    def __init__(self, limit: int, share: float) -> None:
        self._share = Share.of(limit, share)
        self._batch = max(1, limit // _AT_ONCE)
        # In the order of their coming.
        self._all: dict[C, Account] = {}
        self._over_share: set[Account] = set()
        self._skips: dict[Account | None, int] = {}

    def __len__(self) -> int:
        return len(self._all)

    @property
    def limit(self) -> int:
        return self._share.total

    def add(self, connection: C, account: Account) -> Admitted[C]:
        """Count a connection that was accepted, and return what has to give way for it."""
        evicted: list[C] = []
        stays = self._fits(account)
        if not stays and account in self._over_share:
            # What it closes of its own makes room for itself, and for nobody else.
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
        """Count a connection no more; one that did not stay or was shed is not counted already."""
        account = self._all.pop(connection, None)
        if account is not None:
            account.connections -= 1
            self._skips.pop(None, None)
            if account.limited and account.connections < self._share.own:
                self._over_share.discard(account)
                self._skips.pop(account, None)

    def move(self, connection: C, account: Account) -> Admitted[C]:
        """Count a connection for another caller: its proxy has told who that is."""
        self.remove(connection)
        return self.add(connection, account)

    def replace(self, connection: C, other: C) -> None:
        """Count another object for a connection that goes on as that: a WebSocket."""
        account = self._all.pop(connection, None)
        if account is not None:
            self._all[other] = account

    def make_room(self, *, full: bool = False) -> list[C]:
        """Return what to close before one more is accepted; nothing where there is room.

        Args:
            full: whether the system has said that there is none.
        """
        return self._evict_idlest(None) if full or len(self._all) >= self.limit else []

    @property
    def has_room(self) -> bool:
        """Whether there is room for one more of some caller."""
        return len(self._all) < self.limit

    def free(self) -> int:
        """Return how many more there is room for."""
        return self.limit - len(self._all)

    def _fits(self, account: Account) -> bool:
        by_caller = account.connections if account.limited else -1
        return self._share.allows(len(self._all), by_caller)

    def _evict_idlest(self, account: Account | None) -> list[C]:
        """Return the idlest connections, of one caller or of all, and count them no more."""
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
            # As many are asked for now as a look costs.
            self._skips[account] = len(self._all) // _AT_ONCE
        return shed

    def _unused(self, account: Account | None) -> list[C]:
        """Return those that never asked anything, in the order of their coming: a short look."""
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
        # Some may have begun to say something: twice as many are looked at.
        first = heapq.nsmallest(2 * self._batch, candidates)
        return [one for *_, one in first if one.can_evict()][: self._batch]


def connections_for(descriptors: int) -> int:
    """Return how many connections a worker may have that may have so many open files."""
    margin = max(_LEAST_MARGIN, descriptors // _MARGIN)
    return max(1, min(MAX_CONNECTIONS, descriptors - margin))
