"""A watch over several buckets as a state machine without I/O (docs/watch.md#several-buckets)."""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Generic, TypeVar

from jetkv import errors
from jetkv._core import fields
from jetkv._core.answers import Decode, read_update, shortened
from jetkv._core.events import Event
from jetkv._core.messages import MAX_ANSWER_BYTES, Request
from jetkv._core.reported import ReportedKeys, ReportedRevision
from jetkv._core.session_base import Received, Reported, Session, SnapshotEnd
from jetkv._core.watch_requests import checked_filter, open_many
from jetkv.models import Update

__all__ = ["ManyWatchSession"]

T = TypeVar("T")

_BOOKMARK = re.compile(r"[\x21-\x7e]{1,8192}")


class ManyWatchSession(Session[T], Generic[T]):
    """A watch over several buckets. Its position is a bookmark, which stands for all of them.

    A `resync` of one bucket ends the stream of all. A watch that started with a snapshot then takes
    a new one of all buckets, and compares each with what it has reported of it.

    Args:
        filters: of each bucket, by its name; none for all of its keys.
        decode: what decodes the values of each bucket.
        snapshot: whether the watch starts with the current values.
        resume: the bookmark to go on after.
        ignore_deletes: whether deletes are left out.
        max_bytes: the largest event.
    """

    def __init__(
        self,
        filters: Mapping[str, Sequence[str]],
        decode: Mapping[str, Decode[T]],
        *,
        snapshot: bool,
        resume: str | None,
        ignore_deletes: bool,
        max_bytes: int = MAX_ANSWER_BYTES,
    ) -> None:
        if snapshot and resume is not None:
            raise errors.InvalidArgumentError(
                "use either snapshot=True or resume, not both",
                hint="a snapshot starts with the current values, resume with later changes",
            )
        if resume is not None and not (isinstance(resume, str) and _BOOKMARK.fullmatch(resume)):
            raise errors.InvalidArgumentError(
                f"resume must be the bookmark of a watch over the same buckets, not {resume!r}"
            )
        if not filters:
            raise errors.InvalidArgumentError("there must be at least one bucket to watch")
        names = ", ".join(map(repr, filters))
        super().__init__(
            f"watch of buckets {shortened(names)}",
            list(filters),
            snapshot=snapshot,
            start=resume,
            ignore_deletes=ignore_deletes,
            max_bytes=max_bytes,
        )
        self._filters = {
            bucket: [checked_filter(one) for one in some] for bucket, some in filters.items()
        }
        self._decode = decode
        self._resume = resume
        self._reported: dict[str, Reported[T]] = {}
        if snapshot:
            self._reported = {
                bucket: ReportedRevision()
                if ignore_deletes
                else ReportedKeys(decode[bucket], bucket)
                for bucket in filters
            }

    @property
    def resyncing(self) -> bool:
        return any(reported.resyncing for reported in self._reported.values())

    @property
    def _place(self) -> str:
        return self._request.description

    def request(self, created_at: datetime) -> Request:  # noqa: ARG002 - bookmarks have it
        self._connecting()
        seen = self._newest
        return open_many(
            self._filters,
            snapshot=self.snapshot,
            resume=self._resume if not self._started else None,
            last_seen=seen if self._started and isinstance(seen, str) else None,
            ignore_deletes=self._ignore_deletes,
        )

    def _start_comparison(self) -> None:
        for reported in self._reported.values():
            reported.start_comparison()

    def _event(self, event: Event) -> list[Received[T]]:
        bookmark = event.id if event.id and _BOOKMARK.fullmatch(event.id) else None
        received = (
            []
            if event.data is None
            else self._frame(fields.json_object(event.data, fields.MAX_ENTRY_VALUES), bookmark)
        )
        if bookmark is not None:
            self._moved(bookmark)
        return received

    def _frame(self, frame: dict[str, Any], bookmark: str | None) -> list[Received[T]]:
        kind = fields.string(frame, "type")
        if kind == "kv_update":
            return self._update(frame, bookmark)
        if kind == "kv_snapshot_end":
            return self._snapshot_end(fields.optional_object(frame, "revisions"), bookmark)
        if kind == "error":
            self._error_frame(
                str(frame.get("code", "")),
                shortened(str(frame.get("message", ""))),
                shortened(str(frame.get("bucket", ""))),
                heals=self.snapshot,
            )
        return []

    def _update(self, frame: dict[str, Any], bookmark: str | None) -> list[Received[T]]:
        bucket = fields.string(frame, "bucket")
        if bucket not in self._decode:
            raise fields.FieldError(f"bucket {shortened(bucket)!r} is not watched")
        update: Update[T | None] = read_update(frame, self._decode[bucket])
        reported = self._reported.get(bucket)
        if reported is not None and not reported.is_new(update):
            return []
        return [Received(update, None if self.resyncing else bookmark)]

    def _snapshot_end(
        self, revisions: Mapping[str, Any], bookmark: str | None
    ) -> list[Received[T]]:
        ends = {bucket: fields.integer(revisions, bucket) for bucket in self._reported}
        for bucket, reported in self._reported.items():
            if reported.needs_new_snapshot(ends[bucket]):
                self._resync(f"bucket {bucket!r} went back to revision {ends[bucket]}")
        received: list[Received[T]] = [
            Received(update, None)
            for bucket, reported in self._reported.items()
            for update in reported.end_comparison(ends[bucket])
        ]
        if received:
            received[-1] = received[-1]._replace(position=bookmark)
        if not self.synced:
            self.synced = True
            received.append(Received(SnapshotEnd(), bookmark))
        return received
