"""Calls of the JetStream API, with deadlines, retries and error translation in one place.

A call that was certainly not applied is retried (docs/architecture.md, decision 7): no server
answered, or a server without a leader refused it. A read without an answer is retried too, because
reading twice does no harm. The pauses between tries grow, and no try begins later than
`RETRY_SECONDS` after the request; then the answer is 503 or 504.
"""

import asyncio
from typing import Any

from jetkv_gateway.jetstream.answers import read_ack, read_answer
from jetkv_gateway.jetstream.api import Naming
from jetkv_gateway.jetstream.capabilities import Host
from jetkv_gateway.jetstream.connection import Connection
from jetkv_gateway.jetstream.credits import IN_FLIGHT_BYTES, CreditPool, CreditRequest, ReadCredits
from jetkv_gateway.jetstream.errors import TRANSIENT, api_error, request_error
from jetkv_gateway.jetstream.latest_batches import LatestBatches
from jetkv_gateway.jetstream.operations import OPERATION_LETTERS, OPERATIONS
from jetkv_gateway.jetstream.read_sizes import SMALL, ReadSizes
from jetkv_gateway.jetstream.requests import (
    HEADER_RESERVE,
    ConnectionLost,
    Multiplexer,
    NoResponders,
    NotConnected,
    Request,
    RequestFailed,
    RequestTimeout,
)
from jetkv_gateway.jetstream.retry_window import RETRY_SECONDS, RetryWindow
from jetkv_gateway.jetstream.trace_headers import with_trace_context
from jetkv_gateway.kv.errors import DeadlineExceeded, GatewayError, TooManyRequests, Unavailable
from jetkv_gateway.kv.retries import Retries
from jetkv_gateway.stepping import WAITS_FOR_ROOM
from jetkv_gateway.telemetry.events import EVENTS

__all__ = ["RETRY_SECONDS", "JetStream", "RetryWindow"]

_AROUND_A_MESSAGE = 1024
"""Bytes of a reply besides value and headers, mostly of the subject."""

RETRY_TIMEOUT = 2.0
"""Seconds that a try waits for its reply if another try is safe. Also the seconds that a request
waits for the next connection if the connection broke while the request was in flight."""

_CREDIT_SECONDS = 5.0
"""Seconds that a read waits for credit, if its request has so much time."""

_BOUNDS_KEPT = 256
_RECLAIM_SECONDS = 0.25
"""A reply that takes longer than this is late: something in NATS holds it up."""

_GET = "STREAM.MSG.GET."
_SERVER_ERROR = 500


class JetStream:
    """The JetStream API of one account (and domain) on a supervised connection.

    Args:
        timeout: seconds that one request waits for its reply.
        in_flight_bytes: the limit on bytes that NATS may be sending at the same time.
        credits: shared with other instances on the same connection; None creates new ones.

    Attributes:
        connection: the supervised connection.
        retry_timeout: seconds that a try waits for its reply if another try is safe.
        credits: the credit for bytes in flight.
        read_sizes: chooses the credit of a read.
        latest_batches: chooses the batches of readers of the newest message of each key.
    """

    def __init__(
        self,
        connection: Connection,
        naming: Naming,
        timeout: float,
        in_flight_bytes: int = IN_FLIGHT_BYTES,
        credits: ReadCredits | None = None,
    ) -> None:
        self.connection = connection
        self.naming = naming
        self._api = naming.api
        self._timeout = timeout
        self.retry_timeout = min(timeout, RETRY_TIMEOUT)
        self.credits = credits or ReadCredits(in_flight_bytes)
        self.read_sizes = ReadSizes(self.credits)
        self.latest_batches = LatestBatches(self.credits)
        self._reclaiming: asyncio.Task[None] | None = None
        self._info: dict[str, Any] = {}
        self._bounds: dict[int | None, int] = {}
        self._bounds_direct: dict[int | None, int] = {}

    def max_answer_bytes(self, value_limit: int | None, *, direct: bool = False) -> int:
        """Return the largest possible reply to a read in bytes.

        Args:
            value_limit: the bucket's limit in bytes; None for the server's.
            direct: whether the reply is raw bytes, not base64 in JSON.
        """
        info = self.connection.server_info
        if info is not self._info:
            # Each INFO creates a new object, and its limits may differ.
            self._info = info
            self._bounds.clear()
            self._bounds_direct.clear()
        bounds = self._bounds_direct if direct else self._bounds
        bound = bounds.get(value_limit)
        if bound is None:
            largest = self.connection.max_value_bytes
            if value_limit is not None:
                largest = min(largest, value_limit)
            bound = largest + HEADER_RESERVE
            if not direct:
                bound = bound * 4 // 3
            bound += _AROUND_A_MESSAGE
            if len(bounds) >= _BOUNDS_KEPT:
                bounds.clear()
            bounds[value_limit] = bound
        return bound

    def sharing(self, naming: Naming) -> "JetStream":
        """Return one for other names, on the same connection and with the same credit."""
        return JetStream(self.connection, naming, self._timeout, credits=self.credits)

    async def host(self, retries: Retries | None = None) -> Host:
        """Return the server that decides about a new stream.

        Raises:
            GatewayError: see `call`.
        """
        info = await self.call("INFO", retries=retries)
        level = (info.get("api") or {}).get("level", 0)
        return Host(int(level), (0, 0, 0))

    async def wait_available(self, timeout: float) -> bool:
        """Wait for a connection, at most `timeout` seconds; return whether there is one."""
        return await self.connection.wait_connected(timeout)

    async def wait_reconnected(self, window: RetryWindow) -> bool:
        """Wait for a connection for another try; return whether there is one.

        This is for requests in flight when the connection broke. Requests that arrive without a
        connection fail at once.
        """
        return await self.wait_available(min(window.left, RETRY_TIMEOUT))

    def try_timeout(self, window: RetryWindow) -> float:
        """Return the seconds that a repeatable try waits for its reply.

        The last try gets the full time.
        """
        return self.retry_timeout if window.left > 2 * self.retry_timeout else self._timeout

    @property
    def mux(self) -> Multiplexer:
        """The multiplexer of the current connection.

        Raises:
            Unavailable: there is no connection.
        """
        try:
            return self.connection.mux
        except NotConnected as failed:
            raise request_error(failed, None) from failed

    async def call(
        self,
        verb: str,
        payload: bytes = b"",
        *,
        check: str | None = None,
        timeout: float | None = None,
        window: RetryWindow | None = None,
        credit: CreditRequest | None = None,
        credit_timeout: float | None = None,
        retries: Retries | None = None,
    ) -> dict[str, Any]:
        """Call `$JS.API.<verb>` and return the reply.

        Args:
            verb: the subject behind the API's prefix.
            payload: the JSON request.
            check: for a call that changes something: how to find out whether it was applied.
            timeout: seconds; None for the default of all calls.
            window: the retry window of the request that this call belongs to. With a window, a call
                that changes nothing is also retried after a missing answer.
            credit: the credit to acquire, for a reply that may be as large as a value.
            credit_timeout: seconds to wait for credit; the retry window starts after that. None for
                the default, within the window.
            retries: counts the retries, for a call that is a whole request.

        Raises:
            GatewayError: the error of the table in `errors`. Without an answer in time:
                `DeadlineExceeded`, or `OutcomeUnknown` if `check` is given.
            TooManyRequests: there was no credit in time.
        """
        repeatable = window is not None and check is None
        silent: GatewayError | None = None
        while True:
            again = False
            wait = timeout or self._timeout
            if timeout is None and repeatable and window is not None:
                wait = self.try_timeout(window)
            # Acquire credit for each try, so that no credit is held during a pause.
            taken = epoch = 0
            if credit is not None:
                taken = credit.pool.try_acquire(credit.amount)
                if not taken:
                    taken = await self.acquire_credit(credit, window, credit_timeout)
                epoch = credit.pool.epoch
            try:
                data, _ = await self.connection.mux.ask(
                    (self._api + verb).encode(),
                    payload,
                    timeout=wait,
                    operation=OPERATIONS.get(verb[:OPERATION_LETTERS], "other"),
                )
                if len(data) > SMALL and credit is not None:
                    self.read_sizes.record_large(credit, asyncio.get_running_loop().time())
                reply = read_answer(data, verb.partition(".")[0])
                if "error" not in reply:
                    return reply
                failure = api_error(reply["error"])
                _report_refusal(failure)
            except RequestFailed as failed:
                failure = request_error(failed, check)
                again = repeatable and isinstance(failed, (RequestTimeout, ConnectionLost))
                if isinstance(failed, RequestTimeout):
                    silent = failure
                    if credit is not None:
                        self.abandon(credit.pool, taken)
                        taken = 0
                elif silent is not None and isinstance(failed, (ConnectionLost, NotConnected)):
                    # The gateway left the silent server meanwhile. Report the missing answer, not
                    # the reconnect.
                    failure = silent
            except asyncio.CancelledError:
                if credit is not None:
                    self.abandon(credit.pool, taken)
                    taken = 0
                raise
            finally:
                if credit is not None and taken:
                    credit.pool.release(taken, epoch)
            window = window or RetryWindow(retries)
            if again:
                again = await self.wait_reconnected(window)
            else:
                again = isinstance(failure, Unavailable) and self.connection.connected
            if not again or not await window.pause():
                if repeatable and isinstance(failure, DeadlineExceeded) and verb.startswith(_GET):
                    await self.require_stream(verb[len(_GET) :])
                try:
                    raise failure
                finally:
                    # The error references this frame. Without the del, frame and error would form a
                    # cycle.
                    del failure, silent

    async def acquire_credit(
        self, credit: CreditRequest, window: RetryWindow | None, credit_timeout: float | None
    ) -> int:
        """Wait for credit that `try_acquire` has not given, and return the amount; see `call`.

        Raises:
            TooManyRequests: there was no credit in time.
        """
        self._reclaim_soon()
        wait = credit_timeout or _CREDIT_SECONDS
        if credit_timeout is None and window is not None:
            wait = min(wait, window.left)
        await WAITS_FOR_ROOM
        try:
            taken = await credit.pool.wait(credit.amount, wait)
        except TimeoutError:
            if self.credits.has_abandoned:
                # The credit is in use because NATS does not answer earlier requests: report that.
                raise DeadlineExceeded from None
            raise TooManyRequests("too many large values are being read at once") from None
        if credit_timeout is not None and window is not None:
            window.restart()
        return taken

    def abandon(self, pool: CreditPool, taken: int) -> None:
        """Keep the credit of a request that no longer waits, because its reply may still come."""
        pool.abandon(taken)
        self._reclaim_soon()

    def _reclaim_soon(self) -> None:
        if self._reclaiming is None or self._reclaiming.done():
            self._reclaiming = asyncio.create_task(self._reclaim())

    async def _reclaim(self) -> None:
        """Reclaim credit of replies that are not in flight any more, until nothing is left."""
        while True:
            self.credits.begin_reclaim()
            await asyncio.sleep(_RECLAIM_SECONDS)
            try:
                await self.connection.mux.request(
                    f"{self._api}INFO", timeout=self._timeout, operation="account_info"
                )
            except NoResponders:
                pass  # this is a reply too
            except RequestFailed:
                if self.connection.is_closed:
                    return
                continue
            self.credits.reclaim()
            if not self.credits.has_abandoned:
                return

    async def publish(
        self,
        stream: str,
        subject: bytes,
        payload: bytes,
        headers: bytes,
        check: str,
        window: RetryWindow,
        timeout: float | None = None,
    ) -> dict[str, Any]:
        """Publish to a stream and return the answer: an acknowledgement or an `error` object.

        A transient refusal is retried, and so is a stream without a leader.

        Args:
            headers: a complete header block.
            check: how the caller finds out whether the write was applied.
            window: the retry window of the request.
            timeout: seconds; None for the default of all calls.

        Raises:
            BucketNotFound: the stream does not exist.
            OutcomeUnknown: there was no answer in time; the hint is `check`.
            Unavailable, PermissionDenied, ValueTooLarge: nothing was applied.
        """
        while True:
            try:
                data, _ = await self.send(subject, payload, headers, timeout)
                answer = read_ack(data, stream)
            except RequestFailed as failed:
                await self.prepare_retry(failed, stream, check, window)
            else:
                if "error" not in answer or not await self.may_repeat(answer, window):
                    return answer

    def send(
        self, subject: bytes, payload: bytes, headers: bytes, timeout: float | None = None
    ) -> Request:
        """Send one try of a `publish`, and return the request; `read_ack` parses its reply.

        Raises:
            NotConnected, PayloadTooLarge: nothing was sent.
        """
        if EVENTS.write_context is not None:
            headers = with_trace_context(headers)
        return self.connection.ask(
            subject, payload, headers, timeout=timeout or self._timeout, operation="publish"
        )

    async def prepare_retry(
        self, failed: RequestFailed, stream: str, check: str, window: RetryWindow
    ) -> None:
        """Wait until another try of a `publish` may be made; raise its error if none may be."""
        if isinstance(failed, NoResponders):
            await self.require_stream(stream)
            if await window.pause():
                return
        raise request_error(failed, check) from failed

    async def may_repeat(self, answer: dict[str, Any], window: RetryWindow) -> bool:
        """Return whether a `publish` with this answer may be tried again, after a pause."""
        error = answer.get("error")
        if error is None or error.get("err_code") not in TRANSIENT:
            return False
        _report_refusal(api_error(error))
        return await window.pause()

    async def require_stream(self, stream: str) -> None:
        """Raise the reason if a stream will never answer; return if only its leader may be away.

        NATS reports both cases in the same way: nobody receives a publish to a deleted stream, and
        no server answers a read of an offline stream.

        Raises:
            GatewayError: the reason; never `Unavailable`.
        """
        try:
            message = await self.connection.mux.request(
                f"{self._api}STREAM.INFO.{stream}", timeout=1, operation="stream_info"
            )
            error = read_answer(message.data, stream).get("error")
        except RequestFailed:
            return
        failure = None if error is None else api_error(error)
        if failure is not None and not isinstance(failure, Unavailable):
            try:
                raise failure
            finally:
                del failure  # see `call`

    async def issues(self) -> dict[str, str]:
        """Return the problems of JetStream, by component; empty if it answers."""
        if not self.connection.connected:
            reason = self.connection.last_error or "still connecting"
            return {"nats": f"not connected: {reason}"}
        try:
            message = await self.connection.mux.request(
                f"{self._api}INFO", timeout=2, operation="account_info"
            )
            error = read_answer(message.data, "INFO").get("error")
            if error is not None:
                raise api_error(error)
        except RequestFailed as failed:
            return {"jetstream": request_error(failed, None).message}
        except GatewayError as refused:
            return {"jetstream": refused.message}
        return {}


def _report_refusal(failure: GatewayError) -> None:
    """Report an error that JetStream answered, unless it is about the request itself."""
    if failure.status >= _SERVER_ERROR and EVENTS.nats_failed is not None:
        EVENTS.nats_failed("jetstream")
