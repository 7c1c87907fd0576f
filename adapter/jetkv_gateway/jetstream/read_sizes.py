"""Chooses the credit pool for a read of one message.

The size of a reply is unknown in advance, so each read acquires credit for the largest possible
reply, and the limit holds in any case. The remembered sizes only choose the pool: a message that
was small a moment ago does not wait behind large ones, and large ones do not use all credit. If
another gateway has changed the size meanwhile, a request waits a little longer; nothing else goes
wrong.
"""

from jetkv_gateway.jetstream.credits import CreditRequest, ReadCredits

__all__ = ["SMALL", "ReadSizes"]

SMALL = 64 * 1024
"""The largest reply in bytes that counts as small."""

_USUALLY_SMALL = SMALL // 3
"""The largest average in bytes at which most messages of a bucket are small: by Markov's inequality
at most a third of them is larger than `SMALL`.
"""

_KNOWN = 4096
_KNOWN_SECONDS = 10.0
_BOUNDS_KEPT = 256


class ReadSizes:
    """Remembers whether the messages that this worker has read recently were large.

    Args:
        credits: the pools that reads acquire credit from.

    Attributes:
        seen: subject → whether its newest message is large, from the reads of this period.
        until: the time of the event loop at which the period ends.
        large_in: the buckets in which this period or the one before has seen a large message.
    """

    def __init__(self, credits: ReadCredits) -> None:
        self._credits = credits
        self._requests: dict[int, tuple[CreditRequest, CreditRequest]] = {}
        self.seen: dict[str, bool] = {}
        self._seen_before: dict[str, bool] = {}
        self.large_in: set[str] = set()
        self._has_large: dict[str, bool] = {}
        self._had_large: dict[str, bool] = {}
        self.until = self._careful_until = 0.0

    def credit(
        self, bucket: str, bound: int, subject: str | None = None, average_size: int | None = None
    ) -> CreditRequest:
        """Return the credit that a read needs.

        Args:
            bucket: the prefix of the bucket's subjects.
            bound: the largest possible reply in bytes.
            subject: the subject whose newest message is read; None for any message of the bucket.
                An unknown subject counts as small only if all messages seen in the bucket were
                small and `average_size` is small: a large reply that counts as small delays all
                other replies.
            average_size: the average size of the bucket's messages in bytes, if known.
        """
        requests = self._requests.get(bound) or self._requests_of(bound)
        if subject is not None:
            is_large = self.seen.get(subject)
            if is_large is None:
                is_large = self._seen_before.get(subject)
            if is_large is not None:
                return requests[is_large]
        if bucket in self.large_in:
            return requests[True]
        if average_size is not None:
            return requests[average_size > _USUALLY_SMALL]
        return requests[bucket not in self._has_large and bucket not in self._had_large]

    def tells_apart(self, bucket: str, average_size: int | None) -> bool:
        """Return whether small messages of a bucket need a record: unknown ones count as large.

        Args:
            average_size: as for `credit`.
        """
        return bucket in self.large_in or (
            average_size is not None and average_size > _USUALLY_SMALL
        )

    def record(self, bucket: str, subject: str, size: int, now: float) -> None:
        """Remember the size of a subject's newest message, as bytes of a reply.

        A small one in a bucket without large ones needs no record until the period ends: unknown
        subjects of such a bucket count as small.

        Args:
            now: the time of the event loop, in seconds.
        """
        if now > self.until or len(self.seen) >= _KNOWN:
            self._age(now)
        is_large = size > SMALL
        if self.seen.get(subject) is not is_large:
            self.seen[subject] = is_large
            self._note(bucket, is_large=is_large)

    def _note(self, bucket: str, *, is_large: bool) -> None:
        if is_large:
            self.large_in.add(bucket)
        self._has_large[bucket] = is_large or self._has_large.get(bucket, False)

    def record_large(self, credit: CreditRequest, now: float) -> None:
        """Remember that a reply was large, whatever it counted as."""
        if credit.pool is self._credits.small:
            self._credits.restrict_small()
            self._careful_until = now + 2 * _KNOWN_SECONDS

    def record_write(self, bucket: str, subject: str, size: int) -> None:
        """Remember that a message of `size` bytes is being written."""
        if size <= SMALL:
            return
        if subject in self.seen or subject in self._seen_before:
            self.seen[subject] = True
        # Small messages leave no record, so it is unknown whether anybody reads the bucket.
        self._note(bucket, is_large=True)

    def _age(self, now: float) -> None:
        is_old = now > self.until + _KNOWN_SECONDS
        self._seen_before = {} if is_old else self.seen
        self._had_large = {} if is_old else self._has_large
        self.large_in = {bucket for bucket, is_large in self._had_large.items() if is_large}
        self.seen, self._has_large = {}, {}
        self.until = now + _KNOWN_SECONDS
        if now > self._careful_until:
            self._credits.lift_restriction()

    def _requests_of(self, bound: int) -> tuple[CreditRequest, CreditRequest]:
        if len(self._requests) >= _BOUNDS_KEPT:
            self._requests.clear()
        credits = self._credits
        small = CreditRequest(credits.small, bound)
        requests = small, small if bound <= SMALL else CreditRequest(credits.large, bound)
        self._requests[bound] = requests
        return requests
