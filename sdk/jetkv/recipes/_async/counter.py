"""A counter that many add to."""

from typing import Any

from jetkv._async.bucket import AsyncBucket
from jetkv._core.process import ProcessBound
from jetkv.errors import InvalidArgumentError
from jetkv.recipes._async.view import bucket_view, checked_bucket
from jetkv.recipes._documents import NUMBERS

__all__ = ["AsyncCounter"]


class AsyncCounter(ProcessBound):
    """A whole number under one key, as JSON, so that any other client can read it.

        views = AsyncCounter(client.kv().bucket("counters"), "page-views")
        total = await views.add()

    Guaranteed: every `add` that returns is counted exactly once, whoever adds at the same time
    (a compare-and-set). As long as only positive numbers are added, no two get the same total.

    Not guaranteed: what became of an `add` that raises `OutcomeUnknownError`: it is counted once
    or not at all, perhaps only later. One key is a bottleneck: writers wait for each other, so
    that hundreds of additions a second want several counters and a sum. In a bucket with a TTL
    the counter is gone, and begins at 0 again, when nobody has added for as long. JavaScript and
    others are exact up to 2^53 only.

    Args:
        bucket: of any type.
        key: of the counter; without a value it stands at 0.
        timeout: seconds after which `add` and `reset` give up when others are always faster.
    """

    def __init__(self, bucket: AsyncBucket[Any], key: str, *, timeout: float = 30.0) -> None:
        self._bucket = bucket_view(checked_bucket(bucket, self), NUMBERS)
        self._key = key
        self._timeout = timeout

    async def add(self, n: int = 1) -> int:
        """Add `n`, which may be negative, and return the new total.

        Raises:
            InvalidArgumentError: `n` is no whole number.
            ValueDecodeError: what is there is no counter; it is left as it is.
            RevisionMismatchError, KeyExistsError: others were faster all the time; not counted.
            OutcomeUnknownError: it may have been counted, or may be later.
        """
        if isinstance(n, bool) or not isinstance(n, int):
            raise InvalidArgumentError(f"a counter counts whole numbers: {n!r}")
        entry = await self._bucket.modify(
            self._key, lambda total: (total or 0) + n, timeout=self._timeout
        )
        return entry.value

    async def value(self) -> int:
        """Return the total, with every `add` that has returned.

        Raises:
            ValueDecodeError: what is there is no counter.
        """
        found = await self._bucket.get_or_none(self._key)
        return 0 if found is None else found.value

    async def reset(self) -> int:
        """Set it to 0, and return the total until then; nothing that is added is lost between.

        Raises:
            ValueDecodeError, RevisionMismatchError, KeyExistsError, OutcomeUnknownError: as add.
        """
        totals = [0]

        def to_zero(total: int | None) -> int:
            totals.append(total or 0)
            return 0

        await self._bucket.modify(self._key, to_zero, timeout=self._timeout)
        return totals[-1]
