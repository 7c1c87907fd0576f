"""Reads and changes of several keys of a bucket at once."""

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Generic, TypeVar

from jetkv._async.entries import AsyncEntries
from jetkv._async.runtime import MaybeAwaitable, now, resolve, sleep
from jetkv._async.transaction import AsyncTransaction
from jetkv._core.batches import Ops, get_many, read_revisions, read_snapshot
from jetkv._core.retry import CONTENTION, jitter
from jetkv.errors import ConditionsFailedError, InvalidArgumentError
from jetkv.models import Entry, Operation, Snapshot

__all__ = ["AsyncBatches"]

T = TypeVar("T")


class AsyncBatches(AsyncEntries[T], Generic[T]):
    """The methods of a bucket that read or change several keys as of one moment."""

    async def get_many(self, keys: Iterable[str]) -> Snapshot[T]:
        """Return the entries of several keys, all as of one moment.

        A key without a value is not in the snapshot. Values are decoded when you use them.

        Args:
            keys: 1 to 1,000 keys.

        Raises:
            InvalidArgumentError: a key is invalid, or there is no key, or there are too many.
            ValueTooLargeError: the values have more than 64 MiB.
        """
        request, wanted = get_many(self.name, keys)
        return read_snapshot(await self._endpoint.call(request), request, wanted, self._decode)

    def transaction(self) -> AsyncTransaction[T]:
        """Return a context that collects changes. Its end applies either all of them or nothing.

        This needs nats-server 2.12 or newer, and a bucket with `batches`.
        """
        return AsyncTransaction(self._endpoint, self.name, self.codec)

    async def modify_many(
        self,
        keys: Iterable[str],
        fn: Callable[[dict[str, T | None]], MaybeAwaitable[Mapping[str, T | None]]],
        *,
        timeout: float = 30.0,
    ) -> Snapshot[T]:
        """Change several keys by the result of a function, without losing another writer's change.

        It reads the values as of one moment and calls `fn`. If no key has changed meanwhile, it
        applies all changes at once; otherwise it starts again.

        Args:
            keys: 1 to 1,000 keys.
            fn: takes a dict with the value of each key, None for a key without a value. It returns
                the new values by key: None deletes a key, and keys that it leaves out stay as they
                are. It may be called several times.
            timeout: seconds after which `modify_many` stops trying again.

        Returns:
            The entries after the change. In a new entry, `created_at` is when the answer arrived,
            by this machine's clock.

        Raises:
            ConditionsFailedError: another writer was faster each time.
            InvalidArgumentError: `fn` returned no mapping, or a key that is not among `keys`.
            BucketUnsuitableError: as in `transaction`. Keys that stay as they are need nats-server
                2.12.14, 2.14.4 or newer.
            ValueDecodeError: the stored bytes do not fit the bucket's type.
            OutcomeUnknownError: the change may have been applied, or may be applied later.
        """
        deadline = now() + timeout
        wanted = list(dict.fromkeys(keys))
        attempt = 0
        while True:
            attempt += 1
            found = await self.get_many(wanted)
            values: dict[str, T | None] = dict.fromkeys(wanted)
            values.update({key: entry.value for key, entry in found.items()})
            changes = await resolve(fn(values))
            if not isinstance(changes, Mapping) or not changes.keys() <= values.keys():
                raise InvalidArgumentError(
                    "the function that modify_many() called must return a mapping from some of the "
                    "keys to their new values; nothing was written",
                    hint="it may lack a return",
                )
            if not changes:
                return found
            ops = self._ops_of(wanted, found, changes)
            request = ops.request()
            try:
                answer = await self._endpoint.call(request)
                revisions, last = read_revisions(answer, request, len(ops))
            except ConditionsFailedError:
                delay = CONTENTION.delay(attempt, 0.0, jitter())
                if now() + delay >= deadline:
                    raise
                await sleep(delay)
                continue
            entries = dict(found)
            for key, revision in zip(ops.keys, revisions, strict=True):
                raw = ops.raw(key)
                if raw is not None:
                    time = datetime.now(UTC)
                    entries[key] = Entry(key, raw, revision, Operation.PUT, self._decode, time)
                elif key in changes:
                    entries.pop(key, None)
            return Snapshot([entries[key] for key in wanted if key in entries], last)

    def _ops_of(
        self, keys: list[str], found: Snapshot[T], changes: Mapping[str, T | None]
    ) -> Ops[T]:
        """Return ops that apply the changes if every key is still at its revision in `found`."""
        ops = Ops(self.name, self.codec)
        for key in keys:
            entry = found.get(key)
            value = changes.get(key)
            if value is None and (key not in changes or entry is None):
                ops.add("check", key, 0 if entry is None else entry.revision)
            elif value is None:
                assert entry is not None, "a key without a value is not deleted"
                ops.add("delete", key, entry.revision)
            elif entry is None:
                ops.add_value("create", key, value)
            else:
                ops.add_value("update", key, value, entry.revision)
        return ops
