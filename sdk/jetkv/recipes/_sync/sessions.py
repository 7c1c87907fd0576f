# Made from sdk/jetkv/recipes/_async/sessions.py by `make format`; edit that one.
"""Sessions of users: data under an id that nobody can guess, gone after some time."""

import re
import secrets
from collections.abc import Callable
from typing import Generic, TypeVar

from jetkv._core.process import ProcessBound
from jetkv._core.retry import CONTENTION, jitter
from jetkv._sync.bucket import Bucket
from jetkv._sync.runtime import now, resolve, sleep
from jetkv.errors import KeyNotFoundError, OutcomeUnknownError, RevisionMismatchError
from jetkv.recipes._documents import Raw
from jetkv.recipes._lease import ttl_of
from jetkv.recipes._sync.view import bucket_view, checked_bucket

__all__ = ["Sessions"]

T = TypeVar("T")

_ID_BYTES = 32
_ID = re.compile(r"[A-Za-z0-9_-]{43}")
_TRIES = 3


class Sessions(ProcessBound, Generic[T]):
    """Sessions in a bucket, one key each.

        sessions = Sessions(client.kv().bucket("sessions", Session))  # made with a ttl
        id = sessions.start(Session(user="ada"))
        session = sessions.get(id)

    Guaranteed: ids are of 256 random bits; a session ends the bucket's TTL after it was last
    started, touched or updated; one that has ended never comes back, since `touch` and `update`
    write only over the revision that they read; of two updates at once both count.

    Not guaranteed: that reading renews (`touch` does); that a session that `start` failed to
    return is not stored, but then nobody knows its id. Whoever may list the bucket's keys has all
    ids: give that right to nobody else, and never log them.

    Args:
        bucket: of the type of your data, made with a ttl, which is how long a session lives
            without a touch; that it has one is checked once.
        prefix: in front of the ids, where the bucket holds other things, too.
    """

    def __init__(self, bucket: Bucket[T], *, prefix: str = "") -> None:
        self._bucket = checked_bucket(bucket, self)
        self._raw = bucket_view(bucket, Raw(bucket.codec.content_type))
        self._prefix = prefix
        self._checked = False

    def start(self, data: T) -> str:
        """Store a new session, and return its id.

        Raises:
            InvalidArgumentError: the bucket has no TTL, or the data is not of its type.
            OutcomeUnknownError: start another one.
        """
        if not self._checked:
            ttl_of(self._bucket.info(), "a session")
            self._checked = True
        id = secrets.token_urlsafe(_ID_BYTES)
        self._bucket.create(self._prefix + id, data)
        return id

    def get(self, id: str) -> T | None:
        """Return a session's data; None where it has ended, or there never was one.

        Raises:
            ValueDecodeError: what is stored is not of the bucket's type.
        """
        if not _is_id(id):
            return None
        found = self._bucket.get_or_none(self._prefix + id)
        return None if found is None else found.value

    def touch(self, id: str) -> bool:
        """Renew a session's time, and return whether there is one.

        Raises:
            OutcomeUnknownError: it may have been renewed, or not.
        """
        if not _is_id(id):
            return False
        key = self._prefix + id
        first: int | None = None
        tried = 0
        while True:
            found = self._raw.get_or_none(key)
            if found is None:
                return False
            if first is not None and found.revision != first:
                # Somebody has written it since: that renewed it as well.
                return True
            first = found.revision
            tried += 1
            try:
                self._raw.update(key, found.value, found.revision)
            except (RevisionMismatchError, OutcomeUnknownError):
                if tried == _TRIES:
                    raise
            else:
                return True

    def update(self, id: str, fn: Callable[[T], T], *, timeout: float = 30.0) -> T | None:
        """Replace a session's data by what `fn` makes of it, renew its time, and return the data.

        Args:
            id: of the session.
            fn: gets the data; it may be called several times.
            timeout: seconds after which a loser gives up.

        Returns:
            None where the session has ended; nothing is written then.

        Raises:
            RevisionMismatchError: others were faster all the time.
            OutcomeUnknownError: it may have been updated, or may be later.
        """
        if not _is_id(id):
            return None
        key = self._prefix + id
        deadline = now() + timeout
        tried = 0
        while True:
            tried += 1
            try:
                found = self._bucket.get(key)
            except KeyNotFoundError:
                return None
            data = resolve(fn(found.value))
            try:
                self._bucket.update(key, data, found.revision)
            except RevisionMismatchError:
                delay = CONTENTION.delay(tried, 0.0, jitter())
                if now() + delay >= deadline:
                    raise
                sleep(delay)
                continue
            return data

    def end(self, id: str) -> None:
        """End a session; nothing happens where it has ended.

        Raises:
            OutcomeUnknownError: it may live on until its time is up; end it again.
        """
        if not _is_id(id):
            return
        try:
            self._bucket.delete(self._prefix + id)
        except OutcomeUnknownError:
            # An id is used once: whatever became of the first, a second deletes nothing else.
            self._bucket.delete(self._prefix + id)


def _is_id(id: object) -> bool:
    # Ids come from cookies, so anything may come.
    return isinstance(id, str) and _ID.fullmatch(id) is not None
