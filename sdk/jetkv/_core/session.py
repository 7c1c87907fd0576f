"""A watch as a state machine without I/O.

It asks for an event stream and not for a WebSocket. Both have the same frames, but an event stream
also has bookmarks: they tell the watch its position before the first change. So a connection that
breaks before the first change loses nothing.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Generic, TypeVar

from jetkv import errors
from jetkv._core import fields
from jetkv._core.answers import Decode, read_update, shortened
from jetkv._core.events import Event
from jetkv._core.messages import MAX_ANSWER_BYTES, Request
from jetkv._core.reported import ReportedKeys, ReportedRevision
from jetkv._core.session_base import SILENCE_SECONDS, Received, Reported, Session, SnapshotEnd
from jetkv._core.watch_requests import open_watch
from jetkv.models import Update

__all__ = ["SILENCE_SECONDS", "Received", "SnapshotEnd", "WatchSession"]

T = TypeVar("T")


class WatchSession(Session[T], Generic[T]):
    """A watch of one bucket. Its position is the last revision."""

    def __init__(
        self,
        bucket: str,
        filters: Sequence[str],
        decode: Decode[T],
        *,
        snapshot: bool,
        resume_after: int | None,
        ignore_deletes: bool,
        max_bytes: int = MAX_ANSWER_BYTES,
    ) -> None:
        if snapshot and resume_after is not None:
            raise errors.InvalidArgumentError(
                "use either snapshot=True or resume_after, not both",
                hint="a snapshot starts with the current values, resume_after with later changes",
            )
        if resume_after is not None and (
            isinstance(resume_after, bool) or not isinstance(resume_after, int) or resume_after < 0
        ):
            raise errors.InvalidArgumentError(
                f"resume_after must be a revision or 0, not {resume_after!r}"
            )
        super().__init__(
            f"watch of bucket {bucket!r}",
            [bucket],
            snapshot=snapshot,
            start=resume_after,
            ignore_deletes=ignore_deletes,
            max_bytes=max_bytes,
        )
        self._bucket = bucket
        self._filters = tuple(filters)
        self._decode = decode
        self._resume_after = resume_after
        self._reported: Reported[T] | None = None
        if snapshot:
            self._reported = ReportedRevision() if ignore_deletes else ReportedKeys(decode, bucket)

    @property
    def last_revision(self) -> int | None:
        return self.position if isinstance(self.position, int) else None

    @property
    def resyncing(self) -> bool:
        return self._reported is not None and self._reported.resyncing

    @property
    def _place(self) -> str:
        return f"watch of bucket {self._bucket!r} after revision {self.position}"

    @property
    def _seen(self) -> int | None:
        return self._newest if isinstance(self._newest, int) else None

    def request(self, created_at: datetime) -> Request:
        """Return the request of the next connection.

        Args:
            created_at: when the bucket was created, so that the gateway refuses the watch if the
                bucket has been deleted and created again.

        Raises:
            InvalidArgumentError: a filter is no text, or empty.
        """
        self._connecting()
        return open_watch(
            self._bucket,
            self._filters,
            snapshot=self.snapshot,
            resume_after=self._resume_after if not self._started else None,
            last_seen=self._seen if self._started else None,
            created_at=created_at,
            ignore_deletes=self._ignore_deletes,
        )

    def _start_comparison(self) -> None:
        assert self._reported is not None
        self._reported.start_comparison()

    def _event(self, event: Event) -> list[Received[T]]:
        received = (
            []
            if event.data is None
            else self._frame(fields.json_object(event.data, fields.MAX_ENTRY_VALUES))
        )
        if event.id is not None and event.id.isascii() and event.id.isdigit():
            # After the frame, because the frame of an event belongs to its id.
            self._moved(max(fields.integer({"id": int(event.id[:21])}, "id"), self._seen or 0))
        return received

    def _frame(self, frame: dict[str, Any]) -> list[Received[T]]:
        kind = fields.string(frame, "type")
        if kind == "kv_update":
            return self._update(read_update(frame, self._decode))
        if kind == "kv_snapshot_end":
            return self._snapshot_end(fields.revision(frame, 0))
        if kind == "error":
            self._error_frame(
                str(frame.get("code", "")),
                shortened(str(frame.get("message", ""))),
                self._bucket,
                heals=self._reported is not None,
            )
        return []

    def _update(self, update: Update[T | None]) -> list[Received[T]]:
        if update.revision <= (self._seen or 0):
            return []
        if self._reported is not None and not self._reported.is_new(update):
            return []
        return [Received(update, None if self.resyncing else update.revision)]

    def _snapshot_end(self, revision: int) -> list[Received[T]]:
        if self._reported is not None and self._reported.needs_new_snapshot(revision):
            self._resync(f"the bucket went back to revision {revision}")
        vanished = [] if self._reported is None else self._reported.end_comparison(revision)
        received: list[Received[T]] = [Received(update, None) for update in vanished]
        if received:
            received[-1] = received[-1]._replace(position=revision)
        if not self.synced:
            self.synced = True
            received.append(Received(SnapshotEnd(revision), revision))
        return received
