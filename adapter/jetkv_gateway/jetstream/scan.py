"""What the consumer of a listing has delivered; see `listing`."""

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
    """What a consumer has delivered.

    Args:
        subject_prefix: of the bucket's subjects. If the bucket has sources, servers from 2.11 on
            (seen up to 2.15.1) also deliver subjects of the source bucket, despite the filter, and
            do not count them.
        older_than: the newest revision of the moment when the listing began.
        lifetime: of the bucket's values; what was past its time `now`, when the listing began, is
            not there any more.
        release: gives back the places of a batch that has come.

    Attributes:
        found: subject → whether its newest message is a value.
        longest: bytes of the longest subject of the bucket's that was delivered.
        taken: messages delivered.
        foreign: those of them that are none of the bucket's.
        older: the bucket's, of which it is known that they were stored when the listing began.
        reached: the newest revision delivered.
        moved: set when a batch has come, or the server has said that no more does.
        ended: whether it has said so.
        denied: whether NATS does not permit to ask for messages.
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
        """Batches that are under way."""
        return len(self._batches)

    def deny(self) -> None:
        """Take in that NATS does not permit to ask for messages."""
        self.denied = True
        self.end()

    def expect(self, batch: int) -> None:
        self._batches.append(batch)
        if len(self._batches) == 1:
            self._missing = batch

    def end(self) -> None:
        """Expect nothing any more."""
        self.ended = True
        self._release(sum(self._batches))
        self._batches.clear()
        self.moved.set()

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
