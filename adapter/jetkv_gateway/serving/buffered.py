"""Counts the bytes that a worker buffers, and selects slow clients to drop. Pure.

These bytes are buffered: incomplete or waiting requests, running requests, answers that the client
has not read, and frames behind a handshake that are not processed yet. A small request with a small
answer is never counted, so it costs nothing here.

If the total exceeds the limit, the slowest client is dropped first: the one whose last progress is
the longest ago, and among equals the one with the most bytes. Progress needs a minimum size, so one
byte a second does not count. Running requests stay, since they may be applied already. Callers over
their share (`serving/shares.py`) are dropped first, as soon as they use the reserve of others.
"""

from dataclasses import dataclass
from typing import Generic, TypeVar

from jetkv_gateway.serving.shares import Account, Share

__all__ = ["BufferedBytes"]

_STEP = 16 * 1024
"""Bytes that must move to count as progress, or all bytes if there are fewer."""

_ROOM_PART = 16
"""One scan frees this part of the limit, so that a flood does not cause a scan for each."""

H = TypeVar("H")


@dataclass(slots=True)
class _Buffer:
    size: int
    since: float
    moved: int
    running: bool
    account: Account | None
    token: Account | None


class BufferedBytes(Generic[H]):
    """The buffered bytes of one worker.

    Args:
        limit: bytes.
        part: of the limit, which one caller may use without leaving a reserve. 1 means no reserve.

    Attributes:
        total: bytes that are buffered now.
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
        token: Account | None = None,
    ) -> bool:
        """Set the number of bytes of a client. 0 removes it.

        Args:
            now: the time, in seconds.
            moved: bytes that the client has sent or read since the last call.
            running: whether its request is running. It then counts, but is not dropped.
            account: of the caller's address, or None without a share.
            token: the account of the caller's token, or None.

        Returns:
            Whether clients must be dropped: see `excess`.
        """
        buffer = self._buffers.get(holder)
        if buffer is None:
            if size <= 0:
                return False
            buffer = self._buffers[holder] = _Buffer(0, now, 0, running, account, token)
        delta = size - buffer.size
        self.total += delta
        if buffer.account is not None:
            buffer.account.buffered += delta
        if buffer.token is not None:
            buffer.token.buffered += delta
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
        """Remove and return the clients to drop, the slowest first."""
        share = self._share
        gone: list[H] = []
        if self.total > share.shared and share.shared < share.total:
            gone += self._drop_slowest(share.shared, over_share_only=True)
        if self.total > share.total:
            gone += self._drop_slowest(share.total, over_share_only=False)
        return gone

    def _drop_slowest(self, total: int, *, over_share_only: bool) -> list[H]:
        """Drop clients until less than `total` bytes are buffered, by a margin.

        Args:
            over_share_only: drop only callers over their share, and only until they are within it.
        """
        gone: list[H] = []
        for holder, buffer in sorted(self._buffers.items(), key=_slowest_first):
            if self.total <= total - self._share.total // _ROOM_PART:
                break
            if buffer.running or (over_share_only and not self._is_over_share(buffer)):
                continue
            self.note(holder, 0, buffer.since)
            gone.append(holder)
        return gone

    def _is_over_share(self, buffer: _Buffer) -> bool:
        return any(
            account is not None and account.limited and account.buffered > self._share.own
            for account in (buffer.account, buffer.token)
        )


def _slowest_first(item: tuple[H, _Buffer]) -> tuple[float, int]:
    buffer = item[1]
    return buffer.since, -buffer.size
