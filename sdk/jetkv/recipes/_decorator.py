"""The decorator `cached`, for both clients."""

import inspect
from collections.abc import Awaitable, Callable
from typing import Any, Literal, ParamSpec, Protocol, TypeVar, overload

from jetkv._async.bucket import AsyncBucket
from jetkv._sync.bucket import Bucket
from jetkv.errors import InvalidArgumentError
from jetkv.recipes._async.cache import AsyncCached
from jetkv.recipes._keys import KeyRule, key_of
from jetkv.recipes._sync.cache import Cached

__all__ = ["cached"]

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
R_co = TypeVar("R_co", covariant=True)
T_co = TypeVar("T_co", covariant=True)
T_contra = TypeVar("T_contra", contravariant=True)


class _Makes(Protocol[P, R_co, T_co]):
    """A function that returns R, which is a T as well: it has to fit both overloads.

    T is the bucket's type, so that what the function returns can be stored there. R is what the
    cached function returns: of a bucket for JSON, whose T is Any, no less than of any other.
    """

    @overload
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co: ...
    @overload
    def __call__(  # type: ignore[overload-cannot-match]  # nobody calls it: it says what R is, too
        self, *args: P.args, **kwargs: P.kwargs
    ) -> T_co: ...


class _Decorator(Protocol[T_contra]):
    def __call__(self, fn: _Makes[P, R, T_contra], /) -> Cached[P, R]: ...


class _AsyncDecorator(Protocol[T_contra]):
    def __call__(
        self, fn: _Makes[P, Awaitable[R], Awaitable[T_contra]], /
    ) -> AsyncCached[P, R]: ...


@overload
def cached(
    bucket: AsyncBucket[T],
    *,
    key: KeyRule | None = None,
    on_error: Literal["compute", "raise"] = "compute",
    timeout: float = 1.0,
    stale: float = 30.0,
) -> _AsyncDecorator[T]: ...
@overload
def cached(
    bucket: Bucket[T],
    *,
    key: KeyRule | None = None,
    on_error: Literal["compute", "raise"] = "compute",
    timeout: float = 1.0,
    stale: float = 30.0,
) -> _Decorator[T]: ...
def cached(
    bucket: AsyncBucket[Any] | Bucket[Any],
    *,
    key: KeyRule | None = None,
    on_error: Literal["compute", "raise"] = "compute",
    timeout: float = 1.0,
    stale: float = 30.0,
) -> Any:
    """Keep a function's values in a bucket; an `async def` with an AsyncBucket, else with a Bucket.

        @cached(client.kv().bucket("cache"), key="user:{id}:profile")
        def profile(id: str) -> dict[str, Any]: ...

        profile("123")             # computed, and stored for the bucket's TTL
        profile.invalidate("123")

    Guaranteed:
        - In one process one call computes a key at a time; all who ask meanwhile get its value,
          or its exception. When it is cancelled, one of them computes.
        - Every caller gets a value of its own, as it comes back from the bucket: with JSON a
          tuple is a list, the first time, too. A typed bucket (`bucket("cache", Profile)`) gives
          back its type.
        - When the function raises, nothing is stored. A stored value that does not fit the
          bucket's type is computed anew and replaced.
        - When the bucket cannot be read or written (any `JetKVError`), the function is called and
          its value returned, with one warning in the log until it works again. Nobody waits for
          the bucket for longer than `timeout`. While the gateway or NATS is away one call every
          five seconds asks, of all functions that share a client; the others do not wait: a value
          that this process saw in the bucket within the last `stale` seconds stands in, else the
          function is called. With `on_error="raise"` the error comes out, as late as the client
          gives up, and nothing stands in.
        - After `invalidate`, what was being computed in this process is not kept.

    Not guaranteed: that two processes do not compute at once (the last to store wins), that an
    `invalidate` stops what another process is computing, or that the function is as it was when
    a value was stored: with another meaning give it another key. Values live as long as the
    bucket's TTL says, without one for ever.

    Args:
        bucket: of the type of the values, JSON by default.
        key: a function of the same arguments, or a format of their names. None makes it of the
            function's module and name and all arguments, those left out included; they have to be
            None, bool, int, float, str, bytes, date, datetime, Decimal, UUID, or a list, tuple or
            dict of these. Whatever else is refused, since its text may differ elsewhere. Over
            512 bytes, a SHA-256 of it takes their place. In a script the module is `__main__`, as
            in every other script: give a key there.
        on_error: `compute` or `raise`.
        timeout: seconds that a read or a write of the bucket may take, with `compute`.
        stale: seconds for which a value stands in while the gateway is away, after this process
            last saw it in the bucket; it may outlive the bucket's TTL, and an `invalidate`
            elsewhere, by as much. 0 = never.

    Raises:
        InvalidArgumentError: of the decorator: it is put on a function of the other kind. Of a
            call: no key can be made of its arguments, or its value is not of the bucket's type.
    """
    if not isinstance(bucket, AsyncBucket | Bucket):
        what = "the function" if callable(bucket) else f"{type(bucket).__name__}"
        raise InvalidArgumentError(
            f"cached was given {what} where it takes a bucket",
            hint='@cached(client.kv().bucket("cache")), with parentheses',
        )
    if on_error not in ("compute", "raise"):
        raise InvalidArgumentError(f'on_error is "compute" or "raise": {on_error!r}')
    if timeout <= 0 or stale < 0:
        raise InvalidArgumentError(
            f"timeout is above 0, and stale from 0: timeout={timeout!r}, stale={stale!r}"
        )

    def decorate(fn: Callable[..., Any]) -> Any:
        is_async = inspect.iscoroutinefunction(fn)
        if isinstance(bucket, AsyncBucket):
            if not is_async:
                raise InvalidArgumentError(
                    f"{fn!r} is no `async def`, and the bucket is an AsyncBucket",
                    hint="cache it in a Bucket of a Client",
                )
            return AsyncCached(fn, bucket, key_of(fn, key), on_error, timeout=timeout, stale=stale)
        if is_async:
            raise InvalidArgumentError(
                f"{fn!r} is an `async def`, and the bucket is a Bucket",
                hint="cache it in an AsyncBucket of an AsyncClient",
            )
        return Cached(fn, bucket, key_of(fn, key), on_error, timeout=timeout, stale=stale)

    return decorate
