"""Several changes of a bucket, applied as one."""

from typing import Generic, Self, TypeVar

from jetkv._async.endpoint import AsyncEndpoint
from jetkv._core.batches import Ops, read_revisions
from jetkv.codec import Codec
from jetkv.models import TTL

__all__ = ["AsyncTransaction"]

T = TypeVar("T")


class AsyncTransaction(Generic[T]):
    """Changes and checks of several keys: all of them are applied, or none. Use it as a context.

    The methods only collect. What they collected is sent when the context ends, unless it ends by
    an error. Each key may have one change or one check. `ttl` is the TTL of a value, as in `put` of
    a bucket.

    Attributes:
        revision: of the last write, once the context has ended; 0 before, and if nothing was
            collected.
        revisions: by key, the revision that each change got, that was checked, or 0 for a delete of
            what was not there.
    """

    def __init__(self, endpoint: AsyncEndpoint, bucket: str, codec: Codec[T]) -> None:
        self._endpoint = endpoint
        self._ops = Ops(bucket, codec)
        self.revision = 0
        self.revisions: dict[str, int] = {}

    def put(self, key: str, value: T, *, ttl: TTL | None = None) -> None:
        """Store a value, whether or not the key has one."""
        self._ops.add_value("put", key, value, ttl=ttl)

    def create(self, key: str, value: T, *, ttl: TTL | None = None) -> None:
        """Store a value if the key has none."""
        self._ops.add_value("create", key, value, ttl=ttl)

    def update(self, key: str, value: T, revision: int, *, ttl: TTL | None = None) -> None:
        """Store a value if the key is at `revision`."""
        self._ops.add_value("update", key, value, revision, ttl)

    def delete(self, key: str, *, revision: int | None = None) -> None:
        """Delete a key; if `revision` is given, only if the key is at it."""
        self._ops.add("delete", key, revision)

    def purge(self, key: str, *, revision: int | None = None) -> None:
        """Delete a key and its history; if `revision` is given, only if the key is at it."""
        self._ops.add("purge", key, revision)

    def check(self, key: str, revision: int) -> None:
        """Require that a key is at `revision`, 0 for no value, and do not change it."""
        self._ops.add("check", key, revision)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            await self.commit()

    async def commit(self) -> None:
        """Send what was collected; the end of the context does it.

        Raises:
            ConditionsFailedError: a condition does not hold, see its `failed`.
            BucketUnsuitableError: the bucket, or the server that holds it, takes no transactions.
            ValueTooLargeError, BucketFullError: nothing was written.
            OutcomeUnknownError: all of it may have been applied, or may be later; or nothing.
        """
        if not len(self._ops):
            return
        request = self._ops.request()
        answer = await self._endpoint.call(request)
        revisions, self.revision = read_revisions(answer, request, len(self._ops))
        self.revisions = dict(zip(self._ops.keys, revisions, strict=True))
