# Made from sdk/jetkv/_async/bucket.py by `make format`; edit that one.
"""One bucket: reads, writes, the loop around compare-and-set, watches."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Generic, TypeVar

from jetkv._core import requests
from jetkv._core.answers import (
    check,
    decoder,
    read_entries,
    read_entry,
    read_keys,
    read_revision,
)
from jetkv._core.handles import OfOneProcess
from jetkv._core.retry import CONTENTION, jitter
from jetkv._core.session import WatchSession
from jetkv._sync.runtime import now, resolve, sleep
from jetkv._sync.watch import Watch
from jetkv.codec import Codec
from jetkv.errors import (
    InvalidArgumentError,
    KeyExistsError,
    KeyNotFoundError,
    RevisionMismatchError,
)
from jetkv.models import BucketInfo, Consistency, Entry, Operation

if TYPE_CHECKING:
    from jetkv._sync.client import Client

__all__ = ["Bucket"]

T = TypeVar("T")


class Bucket(OfOneProcess, Generic[T]):
    """A bucket whose values are of type `T`; made by `kv.bucket(name, type)`.

    Any text of 1 to 512 bytes without control characters is a key. Every method raises
    `BucketNotFoundError` when there is no such bucket, `UnavailableError` when the gateway or
    NATS is away, and the other errors of `jetkv.errors` that apply to all calls.
    """

    def __init__(
        self,
        client: "Client",
        name: str,
        codec: Codec[T],
        *,
        within: float | None = None,
    ) -> None:
        self._client = client
        self._within = within
        self._codec = codec
        self._decode = decoder(codec, name)
        self.name = name

    def __repr__(self) -> str:
        return f"<Bucket {self.name!r} of {self._client!r}>"

    def info(self) -> BucketInfo:
        """Return the bucket's description."""
        return self._client.kv().bucket_info(self.name)

    def get(
        self, key: str, *, revision: int | None = None, consistency: Consistency = "strong"
    ) -> Entry[T]:
        """Return the live value of a key, or what it was at a revision.

        Args:
            key: any text of 1 to 512 bytes.
            revision: one that the bucket's history still holds; None = the newest.
            consistency: `strong` sees every write that was acknowledged before; with
                `eventual` any replica may answer, perhaps with an older revision.

        Raises:
            KeyNotFoundError: there is no live value, or none of that revision.
            ValueDecodeError: the stored bytes are not a value of this bucket's type.
        """
        request = requests.get_key(self.name, key, revision, consistency)
        entry = read_entry(self._client._call(request, self._within), request, key, self._decode)
        # Decoded here, so that what does not fit is said where it is asked for.
        _ = entry.value
        return entry

    def get_or_none(
        self, key: str, *, revision: int | None = None, consistency: Consistency = "strong"
    ) -> Entry[T] | None:
        """Return as `get`, or None where that raises `KeyNotFoundError`."""
        try:
            return self.get(key, revision=revision, consistency=consistency)
        except KeyNotFoundError:
            return None

    def exists(self, key: str) -> bool:
        """Return whether a key has a live value."""
        request = requests.get_key(self.name, key)
        try:
            read_entry(self._client._call(request, self._within), request, key, self._decode)
        except KeyNotFoundError:
            return False
        return True

    def put(self, key: str, value: T) -> int:
        """Store a value, whatever is there, and return its revision.

        Raises:
            InvalidArgumentError: the value is not of this bucket's type, or the key is none.
            ValueTooLargeError, BucketFullError: nothing was written.
            OutcomeUnknownError: it may have been written, or may be later.
        """
        request = requests.put_key(self.name, key, value, self._codec, requests.ALWAYS)
        return read_revision(self._client._call(request, self._within), request)

    def create(self, key: str, value: T) -> int:
        """Store a value where there is none, and return its revision.

        Raises:
            KeyExistsError: there is a live value.
            InvalidArgumentError, ValueTooLargeError, BucketFullError, OutcomeUnknownError: as put.
        """
        request = requests.put_key(self.name, key, value, self._codec, requests.IF_ABSENT)
        return read_revision(self._client._call(request, self._within), request)

    def update(self, key: str, value: T, revision: int) -> int:
        """Store a value if the key is at `revision` (compare-and-set); return the new revision.

        Raises:
            RevisionMismatchError: it is not; `current_revision` says where it is.
            InvalidArgumentError, ValueTooLargeError, BucketFullError, OutcomeUnknownError: as put.
        """
        condition = requests.if_at(revision)
        request = requests.put_key(self.name, key, value, self._codec, condition)
        return read_revision(self._client._call(request, self._within), request)

    def delete(self, key: str, *, revision: int | None = None) -> None:
        """Delete a key, leaving a tombstone; its history stays. No error when it is not there.

        Args:
            key: any text of 1 to 512 bytes.
            revision: delete only if the key is at this revision.

        Raises:
            RevisionMismatchError: it is not.
            OutcomeUnknownError: it may have been deleted, or may be later.
        """
        request = requests.delete_key(self.name, key, revision=revision, purge=False)
        check(self._client._call(request, self._within), request, 204)

    def purge(self, key: str, *, revision: int | None = None) -> None:
        """Delete a key and its history. No error when it is not there; raises as `delete`."""
        request = requests.delete_key(self.name, key, revision=revision, purge=True)
        check(self._client._call(request, self._within), request, 204)

    def keys(self, filter: str | None = None) -> list[str]:
        """Return the keys with a live value, sorted by their UTF-8 bytes.

        Args:
            filter: `user.*` (one dot token), `user.>` (the rest), `user:*` (a glob that stops at
                a dot), `user:` (a prefix, as it ends in one of `. : / -`), or one key.

        Raises:
            InvalidArgumentError: the filter breaks a rule.
        """
        request = requests.list_keys(self.name, filter)
        return read_keys(self._client._call(request, self._within), request)

    def history(self, key: str) -> list[Entry[T | None]]:
        """Return the stored revisions of a key, tombstones included, oldest first.

        Raises:
            KeyNotFoundError: nothing is stored of it.
        """
        request = requests.get_history(self.name, key)
        return read_entries(self._client._call(request, self._within), request, self._decode)

    def watch(
        self,
        *filters: str,
        snapshot: bool = False,
        resume_after: int | None = None,
        bucket_created_at: datetime | None = None,
        ignore_deletes: bool = False,
    ) -> Watch[T]:
        """Return an iterator over what happens, as it happens.

        It opens with the first step of a loop, or on entering `with`. It goes on through
        restarts of gateway and NATS, and misses nothing. Leaving a loop over it closes the
        connection; one that you keep by a name is closed by `with` or `close`.

        Args:
            filters: as of `keys`, up to 64; none = all.
            snapshot: begin with the current values; `snapshot()` of the watch returns them all.
                Such a watch heals itself where something may have been missed: it takes a new
                snapshot and returns what changed and what is gone. For that it remembers the keys
                that it returned as live, some 200 bytes each, unless deletes are ignored.
            resume_after: begin with every key that changed since this revision.
            bucket_created_at: of the watch that saw that revision: a bucket that was made anew
                since counts from 1 again, and may have grown past it.
            ignore_deletes: no deletes; a key that goes is then never missed.

        Raises:
            WatchLostError: the bucket was deleted; or something may have been missed, and the
                watch did not begin with a snapshot: begin another one that does.
            InvalidArgumentError: a filter breaks a rule; both snapshot and resume_after.
            UnexpectedAnswerError: what came cannot be read.
        """
        session = WatchSession(
            self.name,
            filters,
            self._decode,
            snapshot=snapshot,
            resume_after=resume_after,
            ignore_deletes=ignore_deletes,
            most=self._client._most,
        )
        if bucket_created_at is not None and (resume_after is None or not bucket_created_at.tzinfo):
            raise InvalidArgumentError(
                "bucket_created_at belongs to a resume_after, and has a time zone",
                hint="both are attributes of a watch",
            )
        return Watch(self._client, self.name, session, bucket_created_at)

    def modify(
        self,
        key: str,
        fn: Callable[[T | None], T],
        *,
        timeout: float = 30.0,
    ) -> Entry[T]:
        """Replace a value by what `fn` makes of it, and let no other writer's change be lost.

        The loop around compare-and-set: read, call `fn`, write if nobody else did, else again.

        Args:
            key: any text of 1 to 512 bytes.
            fn: gets the value, or None where there is none, and returns the new one; it may be
                called several times.
            timeout: seconds after which a loser gives up.

        Raises:
            RevisionMismatchError, KeyExistsError: others were faster all the time.
            InvalidArgumentError: `fn` returned None, as one does that forgets its `return`.
            ValueDecodeError: what is there is not of this bucket's type.
            OutcomeUnknownError: the write may have been applied, or may be later.
        """
        deadline = now() + timeout
        tried = 0
        while True:
            tried += 1
            found = self.get_or_none(key)
            value = resolve(fn(None if found is None else found.value))
            if value is None:
                raise InvalidArgumentError(
                    f"what modify() of {key!r} was given returned None; nothing was written",
                    hint="return the new value; put(key, None) stores a null, delete() removes",
                )
            request = requests.put_key(
                self.name,
                key,
                value,
                self._codec,
                requests.IF_ABSENT if found is None else requests.if_at(found.revision),
            )
            try:
                revision = read_revision(self._client._call(request, self._within), request)
            except (RevisionMismatchError, KeyExistsError):
                delay = CONTENTION.delay(tried, 0.0, jitter())
                if now() + delay >= deadline:
                    raise
                sleep(delay)
                continue
            return self._written(key, request.body or b"", revision)

    def get_or_compute(self, key: str, fn: Callable[[], T]) -> T:
        """Return the value of a key; where there is none, compute and store it.

        Of several who compute at once the first to store wins, and all return its value. When
        `fn` raises, nothing is stored. `jetkv.recipes.cached` also computes once for all threads.

        Args:
            key: any text of 1 to 512 bytes.
            fn: computes the value.

        Raises:
            ValueDecodeError: what is there is not of this bucket's type.
            OutcomeUnknownError: the value may have been stored, or may be later.
        """
        found = self.get_or_none(key)
        if found is not None:
            return found.value
        value = resolve(fn())
        try:
            self.create(key, value)
        except KeyExistsError:
            other = self.get_or_none(key)
            if other is not None:
                return other.value
        return value

    def _written(self, key: str, raw: bytes, revision: int) -> Entry[T]:
        return Entry(key, raw, revision, Operation.PUT, self._decode, datetime.now(UTC))
