"""A watch as a state machine: what to ask for, what came, whether it can go on.

It asks for an event stream rather than a WebSocket: the same frames, and its bookmarks say where
a watch stands before anything has happened, so that one that breaks off early loses nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, NamedTuple, NoReturn, TypeVar

from jetkv import errors
from jetkv._core import fields
from jetkv._core.answers import Decode, brief, error_of, read_update
from jetkv._core.events import Event, EventParser
from jetkv._core.known import KnownKeys, KnownRevision
from jetkv._core.requests import open_watch
from jetkv._core.retry import Again, Retry, Verdict, judge
from jetkv._core.wire import MOST_BYTES, Answer, Broken, Kind, Request, TransportError
from jetkv.models import Update

__all__ = ["SILENCE_SECONDS", "Came", "SnapshotEnd", "WatchSession"]

T = TypeVar("T")

SILENCE_SECONDS = 40.0
"""After so long without a byte a connection is dead: a gateway sends a comment every 15 s."""

_BACK_OFF = Retry(first_delay=0.1, longest_delay=5.0)
_GOOD_SECONDS = 5.0
_SPREAD_SECONDS = 1.0
"""In which those come back whose connections have stood: where a gateway stops, all of its watches
end in the same moment."""
_LONGEST_DELAY = 30.0  # whatever somebody on the way asks for: nobody sees that a watch sleeps


@dataclass(frozen=True, slots=True)
class SnapshotEnd:
    """The snapshot is complete, as of `revision`."""

    revision: int


class Came(NamedTuple, Generic[T]):
    """What came, and where a reader stands who has it.

    Attributes:
        place: None for a part of a new snapshot that is not complete: the reader stands where he
            stood, since what is gone has yet to be told.
    """

    item: Update[T | None] | SnapshotEnd
    place: int | None


class WatchSession(Generic[T]):
    """One watch over as many connections as it takes.

    A driver opens `request()` and feeds what it reads; when that ends, `judge` says whether there
    is a next one, and `delay` when.

    Where a resume cannot show all that happened (`resync`), one that began with a snapshot takes
    another, and hands on what differs from what it has reported. Whether it is still the same
    bucket is asked first: see `in_doubt`.

    Attributes:
        snapshot: it begins with the current values.
        definite: where it begins does not depend on when its first connection stands.
        last_revision: where a reader stands who has all that came, None before it has begun.
        synced: the first snapshot is complete.
        in_doubt: the bucket's description is needed, see `check_bucket`.
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
        most: int = MOST_BYTES,
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
        self._most = most
        self._parser = EventParser(self._most)
        self._failure: Broken | errors.JetKVError | None = None
        self._failures = 0
        self._begun = False
        self._known: KnownKeys[T] | KnownRevision | None = None
        if snapshot:
            self._known = KnownRevision() if ignore_deletes else KnownKeys(decode)
        self._strained = self._at_once = False
        self._position: int | None = resume_after
        self.last_revision: int | None = resume_after
        self.synced = False
        self.in_doubt = False

    def request(self, created_at: datetime) -> Request:
        """Return the request of the next connection.

        Args:
            created_at: of the bucket, when the watch began: a later one of its name is another.

        Raises:
            InvalidArgumentError: a filter is no text.
        """
        self._parser = EventParser(self._most)
        self._failure = None
        return open_watch(
            self._bucket,
            self._filters,
            snapshot=self.snapshot,
            resume_after=self._resume_after if not self._begun else None,
            last_seen=self._position if self._begun else None,
            created_at=created_at,
            ignore_deletes=self._ignore_deletes,
        )

    @property
    def opened(self) -> bool:
        """Whether it knows where it stands: from then on, trouble is waited out."""
        return self._begun

    @property
    def healing(self) -> bool:
        """Whether a new snapshot is being compared with what was reported."""
        return self._known is not None and self._known.healing

    def check_bucket(self, before: datetime, now: datetime) -> None:
        """Settle the doubt, with when the bucket was made as it was known, and as it is now.

        Raises:
            WatchLostError: it is another one.
        """
        if before != now:
            raise self._lost("bucket_deleted", "the bucket is another one by now")
        self.in_doubt = False

    def feed(self, chunk: bytes) -> list[Came[T]]:
        """Return what a chunk brings; `check` says whether its stream goes on."""
        found: list[Came[T]] = []
        try:
            for event in self._parser.feed(chunk):
                found += self._take(event)
        except (Broken, errors.JetKVError) as failure:
            self._failure = failure
        except ValueError as error:
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

    def _take(self, event: Event) -> list[Came[T]]:
        came = (
            []
            if event.data is None
            else self._frame(fields.document(event.data, fields.ENTRY_VALUES))
        )
        if event.id is not None and event.id.isascii() and event.id.isdigit():
            # Only now: what came before the id belongs to it.
            place = max(fields.whole({"id": int(event.id[:21])}, "id"), self._position or 0)
            if place != self._position and not self._strained:
                self._failures = 0
            self._position = place
            self._begun = True
            if not self.healing:
                self.last_revision = place
        return came

    def _frame(self, frame: dict[str, Any]) -> list[Came[T]]:
        kind = fields.text(frame, "type")
        if kind == "kv_update":
            return self._update(read_update(frame, self._decode))
        if kind == "kv_snapshot_end":
            return self._snapshot_end(fields.revision(frame, 0))
        if kind == "error":
            self._ended(str(frame.get("code", "")), brief(str(frame.get("message", ""))))
        return []

    def _update(self, update: Update[T | None]) -> list[Came[T]]:
        if update.revision <= (self._position or 0):
            return []
        if self._known is not None and not self._known.is_news(update):
            return []
        return [Came(update, None if self.healing else update.revision)]

    def _snapshot_end(self, revision: int) -> list[Came[T]]:
        if self._known is not None and self._known.is_set_back(revision):
            self._heal(f"the bucket was set back to revision {revision}")
        gone = [] if self._known is None else self._known.complete(revision)
        came: list[Came[T]] = [Came(update, None) for update in gone]
        if came:
            came[-1] = came[-1]._replace(place=revision)
        if not self.synced:
            self.synced = True
            came.append(Came(SnapshotEnd(revision), revision))
        return came

    def _ended(self, code: str, message: str) -> None:
        if code == "not_found" and not self._begun:
            raise errors.BucketNotFoundError(
                f"watch of bucket {self._bucket!r}: {message}", status=404
            )
        if code == "resync" and self._known is not None:
            self._heal(f"the gateway ended the watch: {message}")
        if code in ("not_found", "bucket_deleted", "resync"):
            raise self._lost(code, message)
        raise Broken(f"the gateway ended the watch: {message}")

    def _heal(self, reason: str) -> NoReturn:
        assert self._known is not None
        self._known.doubt()
        self._position = None
        # At once, whatever it took to come back; one after the other, later and later.
        self._failures = self._failures if self._strained else 0
        self._strained = self.in_doubt = self._at_once = True
        raise Broken(reason)

    def _lost(self, code: str, message: str) -> errors.WatchLostError:
        hint = "begin another one with snapshot=True"
        if code == "resync":
            hint += ", which takes a new snapshot by itself when this happens"
        return errors.WatchLostError(
            f"watch of bucket {self._bucket!r} after revision {self.last_revision}: {message}",
            hint=hint,
            reason="bucket_deleted" if code == "not_found" else code,
            last_revision=self.last_revision,
        )

    def judge(self, outcome: Answer | TransportError, address: object) -> Verdict:
        """Return what a connection that did not stand, or stands no more, came to."""
        verdict = judge(self._described, outcome, address)
        if verdict.error is None and isinstance(outcome, Answer):
            verdict = Verdict(Again.NO, error_of(outcome, self._described))
        if self._begun and isinstance(verdict.error, errors.BucketNotFoundError):
            verdict = Verdict(Again.NO, self._lost("not_found", "bucket not found"))
        return verdict

    def delay(self, at_least: float, jitter: float, stood: float) -> float:
        """Return the seconds to wait before the next connection.

        None after one that has brought something; after one that has stood, up to a second by
        chance, so that thousands that a restart has ended do not come back in one moment.

        Args:
            jitter: from 0 to 1.
            stood: seconds for which the last one did.
        """
        at_once, self._at_once = self._at_once, False
        if stood >= _GOOD_SECONDS:
            self._failures, self._strained = 0, False
        at_least = min(at_least, _LONGEST_DELAY)
        self._failures += 1
        if self._failures > 1:
            return _BACK_OFF.delay(self._failures - 1, at_least, jitter)
        if stood >= _GOOD_SECONDS and not at_once:
            return at_least + _SPREAD_SECONDS * jitter
        return at_least
