"""The state machine of one watcher, without I/O (docs/architecture.md, decision 14).

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

Catching up reads its own feed at the reader's pace. So a history of any length costs no memory, and
only a reader that cannot keep up with new changes is too slow. A session compares each revision
with the last one that it handed out, so repeated changes do no harm, whatever their source.
"""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import accumulate, islice
from typing import ClassVar

from jetkv_gateway.kv.errors import GatewayError, SlowConsumer
from jetkv_gateway.kv.filters import EVERYTHING, Filter
from jetkv_gateway.kv.model import Change
from jetkv_gateway.telemetry.events import EVENTS

__all__ = ["Item", "Limits", "MergedSnapshotEnd", "Session", "SnapshotEnd", "State", "weight"]

_ITEM_WEIGHT = 256


class State(StrEnum):
    CATCHING_UP = "catching up"
    LIVE = "live"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class SnapshotEnd:
    """Every value that was current at `revision` has been handed out (docs/watch.md#frames).

    It has no value; in the queue it counts like a change without one.
    """

    revision: int
    value: ClassVar[bytes] = b""


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
    """Limits of a queue: changes, and bytes of values plus an overhead for each change."""

    changes: int = 4096
    bytes: int = 4 * 1024 * 1024


class Session:
    """The session of one watcher.

    Args:
        filters: a change matches if any of them accepts its key.
        ignore_deletes: whether to omit tombstones.
        snapshot_end: whether to hand out a `SnapshotEnd` after catching up.
        limits: of the items that wait for the reader, and of the live changes kept while it catches
            up.
        on_news: called when items arrive and when the session closes.

    Attributes:
        limits: of the items that wait.
        keys: the keys that match, if each filter accepts one key only; else empty.
        name: equal for all sessions with the same filters.
        cost: the most that `matches` costs, in units of a simple filter.
        position: each matching change up to this revision, or a newer one of its key, was handed
            out.
        missed: whether live changes were dropped since `restart`.
        end: the reason why it closed.
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
        # Empty lists are small. There are thousands of sessions, and most hold nothing.
        self._kept: list[Change] = []
        self._kept_bytes = 0
        self._waiting: list[Item] = []
        self._waiting_bytes = 0

    def lag(self, newest: int) -> int:
        """Return by how many revisions the reader is behind `newest`. 0 while it catches up."""
        if self.state is not State.LIVE or not self._waiting:
            return 0
        return max(0, newest - self._waiting[0].revision + 1)

    def matches(self, key: str) -> bool:
        filters = self.filters
        if len(filters) == 1:
            return filters[0].matches(key)
        return any(keep.matches(key) for keep in filters)

    @property
    def idle(self) -> bool:
        """Whether no item waits for the reader."""
        return not self._waiting

    def restart(self) -> None:
        """Start a round of catching up. Live changes are kept from now on."""
        self.missed = False
        self._forget()

    def add_past(self, change: Change) -> None:
        """Add a change that catching up has read."""
        if self.state is State.CATCHING_UP and change.revision > self.position:
            self._hand_out((change,))

    def add_live(self, *changes: Change) -> bool:
        """Add live changes in order. Their keys must match.

        Returns:
            Whether this call filled a quarter of the queue: the reader then needs a turn of the
            event loop to show that it keeps up.
        """
        if self.state is State.LIVE:
            position = self.position
            if changes[0].revision <= position:
                changes = tuple([change for change in changes if change.revision > position])
            if changes:
                crowded = self._crowded()
                self._hand_out(changes)
                if self._full(len(self._waiting), self._waiting_bytes):
                    if EVENTS.watch_too_slow is not None:
                        EVENTS.watch_too_slow()
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
        """Go live, after all changes up to `through` have been read.

        Returns:
            False if live changes were dropped meanwhile. Then call `restart`, and read on from
                `through`.
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
            self._waiting_bytes += _ITEM_WEIGHT
            self._on_news()
        return True

    def close(self, reason: GatewayError) -> None:
        """Close the session. The first reason counts.

        A slow reader loses the items that wait for it.
        """
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
        """Stop calling `on_news`.

        The reader has left, and the callback would keep it in a reference cycle.
        """
        self._on_news = _nobody

    def take(self, max_bytes: int = 64 * 1024) -> list[Item]:
        """Return waiting items in order: at least one, and as many as fit into `max_bytes`."""
        if self._waiting_bytes <= max_bytes:
            taken, self._waiting = self._waiting, []
            self._waiting_bytes = 0
            return taken
        most = max_bytes // _ITEM_WEIGHT + 1
        some = islice(self._waiting, most)
        ends = [*accumulate([_ITEM_WEIGHT + len(item.value) for item in some])]
        count = max(1, bisect_right(ends, max_bytes))
        taken = self._waiting[:count]
        del self._waiting[:count]
        self._waiting_bytes -= ends[count - 1]
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
        # A single change always fits, however large its value is.
        return changes > self.limits.changes or (changes > 2 and size > self.limits.bytes)

    def _forget(self) -> None:
        if self._kept:
            self._kept = []
        self._kept_bytes = 0


def weight(items: Sequence[Item]) -> int:
    """Return the bytes that items count for in the queue."""
    return _ITEM_WEIGHT * len(items) + sum([len(item.value) for item in items])


def _nobody() -> None:
    pass
