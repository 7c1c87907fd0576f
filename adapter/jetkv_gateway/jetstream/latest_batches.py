"""The batches of consumers that select the newest message of each key.

Such a consumer loses the message that exceeds the `max_bytes` of a request, without a gap in its
numbers (seen up to nats-server 2.15.1; docs/nats.md). The server does report that a message was too
large. So a batch has one of two forms:

- Many messages and a limit of bytes that they rarely reach. A reader that reaches it reads again
  from the beginning with the other form, and drops what it has delivered.
- As few messages as fit even if all of them are as large as possible, and no limit of bytes.
"""

import asyncio
from typing import NamedTuple

from jetkv_gateway.jetstream.credits import ReadCredits

__all__ = ["LatestBatch", "LatestBatches"]

_MAX_BYTES = 8 * 1024 * 1024
_USUAL_BYTES = 64 * 1024
"""Average messages in a batch with a limit fill this much of it."""

_SPARE_BYTES = 128 * 1024
"""The limit of a batch is the largest message plus this."""

_REMEMBERED_SECONDS = 600.0
_MAX_REMEMBERED = 1024


class LatestBatch(NamedTuple):
    """The limits of a batch: messages, and bytes unless None."""

    messages: int
    bytes: int | None


class LatestBatches:
    """Chooses batches, and remembers the buckets whose messages have exceeded a limit of bytes.

    Args:
        credits: batches must fit into its pool `bulk`.
    """

    def __init__(self, credits: ReadCredits) -> None:
        self._credits = credits
        self._exceeded: dict[str, float] = {}

    def batch(self, bucket: str, most: int, largest: int, average: int) -> LatestBatch:
        """Return the limits of the batches of one reader.

        Args:
            most: messages in a batch.
            largest: the size of the largest possible message in bytes.
            average: the average size of the bucket's messages in bytes.
        """
        always_fit = min(_MAX_BYTES, self._credits.bulk.capacity) // largest
        careful = max(1, min(most, always_fit))
        usual = min(most, _USUAL_BYTES // max(1, average))
        until = self._exceeded.get(bucket)
        if usual <= careful or (until is not None and asyncio.get_running_loop().time() < until):
            return LatestBatch(careful, None)
        return LatestBatch(usual, largest + _SPARE_BYTES)

    def note_exceeded(self, bucket: str) -> None:
        """Remember for some minutes that messages of a bucket have exceeded a limit of bytes."""
        self._exceeded.pop(bucket, None)
        if len(self._exceeded) >= _MAX_REMEMBERED:
            del self._exceeded[next(iter(self._exceeded))]
        self._exceeded[bucket] = asyncio.get_running_loop().time() + _REMEMBERED_SECONDS
