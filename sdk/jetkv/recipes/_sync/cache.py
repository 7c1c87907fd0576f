# Made from sdk/jetkv/recipes/_async/cache.py by `make format`; edit that one.
"""A function whose values are kept in a bucket."""

import functools
import logging
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Generic, Literal, ParamSpec, TypeVar

from jetkv._core import requests
from jetkv._core.answers import decoder, read_revision
from jetkv._sync.bucket import Bucket, endpoint_of
from jetkv._sync.runtime import Signal, current
from jetkv.errors import (
    InvalidArgumentError,
    JetKVError,
    KeyNotFoundError,
    ValueDecodeError,
)
from jetkv.recipes._away import Remembered, cool_down_of, is_away
from jetkv.recipes._keys import KeyOf
from jetkv.recipes._sync.view import bucket_view

__all__ = ["Cached"]

log = logging.getLogger("jetkv.recipes")

# A second one is for a kept connection that the other side has closed.
_TRIES = 2

P = ParamSpec("P")
R = TypeVar("R")


class Cached(Generic[P, R]):
    """A cached function, made by `jetkv.recipes.cached`, which says what it guarantees.

    `__wrapped__` is the function itself.
    """

    def __init__(
        self,
        fn: Callable[P, R],
        bucket: Bucket[Any],
        key_of: KeyOf,
        on_error: Literal["compute", "raise"],
        *,
        timeout: float,
        stale: float,
    ) -> None:
        functools.update_wrapper(self, fn)
        self._fn = fn
        self._bucket = bucket
        self._key_of = key_of
        self._on_error = on_error
        # Where the cache only helps, nobody waits for it for long, or again and again.
        self._helps = on_error == "compute"
        self._quick = bucket
        if self._helps:
            self._quick = bucket_view(bucket, bucket.codec, timeout=timeout, attempts=_TRIES)
        self._quick_endpoint = endpoint_of(self._quick)
        self._decode = decoder(bucket.codec, bucket.name)
        self._cool_down = cool_down_of(self._quick_endpoint.transport)
        self._remembered = Remembered(stale if self._helps else 0.0)
        self._flights: dict[str, Flight] = {}
        self._guard = threading.Lock()
        self._pid = os.getpid()
        self._trouble_with: Literal["reads", "writes"] | None = None

    def __reduce__(self) -> str:
        # As a function is: by its name, which another process looks up where it is defined.
        return str(self.__qualname__)  # type: ignore[attr-defined]  # of update_wrapper

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Return the value: the stored one, or a computed one.

        Raises:
            InvalidArgumentError: no key can be made of the arguments, or the value cannot be
                stored in a bucket of this type.
            JetKVError: with `on_error="raise"`: the bucket could not be read or written.
        """
        key = self._key_of(args, kwargs)
        raw = self._raw(key, functools.partial(self._fn, *args, **kwargs))
        # Decoded for each caller: what one does to its value is not seen by another.
        value: R = self._decode(key, raw)
        return value

    def invalidate(self, *args: P.args, **kwargs: P.kwargs) -> None:
        """Forget the value for these arguments; what is being computed here is not stored.

        Raises:
            JetKVError: whatever `on_error` says; do it again.
        """
        key = self._key_of(args, kwargs)
        self._after_fork()
        with self._guard:
            flight = self._flights.pop(key, None)
            if flight is not None:
                flight.outdated = True
            self._remembered.drop(key)
        self._bucket.delete(key)

    def _raw(self, key: str, compute: Callable[[], R]) -> bytes:
        self._after_fork()
        while True:
            with self._guard:
                flight = self._flights.get(key)
                if flight is None:
                    mine = self._flights[key] = Flight()
            if flight is None:
                return self._lead(mine, key, compute)
            if flight.by == current():
                raise RecursionError(f"the value for {key!r} needs itself")
            # As long as the call would take that it stands for.
            flight.done.wait()
            if flight.error is not None:
                raise flight.error
            if flight.raw is not None:
                return flight.raw

    def _lead(self, flight: "Flight", key: str, compute: Callable[[], R]) -> bytes:
        try:
            flight.raw = self._found(flight, key, compute)
        except Exception as error:
            flight.error = error
            raise
        finally:
            # Cancelled, it leaves neither: then one of those who wait computes.
            with self._guard:
                if self._flights.get(key) is flight:
                    del self._flights[key]
            flight.done.set()
        return flight.raw

    def _found(self, flight: "Flight", key: str, compute: Callable[[], R]) -> bytes:
        readable = not self._helps or self._cool_down.asks()
        if readable:
            try:
                raw = (self._quick.get(key)).raw
            except (KeyNotFoundError, ValueDecodeError):
                self._work("reads")
            except InvalidArgumentError:
                raise
            except JetKVError as error:
                self._trouble(error, "reads")
                readable = False
            else:
                self._work("reads")
                self._remember(flight, key, raw)
                return raw
        if not readable:
            with self._guard:
                remembered = self._remembered.get(key)
            if remembered is not None:
                return remembered
        value = compute()
        request = requests.put_key(
            self._bucket.name, key, value, self._bucket.codec, requests.UNCONDITIONAL
        )
        assert request.body is not None
        if readable and not flight.outdated:
            try:
                read_revision(self._quick_endpoint.call(request), request)
                self._work("writes")
                self._remember(flight, key, request.body)
                if flight.outdated:
                    self._bucket.delete(key)
            except InvalidArgumentError:
                raise
            except JetKVError as error:
                if flight.outdated:
                    # It may have been stored all the same.
                    with suppress(JetKVError):
                        self._bucket.delete(key)
                self._trouble(error, "writes")
        return request.body

    def _after_fork(self) -> None:
        # A forked child has none of the threads that compute, nor what they hold.
        if self._pid != os.getpid():
            self._pid, self._guard, self._flights = os.getpid(), threading.Lock(), {}

    def _remember(self, flight: "Flight", key: str, raw: bytes) -> None:
        with self._guard:
            if not flight.outdated:
                self._remembered.add(key, raw)

    def _work(self, what: Literal["reads", "writes"]) -> None:
        self._cool_down.worked()
        # A bucket that is full can be read all the time: that mends no write.
        if self._trouble_with is not None and what in (self._trouble_with, "writes"):
            self._trouble_with = None
            log.info("bucket %r caches again", self._bucket.name)

    def _trouble(self, error: JetKVError, what: Literal["reads", "writes"]) -> None:
        if not self._helps:
            raise error
        if is_away(error):
            self._cool_down.failed()
        if self._trouble_with is None:
            log.warning("bucket %r caches nothing now: %s", self._bucket.name, error)
            self._trouble_with = what


class Flight:
    """One computation, and those who wait for it."""

    def __init__(self) -> None:
        self.by = current()
        self.done = Signal()
        self.raw: bytes | None = None
        self.error: Exception | None = None
        self.outdated = False
