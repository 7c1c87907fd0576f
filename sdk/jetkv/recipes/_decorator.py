"""The decorator `cached`, for both clients."""

import inspect
from collections.abc import Awaitable, Callable
from typing import Any, Literal, ParamSpec, Protocol, TypeVar, overload

from jetkv._async.bucket import AsyncBucket
from jetkv._core.ttls import ttl_seconds
from jetkv._sync.bucket import Bucket
from jetkv.errors import InvalidArgumentError
from jetkv.models import TTL
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
    """A function that returns R, where R is also a T: it must fit both overloads.

    T is the bucket's type, so the function's result can be stored there. R is the result of the
    cached function. Without R, a bucket for JSON, whose T is Any, would lose the result's type.
    """

    @overload
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co: ...
    @overload
    def __call__(  # type: ignore[overload-cannot-match]  # never called: it makes R a T
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
    ttl: TTL | None = None,
    on_error: Literal["compute", "raise"] = "compute",
    timeout: float = 1.0,
    stale: float = 30.0,
) -> _AsyncDecorator[T]: ...
@overload
def cached(
    bucket: Bucket[T],
    *,
    key: KeyRule | None = None,
    ttl: TTL | None = None,
    on_error: Literal["compute", "raise"] = "compute",
    timeout: float = 1.0,
    stale: float = 30.0,
) -> _Decorator[T]: ...
def cached(
    bucket: AsyncBucket[Any] | Bucket[Any],
    *,
    key: KeyRule | None = None,
    ttl: TTL | None = None,
    on_error: Literal["compute", "raise"] = "compute",
    timeout: float = 1.0,
    stale: float = 30.0,
) -> Any:
    """Return a decorator that keeps a function's results in a bucket.

    Use it for an `async def` with an AsyncBucket, and for any other function with a Bucket.

        @cached(client.kv().bucket("cache"), key="user:{id}:profile")
        def profile(id: str) -> dict[str, Any]: ...

        profile("123")             # computed, and stored for the bucket's TTL
        profile.invalidate("123")

    You can rely on:
        - In one process, only one call computes a key at a time. Other calls for the key wait, and
          get its result or its error. If the computing call is cancelled, one of them computes.
        - Every caller gets its own copy of the value, as it reads back from the bucket. With JSON,
          a tuple is a list even on the first call. A typed bucket (`bucket("cache", Profile)`)
          returns its type.
        - If the function raises an error, nothing is stored. If a stored value does not fit the
          bucket's type, it is computed again and replaced.
        - If the bucket cannot be read or written (any `JetKVError`), the function is called and its
          result returned. One warning is logged until the bucket works again. A call waits at most
          `timeout` for each read or write. While the gateway or NATS is away, one call every five
          seconds tries the bucket, counted over all functions that share a client. The others do
          not wait: they return the value that this process saw in the bucket within the last
          `stale` seconds, or else call the function. With `on_error="raise"`, the call raises the
          error instead, after the client has given up.
        - `invalidate` also discards a value that is being computed in this process.

    You cannot rely on:
        - One computation across processes: two may compute at the same time, and the last to store
          wins.
        - `invalidate` stopping a computation in another process.
        - The stored value coming from the current version of the function. If its meaning changes,
          change the key. Values live as long as `ttl` or the bucket's TTL; without both, forever.

    Args:
        bucket: a bucket of the results' type; JSON by default.
        key: a template with the names of arguments, or a function of the same arguments. None uses
            the function's module, its name and all arguments, including those with a default. These
            must then be None, bool, int, float, str, bytes, date, datetime, Decimal, UUID, or a
            list, tuple or dict of these; other types may have another text in another process. If
            such a key has more than 512 bytes, a SHA-256 replaces the arguments. In a script, give
            a key: the module of every script is `__main__`.
        ttl: how long a value is kept: seconds, a timedelta, or `jetkv.NEVER`. None for the TTL of
            the bucket. It needs a bucket with a `history` of 1 that allows TTLs of single values.
            In another one, nothing is stored, and a warning says why.
        on_error: `compute` or `raise`.
        timeout: seconds for one read or write of the bucket, with `compute`.
        stale: seconds for which a value may be used while the gateway is away, after this process
            last saw it in the bucket. It may outlive the bucket's TTL, or an `invalidate` in
            another process, by as much. 0 for never.

    Raises:
        InvalidArgumentError: an argument is invalid, or the function and the bucket do not belong
            together. The cached function raises it if its arguments cannot be a key, or if its
            result does not fit the bucket's type.
    """
    if not isinstance(bucket, AsyncBucket | Bucket):
        given = "a function" if callable(bucket) else type(bucket).__name__
        raise InvalidArgumentError(
            f"cached takes a bucket, not {given}",
            hint='write @cached(client.kv().bucket("cache")), with parentheses',
        )
    if on_error not in ("compute", "raise"):
        raise InvalidArgumentError(f'on_error must be "compute" or "raise", not {on_error!r}')
    if ttl is not None:
        ttl_seconds(ttl)  # checks it
    if timeout <= 0 or stale < 0:
        raise InvalidArgumentError(
            f"timeout must be above 0, and stale 0 or more: timeout={timeout!r}, stale={stale!r}"
        )

    options: dict[str, Any] = {"ttl": ttl, "timeout": timeout, "stale": stale}

    def decorate(fn: Callable[..., Any]) -> Any:
        is_async = inspect.iscoroutinefunction(fn)
        if isinstance(bucket, AsyncBucket):
            if not is_async:
                raise InvalidArgumentError(
                    f"{fn!r} is not an `async def`, but the bucket is an AsyncBucket",
                    hint="use a Bucket of a Client",
                )
            return AsyncCached(fn, bucket, key_of(fn, key), on_error, **options)
        if is_async:
            raise InvalidArgumentError(
                f"{fn!r} is an `async def`, but the bucket is a Bucket",
                hint="use an AsyncBucket of an AsyncClient",
            )
        return Cached(fn, bucket, key_of(fn, key), on_error, **options)

    return decorate
