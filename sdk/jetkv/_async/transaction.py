"""Several changes of a bucket, applied as one."""

from typing import Generic, Self, TypeVar

from jetkv._async.endpoint import AsyncEndpoint
from jetkv._core.batches import Ops, read_revisions
from jetkv.codec import Codec
from jetkv.models import TTL

__all__ = ["AsyncTransaction"]

T = TypeVar("T")


class AsyncTransaction(Generic[T]):
    """Changes and checks of several keys: either all of them are applied, or nothing is.

    Use it in a `with` block. Its methods only collect. The end of the block sends what they have
    collected, unless the block raises an error. Each key may have one change or one check. A `ttl`
    is as in the bucket's `put`.

    Attributes:
        revision: the revision of the last write; 0 until the changes are applied, and if there
            were no changes.
        revisions: a revision for each key: that of its change, or the one that was checked; 0 for
            the delete of a key without a value.
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
        """Delete a key; with `revision`, only if the key is at that revision."""
        self._ops.add("delete", key, revision)

    def purge(self, key: str, *, revision: int | None = None) -> None:
        """Delete a key and its history; with `revision`, only if the key is at that revision."""
        self._ops.add("purge", key, revision)

    def check(self, key: str, revision: int) -> None:
        """Require that a key is at `revision`, or has no value if that is 0; do not change it."""
        self._ops.add("check", key, revision)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            await self.commit()

    async def commit(self) -> None:
        """Apply the changes. The end of a `with` block calls this.

        Raises:
            ConditionsFailedError: a condition is not met, see its `failed`; nothing was written.
            BucketUnsuitableError: the bucket or its server does not support transactions.
            ValueTooLargeError, BucketFullError: nothing was written.
            OutcomeUnknownError: all changes may have been applied, or may be applied later.
        """
        if not len(self._ops):
            return
        request = self._ops.request()
        answer = await self._endpoint.call(request)
        revisions, self.revision = read_revisions(answer, request, len(self._ops))
        self.revisions = dict(zip(self._ops.keys, revisions, strict=True))
