"""A store of py-key-value, in a bucket. Needs `jetkv[py-key-value]`.

    from jetkv.integrations.py_key_value import JetKVStore

    store = JetKVStore(url="http://localhost:9123", bucket="mcp")
    await store.put("ada", {"role": "admin"}, collection="users", ttl=60)

FastMCP can keep its data in such a store. docs/integrations.md compares it with py-key-value's
`RedisStore`.
"""

import math
from collections.abc import Sequence
from datetime import datetime
from types import TracebackType

from key_value.aio.errors import ValueTooLargeError as TooLarge
from key_value.aio.stores.base import (
    BaseContextManagerStore,
    BaseDestroyCollectionStore,
    BaseDestroyStore,
    BaseEnumerateKeysStore,
    ManagedEntry,
)

from jetkv._async.client import AsyncClient
from jetkv._core.ttls import MAX_SECONDS
from jetkv.errors import InvalidArgumentError, JetKVError, ValueTooLargeError
from jetkv.integrations._async.store import AsyncStore
from jetkv.integrations._keys import fitting, is_digest, stored_key
from jetkv.integrations._managed_entries import dump, key_of, load
from jetkv.integrations._values import JSON_TYPE

__all__ = ["JetKVStore"]

_MAX_COLLECTION_BYTES = 200
_MAX_KEYS = 10_000
"""How many keys of a collection are listed; the limit of RedisStore."""


class JetKVStore(
    BaseDestroyCollectionStore,
    BaseDestroyStore,
    BaseEnumerateKeysStore,
    BaseContextManagerStore,
):
    """A store in a bucket, for all processes that use the bucket.

    An entry is the JSON document that py-key-value's `RedisStore` writes, under the key
    `collection::key`, so that any other client can read it.

    You can rely on: values expire on the server; any text can be a collection or a key. The first
    call creates the bucket if it is missing.

    You cannot rely on: `put_many` and `delete_many` happening as one. If one raises an error, some
    of the keys may have been written or deleted.

    Errors are those of `jetkv.errors`, but for `SerializationError`, `InvalidTTLError` and
    `ValueTooLargeError` of py-key-value.

    Args:
        url: the gateway's address.
        token: for a gateway with tokens.
        client: a client instead of these, which you close yourself. It belongs to one event loop.
        bucket: the bucket's name.
        default_collection: the collection of calls that name none.

    Raises:
        InvalidArgumentError: an argument is invalid.
    """

    def __init__(
        self,
        *,
        url: str = "http://localhost:9123",
        token: str | None = None,
        client: AsyncClient | None = None,
        bucket: str = "key-value",
        default_collection: str | None = None,
    ) -> None:
        if client is not None and token is not None:
            raise InvalidArgumentError(
                "the token of a client cannot be changed", hint="AsyncClient(url, token=…)"
            )
        self._own: AsyncClient | None = None
        if client is None:
            client = self._own = AsyncClient(url, token=token)
        self._store = AsyncStore(client, bucket)
        super().__init__(
            client_provided_by_user=self._own is None,
            default_collection=default_collection,
            stable_api=True,
        )

    async def close(self) -> None:
        """Close the connections; those of a client that you gave stay open."""
        await super().close()
        if self._own is not None:
            await self._own.aclose()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        handled = await super().__aexit__(exc_type, exc_value, traceback)
        await self.close()
        return handled

    async def _get_managed_entry(self, *, collection: str, key: str) -> ManagedEntry | None:
        found = await self._store.get(_stored(collection, key))
        return None if found is None else load(found.value)

    async def _get_managed_entries(
        self, *, collection: str, keys: Sequence[str]
    ) -> list[ManagedEntry | None]:
        stored = [_stored(collection, key) for key in keys]
        found = await self._store.get_many(stored)
        return [load(found[key]) if key in found else None for key in stored]

    async def _put_managed_entry(
        self, *, collection: str, key: str, managed_entry: ManagedEntry
    ) -> None:
        raw = dump(managed_entry, collection, key)
        seconds = _seconds(managed_entry.ttl)
        try:
            await self._store.put(_stored(collection, key), raw, JSON_TYPE, seconds)
        except ValueTooLargeError as error:
            raise _too_large(error, raw, collection, key) from error

    async def _put_managed_entries(
        self,
        *,
        collection: str,
        keys: Sequence[str],
        managed_entries: Sequence[ManagedEntry],
        ttl: float | None,
        created_at: datetime,  # noqa: ARG002 - each entry has it, too
        expires_at: datetime | None,  # noqa: ARG002 - each entry has it, too
    ) -> None:
        raws = [dump(one, collection, key) for key, one in zip(keys, managed_entries, strict=True)]
        values = [
            (_stored(collection, key), raw, JSON_TYPE) for key, raw in zip(keys, raws, strict=True)
        ]
        results = await self._store.put_many(values, _seconds(ttl))
        for key, raw, result in zip(keys, raws, results, strict=True):
            if isinstance(result, ValueTooLargeError):
                raise _too_large(result, raw, collection, key) from result
            if isinstance(result, JetKVError):
                raise result

    async def _delete_managed_entry(self, *, key: str, collection: str) -> bool:
        return await self._store.delete(_stored(collection, key))

    async def _delete_managed_entries(self, *, keys: Sequence[str], collection: str) -> int:
        results = await self._store.delete_many(_stored(collection, key) for key in keys)
        for result in results:
            if isinstance(result, JetKVError):
                raise result
        return sum(result != 0 for result in results)

    async def _get_collection_keys(self, *, collection: str, limit: int | None = None) -> list[str]:
        prefix = _prefix(collection)
        found = await self._store.keys(prefix, min(limit or _MAX_KEYS, _MAX_KEYS))
        keys = [key.removeprefix(prefix) for key in found]
        # A key that did not fit stands in its document.
        documents = await self._store.get_many(prefix + key for key in keys if is_digest(key))
        named = {key.removeprefix(prefix): key_of(raw) for key, raw in documents.items()}
        names = [named.get(key) if is_digest(key) else key for key in keys]
        return [name for name in names if name is not None]

    async def _delete_collection(self, *, collection: str) -> bool:
        return await self._store.clear(_prefix(collection))

    async def _delete_store(self) -> bool:
        return await self._store.clear("")


def _prefix(collection: str) -> str:
    # Without colons in it, a collection is told from its keys by the first two.
    quoted = collection.replace("%", "%25").replace(":", "%3A")
    return f"{fitting(quoted, _MAX_COLLECTION_BYTES)}::"


def _stored(collection: str, key: str) -> str:
    return stored_key(_prefix(collection), key)


def _seconds(ttl: float | None) -> int | None:
    # The document has the exact time, which py-key-value checks when it reads.
    return None if ttl is None else min(max(math.ceil(ttl), 1), MAX_SECONDS)


def _too_large(error: ValueTooLargeError, raw: bytes, collection: str, key: str) -> TooLarge:
    return TooLarge(size=len(raw), max_size=error.limit_bytes or 0, collection=collection, key=key)
