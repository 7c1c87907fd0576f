# Made from sdk/jetkv/_async/entries.py by `make format`. Edit that file.
"""Reads and writes of one key at a time."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Generic, TypeVar

from jetkv._core import requests
from jetkv._core.answers import (
    check_status,
    decoder,
    read_entries,
    read_entry,
    read_revision,
    read_touched,
)
from jetkv._core.process import ProcessBound
from jetkv._core.retry import CONTENTION, jitter
from jetkv._sync.endpoint import Endpoint
from jetkv._sync.runtime import now, resolve, sleep
from jetkv.codec import Codec
from jetkv.errors import (
    InvalidArgumentError,
    KeyExistsError,
    KeyNotFoundError,
    RevisionMismatchError,
)
from jetkv.models import TTL, Consistency, Entry, Operation, Touched

__all__ = ["Entries"]

T = TypeVar("T")


class Entries(ProcessBound, Generic[T]):
    """The methods of a bucket that read or write one key; `Bucket` adds those for many."""

    def __init__(self, endpoint: Endpoint, name: str, codec: Codec[T]) -> None:
        self._endpoint = endpoint
        self._decode = decoder(codec, name)
        self.name = name
        self.codec = codec

    def get(
        self, key: str, *, revision: int | None = None, consistency: Consistency = "strong"
    ) -> Entry[T]:
        """Return the value of a key, now or at a revision.

        Args:
            key: 1 to 512 bytes of text.
            revision: a revision that the bucket's history still has; None for the newest.
            consistency: `strong` sees every write that was acknowledged before the call. With
                `eventual` any replica may answer, and the value may be older.

        Raises:
            KeyNotFoundError: the key has no value, or the history does not have that revision.
            ValueDecodeError: the stored bytes do not fit the bucket's type.
        """
        request = requests.get_key(self.name, key, revision, consistency)
        entry = read_entry(self._endpoint.call(request), request, key, self._decode)
        # Decodes the value here, so that `get` itself raises a ValueDecodeError.
        _ = entry.value
        return entry

    def get_or_none(
        self, key: str, *, revision: int | None = None, consistency: Consistency = "strong"
    ) -> Entry[T] | None:
        """Do what `get` does, but return None where `get` raises `KeyNotFoundError`."""
        try:
            return self.get(key, revision=revision, consistency=consistency)
        except KeyNotFoundError:
            return None

    def exists(self, key: str) -> bool:
        """Return whether a key has a value, of whatever type."""
        request = requests.get_key(self.name, key)
        try:
            read_entry(self._endpoint.call(request), request, key, self._decode)
        except KeyNotFoundError:
            return False
        return True

    def put(self, key: str, value: T, *, ttl: TTL | None = None) -> int:
        """Store a value, whether or not the key has one, and return its revision.

        Args:
            key: 1 to 512 bytes of text.
            value: a value of the bucket's type.
            ttl: when the value expires: seconds from 1, a timedelta, or `jetkv.NEVER`. None for the
                bucket's TTL: a value does not inherit the TTL of the value that it replaces. In a
                bucket with a `history` above 1, only `create` and `touch` take a TTL.

        Raises:
            InvalidArgumentError: the key is invalid, the value does not fit the bucket's type, or
                the TTL is not whole seconds.
            BucketUnsuitableError: the bucket or its server does not support this TTL; the error's
                `shortest_ttl` may have the shortest TTL that it supports.
            ValueTooLargeError, BucketFullError: nothing was written.
            OutcomeUnknownError: the value may have been written, or may be written later.
        """
        request = requests.put_key(self.name, key, value, self.codec, ttl=ttl)
        return read_revision(self._endpoint.call(request), request)

    def create(self, key: str, value: T, *, ttl: TTL | None = None) -> int:
        """Store a value if the key has none, and return its revision.

        Args:
            key: 1 to 512 bytes of text.
            value: a value of the bucket's type.
            ttl: as in `put`. In a bucket with a `history` above 1, a create with a TTL removes the
                tombstones of the key.

        Raises:
            KeyExistsError: the key has a value.
            InvalidArgumentError, BucketUnsuitableError, ValueTooLargeError, BucketFullError,
                OutcomeUnknownError: as in `put`.
        """
        request = requests.put_key(self.name, key, value, self.codec, requests.IF_ABSENT, ttl)
        return read_revision(self._endpoint.call(request), request)

    def update(self, key: str, value: T, revision: int, *, ttl: TTL | None = None) -> int:
        """Store a value if the key is at `revision` (compare-and-set), and return the new revision.

        Args:
            key: 1 to 512 bytes of text.
            value: a value of the bucket's type.
            revision: the revision that the key must be at.
            ttl: as in `put`.

        Raises:
            RevisionMismatchError: the key is at another revision, see its `current_revision`.
            InvalidArgumentError, BucketUnsuitableError, ValueTooLargeError, BucketFullError,
                OutcomeUnknownError: as in `put`.
        """
        condition = requests.if_revision(revision)
        request = requests.put_key(self.name, key, value, self.codec, condition, ttl)
        return read_revision(self._endpoint.call(request), request)

    def touch(self, key: str, ttl: TTL | None = None, *, revision: int | None = None) -> Touched:
        """Renew a value: its TTL starts again. The value stays as it is.

        It is one conditional write, so it never brings back a value that has expired or was
        replaced. In a bucket with a `history` above 1, it removes the older revisions of the key.

        Args:
            key: 1 to 512 bytes of text.
            ttl: the new TTL: seconds from 1, a timedelta, or `jetkv.NEVER`. None for the value's
                own TTL, or else the bucket's.
            revision: renew the value only if the key is at this revision.

        Raises:
            KeyNotFoundError: the key has no value.
            RevisionMismatchError: the key is at another revision, or has no value.
            BucketUnsuitableError: as in `put`; or there is no TTL: neither as an argument, nor of
                the value or the bucket.
            InvalidArgumentError: the key or the revision is invalid, or the TTL is not whole
                seconds.
            OutcomeUnknownError: the value may have been renewed, or may be renewed later; call
                `touch` again.
        """
        request = requests.touch_key(self.name, key, ttl, revision)
        return read_touched(self._endpoint.call(request), request)

    def delete(self, key: str, *, revision: int | None = None) -> None:
        """Delete a key: write a tombstone and keep the history. A key without a value is no error.

        Args:
            key: 1 to 512 bytes of text.
            revision: delete the key only if it is at this revision.

        Raises:
            RevisionMismatchError: the key is at another revision.
            OutcomeUnknownError: the key may have been deleted, or may be deleted later.
        """
        request = requests.delete_key(self.name, key, revision=revision, purge=False)
        check_status(self._endpoint.call(request), request, 204)

    def purge(self, key: str, *, revision: int | None = None) -> None:
        """Delete a key and its history. Arguments and errors are those of `delete`."""
        request = requests.delete_key(self.name, key, revision=revision, purge=True)
        check_status(self._endpoint.call(request), request, 204)

    def history(self, key: str) -> list[Entry[T | None]]:
        """Return the stored revisions of a key, oldest first, tombstones included.

        Raises:
            KeyNotFoundError: nothing is stored under the key.
        """
        request = requests.get_history(self.name, key)
        return read_entries(self._endpoint.call(request), request, self._decode)

    def modify(
        self,
        key: str,
        fn: Callable[[T | None], T],
        *,
        ttl: TTL | None = None,
        timeout: float = 30.0,
    ) -> Entry[T]:
        """Replace a value by the result of a function, without losing another writer's change.

        It reads the value, calls `fn`, and writes the result if the key is still at the same
        revision. If another writer was faster, it starts again.

        Args:
            key: 1 to 512 bytes of text.
            fn: takes the value, or None if the key has none, and returns the new value. It may be
                called several times.
            ttl: the TTL of the new value, as in `put`. It does not inherit that of the old one.
            timeout: seconds after which `modify` stops trying again.

        Raises:
            RevisionMismatchError, KeyExistsError: another writer was faster each time.
            InvalidArgumentError: `fn` returned None; perhaps it lacks a `return`.
            BucketUnsuitableError: as in `put`.
            ValueDecodeError: the stored bytes do not fit the bucket's type.
            OutcomeUnknownError: the value may have been written, or may be written later.
        """
        deadline = now() + timeout
        attempt = 0
        while True:
            attempt += 1
            found = self.get_or_none(key)
            value = resolve(fn(None if found is None else found.value))
            if value is None:
                raise InvalidArgumentError(
                    f"the function that modify() called for {key!r} returned None; nothing was "
                    "written",
                    hint="return the new value; use put(key, None) to store null, or delete()",
                )
            request = requests.put_key(
                self.name,
                key,
                value,
                self.codec,
                requests.IF_ABSENT if found is None else requests.if_revision(found.revision),
                ttl,
            )
            try:
                revision = read_revision(self._endpoint.call(request), request)
            except (RevisionMismatchError, KeyExistsError):
                delay = CONTENTION.delay(attempt, 0.0, jitter())
                if now() + delay >= deadline:
                    raise
                sleep(delay)
                continue
            raw = request.body or b""
            return Entry(key, raw, revision, Operation.PUT, self._decode, datetime.now(UTC))

    def get_or_compute(self, key: str, fn: Callable[[], T], *, ttl: TTL | None = None) -> T:
        """Return the value of a key; if it has none, compute and store one.

        If several callers compute at the same time, the first to store wins, and all of them
        return its value. If `fn` raises an error, nothing is stored. `jetkv.recipes.cached` also
        makes sure that the threads of a process compute a value only once.

        Args:
            key: 1 to 512 bytes of text.
            fn: returns the value to store.
            ttl: the TTL of a value that is stored, as in `create`.

        Raises:
            BucketUnsuitableError: as in `put`; `fn` was called.
            ValueDecodeError: the stored bytes do not fit the bucket's type.
            OutcomeUnknownError: the value may have been stored, or may be stored later.
        """
        found = self.get_or_none(key)
        if found is not None:
            return found.value
        value = resolve(fn())
        try:
            self.create(key, value, ttl=ttl)
        except KeyExistsError:
            other = self.get_or_none(key)
            if other is not None:
                return other.value
        return value
