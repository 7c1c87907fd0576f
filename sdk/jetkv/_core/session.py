"""A watch as a state machine without I/O.

It asks for an event stream and not for a WebSocket. Both have the same frames, but an event stream
also has bookmarks: they tell the watch its position before the first change. So a connection that
breaks before the first change loses nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, NamedTuple, NoReturn, TypeVar

from jetkv import errors
from jetkv._core import fields
from jetkv._core.answers import Decode, error_of, read_update, shortened
from jetkv._core.events import Event, EventParser
from jetkv._core.messages import MAX_ANSWER_BYTES, Answer, Broken, Kind, Request, TransportError
from jetkv._core.reported import ReportedKeys, ReportedRevision
from jetkv._core.requests import open_watch
from jetkv._core.retry import Resend, Retry, Verdict, judge
from jetkv.models import Update

__all__ = ["SILENCE_SECONDS", "Received", "SnapshotEnd", "WatchSession"]

T = TypeVar("T")

SILENCE_SECONDS = 40.0
"""A connection that has sent no byte for so long is dead: a gateway sends a comment every 15 s."""

_BACK_OFF = Retry(first_delay=0.1, longest_delay=5.0)
_STABLE_SECONDS = 5.0
"""A connection that lasted so long counts as a success."""
_SPREAD_SECONDS = 1.0
"""The longest random delay after a stable connection. When a gateway stops, all of its watches end
at the same moment, and they should not all reconnect at the same moment."""
_MAX_DELAY = 30.0
"""The longest delay, even if a `Retry-After` is longer: a caller cannot see that a watch waits."""


@dataclass(frozen=True, slots=True)
class SnapshotEnd:
    """The snapshot is complete, as of `revision`."""

    revision: int


class Received(NamedTuple, Generic[T]):
    """One item, and the position of a reader that has received it.

    Attributes:
        item: an update, or the end of the first snapshot.
        position: a revision. None inside a new snapshot: the reader's position does not change
            there, because the deletes of the snapshot are still to come.
    """

    item: Update[T | None] | SnapshotEnd
    position: int | None


class WatchSession(Generic[T]):
    """One watch over as many connections as it takes.

    The caller sends `request()` and passes each chunk of the answer to `feed`. When the answer
    ends, `judge` tells whether to connect again, and `delay` tells when.

    Sometimes the gateway cannot show everything that happened while a connection was down
    (`resync`). A watch that started with a snapshot then takes a new one and returns the
    differences from what it has reported. Before that, the caller must check that the bucket is
    still the same one (`must_check_bucket`).

    Attributes:
        snapshot: whether the watch starts with the current values.
        has_fixed_start: whether the watch starts at a point that does not depend on when its first
            connection is made.
        last_revision: the position of a reader that has received everything; None until the watch
            has a position.
        synced: whether the first snapshot is complete.
        must_check_bucket: whether the caller must get the bucket's description and call
            `check_bucket` before the next `request`.
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
        self._bucket = bucket
        # Stands for all requests of the watch in the texts of errors.
        self._request = Request("GET", "", Kind.READ, f"watch of bucket {bucket!r}")
        self.has_fixed_start = snapshot or resume_after is not None
        self._filters = tuple(filters)
        self._decode = decode
        self.snapshot = snapshot
        self._resume_after = resume_after
        self._ignore_deletes = ignore_deletes
        self._max_bytes = max_bytes
        self._parser = EventParser(self._max_bytes)
        self._failure: Broken | errors.JetKVError | None = None
        self._failures = 0
        self._started = False
        self._reported: ReportedKeys[T] | ReportedRevision | None = None
        if snapshot:
            self._reported = ReportedRevision() if ignore_deletes else ReportedKeys(decode)
        self._resynced = self._reconnect_at_once = False
        self._position: int | None = resume_after
        self.last_revision: int | None = resume_after
        self.synced = False
        self.must_check_bucket = False

    def request(self, created_at: datetime) -> Request:
        """Return the request of the next connection.

        Args:
            created_at: when the bucket was created, so that the gateway refuses the watch if the
                bucket has been deleted and created again.

        Raises:
            InvalidArgumentError: a filter is no text, or empty.
        """
        self._parser = EventParser(self._max_bytes)
        self._failure = None
        return open_watch(
            self._bucket,
            self._filters,
            snapshot=self.snapshot,
            resume_after=self._resume_after if not self._started else None,
            last_seen=self._position if self._started else None,
            created_at=created_at,
            ignore_deletes=self._ignore_deletes,
        )

    @property
    def opened(self) -> bool:
        """Whether the watch has a position. From then on it reconnects without a limit."""
        return self._started

    @property
    def resyncing(self) -> bool:
        """Whether the watch is comparing a new snapshot with what it has reported."""
        return self._reported is not None and self._reported.resyncing

    def check_bucket(self, before: datetime, now: datetime) -> None:
        """Check that the bucket is still the same one, by when it was created.

        Args:
            before: when it was created, as the watch knew it.
            now: when it was created, as the gateway says now.

        Raises:
            WatchLostError: the bucket was deleted and created again.
        """
        if before != now:
            raise self._lost("bucket_deleted", "the bucket was deleted and created again")
        self.must_check_bucket = False

    def feed(self, chunk: bytes) -> list[Received[T]]:
        """Return the items of a chunk. Then call `check`: it tells whether the stream goes on."""
        received: list[Received[T]] = []
        try:
            for event in self._parser.feed(chunk):
                received += self._event(event)
        except (Broken, errors.JetKVError) as failure:
            self._failure = failure
        except ValueError as error:
            # Reconnecting would not help: the gateway would send the same event again.
            self._failure = errors.UnexpectedAnswerError(
                f"watch of bucket {self._bucket!r} after revision {self.last_revision}: the answer "
                f"has an event that this SDK cannot read: {error}",
                hint="check that the address is a gateway's, and that the SDK is not older than it",
            )
            self._failure.__cause__ = error
        return received

    def check(self) -> None:
        """Raise the error that ended the stream, if there is one.

        Return the items of `feed` to the reader first: they came before the error.

        Raises:
            Broken: connect again.
            UnexpectedAnswerError: the gateway sent something that this SDK cannot read.
            WatchLostError: the watch cannot go on.
            BucketNotFoundError: the bucket does not exist.
        """
        if self._failure is not None:
            raise self._failure

    def _event(self, event: Event) -> list[Received[T]]:
        received = (
            []
            if event.data is None
            else self._frame(fields.json_object(event.data, fields.MAX_ENTRY_VALUES))
        )
        if event.id is not None and event.id.isascii() and event.id.isdigit():
            # After the frame, because the frame of an event belongs to its id.
            position = max(fields.integer({"id": int(event.id[:21])}, "id"), self._position or 0)
            if position != self._position and not self._resynced:
                self._failures = 0
            self._position = position
            self._started = True
            if not self.resyncing:
                self.last_revision = position
        return received

    def _frame(self, frame: dict[str, Any]) -> list[Received[T]]:
        kind = fields.string(frame, "type")
        if kind == "kv_update":
            return self._update(read_update(frame, self._decode))
        if kind == "kv_snapshot_end":
            return self._snapshot_end(fields.revision(frame, 0))
        if kind == "error":
            self._error_frame(str(frame.get("code", "")), shortened(str(frame.get("message", ""))))
        return []

    def _update(self, update: Update[T | None]) -> list[Received[T]]:
        if update.revision <= (self._position or 0):
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

    def _error_frame(self, code: str, message: str) -> None:
        if code == "not_found" and not self._started:
            raise errors.BucketNotFoundError(
                f"watch of bucket {self._bucket!r}: {message}", status=404
            )
        if code == "resync" and self._reported is not None:
            self._resync(f"the gateway ended the watch: {message}")
        if code in ("not_found", "bucket_deleted", "resync"):
            raise self._lost(code, message)
        raise Broken(f"the gateway ended the watch: {message}")

    def _resync(self, reason: str) -> NoReturn:
        assert self._reported is not None
        self._reported.start_comparison()
        self._position = None
        # The first resync reconnects at once, even after failures. Repeated ones back off.
        self._failures = self._failures if self._resynced else 0
        self._resynced = self.must_check_bucket = self._reconnect_at_once = True
        raise Broken(reason)

    def _lost(self, code: str, message: str) -> errors.WatchLostError:
        hint = "start another watch with snapshot=True"
        if code == "resync":
            hint += ": it takes a new snapshot by itself when this happens"
        return errors.WatchLostError(
            f"watch of bucket {self._bucket!r} after revision {self.last_revision}: {message}",
            hint=hint,
            reason="bucket_deleted" if code == "not_found" else code,
            last_revision=self.last_revision,
        )

    def judge(self, outcome: Answer | TransportError, address: object) -> Verdict:
        """Return the verdict on a connection that failed or ended."""
        verdict = judge(self._request, outcome, address)
        if verdict.error is None and isinstance(outcome, Answer):
            verdict = Verdict(Resend.NO, error_of(outcome, self._request))
        if self._started and isinstance(verdict.error, errors.BucketNotFoundError):
            verdict = Verdict(Resend.NO, self._lost("not_found", "bucket not found"))
        return verdict

    def delay(self, min_delay: float, jitter: float, lasted: float) -> float:
        """Return the seconds to wait before the next connection.

        The first failure after progress waits `min_delay` only. After a stable connection, a random
        part of a second is added, so that the watches of a restarted gateway do not all return at
        the same moment. Further failures back off.

        Args:
            min_delay: seconds that the gateway asked for.
            jitter: a random number from 0 to 1.
            lasted: seconds that the last connection lasted.
        """
        at_once, self._reconnect_at_once = self._reconnect_at_once, False
        if lasted >= _STABLE_SECONDS:
            self._failures, self._resynced = 0, False
        min_delay = min(min_delay, _MAX_DELAY)
        self._failures += 1
        if self._failures > 1:
            return _BACK_OFF.delay(self._failures - 1, min_delay, jitter)
        if lasted >= _STABLE_SECONDS and not at_once:
            return min_delay + _SPREAD_SECONDS * jitter
        return min_delay
