"""Direct reads: any server that holds a stream answers with the raw bytes of a message.

Whoever may publish to a bucket chooses what stands first in the headers of an answer, so what the
server says of it is taken from their end (`headers.read_direct`). Only a message of the bucket's
own stream counts. A mirror with `mirror_direct` takes its turn in answering for its origin, and may
be behind: it says its own name, or "not found", with no name at all. So after "not found", too, the
leader is asked.
"""

import asyncio

from jetkv_gateway.jetstream.api import block_kind
from jetkv_gateway.jetstream.client import JetStream, RetryWindow
from jetkv_gateway.jetstream.credits import CreditRequest
from jetkv_gateway.jetstream.errors import request_error
from jetkv_gateway.jetstream.headers import read_direct, status
from jetkv_gateway.jetstream.names import BucketNames
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
"""Seconds. A frozen replica does not answer at all, and its leader can still do so."""

_NOT_FOUND = b"404"
_ABSENT_KEPT = 4096
# Looked up once: of an enum, that takes as long as a call before Python 3.12.
_STRONG = Consistency.STRONG


class DirectReads:
    """Reads of single messages that any holder of a stream answers."""

    def __init__(self, js: JetStream) -> None:
        self._js = js
        self._loop = asyncio.get_running_loop()
        self._absent: set[str] = set()

    def usable(self, stream: str, subject: str, direct_server: ConnectedServer | None) -> bool:
        """Return whether direct reads of a stream are its leader's now, and worth a try.

        Args:
            direct_server: the connection on which they are, by the last look at the stream.
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
        """Take in what the leader says of a subject.

        What is not there is asked of it at once the next time: it would be asked anyway.
        """
        if there:
            self._absent.discard(subject)
            return
        if len(self._absent) >= _ABSENT_KEPT:
            self._absent.clear()
        self._absent.add(subject)

    async def read(
        self,
        names: BucketNames,
        subject: str,
        key: str,
        query: bytes,
        credit: CreditRequest,
        window: RetryWindow,
        direct_server: ConnectedServer | None = None,
    ) -> tuple[Entry, bytes] | None:
        """Return a message and the headers it was stored with; None: the leader has to be asked.

        A bucket without direct gets has no server that answers; a frozen one does not in time, and
        a missing permission can look the same.

        Args:
            credit: of the bytes under way.
            direct_server: as for `usable`, which has just said yes; None where anybody may answer.

        Raises:
            TooManyRequests: there was no room for the answer in time.
            GatewayError: it was on its way when the connection broke, and there is no other.
        """
        js, pool, stream = self._js, credit.pool, names.stream
        taken, waited = pool.try_acquire(credit.amount), False
        if not taken:
            taken, waited = await js.acquire_credit(credit, window, None), True
        epoch = pool.epoch
        failure: GatewayError
        try:
            if (
                waited
                and direct_server is not None
                and not self.usable(stream, subject, direct_server)
            ):
                return None
            timeout = (
                js.retry_timeout
                if direct_server is not None
                else min(_REPLICA_TIMEOUT, js.retry_timeout)
            )
            reply = await js.connection.mux.ask(names.direct, query, timeout=timeout)
        except (RequestTimeout, asyncio.CancelledError) as late:
            js.abandon(pool, taken)
            taken = 0
            if not isinstance(late, RequestTimeout):
                raise
            self._failed(stream, direct_server)
            if direct_server is None:
                return None
            failure = request_error(late, None)
        except ConnectionLost as signal:
            failure = request_error(signal, None)
        except NotConnected:
            return None  # nothing was sent: the next one says why
        except RequestFailed:
            self._failed(stream, direct_server)
            return None
        else:
            return self._judge(reply, names, subject, key, credit, direct_server)
        finally:
            if taken:
                pool.release(taken, epoch)
        # What was on its way is tried again, as `JetStream.call` does it, and counted.
        if not await js.wait_reconnected(window):
            try:
                raise failure
            finally:
                del failure  # an error holds this frame, and must not be held by it
        await window.pause()
        return None

    def _judge(
        self,
        reply: tuple[bytes, bytes],
        names: BucketNames,
        subject: str,
        key: str,
        credit: CreditRequest,
        direct_server: ConnectedServer | None,
    ) -> tuple[Entry, bytes] | None:
        data, block = reply
        if len(data) > SMALL:
            self._js.read_sizes.record_large(credit, self._loop.time())
        found = read_direct(block, names.stream_name)
        if found is None:
            if status(block).code != _NOT_FOUND:
                self._failed(names.stream, direct_server)
            return None
        if direct_server is not None and direct_server.backoff.streams:
            direct_server.backoff.worked(names.stream)
        stored, where, sequence, time = found
        if where != subject.encode():
            return None
        who = Consistency.EVENTUAL if direct_server is None else _STRONG
        return Entry(key, data, sequence, time, *block_kind(stored), who), stored

    def _failed(self, stream: str, direct_server: ConnectedServer | None) -> None:
        if direct_server is not None:
            direct_server.backoff.failed(stream, self._loop.time())
