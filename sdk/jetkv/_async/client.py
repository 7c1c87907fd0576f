"""The client: calls, tried again where that is safe."""

import dataclasses
import ssl
import weakref
from typing import Any, Self

from jetkv._async.kv import AsyncKV
from jetkv._async.runtime import now, sleep
from jetkv._async.watch import AsyncWatch
from jetkv._core import requests
from jetkv._core.address import Address
from jetkv._core.answers import read_features
from jetkv._core.handles import OfOneProcess
from jetkv._core.retry import RETRY_HORIZON, Again, Retry, jitter, judge, silence
from jetkv._core.wire import MOST_BYTES, Answer, NoAnswer, Request, TransportError
from jetkv.errors import InvalidArgumentError, JetKVError

__all__ = ["AsyncClient"]

_LEAST = 0.01  # seconds; transports take no less
_LONGEST = 86_400.0


class AsyncClient(OfOneProcess):
    """A jetkv gateway's client.

    It keeps connections and reuses them: make one for a program, and close it at the end, best
    by `with`. The sync client may be used by any number of threads, and after a fork; the async
    one belongs to the event loop that first used it.

    Args:
        url: of the gateway, such as `https://kv.example.org`.
        token: for a gateway with `--auth tokens`; never logged.
        timeout: seconds that a call may take, further tries included.
        retry: how often to try again what is safe to repeat.
        proxy: a proxy's URL; None takes `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` of the
            environment, an empty text none.
        ssl_context: for https; None trusts what this system trusts.
        max_connections: at once; watches have connections of their own.
        max_response_bytes: of an entry, a list, a history, or an event of a watch, decoded: a
            larger answer is an `UnexpectedAnswerError`, and what went beyond was not read. Any
            other answer has 1 MiB at most. A history of 64 values of 1 MiB has 86 MiB.

    Raises:
        InvalidArgumentError: one of these cannot be used.
    """

    def __init__(
        self,
        url: str = "http://localhost:9123",
        *,
        token: str | None = None,
        timeout: float = 10.0,
        retry: Retry | None = None,
        proxy: str | None = None,
        ssl_context: ssl.SSLContext | None = None,
        max_connections: int = 100,
        max_response_bytes: int = MOST_BYTES,
    ) -> None:
        # Here, since a program that uses one of the two clients need not wait for the other's.
        from jetkv._async.transport import Transport

        if isinstance(timeout, bool) or not isinstance(timeout, int | float):
            raise InvalidArgumentError(f"timeout is a number of seconds: {timeout!r}")
        if not 0 < timeout <= _LONGEST:
            raise InvalidArgumentError(f"timeout is above 0 and at most a day: {timeout!r}")
        for name, count in (
            ("max_connections", max_connections),
            ("max_response_bytes", max_response_bytes),
        ):
            if isinstance(count, bool) or not isinstance(count, int) or count < 1:
                raise InvalidArgumentError(f"{name} is a whole number from 1: {count!r}")
        if not isinstance(retry, Retry | None):
            raise InvalidArgumentError(f"retry is a Retry: {retry!r}", hint="Retry(attempts=3)")
        self._address = Address.parse(url, token=token, proxy=proxy, ssl_context=ssl_context)
        self._timeout = timeout
        self._retry = retry or Retry()
        self._most = max_response_bytes
        self._transport = Transport(
            self._address, max_connections=max_connections, most=max_response_bytes
        )
        self._honours_keys = False
        self._watches: weakref.WeakSet[AsyncWatch[Any]] = weakref.WeakSet()

    def kv(self) -> AsyncKV:
        """Return the buckets of this gateway."""
        return AsyncKV(self)

    async def aclose(self) -> None:
        """Close all connections; watches that are open raise `ClientClosedError`."""
        await self._transport.aclose()
        for watch in list(self._watches):
            await watch._leave_client()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"<AsyncClient {self._address}>"

    def _brief(self, attempts: int) -> "AsyncClient":
        """Return this client with fewer tries, for what only helps and must hold up nobody.

        It shares everything else, connections and their end included.
        """
        brief = object.__new__(AsyncClient)
        brief.__dict__.update(self.__dict__)
        brief._retry = dataclasses.replace(
            self._retry, attempts=min(attempts, self._retry.attempts)
        )
        return brief

    async def _call(self, request: Request, within: float | None = None) -> Answer:
        """Send a request, again where that is safe, and return an answer.

        Args:
            within: seconds, where they are fewer than the client's timeout.

        Raises:
            JetKVError: there is none, or one that says to try again, too often.
        """
        begun = now()
        deadline = begun + min(self._timeout, within or self._timeout)
        patient_until = begun + self._retry.patience
        tried = 0
        doubt: JetKVError | None = None
        while True:
            tried += 1
            left = max(deadline - now(), _LEAST)
            quiet = silence(request, tried, left) if tried < self._retry.attempts else left
            outcome: Answer | TransportError
            try:
                outcome = await self._transport.send(request, left, quiet)
            except NoAnswer as failure:
                outcome = failure
                if tried > 1:
                    outcome = NoAnswer(f"no answer within {now() - begun:.3g} s, in {tried} tries")
                    outcome.__cause__ = failure
            except TransportError as failure:
                outcome = failure
            verdict = judge(request, outcome, self._address)
            if verdict.error is None:
                assert isinstance(outcome, Answer)
                return outcome
            if verdict.again is Again.IF_HONOURED:
                doubt = verdict.error
                deadline = min(deadline, begun + RETRY_HORIZON)
            delay = self._retry.delay(tried, verdict.at_least, jitter())
            if (
                verdict.again is Again.NO
                or tried >= self._retry.attempts
                or now() + delay >= deadline
                or (verdict.not_now and doubt is None and now() + delay > patient_until)
                or (verdict.again is Again.IF_HONOURED and not await self._idempotent(deadline))
                or now() + delay >= deadline
            ):
                cause = outcome if isinstance(outcome, TransportError) else None
                # What refuses a later try says nothing of one that may have been applied.
                raise (doubt or verdict.error) from cause
            await sleep(delay)

    async def _idempotent(self, deadline: float) -> bool:
        """Return whether the gateway honours idempotency keys; False when it does not say."""
        if not self._honours_keys:
            request = requests.CAPABILITIES
            try:
                left = max(deadline - now(), _LEAST)
                answer = await self._transport.send(request, left, left)
                self._honours_keys = "idempotency" in read_features(answer, request)
            except (TransportError, JetKVError):
                return False
        return self._honours_keys
