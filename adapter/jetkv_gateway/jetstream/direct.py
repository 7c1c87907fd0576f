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
from jetkv_gateway.jetstream.client import JetStream, RetryWindow
from jetkv_gateway.jetstream.credits import CreditRequest
from jetkv_gateway.jetstream.errors import request_error
from jetkv_gateway.jetstream.headers import read_direct, read_direct_of, status
from jetkv_gateway.jetstream.names import KeyNames
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
_ABSENT_KEPT = 4096
# Looked up once: of an enum, that takes as long as a call before Python 3.12.
_STRONG = Consistency.STRONG


class DirectReads:
    """Reads of single messages that any server with the stream may answer."""

    def __init__(self, js: JetStream) -> None:
        self._js = js
        self._loop = asyncio.get_running_loop()
        self._absent: set[str] = set()

    def usable(self, stream: str, subject: str, direct_server: ConnectedServer | None) -> bool:
        """Return whether direct reads of a stream are leader reads and have not failed recently.

        Args:
            direct_server: the server whose direct reads were leader reads when the stream was last
                read.
        """
        connected_server = self._js.connection.connected_server
        if (
            direct_server is not connected_server
            or not connected_server.standalone
            or subject in self._absent
        ):
            return False
        backoff = connected_server.backoff
        return not backoff.streams or not backoff.blocks(stream, self._loop.time())

    def record_absence(self, subject: str, *, there: bool) -> None:
        """Remember whether the leader has a message of this subject.

        A direct read of an absent subject is useless, because the leader is asked anyway. So the
        next read goes to the leader at once.
        """
        if there:
            self._absent.discard(subject)
            return
        if len(self._absent) >= _ABSENT_KEPT:
            self._absent.clear()
        self._absent.add(subject)

    async def read(
        self,
        names: KeyNames,
        key: str,
        query: bytes,
        credit: CreditRequest,
        window: RetryWindow,
        direct_server: ConnectedServer | None = None,
    ) -> tuple[Entry, bytes] | None:
        """Return a message and its stored headers; None if the leader must be asked.

        Without direct gets in the bucket no server answers. A frozen server does not answer in
        time, and a missing permission can look the same.

        Args:
            credit: the credit to acquire.
            direct_server: as for `usable`, which has just returned True; None if any server may
                answer.

        Raises:
            TooManyRequests: there was no credit in time.
            GatewayError: the connection broke while the read was in flight, and there is no other
                one.
        """
        js, pool, stream = self._js, credit.pool, names.bucket.stream
        taken, waited = pool.try_acquire(credit.amount), False
        if not taken:
            taken, waited = await js.acquire_credit(credit, window, None), True
        epoch = pool.epoch
        failure: GatewayError
        try:
            if (
                waited
                and direct_server is not None
                and not self.usable(stream, names.subject, direct_server)
            ):
                return None
            timeout = (
                js.retry_timeout
                if direct_server is not None
                else min(_REPLICA_TIMEOUT, js.retry_timeout)
            )
            reply = await js.connection.mux.ask(
                names.bucket.direct, query, timeout=timeout, operation="direct_get"
            )
        except (RequestTimeout, asyncio.CancelledError) as late:
            js.abandon(pool, taken)
            taken = 0
            if not isinstance(late, RequestTimeout):
                raise
            self._failed(stream, direct_server)
            if direct_server is None:
                return None
            failure = request_error(late, None)
        except ConnectionLost as failed:
            failure = request_error(failed, None)
        except NotConnected:
            return None  # nothing was sent; the read of the leader reports the reason
        except RequestFailed:
            self._failed(stream, direct_server)
            return None
        else:
            return self._judge(reply, names, key, credit, direct_server)
        finally:
            if taken:
                pool.release(taken, epoch)
        # Retry a read that was in flight, and count it, as `JetStream.call` does.
        if not await js.wait_reconnected(window):
            try:
                raise failure
            finally:
                del failure  # the error references this frame: this avoids a cycle
        await window.pause()
        return None

    def _judge(
        self,
        reply: tuple[bytes, bytes],
        names: KeyNames,
        key: str,
        credit: CreditRequest,
        direct_server: ConnectedServer | None,
    ) -> tuple[Entry, bytes] | None:
        data, block = reply
        if len(data) > SMALL:
            self._js.read_sizes.record_large(credit, self._loop.time())
        subject, bucket = names.subject_bytes, names.bucket
        found = read_direct_of(block, names.direct, subject)
        if found is None:
            found = read_direct(block, bucket.stream_name)
        if found is None:
            if status(block).code != _NOT_FOUND:
                self._failed(bucket.stream, direct_server)
            return None
        if direct_server is not None and direct_server.backoff.streams:
            direct_server.backoff.worked(bucket.stream)
        stored, told, sequence, time = found
        if told != subject:
            return None
        operation, content_type, coding = block_kind(stored)
        who = Consistency.EVENTUAL if direct_server is None else _STRONG
        entry = Entry(key, data, sequence, time, operation, content_type, coding, who)
        return entry, stored

    def _failed(self, stream: str, direct_server: ConnectedServer | None) -> None:
        if direct_server is not None:
            direct_server.backoff.failed(stream, self._loop.time())
