"""Methods in two forms, sync and async, from one list of steps."""

import functools
import logging
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

from jetkv._async.bucket import endpoint_of as async_endpoint_of
from jetkv._async.runtime import sleep as async_sleep
from jetkv._sync.bucket import endpoint_of
from jetkv._sync.runtime import sleep
from jetkv.codec import TypedBytesCodec
from jetkv.errors import BucketFullError, BucketNotFoundError, JetKVError
from jetkv.integrations._places import Place
from jetkv.integrations._values import JSON_TYPE
from jetkv.models import BucketInfo
from jetkv.recipes._outage import is_outage

__all__ = ["Hands", "Steps", "Stepwise", "both"]

log = logging.getLogger("jetkv.integrations")

Steps = Generator[Any, Any, Any]
"""Calls of a bucket, in order.

The first `yield` gets `Hands`. From then on, `yield hands.bucket().get(key)` has the entry, be the
bucket that of a sync client, which returns it, or that of an async one, which is awaited.
"""


@dataclass(frozen=True, slots=True)
class Hands:
    """What steps call: all of it sync, or all of it async.

    Attributes:
        name: the bucket's name.
        infos: the buckets that were described, by name.
        of_type: makes the bucket's handle, of a codec.
        call: sends a request.
        sleep: waits some seconds.
    """

    name: str
    infos: dict[str, BucketInfo]
    of_type: Callable[[TypedBytesCodec], Any]
    call: Callable[[Any], Any]
    sleep: Callable[[float], Any]

    def bucket(self, content_type: str = JSON_TYPE) -> Any:
        """Return the bucket. What it stores has this content type."""
        return self.of_type(TypedBytesCodec(content_type))


class Stepwise:
    """Base of a class with methods of `both`.

    Args:
        place: the bucket.
        ignores_outages: whether a method returns what it would with an empty bucket, if the gateway
            is away or the bucket is full.
    """

    def __init__(self, place: Place, *, ignores_outages: bool) -> None:
        self.place = place
        self._ignores_outages = ignores_outages

    def run(self, steps: Callable[[], Steps]) -> Any:
        """Run steps, and return their result. Without a bucket, create it and run them again."""
        hands = self._hands()
        try:
            return _run(steps(), hands)
        except BucketNotFoundError:
            if not self.place.create():
                raise
        return _run(steps(), hands)

    async def arun(self, steps: Callable[[], Steps]) -> Any:
        """Do what `run` does, on an async client."""
        hands = await self._async_hands()
        try:
            return await _arun(steps(), hands)
        except BucketNotFoundError:
            if not await self.place.acreate():
                raise
        return await _arun(steps(), hands)

    def _hands(self) -> Hands:
        kv, name = self.place.kv, self.place.name
        call = endpoint_of(kv.bucket(name)).call
        return Hands(name, self.place.infos, functools.partial(kv.bucket, name), call, sleep)

    async def _async_hands(self) -> Hands:
        kv, name = await self.place.async_kv(), self.place.name
        call = async_endpoint_of(kv.bucket(name)).call
        return Hands(name, self.place.infos, functools.partial(kv.bucket, name), call, async_sleep)

    def should_try(self) -> bool:
        """Return whether to call the gateway now. Call `worked` or `ignores` afterwards."""
        return not self._ignores_outages or self.place.cool_down.should_try()

    def worked(self) -> None:
        self.place.cool_down.worked()

    def ignores(self, error: Exception) -> bool:
        """Return whether an error is to be ignored, and is logged."""
        if isinstance(error, JetKVError) and is_outage(error):
            self.place.cool_down.failed()
        else:
            self.place.cool_down.worked()
            if not isinstance(error, BucketFullError):
                return False
        if self._ignores_outages:
            # Not the text of the error: it has the key, which may be the id of a session.
            hint = getattr(error, "hint", None) or "see the log of the gateway"
            what = type(error).__name__
            log.warning("bucket %r is not used now: %s (%s)", self.place.name, what, hint)
        return self._ignores_outages


def both(steps: Callable[..., Steps], away: Callable[..., Any]) -> tuple[Any, Any]:
    """Return a method and its asynchronous twin. A bucket that is missing is created.

    Args:
        steps: takes the arguments of the method. If the bucket is missing, it runs twice.
        away: takes the same, and returns the result of the method while an outage is ignored.
    """

    @functools.wraps(steps)
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        how: Stepwise = self.stepwise
        if not how.should_try():
            return away(self, *args, **kwargs)
        try:
            result = how.run(lambda: steps(self, *args, **kwargs))
        except Exception as error:
            if not how.ignores(error):
                raise
            return away(self, *args, **kwargs)
        how.worked()
        return result

    @functools.wraps(steps)
    async def async_method(self: Any, *args: Any, **kwargs: Any) -> Any:
        how: Stepwise = self.stepwise
        if not how.should_try():
            return away(self, *args, **kwargs)
        try:
            result = await how.arun(lambda: steps(self, *args, **kwargs))
        except Exception as error:
            if not how.ignores(error):
                raise
            return away(self, *args, **kwargs)
        how.worked()
        return result

    name = steps.__name__.removeprefix("_")
    method.__name__, async_method.__name__ = name, f"a{name}"
    return method, async_method


def _run(steps: Steps, hands: Hands) -> Any:
    next(steps)
    result: Any = hands
    while True:
        try:
            result = steps.send(result)
        except StopIteration as end:
            return end.value


async def _arun(steps: Steps, hands: Hands) -> Any:
    next(steps)
    go_on: Callable[[Any], Any] = steps.send
    result: Any = hands
    while True:
        try:
            call = go_on(result)
        except StopIteration as end:
            return end.value
        try:
            go_on, result = steps.send, await call
        except JetKVError as error:
            go_on, result = steps.throw, error
