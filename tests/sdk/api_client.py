"""`Api` by the SDK: the same code for `Client` and `AsyncClient`."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from typing import Any

from jetkv import BucketInfo, Entry, errors
from jetkv import Change as BucketChange
from tests.sdk.api import (
    ENDINGS,
    SECONDS,
    About,
    Change,
    Changed,
    Changes,
    Failed,
    Found,
    Kind,
    known_details,
)

_KINDS: dict[type[errors.JetKVError], Kind] = {
    errors.InvalidArgumentError: Kind.INVALID,
    errors.BucketNotFoundError: Kind.BUCKET_NOT_FOUND,
    errors.KeyNotFoundError: Kind.KEY_NOT_FOUND,
    errors.BucketExistsError: Kind.BUCKET_EXISTS,
    errors.KeyExistsError: Kind.KEY_EXISTS,
    errors.RevisionMismatchError: Kind.REVISION_MISMATCH,
    errors.ValueTooLargeError: Kind.TOO_LARGE,
    errors.WouldLoseDataError: Kind.WOULD_LOSE_DATA,
    errors.CannotBeChangedError: Kind.CANNOT_BE_CHANGED,
    errors.BucketProtectedError: Kind.PROTECTED,
}


@contextmanager
def _translated_errors() -> Iterator[None]:
    try:
        yield
    except errors.WatchLostError as lost:
        raise Failed(ENDINGS[lost.reason], lost.status, {}) from lost
    except errors.JetKVError as error:
        raise Failed(_KINDS[type(error)], error.status, known_details(error.details)) from error


def _found(entry: Entry[Any]) -> Found:
    return Found(entry.key, entry.raw, entry.revision, str(entry.operation), entry.created_at)


def _about(info: BucketInfo) -> About:
    return About(
        info.name,
        info.values,
        info.history,
        None if info.ttl is None else int(info.ttl.total_seconds()),
        info.description,
        info.storage,
        info.created_at,
    )


def _timed(settings: dict[str, Any]) -> dict[str, Any]:
    if "ttl" in settings:
        settings["ttl"] = timedelta(seconds=settings["ttl"])
    return settings


def _changed(change: BucketChange) -> Changed:
    return Changed(_about(change.bucket), list(change.changed), change.created)


class _ClientChanges(Changes):
    def __init__(self, watch: Any) -> None:
        super().__init__()
        self._watch = watch

    @property
    def synced(self) -> bool:
        synced: bool = self._watch.synced
        return synced

    async def _next(self) -> Change:
        with _translated_errors():
            update = await anext(self._watch)
        return Change(update.key, update.raw, update.revision, str(update.operation), update.reason)


class ClientApi:
    """A client whose calls are awaited (`tests.support.clients`); values are bytes."""

    def __init__(self, client: Any) -> None:
        self._client = client

    async def create_bucket(self, name: str, *, ttl: int | None = None, **settings: Any) -> About:
        age = None if ttl is None else timedelta(seconds=ttl)
        with _translated_errors():
            return _about(await self._client.kv().create_bucket(name, ttl=age, **settings))

    async def ensure_bucket(self, name: str, **settings: Any) -> Changed:
        with _translated_errors():
            return _changed(await self._client.kv().ensure_bucket(name, **_timed(settings)))

    async def plan_bucket(self, name: str, **settings: Any) -> Changed:
        with _translated_errors():
            return _changed(await self._client.kv().plan_bucket(name, **_timed(settings)))

    async def buckets(self) -> list[About]:
        with _translated_errors():
            return [_about(found) for found in await self._client.kv().buckets()]

    async def bucket_info(self, name: str) -> About:
        with _translated_errors():
            return _about(await self._client.kv().bucket_info(name))

    async def delete_bucket(self, name: str) -> None:
        with _translated_errors():
            await self._client.kv().delete_bucket(name)

    def _bucket(self, name: str) -> Any:
        return self._client.kv().bucket(name, bytes)

    async def get(self, bucket: str, key: str, **options: Any) -> Found:
        with _translated_errors():
            entry = await self._bucket(bucket).get(key, **options)
        assert entry.value == entry.raw
        return _found(entry)

    async def put(self, bucket: str, key: str, value: bytes) -> int:
        with _translated_errors():
            revision: int = await self._bucket(bucket).put(key, value)
        return revision

    async def create(self, bucket: str, key: str, value: bytes) -> int:
        with _translated_errors():
            revision: int = await self._bucket(bucket).create(key, value)
        return revision

    async def update(self, bucket: str, key: str, value: bytes, revision: int) -> int:
        with _translated_errors():
            new: int = await self._bucket(bucket).update(key, value, revision)
        return new

    async def delete(self, bucket: str, key: str, *, revision: int | None = None) -> None:
        with _translated_errors():
            await self._bucket(bucket).delete(key, revision=revision)

    async def purge(self, bucket: str, key: str, *, revision: int | None = None) -> None:
        with _translated_errors():
            await self._bucket(bucket).purge(key, revision=revision)

    async def keys(self, bucket: str, filter: str | None = None) -> list[str]:
        with _translated_errors():
            keys: list[str] = await self._bucket(bucket).keys(filter)
        return keys

    async def history(self, bucket: str, key: str) -> list[Found]:
        with _translated_errors():
            return [_found(entry) for entry in await self._bucket(bucket).history(key)]

    @asynccontextmanager
    async def watch(self, bucket: str, *filters: str, **options: Any) -> AsyncIterator[Changes]:
        with _translated_errors():
            watch = self._bucket(bucket).watch(*filters, **options)
            async with asyncio.timeout(SECONDS):
                await watch.__aenter__()
        changes = _ClientChanges(watch)
        try:
            yield changes
        finally:
            await watch.aclose()
            await changes.stop()
