"""Collects what the consumer of a listing delivers; see `listing`."""

import asyncio
from collections import deque
from collections.abc import Callable

from jetkv_gateway.jetstream.api import MARKER_REASON, OPERATION, delivery, header_kind
from jetkv_gateway.jetstream.expiry import Lifetime
from jetkv_gateway.jetstream.headers import read_headers, subject_text, without_size
from jetkv_gateway.kv.model import Operation

__all__ = ["Scan"]

_GO_ON = b"NATS/1.0 100"
_COMPLETED = b"Batch Completed"
_OPERATION = OPERATION.encode()
_MARKER = MARKER_REASON.encode()


class Scan:
    """Collects the messages of a consumer.

    Args:
        subject_prefix: of the bucket's subjects. If the bucket has sources, servers from 2.11 on
            (seen up to 2.15.1) also deliver subjects of the source bucket, despite the filter, and
            do not count them.
        older_than: the newest revision when the listing began.
        lifetime: of the bucket's values. Values that had expired at `now`, when the listing began,
            are left out.
        release: releases the credit of a batch that has arrived.

    Attributes:
        found: subject → whether its newest message is a value.
        longest: the length of the longest subject in bytes.
        taken: the number of delivered messages.
        foreign: the number of those that do not belong to the bucket.
        older: the number of the bucket's messages that were stored before the listing began.
        reached: the newest revision delivered.
        moved: set when a batch has arrived, or the server has said that there are no more.
        ended: whether the server has said so.
        denied: whether NATS does not permit the request for messages.
    """

    def __init__(
        self,
        subject_prefix: bytes,
        *,
        older_than: int,
        lifetime: Lifetime | None,
        now: float,
        release: Callable[[int], None],
    ) -> None:
        self.found: dict[str, bool] = {}
        self.longest = 0
        self.taken = 0
        self.foreign = 0
        self.older = 0
        self.reached = 0
        self.moved = asyncio.Event()
        self.ended = False
        self._subject_prefix = subject_prefix
        self._lifetime, self._now = lifetime, now
        self.denied = False
        self._boundary = older_than
        self._release = release
        self._batches: deque[int] = deque()
        self._missing = 0

    @property
    def batches(self) -> int:
        """The number of batches in flight."""
        return len(self._batches)

    def deny(self) -> None:
        """Handle the refusal of the request for messages."""
        self.denied = True
        self.end()

    def expect(self, batch: int) -> None:
        self._batches.append(batch)
        if len(self._batches) == 1:
            self._missing = batch

    def end(self) -> None:
        """Stop expecting messages."""
        self.ended = True
        self._release(sum(self._batches))
        self._batches.clear()
        self.moved.set()

    def has_expired(self, stored: float, headers: str | None) -> bool:
        """Return whether a value that was read from the leader had expired at `now`.

        Args:
            stored: its time by the server, in seconds since 1970.
            headers: base64 as in the API.
        """
        lifetime = self._lifetime
        return lifetime is not None and lifetime.is_expired(stored, headers, self._now)

    def take(self, subject: bytes, reply: bytes, headers: bytes, _data: bytes) -> None:
        if not reply:
            if not headers.startswith(_GO_ON) and _COMPLETED not in headers:
                self.end()
            return
        self.taken += 1
        revision, _, nanoseconds = delivery(reply)
        self.reached = max(self.reached, revision)
        if subject.startswith(self._subject_prefix):
            alive = True
            if _OPERATION in headers or _MARKER in headers:
                alive = header_kind(read_headers(without_size(headers)))[0] is Operation.PUT
            if alive and self._lifetime is not None and self._lifetime.concerns(headers):
                own = read_headers(without_size(headers)) if self._lifetime.own else None
                alive = not self._lifetime.is_expired(nanoseconds / 1e9, own, self._now)
            self.found[subject_text(subject)] = alive
            if len(subject) > self.longest:
                self.longest = len(subject)
            if revision <= self._boundary:
                self.older += 1
        else:
            self.foreign += 1
        self._missing -= 1
        if self._missing == 0 and self._batches:
            self._release(self._batches.popleft())
            self._missing = self._batches[0] if self._batches else 0
            self.moved.set()
