"""A function whose results are kept in a bucket."""

import functools
import logging
import os
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Generic, Literal, ParamSpec, TypeVar

from jetkv._async.bucket import AsyncBucket, endpoint_of
from jetkv._async.runtime import AsyncSignal, current
from jetkv._core import requests
from jetkv._core.answers import decoder, read_revision
from jetkv.errors import (
    InvalidArgumentError,
    JetKVError,
    KeyNotFoundError,
    ValueDecodeError,
)
from jetkv.models import TTL
from jetkv.recipes._async.view import bucket_view
from jetkv.recipes._keys import KeyOf
from jetkv.recipes._outage import RecentValues, cool_down_for, is_outage

__all__ = ["AsyncCached"]

log = logging.getLogger("jetkv.recipes")

# The second attempt is for a kept connection that the gateway has closed meanwhile.
_ATTEMPTS = 2

P = ParamSpec("P")
R = TypeVar("R")


class AsyncCached(Generic[P, R]):
    """A cached function. `jetkv.recipes.cached` returns this, and documents it.

    `__wrapped__` is the original function.
    """

    def __init__(
        self,
        fn: Callable[P, Awaitable[R]],
        bucket: AsyncBucket[Any],
        key_of: KeyOf,
        on_error: Literal["compute", "raise"],
        *,
        ttl: TTL | None,
        timeout: float,
        stale: float,
    ) -> None:
        functools.update_wrapper(self, fn)
        self._fn = fn
        self._bucket = bucket
        self._key_of = key_of
        self._on_error = on_error
        self._ttl = ttl
        # If an error of the bucket may be ignored, no call waits for the bucket for long.
        self._optional = on_error == "compute"
        self._quick = bucket
        if self._optional:
            self._quick = bucket_view(bucket, bucket.codec, timeout=timeout, attempts=_ATTEMPTS)
        self._quick_endpoint = endpoint_of(self._quick)
        self._decode = decoder(bucket.codec, bucket.name)
        self._cool_down = cool_down_for(self._quick_endpoint.transport)
        self._recent = RecentValues(stale if self._optional else 0.0)
        self._computations: dict[str, AsyncComputation] = {}
        self._guard = threading.Lock()
        self._pid = os.getpid()
        self._failing: Literal["reads", "writes"] | None = None

    def __reduce__(self) -> str:
        # Pickled like a function: by its name, which the other process imports.
        return str(self.__qualname__)  # type: ignore[attr-defined]  # of update_wrapper

    async def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Return the stored value, or compute one.

        Raises:
            InvalidArgumentError: the arguments cannot be a key, or the value does not fit the
                bucket's type.
            JetKVError: with `on_error="raise"`, if the bucket could not be read or written.
        """
        key = self._key_of(args, kwargs)
        raw = await self._raw(key, functools.partial(self._fn, *args, **kwargs))
        # Decoded for each caller, so that no caller can change the value of another.
        value: R = self._decode(key, raw)
        return value

    async def invalidate(self, *args: P.args, **kwargs: P.kwargs) -> None:
        """Delete the value for these arguments, and discard one that is being computed here.

        Raises:
            JetKVError: the value may still be stored; repeat the call. `on_error` does not apply.
        """
        key = self._key_of(args, kwargs)
        self._after_fork()
        with self._guard:
            computation = self._computations.pop(key, None)
            if computation is not None:
                computation.outdated = True
            self._recent.remove(key)
        await self._bucket.delete(key)

    async def _raw(self, key: str, compute: Callable[[], Awaitable[R]]) -> bytes:
        self._after_fork()
        while True:
            with self._guard:
                computation = self._computations.get(key)
                if computation is None:
                    own = self._computations[key] = AsyncComputation()
            if computation is None:
                return await self._compute(own, key, compute)
            if computation.by == current():
                raise RecursionError(f"the value for {key!r} depends on itself")
            # No timeout: the computation takes as long as a call of the function.
            await computation.done.wait()
            if computation.error is not None:
                raise computation.error
            if computation.raw is not None:
                return computation.raw

    async def _compute(
        self, computation: "AsyncComputation", key: str, compute: Callable[[], Awaitable[R]]
    ) -> bytes:
        try:
            computation.raw = await self._stored_or_new(computation, key, compute)
        except Exception as error:
            computation.error = error
            raise
        finally:
            # After a cancellation there is neither value nor error, and a waiting call computes.
            with self._guard:
                if self._computations.get(key) is computation:
                    del self._computations[key]
            computation.done.set()
        return computation.raw

    async def _stored_or_new(
        self, computation: "AsyncComputation", key: str, compute: Callable[[], Awaitable[R]]
    ) -> bytes:
        readable = not self._optional or self._cool_down.should_try()
        if readable:
            try:
                raw = (await self._quick.get(key)).raw
            except (KeyNotFoundError, ValueDecodeError):
                self._worked("reads")
            except InvalidArgumentError:
                raise
            except JetKVError as error:
                self._failed(error, "reads")
                readable = False
            else:
                self._worked("reads")
                self._remember(computation, key, raw)
                return raw
        if not readable:
            with self._guard:
                recent = self._recent.get(key)
            if recent is not None:
                return recent
        value = await compute()
        request = requests.put_key(self._bucket.name, key, value, self._bucket.codec, ttl=self._ttl)
        assert request.body is not None
        if readable and not computation.outdated:
            try:
                read_revision(await self._quick_endpoint.call(request), request)
                self._worked("writes")
                self._remember(computation, key, request.body)
                if computation.outdated:
                    await self._bucket.delete(key)
            except InvalidArgumentError:
                raise
            except JetKVError as error:
                if computation.outdated:
                    # The value may have been stored in spite of the error.
                    with suppress(JetKVError):
                        await self._bucket.delete(key)
                self._failed(error, "writes")
        return request.body

    def _after_fork(self) -> None:
        # A forked child does not have the threads that compute, or that hold the lock.
        if self._pid != os.getpid():
            self._pid, self._guard, self._computations = os.getpid(), threading.Lock(), {}

    def _remember(self, computation: "AsyncComputation", key: str, raw: bytes) -> None:
        with self._guard:
            if not computation.outdated:
                self._recent.add(key, raw)

    def _worked(self, operation: Literal["reads", "writes"]) -> None:
        self._cool_down.worked()
        # A successful read does not end a failure of writes: a full bucket can still be read.
        if self._failing is not None and operation in (self._failing, "writes"):
            self._failing = None
            log.info("bucket %r caches again", self._bucket.name)

    def _failed(self, error: JetKVError, operation: Literal["reads", "writes"]) -> None:
        if not self._optional:
            raise error
        if is_outage(error):
            self._cool_down.failed()
        if self._failing is None:
            log.warning("bucket %r caches nothing now: %s", self._bucket.name, error)
            self._failing = operation


class AsyncComputation:
    """One computation of a key, which several calls may wait for."""

    def __init__(self) -> None:
        self.by = current()
        self.done = AsyncSignal()
        self.raw: bytes | None = None
        self.error: Exception | None = None
        self.outdated = False
