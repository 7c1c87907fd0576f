"""A cache of cachelib, in a bucket. Needs `jetkv[cachelib]`.

    from jetkv.integrations.cachelib import JetKVCache

    cache = JetKVCache("http://localhost:9123", "cache")
    cache.set("user:1", {"name": "Ada"}, timeout=60)

Flask-Session takes such a cache as `SESSION_CACHELIB`; for Flask-Caching, see
`jetkv.integrations.flask_caching`. docs/integrations.md compares it with cachelib's `RedisCache`.
"""

import datetime as dt
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, get_args

from cachelib.base import BaseCache
from cachelib.serializers import BaseSerializer

from jetkv._sync.client import Client
from jetkv.errors import InvalidArgumentError, JetKVError
from jetkv.integrations._cachelib_serializer import JetKVSerializer, content_type
from jetkv.integrations._keys import stored_key
from jetkv.integrations._soft import OnError, Soft
from jetkv.integrations._sync.store import Store
from jetkv.integrations._turns import Turns

__all__ = ["JetKVCache", "JetKVSerializer"]


class JetKVCache(BaseCache):
    """A cache in a bucket, for all threads and processes that use the bucket.

    You can rely on: `add` has one winner; `inc` and `dec` count every call once (a compare-and-set)
    and keep the value's timeout; values expire on the server; any text can be a key. The first call
    creates the bucket if it is missing. Threads and forked children may share a cache.

    You cannot rely on: `set_many` and `delete_many` happening as one. Anybody who can write to the
    bucket can run code in your process, because values may be pickles: set
    `cache.serializer = cachelib.serializers.JSONSerializer()` to prevent that.

    Args:
        client: the gateway's address, or a client, which you close yourself.
        bucket: the bucket's name. A bucket for caches has a `history` of 1 and no TTL.
        default_timeout: seconds or a timedelta; 0 for ever.
        key_prefix: a text in front of every key, or a function that returns it. `clear` deletes the
            keys with this prefix; without one, all keys of the bucket.
        ignore_delete_many_errors: if False, `delete_many` raises a RuntimeError for keys that could
            not be deleted.
        token: for a gateway with tokens, if `client` is an address.
        on_error: `raise` raises a `JetKVError`. With `miss`, a cache whose gateway is away finds
            nothing, stores nothing, and does not wait; so do values that are too large.

    Raises:
        InvalidArgumentError: an argument is invalid.
    """

    serializer: BaseSerializer = JetKVSerializer()

    def __init__(
        self,
        client: Client | str = "http://localhost:9123",
        bucket: str = "cache",
        *,
        default_timeout: int | dt.timedelta = 300,
        key_prefix: str | Callable[[], str] | None = None,
        ignore_delete_many_errors: bool = True,
        token: str | None = None,
        on_error: OnError = "raise",
    ) -> None:
        super().__init__(default_timeout, ignore_delete_many_errors)
        if on_error not in get_args(OnError):
            raise InvalidArgumentError(f"on_error must be 'raise' or 'miss', not {on_error!r}")
        if isinstance(client, Client) and token is not None:
            raise InvalidArgumentError(
                "the token of a client cannot be changed", hint="Client(url, token=…)"
            )
        self._own: Client | None = None
        if not isinstance(client, Client):
            client = self._own = Client(client, token=token)
        self._store = Store(client, bucket, quick=on_error == "miss")
        self._soft = Soft(bucket, self._store.endpoint.transport, on_error)
        self._turns = Turns()
        self.key_prefix = key_prefix or ""
        if isinstance(self.key_prefix, str):
            self._key("")

    def close(self) -> None:
        """Close the connections of a cache that was made with an address."""
        if self._own is not None:
            self._own.close()

    def get(self, key: str) -> Any:
        entry = self._soft.run(lambda: self._store.get(self._key(key)), None)
        return None if entry is None else self.serializer.loads(entry.value)

    def get_many(self, *keys: str) -> list[Any]:
        stored = [self._key(key) for key in keys]
        nothing: dict[str, bytes] = {}
        found = self._soft.run(lambda: self._store.get_many(stored), nothing)
        return [self.serializer.loads(found[key]) if key in found else None for key in stored]

    def has(self, key: str) -> bool:
        return self._soft.run(lambda: self._store.exists(self._key(key)), False)

    def set(self, key: str, value: Any, timeout: int | dt.timedelta | None = None) -> bool:
        return self._write(self._store.put, key, value, timeout)

    def add(self, key: str, value: Any, timeout: int | dt.timedelta | None = None) -> bool:
        return self._write(self._store.create, key, value, timeout)

    def set_many(
        self, mapping: Mapping[str, Any], timeout: int | dt.timedelta | None = None
    ) -> list[Any]:
        seconds = self._seconds(timeout)
        dumped = [(key, self.serializer.dumps(value)) for key, value in mapping.items()]
        pairs = [(key, raw) for key, raw in dumped if raw is not None]
        values = [(self._key(key), raw, content_type(self.serializer, raw)) for key, raw in pairs]
        results = self._soft.run(lambda: self._store.put_many(values, seconds), _no_results())
        return _without_errors([key for key, _ in pairs], results)

    def delete(self, key: str) -> bool:
        return self._soft.run(lambda: self._store.delete(self._key(key)), False)

    def delete_many(self, *keys: str) -> list[Any]:
        stored = [self._key(key) for key in keys]
        results = self._soft.run(lambda: self._store.delete_many(stored), _no_results())
        deleted = _without_errors(keys, results)
        if not self.ignore_delete_many_errors and len(deleted) < len(keys):
            failed = [key for key in keys if key not in deleted]
            # cachelib documents this type.
            raise RuntimeError(f"Failed to delete keys: {failed}")
        return deleted

    def clear(self) -> bool:
        return self._soft.run(lambda: self._store.clear(self._prefix()), False)

    def inc(self, key: str, delta: int = 1) -> int | None:
        """Add to a whole number, which keeps its timeout; without one, store `delta`.

        Raises:
            InvalidArgumentError: the value is no whole number.
        """
        total = 0

        def added(raw: bytes | None) -> bytes:
            nonlocal total
            value = 0 if raw is None else self.serializer.loads(raw)
            if type(value) is not int:
                raise InvalidArgumentError(f"the value of {key!r} is no whole number")
            total = value + delta
            return self.serializer.dumps(total) or b""

        media = content_type(self.serializer, b"0")
        seconds = self._seconds(None)
        stored = self._key(key)
        with self._turns.of(stored):
            done = self._soft.run(lambda: self._store.change(stored, added, media, seconds), b"")
        return total if done else None

    def dec(self, key: str, delta: int = 1) -> int | None:
        """Do what `inc` does with `-delta`."""
        return self.inc(key, -delta)

    def _write(
        self,
        store: Callable[[str, bytes, str, int | None], bool],
        key: str,
        value: Any,
        timeout: int | dt.timedelta | None,
    ) -> bool:
        seconds = self._seconds(timeout)
        raw = self.serializer.dumps(value)
        if raw is None:  # The serializers of cachelib have logged why.
            return False
        media = content_type(self.serializer, raw)
        return self._soft.run(lambda: store(self._key(key), raw, media, seconds), False)

    def _prefix(self) -> str:
        return self.key_prefix if isinstance(self.key_prefix, str) else self.key_prefix()

    def _key(self, key: str) -> str:
        return stored_key(self._prefix(), f"{key}")

    def _seconds(self, timeout: int | dt.timedelta | None) -> int | None:
        given = self.default_timeout if timeout is None else timeout
        seconds = given.total_seconds() if isinstance(given, dt.timedelta) else given
        return math.ceil(seconds) or None


def _no_results() -> list[int | JetKVError]:
    return []


def _without_errors(keys: Sequence[str], results: Sequence[int | JetKVError]) -> list[str]:
    # Without an answer, there are no results.
    pairs = zip(keys, results, strict=False)
    return [key for key, result in pairs if not isinstance(result, JetKVError)]
