"""What a worker holds for its clients, in bytes, and who is let go where that is too much. Pure.

Held is what a client has sent and that is not whole yet, or waits for its turn; what is carried
out; and what is written and the client has not taken in. A request whose body and answer are small
and come and go at once is never held, and costs nothing here.

Where all of it is more than the limit, the slowest is let go first: the one whose last progress is
the longest ago, and of equals the one that holds the most. Progress has a size: one byte a second
keeps nobody fresh. What is carried out stays, since it may be applied already. A caller over its
share (`serving/shares.py`) is let go for, already where it takes up the reserve of the others.
"""

from dataclasses import dataclass
from typing import Generic, TypeVar

from jetkv_gateway.serving.shares import Account, Share

__all__ = ["BufferedBytes"]

_STEP = 16 * 1024
"""Bytes that have to move to count as progress, where so many are held."""

_ROOM = 16
"""One look makes room of this part of the limit, so that a flood does not bring a look at each."""

H = TypeVar("H")


@dataclass(slots=True)
class _Holding:
    size: int
    since: float
    moved: int
    stays: bool
    account: Account | None


class BufferedBytes(Generic[H]):
    """The bytes of one worker.

    Args:
        limit: bytes.
        part: of these, what one caller has without leaving any to others; 1 for no such share.

    Attributes:
        total: bytes that are held now.
    """

    def __init__(self, limit: int, part: float = 1.0) -> None:
        self._share = Share.of(limit, part)
        self._holdings: dict[H, _Holding] = {}
        self.total = 0

    def __len__(self) -> int:
        return len(self._holdings)

    @property
    def limit(self) -> int:
        return self._share.total

    def note(
        self,
        holder: H,
        size: int,
        now: float,
        *,
        moved: int = 0,
        stays: bool = False,
        account: Account | None = None,
    ) -> bool:
        """Note how much is held for somebody now; 0 ends it.

        Args:
            now: the time, in seconds.
            moved: bytes that its client has sent or taken in since the last note.
            stays: whether it is carried out: then it counts, and is not let go.
            account: of its caller, None where no share concerns it.

        Returns:
            Whether somebody has to be let go: see `excess`.
        """
        holding = self._holdings.get(holder)
        if holding is None:
            if size <= 0:
                return False
            holding = self._holdings[holder] = _Holding(0, now, 0, stays, account)
        delta = size - holding.size
        self.total += delta
        if holding.account is not None:
            holding.account.held += delta
        if size <= 0:
            del self._holdings[holder]
            return False
        holding.size = size
        holding.stays = stays
        holding.moved += moved
        if holding.moved >= min(_STEP, size):
            holding.moved, holding.since = 0, now
        return delta > 0 and self.total > self._share.shared

    def excess(self) -> list[H]:
        """Return who has to be let go, the slowest first; nothing is held for them any more."""
        share = self._share
        gone: list[H] = []
        if self.total > share.shared and share.shared < share.total:
            gone += self._let_go(share.shared, greedy=True)
        if self.total > share.total:
            gone += self._let_go(share.total, greedy=False)
        return gone

    def _let_go(self, total: int, *, greedy: bool) -> list[H]:
        """Let go until less than `total` is held, by some.

        Args:
            greedy: only of callers over their share, and only for as long as they are.
        """
        gone: list[H] = []
        for holder, holding in sorted(self._holdings.items(), key=_slowest_first):
            if self.total <= total - self._share.total // _ROOM:
                break
            if holding.stays or (greedy and not self._is_greedy(holding.account)):
                continue
            self.note(holder, 0, holding.since)
            gone.append(holder)
        return gone

    def _is_greedy(self, account: Account | None) -> bool:
        return account is not None and account.limited and account.held > self._share.own


def _slowest_first(item: tuple[H, _Holding]) -> tuple[float, int]:
    holding = item[1]
    return holding.since, -holding.size
