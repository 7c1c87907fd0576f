"""Direct reads: any server that holds a stream answers with the raw bytes of a message.

`standalone` tells whether such a read is as fresh as a read of the leader.

Everyone who may publish to a bucket controls the first headers of an answer, so the server's own
headers are taken from its end (`headers.read_direct`). Only a message of the bucket's own stream
counts. A mirror with `mirror_direct` takes turns in answering for its origin, and it may be behind:
it answers with its own name, or "not found" without a name. So after "not found" the leader is
asked too.
"""

import asyncio

from jetkv_gateway.jetstream.api import block_kind
from jetkv_gateway.jetstream.bucket_cache import BucketCache, WriteLimits
from jetkv_gateway.jetstream.client import JetStream, RetryWindow
from jetkv_gateway.jetstream.direct_read import DirectRead
from jetkv_gateway.jetstream.errors import request_error
from jetkv_gateway.jetstream.expiry import may_have_ttl
from jetkv_gateway.jetstream.headers import read_direct, read_direct_of, status
from jetkv_gateway.jetstream.names import Found, KeyNames
from jetkv_gateway.jetstream.read_sizes import SMALL
from jetkv_gateway.jetstream.requests import (
    ConnectionLost,
    NotConnected,
    RequestFailed,
    RequestTimeout,
)
from jetkv_gateway.jetstream.standalone import ConnectedServer
from jetkv_gateway.kv.errors import GatewayError
from jetkv_gateway.kv.model import Consistency, Entry

__all__ = ["DirectReads"]

_REPLICA_TIMEOUT = 1.0
"""Seconds. A frozen replica never answers, but the leader may still do so."""

_NOT_FOUND = b"404"
_NOTHING_BLOCKED: dict[str, tuple[float, float]] = {}
_ABSENT_KEPT = 4096
_LONGEST_TOLD = 1024
"""Bytes. More is not kept of an answer, because whoever writes a value decides its length."""

# Looked up once: of an enum, that takes as long as a call before Python 3.12.
_STRONG, _EVENTUAL = Consistency.STRONG, Consistency.EVENTUAL


class DirectReads:
    """Reads of single messages that any server with the stream may answer.

    A read chooses its way, acquires the credit for it, asks, and has the answer judged.

    Attributes:
        absent: subjects of which the leader had no message when it was last asked.
    """

    def __init__(self, js: JetStream, buckets: BucketCache) -> None:
        self._js = js
        self._buckets = buckets
        self._loop = asyncio.get_running_loop()
        self.absent: set[str] = set()

    def choose(
        self, names: KeyNames, limits: WriteLimits | None, *, strong: bool, newest: bool
    ) -> DirectRead | None:
        """Return how to read a message directly; None if the leader must be asked.

        The way of strong reads of newest messages is kept in `limits.direct_read` if it is the same
        for all keys. It holds as long as the connection has the same `era`, for a subject that is
        not in `absent`, and if the bucket is not in `ReadSizes.large_in`.

        Args:
            limits: the bucket's limits as far as they are known.
            strong: whether the answer must be the leader's state.
            newest: whether the newest message of the subject is read, or one by its revision.
        """
        js, bucket = self._js, names.bucket
        server, blocked = None, _NOTHING_BLOCKED
        if strong:
            server = limits.direct_server if limits is not None else None
            if server is None or not self._usable(bucket.stream, names.subject, server):
                return None
            blocked = server.backoff.streams
        try:
            mux = js.connection.mux
        except NotConnected:
            return None  # the read of the leader reports the reason
        credit = self._buckets.credit(bucket, names.subject if newest else None, direct=True)
        way = DirectRead(
            bucket=bucket,
            credit=credit,
            mux=mux,
            timeout=js.retry_timeout if strong else min(_REPLICA_TIMEOUT, js.retry_timeout),
            server=server,
            blocked=blocked,
            consistency=_STRONG if strong else _EVENTUAL,
            era=js.connection.era,
        )
        if limits is not None and strong and newest and bucket.stream not in blocked:
            # Whatever counts as small without being known does so for all keys.
            unknown = self._buckets.credit(bucket, direct=True)
            if credit is unknown and credit.pool is js.credits.small:
                limits.direct_read = way
        return way

    def _usable(self, stream: str, subject: str, server: ConnectedServer) -> bool:
        """Return whether direct reads of a stream are leader reads and have not failed recently.

        Args:
            server: the server whose direct reads were leader reads when the stream was last read.
        """
        here = self._js.connection.connected_server
        if server is not here or not here.standalone or subject in self.absent:
            return False
        return not here.backoff.streams or not here.backoff.blocks(stream, self._loop.time())

    def record_absence(self, subject: str, *, there: bool) -> None:
        """Remember whether the leader has a message of this subject.

        A direct read of an absent subject is useless, because the leader is asked anyway. So the
        next read goes to the leader at once.
        """
        if there:
            self.absent.discard(subject)
            return
        if len(self.absent) >= _ABSENT_KEPT:
            self.absent.clear()
        self.absent.add(subject)

    async def wait_for_credit(self, way: DirectRead, names: KeyNames, window: RetryWindow) -> int:
        """Wait for the credit of a read, and return the amount; 0 if the leader must be asked.

        Raises:
            TooManyRequests: there was no credit in time.
        """
        pool, server = way.credit.pool, way.server
        taken = await self._js.acquire_credit(way.credit, window, None)
        # The connection or the stream may have changed meanwhile.
        if server is not None and not self._usable(names.bucket.stream, names.subject, server):
            pool.release(taken, pool.epoch)
            return 0
        return taken

    def judge(
        self, data: bytes, block: bytes, way: DirectRead, names: KeyNames, key: str
    ) -> Found | None:
        """Return a message, and its stored headers if there may be a TTL in them.

        It is None if the leader must be asked.

        Args:
            data, block: the answer.
        """
        if len(data) > SMALL:
            self._js.read_sizes.record_large(way.credit, self._loop.time())
        told = names.told
        found: Found | None
        if told is not None and told[0] == block:
            # The answer is the same until the key is written again.
            found = told[1]
            entry = found[0]
            if entry.data != data or entry.key != key or entry.consistency is not way.consistency:
                found = _with(entry, data, key, way.consistency), found[1]
            elif entry.shown is None:
                entry.shown = {}  # it is read again: the next ones may find what this one shows
        else:
            found = self._read_block(data, block, way, names, key)
            if found is None:
                return None
        if way.blocked:
            self._unblock(way, names)
        return found

    def _read_block(
        self, data: bytes, block: bytes, way: DirectRead, names: KeyNames, key: str
    ) -> Found | None:
        """Read what an answer says about its message; None if the leader must be asked."""
        direct = read_direct_of(block, names.bucket.stream_name, names.subject_bytes)
        if direct is None:
            direct = read_direct(block, names.bucket.stream_name)
            if direct is None:
                if status(block).code != _NOT_FOUND:
                    self._block(way, names)
                return None
            if direct[1] != names.subject_bytes:
                self._unblock(way, names)
                return None
        stored, _, revision, time = direct
        operation, media, coding = block_kind(stored)
        entry = Entry(key, data, revision, time, operation, media, coding, way.consistency)
        headers = stored if may_have_ttl(stored) else None
        found = entry, headers
        if len(block) <= _LONGEST_TOLD:
            if len(block) + len(data) <= _LONGEST_TOLD:
                names.told = block, found
            else:
                names.told = block, (_with(entry, b"", key, way.consistency), headers)
        return found

    def failed(
        self, error: RequestFailed, way: DirectRead, names: KeyNames, taken: int
    ) -> tuple[int, GatewayError | None]:
        """Handle that there was no answer.

        Without direct gets in the bucket no server answers. A frozen server does not answer in
        time, and a missing permission can look the same.

        Args:
            taken: the credit of the read.

        Returns:
            The credit to release, and the error of a read to retry; None to ask the leader at once.
        """
        if isinstance(error, NotConnected):
            return taken, None  # nothing was sent; the read of the leader reports the reason
        if isinstance(error, ConnectionLost):
            return taken, request_error(error, None)
        self._block(way, names)
        if not isinstance(error, RequestTimeout):
            return taken, None
        self._js.abandon(way.credit.pool, taken)
        return 0, None if way.server is None else request_error(error, None)

    async def prepare_retry(self, failure: GatewayError, window: RetryWindow) -> None:
        """Wait until the leader can be asked after a read that was in flight, and count the retry.

        Raises:
            GatewayError: `failure`, if the connection broke and there is no other one.
        """
        # As `JetStream.call` does it.
        if not await self._js.wait_reconnected(window):
            try:
                raise failure
            finally:
                del failure  # the error references this frame: this avoids a cycle
        await window.pause()

    def _block(self, way: DirectRead, names: KeyNames) -> None:
        if way.server is not None:
            way.server.backoff.failed(names.bucket.stream, self._loop.time())
            limits = self._buckets.cached.get(names.bucket.bucket)
            if limits is not None:
                limits.direct_read = None

    def _unblock(self, way: DirectRead, names: KeyNames) -> None:
        if way.server is not None:
            way.server.backoff.worked(names.bucket.stream)


def _with(entry: Entry, data: bytes, key: str, consistency: Consistency) -> Entry:
    """Return an entry with what an answer says of itself, and nothing that was found out later."""
    about = entry.revision, entry.created_at, entry.operation
    return Entry(key, data, *about, entry.content_type, entry.content_encoding, consistency)
