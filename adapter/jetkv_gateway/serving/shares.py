"""Limits what one caller may take of shared resources, and counts what each has taken.

Any caller may take a free place, connection or byte while there are enough. Each caller has a share
of the total. Up to its share, a caller may take anything that is free. Beyond its share, it must
leave the last eighth of the total to others. So a single caller can use nearly everything, no
needed resource stays idle, and another caller always finds room at once, however much the first one
has taken and for however long.

A caller is an address, and a token if there is one. A request counts for both. So neither many
tokens from one address nor one token at many addresses can take everything.
"""

from dataclasses import dataclass
from typing import TypeVar
from weakref import WeakValueDictionary

K = TypeVar("K")

__all__ = ["Account", "Accounts", "Share"]

_RESERVE = 8


@dataclass(slots=True)
class Share:
    """The share of a total.

    Attributes:
        total: the amount that exists.
        own: the amount that one caller may take without leaving a reserve.
        shared: the amount that callers over `own` may use. The rest is the reserve for others.
    """

    total: int
    own: int
    shared: int

    @classmethod
    def of(cls, total: int, part: float) -> "Share":
        """Return the share of a total.

        Args:
            part: greater than 0, and at most 1, which means no limit.
        """
        if part >= 1 or total <= 1:
            return cls(total, total, total)
        return cls(total, max(1, int(total * part)), total - -(-total // _RESERVE))

    def allows(self, taken: int, by_caller: int, more: int = 1) -> bool:
        """Return whether a caller may take `more`.

        Args:
            taken: by all callers.
            by_caller: by this caller.
        """
        taken += more
        return taken <= self.total and (taken <= self.shared or by_caller + more <= self.own)


class Account:
    """The use of one caller: an address, a token, or all callers without a limit.

    Code that takes or returns something updates the counters itself.

    Attributes:
        name: for error texts.
        limited: whether a share applies.
        places: running requests that hold a place.
        stalled: running requests without a place.
        waiting: requests in the queue.
        connections: open connections.
        buffered: buffered bytes.
    """

    __slots__ = (
        "__weakref__",
        "buffered",
        "connections",
        "limited",
        "name",
        "places",
        "stalled",
        "waiting",
    )

    def __init__(self, name: str, *, limited: bool = True) -> None:
        self.name = name
        self.limited = limited
        self.places = 0
        self.stalled = 0
        self.waiting = 0
        self.connections = 0
        self.buffered = 0

    def __repr__(self) -> str:
        return f"<Account {self.name}>"


class Accounts:
    """The accounts of all active callers. Unused accounts are freed automatically."""

    def __init__(self) -> None:
        self._addresses: WeakValueDictionary[str, Account] = WeakValueDictionary()
        self._tokens: WeakValueDictionary[bytes | str, Account] = WeakValueDictionary()
        self.unlimited = Account("from this machine", limited=False)

    def __len__(self) -> int:
        return len(self._addresses) + len(self._tokens)

    def of_address(self, block: str) -> Account:
        """Return the account of an address or of a network."""
        known = self._addresses.get(block)
        return known or self._opened(self._addresses, block, "from this address")

    def of_token(self, identity: bytes | str) -> Account:
        """Return the account of a token, by what identifies it."""
        known = self._tokens.get(identity)
        return known or self._opened(self._tokens, identity, "with this token")

    @staticmethod
    def _opened(accounts: WeakValueDictionary[K, Account], key: K, name: str) -> Account:
        account = accounts[key] = Account(name)
        return account
