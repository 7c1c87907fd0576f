"""Direct reads: the bytes of a message, from whatever server holds it; `lone` says whose they are.

Whoever may publish to a bucket chooses what stands first in the headers of an answer, so what the
server says of it is taken from their end (`headers.read_direct`). Only a message of the bucket's
own stream counts. A mirror with `mirror_direct` takes its turn in answering for its origin, and may
be behind: it says its own name, or "not found", with no name at all. So after "not found", too, the
leader is asked.
"""

import asyncio

from jetkv_gateway.jetstream.api import block_kind
from jetkv_gateway.jetstream.budget import Share
from jetkv_gateway.jetstream.client import JetStream, RetryWindow
from jetkv_gateway.jetstream.errors import unanswered
from jetkv_gateway.jetstream.headers import read_direct, status
from jetkv_gateway.jetstream.lone import Standing
from jetkv_gateway.jetstream.names import BucketNames
from jetkv_gateway.jetstream.requests import (
    ConnectionLost,
    NotConnected,
    RequestFailed,
    RequestTimeout,
)
from jetkv_gateway.jetstream.sizes import SMALL
from jetkv_gateway.kv.errors import GatewayError
from jetkv_gateway.kv.model import Consistency, Entry

__all__ = ["DirectReads"]

_REPLICA_TIMEOUT = 1.0
"""Seconds. A frozen replica does not answer at all, and its leader can still do so."""

_NOT_FOUND = b"404"
_ABSENT_KEPT = 4096


class DirectReads:
    """Reads of single messages that any holder of a stream answers."""

    def __init__(self, js: JetStream) -> None:
        self._js = js
        self._loop = asyncio.get_running_loop()
        self._absent: set[str] = set()

    def leads(self, stream: str, subject: str, lone: Standing | None) -> bool:
        """Return whether direct reads of a stream are its leader's now, and worth a try.

        Args:
            lone: the connection on which they are, by the last look at the stream.
        """
        standing = self._js.connection.standing
        if lone is not standing or not standing.alone or subject in self._absent:
            return False
        rests = standing.rests
        return not rests.streams or not rests.rests(stream, self._loop.time())

    def told(self, subject: str, *, there: bool) -> None:
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
        share: Share,
        window: RetryWindow,
        lone: Standing | None = None,
    ) -> tuple[Entry, bytes] | None:
        """Return a message and the headers it was stored with; None: the leader has to be asked.

        A bucket without direct gets has no server that answers; a frozen one does not in time, and
        a missing permission can look the same.

        Args:
            share: of the bytes under way.
            lone: as for `leads`, which has just said yes; None where anybody may answer.

        Raises:
            TooManyRequests: there was no room for the answer in time.
            GatewayError: it was on its way when the connection broke, and there is no other.
        """
        js, lane, stream = self._js, share.lane, names.stream
        taken, waited = lane.take_now(share.units), False
        if not taken:
            taken, waited = await js.room_for(share, window, None), True
        epoch = lane.epoch
        failure: GatewayError
        try:
            if waited and lone is not None and not self.leads(stream, subject, lone):
                return None
            timeout = js.patience if lone is not None else min(_REPLICA_TIMEOUT, js.patience)
            reply = await js.connection.mux.ask(names.direct, query, timeout=timeout)
        except (RequestTimeout, asyncio.CancelledError) as late:
            js.leave(lane, taken)
            taken = 0
            if not isinstance(late, RequestTimeout):
                raise
            self._failed(stream, lone)
            if lone is None:
                return None
            failure = unanswered(late, None)
        except ConnectionLost as signal:
            failure = unanswered(signal, None)
        except NotConnected:
            return None  # nothing was sent: the next one says why
        except RequestFailed:
            self._failed(stream, lone)
            return None
        else:
            return self._judge(reply, names, subject, key, share, lone)
        finally:
            if taken:
                lane.give(taken, epoch)
        # What was on its way is tried again, as `JetStream.call` does it, and counted.
        if not await js.reconnected(window):
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
        share: Share,
        lone: Standing | None,
    ) -> tuple[Entry, bytes] | None:
        data, block = reply
        if len(data) > SMALL:
            self._js.reads.came_large(share, self._loop.time())
        found = read_direct(block, names.stream_bytes)
        if found is None:
            if status(block).code != _NOT_FOUND:
                self._failed(names.stream, lone)
            return None
        if lone is not None and lone.rests.streams:
            lone.rests.worked(names.stream)
        stored, where, sequence, time = found
        if where != subject.encode():
            return None
        who = Consistency.EVENTUAL if lone is None else Consistency.STRONG
        return Entry(key, data, sequence, time, *block_kind(stored), who), stored

    def _failed(self, stream: str, lone: Standing | None) -> None:
        if lone is not None:
            lone.rests.failed(stream, self._loop.time())
