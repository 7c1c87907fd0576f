# Made from sdk/jetkv/recipes/_async/counter.py by `make format`. Edit that file.
"""A counter that several processes add to."""

from typing import Any

from jetkv._core.process import ProcessBound
from jetkv._sync.bucket import Bucket
from jetkv.errors import InvalidArgumentError
from jetkv.recipes._documents import NUMBERS
from jetkv.recipes._sync.view import bucket_view, checked_bucket

__all__ = ["Counter"]


class Counter(ProcessBound):
    """A whole number under one key, as JSON, so that any other client can read it.

        views = Counter(client.kv().bucket("counters"), "page-views")
        total = views.add()

    You can rely on: every `add` that returns counts exactly once, even if others add at the same
    time (a compare-and-set). As long as only positive numbers are added, no two calls get the same
    total.

    You cannot rely on: the outcome of an `add` that raises `OutcomeUnknownError`. It counts once or
    not at all, and perhaps later. Writers of one key wait for each other: for hundreds of additions
    a second, use several counters and add them up. In a bucket with a TTL the counter starts at 0
    again if nobody adds for that long. JavaScript reads numbers exactly up to 2^53.

    Args:
        bucket: a bucket of any type.
        key: the counter's key. Without a value it counts as 0.
        timeout: seconds after which `add` and `reset` stop trying, if other writers are faster each
            time.

    Raises:
        InvalidArgumentError: `bucket` is not a bucket of this client.
    """

    def __init__(self, bucket: Bucket[Any], key: str, *, timeout: float = 30.0) -> None:
        self._bucket = bucket_view(checked_bucket(bucket, self), NUMBERS)
        self._key = key
        self._timeout = timeout

    def add(self, n: int = 1) -> int:
        """Add `n`, which may be negative, and return the new total.

        Raises:
            InvalidArgumentError: `n` is not a whole number.
            ValueDecodeError: the stored value is not a counter; it stays as it is.
            RevisionMismatchError, KeyExistsError: other writers were faster each time; nothing was
                counted.
            OutcomeUnknownError: it may have been counted, or may be counted later.
        """
        if isinstance(n, bool) or not isinstance(n, int):
            raise InvalidArgumentError(f"a counter adds whole numbers, not {n!r}")
        entry = self._bucket.modify(
            self._key, lambda total: (total or 0) + n, timeout=self._timeout
        )
        return entry.value

    def value(self) -> int:
        """Return the total of every `add` that has returned.

        Raises:
            ValueDecodeError: the stored value is not a counter.
        """
        found = self._bucket.get_or_none(self._key)
        return 0 if found is None else found.value

    def reset(self) -> int:
        """Set the counter to 0 and return the last total. No addition is lost in between.

        Raises:
            ValueDecodeError, RevisionMismatchError, KeyExistsError, OutcomeUnknownError: as in
                `add`.
        """
        totals = [0]

        def to_zero(total: int | None) -> int:
            totals.append(total or 0)
            return 0

        self._bucket.modify(self._key, to_zero, timeout=self._timeout)
        return totals[-1]
