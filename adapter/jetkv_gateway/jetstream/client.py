"""Calls on the JetStream API: one place for deadlines, retries and the reading of errors.

What is known not to be applied is tried again (docs/architecture.md, decision 7): nobody answered,
or a server without a leader refused. So is a read that got no answer, since reading twice does no
harm. Each try backs off, and none begins later than `RETRY_SECONDS` after the request did; then the
answer is 503, or 504.
"""

import asyncio
import random
from typing import Any

import orjson

from jetkv_gateway.jetstream.api import Naming
from jetkv_gateway.jetstream.capabilities import Host
from jetkv_gateway.jetstream.connection import Connection
from jetkv_gateway.jetstream.credits import IN_FLIGHT_BYTES, CreditPool, CreditRequest, ReadCredits
from jetkv_gateway.jetstream.errors import TRANSIENT, api_error, request_error
from jetkv_gateway.jetstream.read_sizes import SMALL, ReadSizes
from jetkv_gateway.jetstream.requests import (
    HEADER_RESERVE,
    ConnectionLost,
    Multiplexer,
    NoResponders,
    NotConnected,
    Reply,
    RequestFailed,
    RequestTimeout,
    Unreadable,
)
from jetkv_gateway.kv.errors import (
    DeadlineExceeded,
    GatewayError,
    TooManyRequests,
    Unavailable,
)
from jetkv_gateway.kv.retries import Retries
from jetkv_gateway.kv.unreadable import report_unreadable
from jetkv_gateway.stepping import WAITS_FOR_ROOM, deadline

__all__ = ["RETRY_SECONDS", "JetStream", "RetryWindow", "read_answer"]

RETRY_SECONDS = 6.0
"""How long after its beginning a request may still begin another try (docs/architecture.md,
decision 7)."""

_AROUND_A_MESSAGE = 1024
"""Bytes of an answer of the API besides value and headers: the subject, which a key makes long."""

RETRY_TIMEOUT = 2.0
"""Seconds that a try waits for its answer where another one does no harm; and that a request which
was on its way when the connection broke waits for the next connection."""

_ROOM_SECONDS = 5.0
"""How long a read waits for its share, if its request may still wait so long."""

_BOUNDS_KEPT = 256
_RECLAIM_SECONDS = 0.25
"""What is not answered within this time is late: it waits for something in NATS."""

_GET = "STREAM.MSG.GET."

_FIRST_PAUSE = 0.02
_LAST_PAUSE = 0.5


class RetryWindow:
    """The tries of one request: pauses that double, with jitter, until `RETRY_SECONDS` are over.

    One object serves all the calls that a request needs, so that they share the time.

    Args:
        retries: counts what is tried again.
        loop: that runs; None to look for it, which takes a system call before Python 3.12.
    """

    __slots__ = ("_end", "_loop", "_pause", "_retries")

    def __init__(
        self, retries: Retries | None = None, loop: asyncio.AbstractEventLoop | None = None
    ) -> None:
        self._retries = retries
        self._loop = loop or asyncio.get_running_loop()
        self._end = self._loop.time() + RETRY_SECONDS
        self._pause = _FIRST_PAUSE

    @property
    def spent(self) -> float:
        """Seconds since the request began."""
        return RETRY_SECONDS - self.left

    @property
    def left(self) -> float:
        """Seconds in which another try may begin."""
        return self._end - self._loop.time()

    def restart(self) -> None:
        """Count from now on."""
        self._end = self._loop.time() + RETRY_SECONDS

    async def pause(self) -> bool:
        """Wait, and return whether there is time for another try."""
        pause = self._pause * random.uniform(0.5, 1.0)  # noqa: S311 - jitter
        if pause > self.left:
            return False
        self._pause = min(self._pause * 2, _LAST_PAUSE)
        await asyncio.sleep(pause)
        if self._retries is not None:
            self._retries.count += 1
        return True


class JetStream:
    """The API of one account (and domain) over a supervised connection.

    Args:
        timeout: seconds that one request waits for its reply.
        in_flight_bytes: that may be under way at the same time.

    Attributes:
        connection: what it asks over.
        patience: seconds that it waits where it may be made again.
        credits: of what is under way.
        reads: which share of it a read takes.
    """

    def __init__(
        self,
        connection: Connection,
        naming: Naming,
        timeout: float,
        in_flight_bytes: int = IN_FLIGHT_BYTES,
    ) -> None:
        self.connection = connection
        self.naming = naming
        self._api = naming.api
        self._timeout = timeout
        self.retry_timeout = min(timeout, RETRY_TIMEOUT)
        self.credits = ReadCredits(in_flight_bytes)
        self.read_sizes = ReadSizes(self.credits)
        self._reclaiming: asyncio.Task[None] | None = None
        self._info: dict[str, Any] = {}
        self._bounds: dict[int | None, int] = {}
        self._bounds_direct: dict[int | None, int] = {}

    def max_answer_bytes(self, value_limit: int | None, *, direct: bool = False) -> int:
        """Return the bytes that the answer to a read has at most.

        Args:
            value_limit: of the bucket in bytes, None for that of the server.
            direct: whether it is the bytes themselves, not base64 in JSON.
        """
        info = self.connection.server_info
        if info is not self._info:
            # There is another one for each time that a server says what it allows.
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

    async def host(self, retries: Retries | None = None) -> Host:
        """Return the server that decides about a stream to be created.

        Raises:
            GatewayError
        """
        info = await self.call("INFO", retries=retries)
        level = (info.get("api") or {}).get("level", 0)
        return Host(int(level), (0, 0, 0))

    async def wait_available(self, timeout: float) -> bool:
        """Wait until a connection stands, `timeout` seconds at most; return whether it does."""
        return await self.connection.wait_connected(timeout)

    async def wait_reconnected(self, window: RetryWindow) -> bool:
        """Wait for a connection to try again on, and return whether one stands.

        For what was on its way when the last one broke; what comes while there is none is refused
        at once.
        """
        return await self.wait_available(min(window.left, RETRY_TIMEOUT))

    def try_timeout(self, window: RetryWindow) -> float:
        """Return the seconds that a try waits which may be made again; the last one, its full."""
        return self.retry_timeout if window.left > 2 * self.retry_timeout else self._timeout

    @property
    def mux(self) -> Multiplexer:
        """The multiplexer that stands now.

        Raises:
            Unavailable: none stands.
        """
        try:
            return self.connection.mux
        except NotConnected as signal:
            raise request_error(signal, None) from signal

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
        """Call `$JS.API.<verb>` and return its reply.

        Args:
            verb: what follows the API's prefix in the subject.
            payload: the request, JSON.
            check: for a call that changes something, how to find out what became of it.
            timeout: seconds, where the call's own differs from that of all.
            window: of the request that this call is a part of; one that changes nothing is then
                made again when it got no answer.
            credit: of the bytes under way, for a reply that is as large as a value.
            credit_timeout: seconds to wait for credit; the retry window starts after that. None for
                the default, within the window.
            retries: counts what is tried again, for a call that stands alone.

        Raises:
            GatewayError: of the table in `errors`; `DeadlineExceeded`, or `OutcomeUnknown` where
                `check` is given, without an answer in time.
            TooManyRequests: there was no room for the reply in time.
        """
        repeatable = window is not None and check is None
        silent: GatewayError | None = None
        while True:
            again = False
            wait = timeout or self._timeout
            if timeout is None and repeatable and window is not None:
                wait = self.try_timeout(window)
            # Not during a pause: only for what is on its way.
            taken = epoch = 0
            if credit is not None:
                taken = credit.pool.try_acquire(credit.amount)
                if not taken:
                    taken = await self.acquire_credit(credit, window, credit_timeout)
                epoch = credit.pool.epoch
            try:
                message = await self.connection.mux.ask(
                    (self._api + verb).encode(), payload, timeout=wait
                )
                if len(message.data) > SMALL and credit is not None:
                    self.read_sizes.record_large(credit, asyncio.get_running_loop().time())
                reply = read_answer(message, verb.partition(".")[0])
                if "error" not in reply:
                    return reply
                failure = api_error(reply["error"])
            except RequestFailed as signal:
                failure = request_error(signal, check)
                again = repeatable and isinstance(signal, (RequestTimeout, ConnectionLost))
                if isinstance(signal, RequestTimeout):
                    silent = failure
                    if credit is not None:
                        self.abandon(credit.pool, taken)
                        taken = 0
                elif silent is not None and isinstance(signal, (ConnectionLost, NotConnected)):
                    # The silent server was left meanwhile: that it was silent is what counts.
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
                    # An error holds this frame, and must not be held by it: that is a cycle.
                    del failure, silent

    async def acquire_credit(
        self, credit: CreditRequest, window: RetryWindow | None, credit_timeout: float | None
    ) -> int:
        """Wait until there is room for a reply, and return what was taken; see `call`.

        Raises:
            TooManyRequests: there was none in time.
        """
        self._reclaim_soon()
        wait = credit_timeout or _ROOM_SECONDS
        if credit_timeout is None and window is not None:
            wait = min(wait, window.left)
        await WAITS_FOR_ROOM
        try:
            async with deadline(wait):
                taken = await credit.pool.acquire(credit.amount)
        except TimeoutError:
            if self.credits.has_abandoned:
                # NATS does not answer those that were sent; that is what has to be said.
                raise DeadlineExceeded from None
            raise TooManyRequests("too many large values are being read at once") from None
        if credit_timeout is not None and window is not None:
            window.restart()
        return taken

    def abandon(self, pool: CreditPool, taken: int) -> None:
        """Keep what was taken for a reply that was waited for in vain, as it may still come."""
        pool.abandon(taken)
        self._reclaim_soon()

    def _reclaim_soon(self) -> None:
        if self._reclaiming is None or self._reclaiming.done():
            self._reclaiming = asyncio.create_task(self._reclaim())

    async def _reclaim(self) -> None:
        """Find out what is no longer under way, for as long as there is something to find out."""
        while True:
            self.credits.begin_reclaim()
            await asyncio.sleep(_RECLAIM_SECONDS)
            try:
                await self.connection.mux.request(f"{self._api}INFO", timeout=self._timeout)
            except NoResponders:
                pass  # an answer, too
            except RequestFailed:
                continue
            self.credits.reclaim()
            if not self.credits.has_abandoned:
                return

    async def publish(
        self,
        stream: str,
        subject: str,
        payload: bytes,
        headers: bytes,
        check: str,
        window: RetryWindow,
        timeout: float | None = None,
    ) -> dict[str, Any]:
        """Publish into a stream and return its answer: an ack, or one with an `error` object.

        A refusal that passes is met with another try, as is a stream without a leader.

        Args:
            headers: a whole block.
            check: how to find out what became of it.
            window: of the request that this is a part of.
            timeout: seconds, where this one's own differs from that of all.

        Raises:
            BucketNotFound: the stream does not exist.
            OutcomeUnknown: no answer in time; its hint is `check`.
            Unavailable, PermissionDenied, ValueTooLarge: nothing was applied.
        """
        wait = timeout or self._timeout
        while True:
            try:
                message = await self.connection.mux.ask(
                    subject.encode(), payload, headers, timeout=wait
                )
                answer = read_answer(message, stream)
                if "error" not in answer and type(answer.get("seq")) is not int:
                    raise Unreadable(stream)
            except NoResponders as signal:
                await self.require_stream(stream)
                if not await window.pause():
                    raise request_error(signal, check) from signal
            except RequestFailed as signal:
                raise request_error(signal, check) from signal
            else:
                if "error" not in answer or answer["error"].get("err_code") not in TRANSIENT:
                    return answer
                if not await window.pause():
                    return answer

    async def require_stream(self, stream: str) -> None:
        """Tell a stream that will not answer from one whose leader is away, which says the same.

        Nobody hears a publish to a stream that is gone, and no server answers a read of one that is
        out of service.

        Raises:
            GatewayError: why not; no `Unavailable`.
        """
        try:
            message = await self.connection.mux.request(
                f"{self._api}STREAM.INFO.{stream}", timeout=1
            )
            error = read_answer(message, stream).get("error")
        except RequestFailed:
            return
        failure = None if error is None else api_error(error)
        if failure is not None and not isinstance(failure, Unavailable):
            try:
                raise failure
            finally:
                del failure  # see `call`

    async def issues(self) -> dict[str, str]:
        """Return what keeps JetStream from answering, by part; empty when it does."""
        if not self.connection.connected:
            reason = self.connection.last_error or "still connecting"
            return {"nats": f"not connected: {reason}"}
        try:
            message = await self.connection.mux.request(f"{self._api}INFO", timeout=2)
            error = read_answer(message, "INFO").get("error")
            if error is not None:
                raise api_error(error)
        except RequestFailed as signal:
            return {"jetstream": request_error(signal, None).message}
        except GatewayError as refused:
            return {"jetstream": refused.message}
        return {}


def read_answer(reply: Reply, where: str) -> dict[str, Any]:
    """Read an answer of the API. Another program can be the one who answers.

    Raises:
        Unreadable: it is none.
    """
    try:
        answer = orjson.loads(reply.data)
    except orjson.JSONDecodeError:
        answer = None
    if isinstance(answer, dict) and isinstance(answer.get("error", {}), dict):
        return answer
    report_unreadable("answer", where, "what became of the request is unknown")
    raise Unreadable(where)
