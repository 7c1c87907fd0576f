"""What one watcher is owed, as a state machine without I/O (docs/architecture.md, decision 14).

    CATCHING_UP ──▶ LIVE ──▶ CLOSED

| In          | comes    | then                                                               |
|-------------|----------|--------------------------------------------------------------------|
| CATCHING_UP | `add_past` | it is handed out, if it is newer than all handed out before        |
| CATCHING_UP | `add_live`   | it is kept; where too much is kept, all is dropped and `missed` set |
| CATCHING_UP | `join_live` | not `missed`: what is kept and newer is handed out → LIVE          |
| CATCHING_UP | `join_live` | `missed`: it stays, and another round of catching up is needed     |
| LIVE        | `add_live`   | it is handed out, if it is newer than all handed out before        |
| LIVE        | `add_live`   | too much waits to be taken: → CLOSED, slow consumer                |
| any         | `close`  | → CLOSED with a reason; what was handed out can still be taken     |
| CLOSED      | anything | nothing                                                            |

Catching up reads on a feed of its own, at the reader's pace: a history of any length costs no
memory, and only a reader that cannot keep up with the present is too slow. Because each revision
is compared with the last one handed out, repeats do no harm, wherever they come from.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from jetkv_gateway.kv.errors import GatewayError, SlowConsumer
from jetkv_gateway.kv.filters import EVERYTHING, Filter
from jetkv_gateway.kv.model import Change

__all__ = ["Item", "Limits", "MergedSnapshotEnd", "Session", "SnapshotEnd", "State", "weight"]

_CHANGE_WEIGHT = 256


class State(StrEnum):
    CATCHING_UP = "catching up"
    LIVE = "live"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class SnapshotEnd:
    """All that was current at `revision` has been handed out (docs/watch.md#frames)."""

    revision: int


@dataclass(frozen=True, slots=True)
class MergedSnapshotEnd:
    """The snapshots of all buckets of a watch have been handed out.

    Attributes:
        revisions: by bucket, the revision as of which its snapshot is complete.
    """

    revisions: dict[str, int]


Item = Change | SnapshotEnd


@dataclass(frozen=True, slots=True)
class Limits:
    """How much may wait for one reader: changes, and bytes of values with some for each change."""

    changes: int = 4096
    bytes: int = 4 * 1024 * 1024


class Session:
    """One watcher.

    Args:
        filters: a change is wanted when any of them accepts its key.
        ignore_deletes: whether tombstones are left out.
        snapshot_end: whether to say when it has caught up.
        limits: of what may wait to be taken, and of what is kept while it catches up.
        on_news: called when there is something to take, or the session was closed.

    Attributes:
        limits: of what may wait.
        keys: the keys wanted, where no filter accepts more than one; else empty.
        name: the same for all sessions with the same filters.
        cost: of `wants`, at most, in units of a simple filter.
        position: every wanted change up to this revision was handed out, or a newer one of its key.
        missed: whether live changes were dropped since `restart`.
        end: why it is closed.
    """

    __slots__ = (
        "_ignore_deletes",
        "_kept",
        "_kept_bytes",
        "_on_news",
        "_snapshot_end",
        "_waiting",
        "_waiting_bytes",
        "cost",
        "end",
        "filters",
        "keys",
        "limits",
        "missed",
        "name",
        "position",
        "state",
    )

    def __init__(
        self,
        filters: Sequence[Filter] = (EVERYTHING,),
        *,
        ignore_deletes: bool = False,
        snapshot_end: bool = False,
        limits: Limits | None = None,
        on_news: Callable[[], None] | None = None,
    ) -> None:
        self.filters = tuple(filters)
        keys = frozenset([keep.key for keep in filters if keep.key is not None])
        self.keys = keys if all(keep.key is not None for keep in filters) else frozenset()
        self.name = tuple(sorted({keep.text for keep in filters}))
        self.cost = sum([keep.cost for keep in filters])
        self.state = State.CATCHING_UP
        self.position = 0
        self.missed = False
        self.end: GatewayError | None = None
        self._ignore_deletes = ignore_deletes
        self._snapshot_end = snapshot_end
        self.limits = limits or Limits()
        self._on_news = on_news or _nobody
        # Lists: there are thousands of sessions, and most have nothing in them.
        self._kept: list[Change] = []
        self._kept_bytes = 0
        self._waiting: list[Item] = []
        self._waiting_bytes = 0

    def matches(self, key: str) -> bool:
        filters = self.filters
        if len(filters) == 1:
            return filters[0].matches(key)
        return any(keep.matches(key) for keep in filters)

    @property
    def idle(self) -> bool:
        """Whether nothing waits to be taken."""
        return not self._waiting

    def restart(self) -> None:
        """Begin a round of catching up: live changes are kept from here on."""
        self.missed = False
        self._forget()

    def add_past(self, change: Change) -> None:
        """Take in a change that catching up has read."""
        if self.state is State.CATCHING_UP and change.revision > self.position:
            self._hand_out((change,))

    def add_live(self, *changes: Change) -> bool:
        """Take in changes, in order, as they happen; their keys must be among those wanted.

        Returns:
            Whether just now a quarter of what may wait is reached: a reader who keeps up needs a
            turn to show it.
        """
        if self.state is State.LIVE:
            position = self.position
            if changes[0].revision <= position:
                changes = tuple([change for change in changes if change.revision > position])
            if changes:
                crowded = self._crowded()
                self._hand_out(changes)
                if self._full(len(self._waiting), self._waiting_bytes):
                    self.close(SlowConsumer())
                return not crowded and self._crowded()
        elif self.state is State.CATCHING_UP and not self.missed:
            self._kept += changes
            self._kept_bytes += weight(changes)
            if self._full(2 * len(self._kept), 2 * self._kept_bytes):
                self.missed = True
                self._forget()
        return False

    def join_live(self, through: int) -> bool:
        """Go live; the changes up to `through` have been read.

        Returns:
            False where live changes were dropped meanwhile: `restart`, and read on from `through`.
        """
        if self.state is not State.CATCHING_UP:
            return self.state is State.LIVE
        self.position = max(self.position, through)
        if self.missed:
            return False
        for change in self._kept:
            if change.revision > self.position:
                self._hand_out((change,))
        self._forget()
        self.state = State.LIVE
        if self._snapshot_end:
            self._waiting.append(SnapshotEnd(self.position))
            self._on_news()
        return True

    def close(self, reason: GatewayError) -> None:
        """End it; the first reason counts. A slow reader gets nothing of what waits for it."""
        if self.state is State.CLOSED:
            return
        self.state = State.CLOSED
        self.end = reason
        self._forget()
        if isinstance(reason, SlowConsumer):
            self._waiting.clear()
            self._waiting_bytes = 0
        self._on_news()

    def mute(self) -> None:
        """Tell nobody of news any more: its reader has gone, and need not be held in a cycle."""
        self._on_news = _nobody

    def take(self, max_bytes: int = 64 * 1024) -> list[Item]:
        """Return what waits, in order: as much as fits into `max_bytes`, but one at least."""
        if self._waiting_bytes <= max_bytes:
            taken, self._waiting = self._waiting, []
            self._waiting_bytes = 0
            return taken
        count = size = 0
        for item in self._waiting:
            more = weight((item,))
            if count and size + more > max_bytes:
                break
            count += 1
            size += more
        taken = self._waiting[:count]
        del self._waiting[:count]
        self._waiting_bytes -= size
        return taken

    def _hand_out(self, changes: Sequence[Change]) -> None:
        self.position = changes[-1].revision
        if self._ignore_deletes:
            changes = [change for change in changes if change.live]
            if not changes:
                return
        self._waiting += changes
        self._waiting_bytes += weight(changes)
        self._on_news()

    def _crowded(self) -> bool:
        limits = self.limits
        return 4 * len(self._waiting) >= limits.changes or 4 * self._waiting_bytes >= limits.bytes

    def _full(self, changes: int, size: int) -> bool:
        # A single change has to fit, however large its value is.
        return changes > self.limits.changes or (changes > 2 and size > self.limits.bytes)

    def _forget(self) -> None:
        if self._kept:
            self._kept = []
        self._kept_bytes = 0


def weight(items: Sequence[Item]) -> int:
    """Return the bytes that items count for, of those that may wait."""
    return sum([_CHANGE_WEIGHT + len(item.value) for item in items if isinstance(item, Change)])


def _nobody() -> None:
    pass
