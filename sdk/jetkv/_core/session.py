"""A watch as a state machine: what to ask for, what came, whether it can go on.

It asks for an event stream rather than a WebSocket: the same frames, and its bookmarks say where
a watch stands before anything has happened, so that one that breaks off early loses nothing.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar

from jetkv import errors
from jetkv._core.answers import Decode, error_of, read_update
from jetkv._core.events import Event, EventParser, TooLong
from jetkv._core.requests import open_watch
from jetkv._core.retry import Again, Retry, Verdict, judge
from jetkv._core.wire import Answer, Broken, Kind, Request, TransportError
from jetkv.models import Update

__all__ = ["SILENCE_SECONDS", "SnapshotEnd", "WatchSession"]

T = TypeVar("T")

SILENCE_SECONDS = 40.0
"""After so long without a byte a connection is dead: a gateway sends a comment every 15 s."""

_BACK_OFF = Retry(first_delay=0.1, longest_delay=5.0)
_GOOD_SECONDS = 5.0
_LONGEST_DELAY = 30.0  # whatever somebody on the way asks for: nobody sees that a watch sleeps


@dataclass(frozen=True, slots=True)
class SnapshotEnd:
    """The snapshot is complete, as of `revision`."""

    revision: int


class WatchSession(Generic[T]):
    """One watch over as many connections as it takes.

    A driver opens `request()` and feeds what it reads; when that ends, `judge` says whether there
    is a next one, and `delay` when.

    Attributes:
        snapshot: it begins with the current values.
        definite: where it begins does not depend on when its first connection stands.
        last_revision: where it stands, None before it has begun.
        synced: the snapshot is complete.
    """

    def __init__(
        self,
        bucket: str,
        filters: Sequence[str],
        decode: Decode[T],
        *,
        snapshot: bool,
        resume_after: int | None,
        ignore_deletes: bool,
    ) -> None:
        if snapshot and resume_after is not None:
            raise errors.InvalidArgumentError(
                "either snapshot=True or resume_after, not both",
                hint="a snapshot begins with what is there, resuming with what changed since",
            )
        if resume_after is not None and (
            isinstance(resume_after, bool) or not isinstance(resume_after, int) or resume_after < 0
        ):
            raise errors.InvalidArgumentError(f"resume_after is a revision, or 0: {resume_after!r}")
        self._bucket = bucket
        self._described = Request("GET", "", Kind.READ, f"watch of bucket {bucket!r}")
        self.definite = snapshot or resume_after is not None
        self._filters = tuple(filters)
        self._decode = decode
        self.snapshot = snapshot
        self._resume_after = resume_after
        self._ignore_deletes = ignore_deletes
        self._parser = EventParser()
        self._failure: Broken | errors.JetKVError | None = None
        self._failures = 0
        self._begun = False
        self.last_revision: int | None = resume_after
        self.synced = False

    def request(self, created_at: datetime) -> Request:
        """Return the request of the next connection.

        Args:
            created_at: of the bucket, when the watch began: a later one of its name is another.

        Raises:
            InvalidArgumentError: a filter is no text.
        """
        self._parser = EventParser()
        self._failure = None
        return open_watch(
            self._bucket,
            self._filters,
            snapshot=self.snapshot,
            resume_after=self._resume_after if not self._begun else None,
            last_seen=self.last_revision if self._begun else None,
            created_at=created_at,
            ignore_deletes=self._ignore_deletes,
        )

    @property
    def opened(self) -> bool:
        """Whether it knows where it stands: from then on, trouble is waited out."""
        return self._begun

    def feed(self, chunk: bytes) -> list[Update[T | None] | SnapshotEnd]:
        """Return what a chunk brings; `check` says whether its stream goes on."""
        found: list[Update[T | None] | SnapshotEnd] = []
        try:
            for event in self._parser.feed(chunk):
                item = self._take(event)
                if item is not None:
                    found.append(item)
        except (Broken, errors.JetKVError) as failure:
            self._failure = failure
        except (TooLong, KeyError, TypeError, ValueError) as error:
            # It would come again.
            self._failure = errors.UnexpectedAnswerError(
                f"watch of bucket {self._bucket!r} after revision {self.last_revision}: what came "
                f"is no frame of a watch: {error}",
                hint="is there a gateway, and is this SDK as new as it?",
            )
            self._failure.__cause__ = error
        return found

    def check(self) -> None:
        """Raise what ended the stream; whoever calls has handed on what came before that.

        Raises:
            Broken: the stream has to be opened again.
            UnexpectedAnswerError: what came cannot be read.
            WatchLostError: it cannot go on.
            BucketNotFoundError: there is no bucket to watch.
        """
        if self._failure is not None:
            raise self._failure

    def _take(self, event: Event) -> Update[T | None] | SnapshotEnd | None:
        item = None if event.data is None else self._frame(json.loads(event.data))
        if event.id is not None and event.id.isascii() and event.id.isdigit():
            # Only now: what came before the id belongs to it.
            place = max(int(event.id), self.last_revision or 0)
            if place != self.last_revision:
                self._failures = 0
            self.last_revision = place
            self._begun = True
        return item

    def _frame(self, frame: dict[str, Any]) -> Update[T | None] | SnapshotEnd | None:
        kind = frame["type"]
        if kind == "kv_update":
            update = read_update(frame, self._decode)
            return update if update.revision > (self.last_revision or 0) else None
        if kind == "kv_snapshot_end":
            if self.synced:
                return None
            self.synced = True
            return SnapshotEnd(int(frame["revision"]))
        if kind == "error":
            self._ended(str(frame.get("code", "")), str(frame.get("message", "")))
        return None

    def _ended(self, code: str, message: str) -> None:
        if code == "not_found" and not self._begun:
            raise errors.BucketNotFoundError(
                f"watch of bucket {self._bucket!r}: {message}", status=404
            )
        if code in ("not_found", "bucket_deleted", "resync"):
            raise errors.WatchLostError(
                f"watch of bucket {self._bucket!r} after revision {self.last_revision}: {message}",
                hint="begin another one with snapshot=True",
                reason="bucket_deleted" if code == "not_found" else code,
                last_revision=self.last_revision,
            )
        raise Broken(f"the gateway ended the watch: {message}")

    def judge(self, outcome: Answer | TransportError, address: object) -> Verdict:
        """Return what a connection that did not stand, or stands no more, came to."""
        verdict = judge(self._described, outcome, address)
        if verdict.error is None and isinstance(outcome, Answer):
            verdict = Verdict(Again.NO, error_of(outcome, self._described))
        return verdict

    def delay(self, at_least: float, jitter: float, stood: float) -> float:
        """Return the seconds to wait before the next connection; none after a good one.

        Args:
            stood: seconds for which the last one did.
        """
        if stood >= _GOOD_SECONDS:
            self._failures = 0
        at_least = min(at_least, _LONGEST_DELAY)
        self._failures += 1
        if self._failures == 1:
            return at_least
        return _BACK_OFF.delay(self._failures - 1, at_least, jitter)
