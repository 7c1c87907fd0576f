# Made from sdk/jetkv/_async/endpoint.py by `make format`. Edit that file.
"""The SDK's inner interface: everything that talks to the gateway sends its requests through it.

`Client` makes one `Endpoint` and hands it to `KV`, which hands it to buckets and
watches. None of these knows the client. Recipes get it from `endpoint_of(bucket)`.
"""

import copy
import dataclasses
import weakref
from typing import TYPE_CHECKING, Self

from jetkv._core import requests
from jetkv._core.address import Address
from jetkv._core.answers import read_features
from jetkv._core.log import log_retry
from jetkv._core.messages import Answer, NoAnswer, Request, TransportError
from jetkv._core.process import ClosedWithClient
from jetkv._core.retry import RETRY_HORIZON, Resend, Retry, jitter, judge, read_timeout
from jetkv._sync.runtime import now, sleep
from jetkv.errors import JetKVError

if TYPE_CHECKING:
    from jetkv._sync.transport import Stream, Transport

__all__ = ["Endpoint"]

_MIN_TIMEOUT = 0.01  # seconds; the HTTP libraries take 0 as "no timeout"


class Endpoint:
    """Sends requests to one gateway, and resends them where that is safe.

    Args:
        transport: the connections; its owner closes them with `close`.
        address: the gateway's address.
        timeout: seconds for one call, retries included.
        retry: how often a call may be resent.
        max_answer_bytes: the largest answer with values or lists, in bytes after decompression.

    Attributes:
        transport: shared with every endpoint that `limited` returns.
        address, timeout, retry, max_answer_bytes: as in the arguments.
    """

    def __init__(
        self,
        transport: "Transport",
        address: Address,
        *,
        timeout: float,
        retry: Retry,
        max_answer_bytes: int,
    ) -> None:
        self.transport = transport
        self.address = address
        self.timeout = timeout
        self.retry = retry
        self.max_answer_bytes = max_answer_bytes
        self._honours_idempotency_keys = False
        self._watches: weakref.WeakSet[ClosedWithClient] = weakref.WeakSet()

    def limited(self, *, timeout: float | None = None, attempts: int | None = None) -> Self:
        """Return an endpoint on the same connections that gives up earlier.

        Args:
            timeout: seconds for one call; applies if it is less than this endpoint's timeout.
            attempts: requests of one call; applies if they are fewer than this endpoint's.
        """
        other = copy.copy(self)
        if timeout is not None:
            other.timeout = min(self.timeout, timeout)
        if attempts is not None:
            attempts = min(self.retry.attempts, attempts)
            other.retry = dataclasses.replace(self.retry, attempts=attempts)
        return other

    def call(self, request: Request) -> Answer:
        """Send a request, resend it where that is safe, and return the answer.

        Raises:
            JetKVError: no answer came, or the last one told the client to try again.
        """
        started = now()
        deadline = started + self.timeout
        unavailable_until = started + self.retry.patience
        attempt = 0
        unknown: JetKVError | None = None
        while True:
            attempt += 1
            left = max(deadline - now(), _MIN_TIMEOUT)
            is_last = attempt >= self.retry.attempts
            outcome: Answer | TransportError
            try:
                outcome = self.transport.send(
                    request, left, left if is_last else read_timeout(request, attempt, left)
                )
            except NoAnswer as failure:
                outcome = failure
                if attempt > 1:
                    seconds = now() - started
                    outcome = NoAnswer(f"no answer within {seconds:.3g} s, in {attempt} tries")
                    outcome.__cause__ = failure
            except TransportError as failure:
                outcome = failure
            verdict = judge(request, outcome, self.address)
            if verdict.error is None:
                assert isinstance(outcome, Answer)
                return outcome
            if verdict.resend is Resend.IF_HONOURED:
                unknown = verdict.error
                deadline = min(deadline, started + RETRY_HORIZON)
            delay = self.retry.delay(attempt, verdict.min_delay, jitter())
            if (
                verdict.resend is Resend.NO
                or is_last
                or now() + delay >= deadline
                or (verdict.unavailable and unknown is None and now() + delay > unavailable_until)
                or (
                    verdict.resend is Resend.IF_HONOURED
                    and not self._has_idempotency_keys(deadline)
                )
                or now() + delay >= deadline
            ):
                cause = outcome if isinstance(outcome, TransportError) else None
                # An earlier attempt may have been applied. That this one was refused does not
                # change it, so the unknown outcome is the error to raise.
                raise (unknown or verdict.error) from cause
            log_retry(verdict.error, attempt, delay)
            sleep(delay)

    def _has_idempotency_keys(self, deadline: float) -> bool:
        """Return whether the gateway honours idempotency keys; False if it does not answer."""
        if not self._honours_idempotency_keys:
            request = requests.CAPABILITIES
            try:
                left = max(deadline - now(), _MIN_TIMEOUT)
                answer = self.transport.send(request, left, left)
                features = read_features(answer, request)
                self._honours_idempotency_keys = "idempotency" in features
            except (TransportError, JetKVError):
                return False
        return self._honours_idempotency_keys

    def stream(self) -> "Stream":
        """Return an unopened stream, which gets a connection of its own.

        Raises:
            ClientClosedError: the client is closed.
        """
        return self.transport.stream()

    def check_open(self) -> None:
        """Check that the client is open.

        Raises:
            ClientClosedError: the client is closed.
        """
        self.transport.ready()

    def add_watch(self, watch: ClosedWithClient) -> None:
        """Have `close` end a watch. The endpoint keeps only a weak reference to it."""
        self._watches.add(watch)

    def close(self) -> None:
        """Close all connections and end all watches."""
        self.transport.close()
        for watch in list(self._watches):
            watch.client_closed()
