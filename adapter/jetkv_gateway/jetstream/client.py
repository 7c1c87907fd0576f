"""Calls on the JetStream API: one place for deadlines, retries and the reading of errors.

Only what is known not to be applied is retried (design decision 7): nobody answered, or a server
without a leader refused. Each retry backs off, and all of them together end after
`RETRY_SECONDS`; then the answer is 503.
"""

import asyncio
import random
from typing import Any

import orjson

from jetkv_gateway.jetstream.api import Naming
from jetkv_gateway.jetstream.connection import Connection
from jetkv_gateway.jetstream.errors import STREAM_NOT_FOUND, refusal, unanswered
from jetkv_gateway.jetstream.requests import (
    Multiplexer,
    NoResponders,
    NotConnected,
    Reply,
    RequestTimeout,
    Signal,
)
from jetkv_gateway.kv.errors import BucketNotFound, GatewayError, Unavailable

__all__ = ["RETRY_SECONDS", "Backoff", "JetStream"]

RETRY_SECONDS = 6.0

_FIRST_PAUSE = 0.02
_LAST_PAUSE = 0.5


class Backoff:
    """Pauses that double, with jitter, until a budget of seconds is used up."""

    def __init__(self, seconds: float = RETRY_SECONDS) -> None:
        self._loop = asyncio.get_running_loop()
        self._end = self._loop.time() + seconds
        self._pause = _FIRST_PAUSE

    async def pause(self) -> bool:
        """Wait, and return whether there is time for another try."""
        pause = self._pause * random.uniform(0.5, 1.0)  # noqa: S311 - jitter
        if self._loop.time() + pause > self._end:
            return False
        self._pause = min(self._pause * 2, _LAST_PAUSE)
        await asyncio.sleep(pause)
        return True


class JetStream:
    """The API of one account (and domain) over a supervised connection.

    Args:
        timeout: seconds that one request waits for its reply.
    """

    def __init__(self, connection: Connection, naming: Naming, timeout: float) -> None:
        self._connection = connection
        self.naming = naming
        self._api = naming.api
        self._timeout = timeout

    @property
    def max_value_bytes(self) -> int:
        return self._connection.max_value_bytes

    @property
    def server_version(self) -> tuple[int, int, int]:
        """Of the server that the connection is, or was last, with."""
        return self._connection.server_version

    async def available(self, timeout: float) -> None:
        """Wait until a connection stands, `timeout` seconds at most."""
        await self._connection.wait_connected(timeout)

    @property
    def mux(self) -> Multiplexer:
        """The multiplexer that stands now.

        Raises:
            Unavailable: none stands.
        """
        try:
            return self._connection.mux
        except NotConnected as signal:
            raise unanswered(signal, None) from signal

    async def call(
        self,
        verb: str,
        payload: bytes = b"",
        *,
        check: str | None = None,
        timeout: float | None = None,
    ) -> dict[str, Any]:
        """Call `$JS.API.<verb>` and return its reply.

        Args:
            verb: what follows the API's prefix in the subject.
            payload: the request, JSON.
            check: for a call that changes something, how to find out what became of it.
            timeout: seconds, where the call's own differs from that of all.

        Raises:
            GatewayError: of the table in `errors`; `DeadlineExceeded`, or `OutcomeUnknown` where
                `check` is given, without an answer in time.
        """
        backoff: Backoff | None = None
        while True:
            try:
                message = await self._connection.mux.request(
                    self._api + verb, payload, timeout=timeout or self._timeout
                )
                reply: dict[str, Any] = orjson.loads(message.data)
                if "error" not in reply:
                    return reply
                failure = refusal(reply["error"])
            except Signal as signal:
                failure = unanswered(signal, check)
            if not isinstance(failure, Unavailable) or not self._connection.connected:
                raise failure
            backoff = backoff or Backoff()
            if not await backoff.pause():
                raise failure

    async def direct_get(self, stream: str, payload: bytes, *, timeout: float) -> Reply | None:
        """Return what a replica answers to a read, or None where none answers in time."""
        try:
            return await self._connection.mux.request(
                f"{self._api}DIRECT.GET.{stream}", payload, timeout=timeout
            )
        except (NoResponders, RequestTimeout):
            return None
        except Signal as signal:
            raise unanswered(signal, None) from signal

    async def publish(
        self, stream: str, subject: str, payload: bytes, headers: dict[str, str], check: str
    ) -> dict[str, Any]:
        """Publish into a stream and return its answer: an ack, or one with an `error` object.

        Raises:
            BucketNotFound: the stream does not exist.
            OutcomeUnknown: no answer in time; its hint is `check`.
            Unavailable, PermissionDenied, ValueTooLarge: nothing was applied.
        """
        backoff: Backoff | None = None
        while True:
            try:
                message = await self._connection.mux.request(
                    subject, payload, headers, timeout=self._timeout
                )
                answer: dict[str, Any] = orjson.loads(message.data)
            except NoResponders as signal:
                await self._require_stream(stream)
                backoff = backoff or Backoff()
                if not await backoff.pause():
                    raise unanswered(signal, check) from signal
            except Signal as signal:
                raise unanswered(signal, check) from signal
            else:
                return answer

    async def _require_stream(self, stream: str) -> None:
        """Tell a missing bucket from a missing leader: a publish that nobody heard does not."""
        try:
            message = await self._connection.mux.request(
                f"{self._api}STREAM.INFO.{stream}", timeout=1
            )
        except Signal:
            return
        error = orjson.loads(message.data).get("error")
        if error is not None and error.get("err_code") == STREAM_NOT_FOUND:
            raise BucketNotFound

    async def issues(self) -> dict[str, str]:
        """Return what keeps JetStream from answering, by part; empty when it does."""
        if not self._connection.connected:
            reason = self._connection.last_error or "still connecting"
            return {"nats": f"not connected: {reason}"}
        try:
            message = await self._connection.mux.request(f"{self._api}INFO", timeout=2)
            error = orjson.loads(message.data).get("error")
            if error is not None:
                raise refusal(error)
        except Signal as signal:
            return {"jetstream": unanswered(signal, None).message}
        except GatewayError as refused:
            return {"jetstream": refused.message}
        return {}
