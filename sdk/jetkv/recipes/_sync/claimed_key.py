# Made from sdk/jetkv/recipes/_async/claimed_key.py by `make format`. Edit that file.
"""A key that one of several processes owns, and the outcome of writes that got no answer."""

import dataclasses
import secrets
from collections.abc import Mapping
from typing import Any, TypeGuard

from jetkv._sync.bucket import Bucket
from jetkv.errors import (
    JetKVError,
    KeyExistsError,
    OutcomeUnknownError,
    RevisionMismatchError,
)
from jetkv.models import Entry
from jetkv.recipes._documents import DOCUMENTS
from jetkv.recipes._lease import KeyTtl, Ownership, clock
from jetkv.recipes._sync.view import bucket_view

__all__ = ["ClaimedKey"]

_TRIES = 3
_MIN_TIMEOUT = 0.05

_Document = Entry[Mapping[str, Any]]


class ClaimedKey:
    """A key with a document that names its owner.

    The document's field `by` has a random text that only this object writes. Every write is a
    compare-and-set. A write without an answer may have been applied, or may be applied later. The
    object then reads the key: `by` shows whether the write was applied, and later writes name
    another revision, so that the late one fails.

    Args:
        bucket: the bucket.
        key: the key.
        ttl: when the key expires. One call may take as long.

    Attributes:
        other: the document of the other owner that was seen last.
    """

    def __init__(self, bucket: Bucket[Any], key: str, ttl: KeyTtl) -> None:
        self._bucket = bucket
        self._key = key
        self._ttl = ttl
        self._by = secrets.token_urlsafe(16)
        self._fields: Mapping[str, Any] = {}
        self.other: Mapping[str, Any] = {}

    def acquire(self, fields: Mapping[str, Any]) -> Ownership | None:
        """Create the key if it does not exist; return None if another owner has it.

        Args:
            fields: what the document has beside `by`.

        Raises:
            OutcomeUnknownError: the key may exist without an owner until its TTL ends.
        """
        unknown: OutcomeUnknownError | None = None
        self._fields = fields
        for _ in range(_TRIES):
            written_at = clock()
            try:
                revision = self._view().create(self._key, self._document(fields), ttl=self._ttl.own)
                return Ownership(revision, revision, written_at)
            except KeyExistsError:
                pass
            except OutcomeUnknownError as error:
                unknown = error
            found = self._read(unknown)
            if self._is_own(found):
                # An earlier attempt was applied, at an unknown time. A renewal makes it known.
                ownership = Ownership(found.revision, found.revision, written_at)
                try:
                    return self.renew(ownership, fields)
                except RevisionMismatchError:
                    continue
            if found is not None:
                self.other = found.value
                return None
        if unknown is not None:
            raise unknown
        return None

    def renew(
        self, ownership: Ownership, fields: Mapping[str, Any], *, until: float | None = None
    ) -> Ownership:
        """Write the document again, so that its TTL starts again.

        Args:
            ownership: what `acquire` or the last `renew` returned.
            fields: what the document has beside `by`.
            until: when to give up, by `clock`.

        Raises:
            RevisionMismatchError: the key is no longer owned by this object.
            OutcomeUnknownError: the key may have been renewed.
        """
        problem: JetKVError
        for _ in range(_TRIES):
            written_at = clock()
            try:
                revision = self._write(fields, ownership.revision, until)
                return dataclasses.replace(ownership, revision=revision, written_at=written_at)
            except (RevisionMismatchError, OutcomeUnknownError) as error:
                problem = error
                found = self._read(error, until)
            if not self._is_own(found):
                raise RevisionMismatchError(f"{self._key!r} has another owner now") from problem
            ownership = dataclasses.replace(ownership, revision=found.revision)
            if until is not None and clock() >= until:
                break
        raise _unknown(problem)

    def _write(self, fields: Mapping[str, Any], revision: int, until: float | None) -> int:
        """Write the document over a revision, and return the new one."""
        view, document, ttl = self._view(until), self._document(fields), self._ttl
        if not ttl.keeps_history:
            return view.update(self._key, document, revision, ttl=ttl.own)
        # An update takes no TTL here. A touch gives the value its TTL, and removes older ones.
        if fields != self._fields:
            revision = view.update(self._key, document, revision)
            self._fields = fields
        return (view.touch(self._key, ttl.own, revision=revision)).revision

    def release(
        self, ownership: Ownership, *, unchanged: bool = False, until: float | None = None
    ) -> bool:
        """Delete the key if this object still owns it; return False if it certainly did not.

        Args:
            ownership: what `acquire` or the last `renew` returned.
            unchanged: delete the key only if it is still at that revision.
            until: when to give up, by `clock`.

        Raises:
            OutcomeUnknownError: the key may have been deleted, or may be deleted later.
        """
        problem: JetKVError
        for _ in range(_TRIES):
            try:
                self._view(until).delete(self._key, revision=ownership.revision)
            except (RevisionMismatchError, OutcomeUnknownError) as error:
                problem = error
                found = self._read(error, until)
            else:
                return True
            if not self._is_own(found):
                return isinstance(problem, OutcomeUnknownError)
            if unchanged and found.revision != ownership.revision:
                return False
            ownership = dataclasses.replace(ownership, revision=found.revision)
            if until is not None and clock() >= until:
                break
        raise _unknown(problem)

    def _read(self, problem: JetKVError | None, until: float | None = None) -> _Document | None:
        """Return the stored document. If it cannot be read, an unknown outcome stays unknown."""
        try:
            return self._view(until).get_or_none(self._key)
        except JetKVError as error:
            if isinstance(problem, OutcomeUnknownError):
                raise problem from error
            raise

    def _is_own(
        self, found: Entry[Mapping[str, Any]] | None
    ) -> TypeGuard[Entry[Mapping[str, Any]]]:
        return found is not None and found.value.get("by") == self._by

    def _document(self, fields: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"by": self._by, **fields}

    def _view(self, until: float | None = None) -> Bucket[Mapping[str, Any]]:
        longest = self._ttl.seconds
        timeout = longest if until is None else min(longest, until - clock())
        return bucket_view(self._bucket, DOCUMENTS, timeout=max(timeout, _MIN_TIMEOUT))


def _unknown(problem: JetKVError) -> JetKVError:
    """Return the error to raise for an owned key if writes to it are applied late."""
    if not isinstance(problem, RevisionMismatchError):
        return problem
    error = OutcomeUnknownError(
        f"{problem.message}: an earlier write of the same owner was applied in between",
        hint="repeat the call",
    )
    error.__cause__ = problem
    return error
