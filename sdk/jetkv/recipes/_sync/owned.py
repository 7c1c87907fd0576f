# Made from sdk/jetkv/recipes/_async/owned.py by `make format`; edit that one.
"""A key that one of many holds, and what became of writes that got no answer."""

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
from jetkv.recipes._lease import Hold, clock
from jetkv.recipes._sync.view import bucket_view

__all__ = ["Owned"]

_TRIES = 3
_SHORTEST_CALL = 0.05


class Owned:
    """A key under which a document says who holds it: `by`, a text that nobody else writes.

    Every write is a compare-and-set. One without an answer may have been applied, or may be
    later: reading who holds the key settles it, and later ones meet another revision.

    Args:
        seconds: that one call may take at most.

    Attributes:
        other: the document of whoever was last seen to hold it instead.
    """

    def __init__(self, bucket: Bucket[Any], key: str, seconds: float) -> None:
        self._bucket = bucket
        self._key = key
        self._seconds = seconds
        self._by = secrets.token_urlsafe(16)
        self.other: Mapping[str, Any] = {}

    def take(self, facts: Mapping[str, Any]) -> Hold | None:
        """Take the key if nobody has it, and say with what; None when somebody else has.

        Raises:
            OutcomeUnknownError: it may be taken, for nobody, until its time is up.
        """
        unknown: OutcomeUnknownError | None = None
        for _ in range(_TRIES):
            since = clock()
            try:
                revision = self._view().create(self._key, self._document(facts))
                return Hold(revision, revision, since)
            except KeyExistsError:
                pass
            except OutcomeUnknownError as error:
                unknown = error
            found = self._settled(unknown)
            if self._ours(found):
                # An earlier try was applied. Nobody knows when, so its time is counted anew.
                hold = Hold(found.revision, found.revision, since)
                try:
                    return self.renew(hold, facts)
                except RevisionMismatchError:
                    continue
            if found is not None:
                self.other = found.value
                return None
        if unknown is not None:
            raise unknown
        return None

    def renew(self, hold: Hold, facts: Mapping[str, Any], *, until: float | None = None) -> Hold:
        """Write the document anew, so that its time begins again.

        Args:
            until: of `clock`, when to give up.

        Raises:
            RevisionMismatchError: it is not held any more.
            OutcomeUnknownError: it may have been renewed.
        """
        problem: JetKVError
        for _ in range(_TRIES):
            since = clock()
            try:
                revision = self._view(until).update(self._key, self._document(facts), hold.revision)
                return dataclasses.replace(hold, revision=revision, since=since)
            except (RevisionMismatchError, OutcomeUnknownError) as error:
                problem = error
                found = self._settled(error, until)
            if not self._ours(found):
                raise RevisionMismatchError(f"{self._key!r} is not held any more") from problem
            hold = dataclasses.replace(hold, revision=found.revision)
            if until is not None and clock() >= until:
                break
        raise _still_unknown(problem)

    def drop(self, hold: Hold, *, strict: bool = False, until: float | None = None) -> bool:
        """Delete the key if it is still held; return False when it certainly was not.

        Args:
            strict: what its holder has written since stays, too.
            until: of `clock`, when to give up.

        Raises:
            OutcomeUnknownError: it may have been deleted, or may be later.
        """
        problem: JetKVError
        for _ in range(_TRIES):
            try:
                self._view(until).delete(self._key, revision=hold.revision)
            except (RevisionMismatchError, OutcomeUnknownError) as error:
                problem = error
                found = self._settled(error, until)
            else:
                return True
            if not self._ours(found):
                return isinstance(problem, OutcomeUnknownError)
            if strict and found.revision != hold.revision:
                return False
            hold = dataclasses.replace(hold, revision=found.revision)
            if until is not None and clock() >= until:
                break
        raise _still_unknown(problem)

    def _settled(
        self, problem: JetKVError | None, until: float | None = None
    ) -> Entry[Mapping[str, Any]] | None:
        """Return what is there; where that cannot be read, an unknown write stays unknown."""
        try:
            return self._view(until).get_or_none(self._key)
        except JetKVError as error:
            if isinstance(problem, OutcomeUnknownError):
                raise problem from error
            raise

    def _ours(self, found: Entry[Mapping[str, Any]] | None) -> TypeGuard[Entry[Mapping[str, Any]]]:
        return found is not None and found.value.get("by") == self._by

    def _document(self, facts: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"by": self._by, **facts}

    def _view(self, until: float | None = None) -> Bucket[Mapping[str, Any]]:
        seconds = self._seconds if until is None else min(self._seconds, until - clock())
        return bucket_view(self._bucket, DOCUMENTS, timeout=max(seconds, _SHORTEST_CALL))


def _still_unknown(problem: JetKVError) -> JetKVError:
    """Return what is raised of a key that is held while writes to it come late."""
    if not isinstance(problem, RevisionMismatchError):
        return problem
    error = OutcomeUnknownError(
        f"{problem.message}: an earlier write of the same holder came in between",
        hint="do it again",
    )
    error.__cause__ = problem
    return error
