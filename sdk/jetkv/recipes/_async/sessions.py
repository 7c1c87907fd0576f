"""Sessions of users: data under an id that nobody can guess, with an end."""

import re
import secrets
from collections.abc import Callable
from datetime import timedelta
from typing import Generic, TypeVar

from jetkv._async.bucket import AsyncBucket
from jetkv._async.runtime import MaybeAwaitable, now, resolve, sleep
from jetkv._core.process import ProcessBound
from jetkv._core.retry import CONTENTION, jitter
from jetkv.errors import KeyNotFoundError, OutcomeUnknownError, RevisionMismatchError
from jetkv.recipes._async.view import checked_bucket
from jetkv.recipes._lease import KeyTtl, checked_ttl, key_ttl

__all__ = ["AsyncSessions"]

T = TypeVar("T")

_ID_BYTES = 32
_ID = re.compile(r"[A-Za-z0-9_-]{43}")
_ATTEMPTS = 3


class AsyncSessions(ProcessBound, Generic[T]):
    """Sessions in a bucket, one key for each.

        sessions = AsyncSessions(client.kv().bucket("sessions", Session), ttl=3600)
        id = await sessions.start(Session(user="ada"))
        session = await sessions.get(id)

    You can rely on: an id has 256 random bits. A session ends when the TTL has passed since it was
    last started, touched or updated. A session that has ended never comes back: `touch` and
    `update` write only over a live value. If two updates happen at the same time, both count.

    You cannot rely on: reading renewing a session (`touch` does). If `start` raises an error, the
    session may still be stored, but nobody knows its id. Any client that may list the bucket's keys
    can read all ids: allow that to no other client, and never log the ids.

    Args:
        bucket: a bucket of your data's type, with a TTL or, if you give a `ttl`, with a history of
            1 and TTLs of single values.
        prefix: a text in front of the ids, if the bucket also has other keys.
        ttl: how long a session lives without a touch: seconds or a timedelta. None for the TTL of
            the bucket. The first `start` checks that the bucket fits.

    Raises:
        InvalidArgumentError: `bucket` is not a bucket of this client, or `ttl` is not whole seconds
            from 1.
    """

    def __init__(
        self, bucket: AsyncBucket[T], *, prefix: str = "", ttl: int | timedelta | None = None
    ) -> None:
        self._bucket = checked_bucket(bucket, self)
        self._prefix = prefix
        self._own_ttl = checked_ttl(ttl, "a session")
        self._key_ttl: KeyTtl | None = None

    async def start(self, data: T) -> str:
        """Store a new session, and return its id.

        Raises:
            InvalidArgumentError: neither the sessions nor the bucket have a TTL, the bucket cannot
                give sessions their TTL, or the data does not fit its type.
            OutcomeUnknownError: start another session.
        """
        ttl = (await self._ttl()).own
        id = secrets.token_urlsafe(_ID_BYTES)
        await self._bucket.create(self._prefix + id, data, ttl=ttl)
        return id

    async def get(self, id: str) -> T | None:
        """Return a session's data, or None if there is no such session.

        Raises:
            ValueDecodeError: the stored data does not fit the bucket's type.
        """
        if not _is_id(id):
            return None
        found = await self._bucket.get_or_none(self._prefix + id)
        return None if found is None else found.value

    async def touch(self, id: str) -> bool:
        """Renew a session; return whether there is such a session.

        Raises:
            InvalidArgumentError: as in `start`.
            OutcomeUnknownError: the session may have been renewed.
        """
        if not _is_id(id):
            return False
        ttl = await self._ttl_to_send()
        attempt = 0
        while True:
            attempt += 1
            try:
                await self._bucket.touch(self._prefix + id, ttl)
            except KeyNotFoundError:
                return False
            except OutcomeUnknownError:
                # Another touch does no harm: it renews the session only if there is one.
                if attempt == _ATTEMPTS:
                    raise
            else:
                return True

    async def update(
        self, id: str, fn: Callable[[T], MaybeAwaitable[T]], *, timeout: float = 30.0
    ) -> T | None:
        """Replace a session's data by the result of a function, and renew the session.

        Args:
            id: the session's id.
            fn: takes the data and returns the new data. It may be called several times.
            timeout: seconds after which `update` stops trying again.

        Returns:
            The new data, or None if there is no such session; then nothing is written.

        Raises:
            InvalidArgumentError: as in `start`.
            RevisionMismatchError: other writers were faster each time.
            OutcomeUnknownError: the data may have been written, or may be written later.
        """
        if not _is_id(id):
            return None
        key = self._prefix + id
        ttl = await self._ttl_to_send()
        deadline = now() + timeout
        attempt = 0
        while True:
            attempt += 1
            try:
                found = await self._bucket.get(key)
            except KeyNotFoundError:
                return None
            data = await resolve(fn(found.value))
            try:
                await self._bucket.update(key, data, found.revision, ttl=ttl)
            except RevisionMismatchError:
                delay = CONTENTION.delay(attempt, 0.0, jitter())
                if now() + delay >= deadline:
                    raise
                await sleep(delay)
                continue
            return data

    async def end(self, id: str) -> None:
        """End a session. If there is no such session, this does nothing.

        Raises:
            OutcomeUnknownError: the session may live until its TTL ends; call `end` again.
        """
        if not _is_id(id):
            return
        try:
            await self._bucket.delete(self._prefix + id)
        except OutcomeUnknownError:
            # Deleting twice is safe: an id is never used for another session.
            await self._bucket.delete(self._prefix + id)

    async def _ttl_to_send(self) -> int | None:
        # Only `start` has to know whether the bucket has a TTL.
        return None if self._own_ttl is None else (await self._ttl()).own

    async def _ttl(self) -> KeyTtl:
        if self._key_ttl is None:
            info = await self._bucket.info()
            self._key_ttl = key_ttl(info, self._own_ttl, "a session", replaced=True)
        return self._key_ttl


def _is_id(id: object) -> bool:
    # An id may come from a cookie, so it can be anything.
    return isinstance(id, str) and _ID.fullmatch(id) is not None
