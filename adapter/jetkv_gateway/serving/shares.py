"""What one caller may take of what all callers share, and who has taken how much.

A place, a connection or a byte is anybody's while there are enough of them. A caller has a share of
the whole: up to it, it takes any that is free. Over it, it leaves the last eighth of the whole to
others. So a caller that is alone has nearly all, nothing stands idle that is wanted, and another
caller always finds room at once, however much the first one has taken and however long it keeps it.

A caller is an address, and a token where there is one: a request counts for both, so that neither
many tokens of one address nor one token at many addresses take all.
"""

from dataclasses import dataclass
from weakref import WeakValueDictionary

__all__ = ["Account", "Accounts", "Share"]

_RESERVE = 8


@dataclass(slots=True)
class Share:
    """How a whole is shared.

    Attributes:
        total: all there is.
        own: what one caller takes without leaving anything to others.
        shared: what may be taken by callers over `own`: the rest is for others.
    """

    total: int
    own: int
    shared: int

    @classmethod
    def of(cls, total: int, part: float) -> "Share":
        """Return the share of a whole.

        Args:
            part: over 0, and 1 at most, which is no share at all.
        """
        if part >= 1 or total <= 1:
            return cls(total, total, total)
        return cls(total, max(1, int(total * part)), total - -(-total // _RESERVE))

    def allows(self, taken: int, by_caller: int, more: int = 1) -> bool:
        """Return whether a caller may take `more`.

        Args:
            taken: by all callers.
            by_caller: of these, by this one.
        """
        taken += more
        return taken <= self.total and (taken <= self.shared or by_caller + more <= self.own)


class Account:
    """What one caller has taken: an address or a token, or all who have no limit.

    Whoever takes counts up, and down again, by itself.

    Attributes:
        name: who it is, for texts that callers read.
        limited: false for those whom no share concerns.
        places: requests that are carried out.
        stalled: requests that are carried out without a place.
        waiting: requests in the line.
        connections: that are open.
        buffered: bytes that are held for it.
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
    """The accounts of all who have something open; one that nobody refers to is gone by itself."""

    def __init__(self) -> None:
        self._addresses: WeakValueDictionary[str, Account] = WeakValueDictionary()
        self._tokens: WeakValueDictionary[str, Account] = WeakValueDictionary()
        self.unlimited = Account("from this machine", limited=False)

    def __len__(self) -> int:
        return len(self._addresses) + len(self._tokens)

    def of_address(self, block: str) -> Account:
        """Return the account of an address, or of a network that counts as one."""
        known = self._addresses.get(block)
        return known or self._opened(self._addresses, block, "from this address")

    def of_token(self, name: str) -> Account:
        """Return the account of a token, by the name of whom it is for."""
        known = self._tokens.get(name)
        return known or self._opened(self._tokens, name, "with this token")

    @staticmethod
    def _opened(accounts: WeakValueDictionary[str, Account], key: str, name: str) -> Account:
        account = accounts[key] = Account(name)
        return account
