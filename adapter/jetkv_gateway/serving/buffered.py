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

_ROOM_PART = 16
"""One look makes room of this part of the limit, so that a flood does not bring a look at each."""

H = TypeVar("H")


@dataclass(slots=True)
class _Buffer:
    size: int
    since: float
    moved: int
    running: bool
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
        self._buffers: dict[H, _Buffer] = {}
        self.total = 0

    def __len__(self) -> int:
        return len(self._buffers)

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
        running: bool = False,
        account: Account | None = None,
    ) -> bool:
        """Note how much is held for somebody now; 0 ends it.

        Args:
            now: the time, in seconds.
            moved: bytes that its client has sent or taken in since the last note.
            running: whether it is carried out: then it counts, and is not let go.
            account: of its caller, None where no share concerns it.

        Returns:
            Whether somebody has to be let go: see `excess`.
        """
        buffer = self._buffers.get(holder)
        if buffer is None:
            if size <= 0:
                return False
            buffer = self._buffers[holder] = _Buffer(0, now, 0, running, account)
        delta = size - buffer.size
        self.total += delta
        if buffer.account is not None:
            buffer.account.buffered += delta
        if size <= 0:
            del self._buffers[holder]
            return False
        buffer.size = size
        buffer.running = running
        buffer.moved += moved
        if buffer.moved >= min(_STEP, size):
            buffer.moved, buffer.since = 0, now
        return delta > 0 and self.total > self._share.shared

    def excess(self) -> list[H]:
        """Return who has to be let go, the slowest first; nothing is held for them any more."""
        share = self._share
        gone: list[H] = []
        if self.total > share.shared and share.shared < share.total:
            gone += self._drop_slowest(share.shared, over_share_only=True)
        if self.total > share.total:
            gone += self._drop_slowest(share.total, over_share_only=False)
        return gone

    def _drop_slowest(self, total: int, *, over_share_only: bool) -> list[H]:
        """Let go until less than `total` is held, by some.

        Args:
            over_share_only: only of callers over their share, and only for as long as they are.
        """
        gone: list[H] = []
        for holder, buffer in sorted(self._buffers.items(), key=_slowest_first):
            if self.total <= total - self._share.total // _ROOM_PART:
                break
            if buffer.running or (over_share_only and not self._is_over_share(buffer.account)):
                continue
            self.note(holder, 0, buffer.since)
            gone.append(holder)
        return gone

    def _is_over_share(self, account: Account | None) -> bool:
        return account is not None and account.limited and account.buffered > self._share.own


def _slowest_first(item: tuple[H, _Buffer]) -> tuple[float, int]:
    buffer = item[1]
    return buffer.since, -buffer.size
