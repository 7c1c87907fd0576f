"""What every watch does, whether of one bucket or of several."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Generic, NamedTuple, NoReturn, TypeVar

from jetkv import errors
from jetkv._core.answers import error_of
from jetkv._core.events import Event, EventParser
from jetkv._core.messages import Answer, Broken, Kind, Request, TransportError
from jetkv._core.reported import ReportedKeys, ReportedRevision
from jetkv._core.retry import Resend, Retry, Verdict, judge
from jetkv.models import Update

__all__ = ["SILENCE_SECONDS", "Position", "Received", "Reported", "Session", "SnapshotEnd"]

T = TypeVar("T")

Position = int | str
Reported = ReportedKeys[T] | ReportedRevision

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
    """The snapshot is complete, as of `revision`; 0 for several buckets, which have one each."""

    revision: int = 0


class Received(NamedTuple, Generic[T]):
    """One item, and the position of a reader that has received it.

    Attributes:
        item: an update, or the end of the first snapshot.
        position: a revision; of a watch over several buckets, a bookmark. None inside a new
            snapshot: the reader's position does not change there, because the deletes of the
            snapshot are still to come.
    """

    item: Update[T | None] | SnapshotEnd
    position: Position | None


class Session(ABC, Generic[T]):
    """One watch over as many connections as it takes.

    The caller sends `request()` and passes each chunk of the answer to `feed`. When the answer
    ends, `judge` tells whether to connect again, and `delay` tells when.

    Sometimes the gateway cannot show everything that happened while a connection was down
    (`resync`). A watch that started with a snapshot then takes a new one and returns the
    differences from what it has reported. Before that, the caller must check that each bucket is
    still the same one (`must_check_bucket`).

    Attributes:
        buckets: the names of the buckets.
        snapshot: whether the watch starts with the current values.
        has_fixed_start: whether the watch starts at a point that does not depend on when its first
            connection is made.
        position: of a reader that has received everything; None until the watch has a position.
        synced: whether the first snapshot is complete.
        must_check_bucket: whether the caller must get the description of each bucket and call
            `check_bucket` before the next `request`.
    """

    def __init__(
        self,
        description: str,
        buckets: Sequence[str],
        *,
        snapshot: bool,
        start: Position | None,
        ignore_deletes: bool,
        max_bytes: int,
    ) -> None:
        # Stands for all requests of the watch in the texts of errors.
        self._request = Request("GET", "", Kind.READ, description)
        self.buckets = tuple(buckets)
        self.snapshot = snapshot
        self.has_fixed_start = snapshot or start is not None
        self._ignore_deletes = ignore_deletes
        self._max_bytes = max_bytes
        self._parser = EventParser(max_bytes)
        self._failure: Broken | errors.JetKVError | None = None
        self._failures = 0
        self._started = False
        self._resynced = self._reconnect_at_once = False
        self.position = start
        # Of what has arrived; inside a new snapshot, `position` stays behind.
        self._newest = start
        self.synced = False
        self.must_check_bucket = False

    @property
    def opened(self) -> bool:
        """Whether the watch has a position. From then on it reconnects without a limit."""
        return self._started

    @property
    @abstractmethod
    def resyncing(self) -> bool:
        """Whether the watch is comparing a new snapshot with what it has reported."""

    @abstractmethod
    def request(self, created_at: datetime) -> Request:
        """Return the request of the next connection.

        Args:
            created_at: when the first bucket was created.

        Raises:
            InvalidArgumentError: a filter is no text, or empty.
        """

    @abstractmethod
    def _event(self, event: Event) -> list[Received[T]]:
        """Return the items of one event."""

    @property
    @abstractmethod
    def _place(self) -> str:
        """The watch and its position, for errors."""

    @abstractmethod
    def _start_comparison(self) -> None:
        """Compare what comes next, a new snapshot, with what was reported."""

    def _connecting(self) -> None:
        """Forget what belongs to the last connection."""
        self._parser = EventParser(self._max_bytes)
        self._failure = None

    def check_bucket(self, before: datetime, now: datetime, bucket: str | None = None) -> None:
        """Check that a bucket is still the same one, by when it was created.

        Args:
            before: when it was created, as the watch knew it.
            now: when it was created, as the gateway says now.
            bucket: its name; None for the only one.

        Raises:
            WatchLostError: the bucket was deleted and created again.
        """
        if before != now:
            message = "the bucket was deleted and created again"
            raise self._lost("bucket_deleted", message, bucket or self.buckets[0])
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
                f"{self._place}: the answer has an event that this SDK cannot read: {error}",
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

    def _moved(self, position: Position) -> None:
        """Record the position that an event has brought."""
        if position != self._newest and not self._resynced:
            self._failures = 0
        self._newest = position
        self._started = True
        if not self.resyncing:
            self.position = position

    def _error_frame(self, code: str, message: str, bucket: str, *, heals: bool) -> NoReturn:
        if code == "not_found" and not self._started:
            raise errors.BucketNotFoundError(f"watch of bucket {bucket!r}: {message}", status=404)
        if code == "resync" and heals:
            self._resync(f"the gateway ended the watch: {message}")
        if code in ("not_found", "bucket_deleted", "resync"):
            raise self._lost(code, message, bucket)
        raise Broken(f"the gateway ended the watch: {message}")

    def _resync(self, reason: str) -> NoReturn:
        self._start_comparison()
        self._newest = None
        # The first resync reconnects at once, even after failures. Repeated ones back off.
        self._failures = self._failures if self._resynced else 0
        self._resynced = self.must_check_bucket = self._reconnect_at_once = True
        raise Broken(reason)

    def _lost(self, code: str, message: str, bucket: str) -> errors.WatchLostError:
        hint = "start another watch with snapshot=True"
        if code == "resync":
            hint += ": it takes a new snapshot by itself when this happens"
        position = self.position
        return errors.WatchLostError(
            f"{self._place}: {message}",
            hint=hint,
            reason="bucket_deleted" if code == "not_found" else code,
            last_revision=position if isinstance(position, int) else None,
            bookmark=position if isinstance(position, str) else None,
            bucket=bucket,
        )

    def judge(
        self, outcome: Answer | TransportError, address: object, bucket: str | None = None
    ) -> Verdict:
        """Return the verdict on a connection that failed or ended.

        Args:
            outcome: how it ended.
            address: the gateway's.
            bucket: the one that was asked about; None for the watch itself.
        """
        request = self._request
        if bucket is not None:
            request = replace(request, description=f"watch of bucket {bucket!r}")
        verdict = judge(request, outcome, address)
        if verdict.error is None and isinstance(outcome, Answer):
            verdict = Verdict(Resend.NO, error_of(outcome, request))
        if self._started and isinstance(verdict.error, errors.BucketNotFoundError):
            verdict = Verdict(
                Resend.NO, self._lost("not_found", "bucket not found", bucket or self.buckets[0])
            )
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
