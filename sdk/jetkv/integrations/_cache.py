"""What a cache does with a bucket, as steps (see `_steps`), in bytes."""

import logging
import math
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from itertools import count
from typing import NamedTuple

from jetkv._core.retry import CONTENTION, jitter
from jetkv._core.ttls import MAX_SECONDS
from jetkv.errors import (
    JetKVError,
    KeyExistsError,
    KeyNotFoundError,
    RevisionMismatchError,
    ValueTooLargeError,
)
from jetkv.integrations._batches import (
    MAX_GET,
    Op,
    batches,
    delete_op,
    put_op,
    read_results,
    request,
    ttl_for,
)
from jetkv.integrations._remaining import seconds_left
from jetkv.integrations._steps import Hands, Steps
from jetkv.models import NEVER

__all__ = [
    "Stored",
    "add",
    "clear",
    "delete",
    "exists",
    "get",
    "get_many",
    "put",
    "remove",
    "replace",
    "touch",
    "whole_seconds",
    "write",
]

log = logging.getLogger("jetkv.integrations")

_ATTEMPTS = 100
"""Of a change, if other writers of the key are faster each time: about 15 seconds."""


class Stored(NamedTuple):
    """A value as it is stored."""

    raw: bytes
    content_type: str


def whole_seconds(timeout: float | None) -> int | None:
    """Return a timeout in whole seconds: rounded up, 0 if no time is left, None for never."""
    if timeout is None or timeout > MAX_SECONDS:
        return None
    return max(0, math.ceil(timeout))


def get(key: str) -> Steps:
    """Return the bytes of a key, or None."""
    hands = yield
    found = yield hands.bucket().get_or_none(key)
    return None if found is None else found.raw


def exists(key: str) -> Steps:
    """Return whether a key has a value."""
    hands = yield
    return (yield hands.bucket().exists(key))


def get_many(keys: Iterable[str]) -> Steps:
    """Return the bytes of the keys that have a value, by key."""
    hands = yield
    found: dict[str, bytes] = {}
    wanted = list(dict.fromkeys(keys))
    for start in range(0, len(wanted), MAX_GET):
        some = wanted[start : start + MAX_GET]
        try:
            entries = (yield hands.bucket().get_many(some)).values()
        except ValueTooLargeError:
            # All together they are too large for one answer.
            entries = []
            for key in some:
                entry = yield hands.bucket().get_or_none(key)
                entries += [] if entry is None else [entry]
        found.update({entry.key: entry.raw for entry in entries})
    return found


def put(key: str, value: Stored, seconds: int | None) -> Steps:
    """Store a value, however large it is for the bucket; return None.

    Raises:
        ValueTooLargeError: it is too large; what was stored before stays.
    """
    hands = yield
    ttl = yield from _ttl(hands, seconds)
    yield hands.bucket(value.content_type).put(key, value.raw, ttl=ttl)


def add(key: str, value: Stored, seconds: int | None) -> Steps:
    """Store a value if the key has none; return whether the key had none, and the value fits."""
    hands = yield
    if seconds == 0:
        return not (yield hands.bucket().exists(key))
    ttl = yield from _ttl(hands, seconds)
    try:
        yield hands.bucket(value.content_type).create(key, value.raw, ttl=ttl)
    except KeyExistsError:
        return False
    except ValueTooLargeError as error:
        _log_too_large(hands, value, error)
        return False
    return True


def write(values: Mapping[str, Stored], seconds: int | None) -> Steps:
    """Store values; for 0 seconds delete them.

    Returns:
        The keys whose values are too large. They have no value now.
    """
    if seconds == 0:
        yield from delete(values)
        return []
    hands = yield
    ttl = yield from _ttl(hands, seconds)
    results: list[int | JetKVError]
    if len(values) == 1:
        # Without base64, and with a larger limit.
        ((key, (raw, content_type)),) = values.items()
        try:
            results = [(yield hands.bucket(content_type).put(key, raw, ttl=ttl))]
        except ValueTooLargeError as error:
            results = [error]
    else:
        ops = [put_op(key, *value, ttl) for key, value in values.items()]
        results = yield from _apply(hands, ops)
    refused: list[str] = []
    for key, result in zip(values, results, strict=True):
        if isinstance(result, ValueTooLargeError):
            # As in memcached, an old value does not stay in place of the new one.
            _log_too_large(hands, values[key], result)
            yield hands.bucket().delete(key)
            refused.append(key)
        elif isinstance(result, JetKVError):
            raise result
    return refused


def delete(keys: Iterable[str]) -> Steps:
    """Delete keys."""
    hands = yield
    results = yield from _apply(hands, [delete_op(key) for key in keys])
    for result in results:
        if isinstance(result, JetKVError):
            raise result


def _apply(hands: Hands, ops: list[Op]) -> Steps:
    results: list[int | JetKVError] = []
    for some in batches(ops):
        sent = request(hands.name, some)
        results += read_results((yield hands.call(sent)), sent, some)
    return results


def touch(key: str, seconds: int | None) -> Steps:
    """Give a value another TTL, for 0 seconds delete it; return whether there was a value."""
    if seconds == 0:
        return (yield from remove(key))
    hands = yield
    ttl = yield from _ttl(hands, seconds)
    if ttl is None and not hands.infos[hands.name].key_ttl:
        # No value has a TTL of its own, so there is none to change.
        return (yield hands.bucket().exists(key))
    if seconds is None:
        # Without a TTL in the request, the value would keep its own.
        ttl = NEVER
    try:
        yield hands.bucket().touch(key, ttl)
    except KeyNotFoundError:
        return False
    return True


def remove(key: str) -> Steps:
    """Delete a key; return whether it had a value. Of several callers, one gets True."""
    return (yield from _change(key, None))


def replace(key: str, fn: Callable[[bytes], Stored]) -> Steps:
    """Replace a value by the result of a function, which may be called several times.

    It expires when the old one would have, to about two seconds.

    Returns:
        Whether the key had a value.
    """
    return (yield from _change(key, fn))


def _change(key: str, fn: Callable[[bytes], Stored] | None) -> Steps:
    hands = yield
    for attempt in count(1):
        found = yield hands.bucket().get_or_none(key)
        if found is None:
            return False
        try:
            if fn is None:
                yield hands.bucket().delete(key, revision=found.revision)
            else:
                left = seconds_left(found)
                if left == 0:
                    return False
                raw, content_type = fn(found.raw)
                bucket, ttl = hands.bucket(content_type), (yield from _ttl(hands, left))
                yield bucket.update(key, raw, found.revision, ttl=ttl)
        except RevisionMismatchError:
            if attempt == _ATTEMPTS:
                raise
            yield hands.sleep(CONTENTION.delay(attempt, 0.0, jitter()))
        else:
            return True
    raise AssertionError("the last attempt returns or raises")


def clear() -> Steps:
    """Delete all keys of the bucket."""
    hands = yield
    yield hands.bucket().delete_many(">", purge=True)
    # The values are gone. What stays if this fails takes room, and no more.
    with suppress(JetKVError):
        yield hands.bucket().compact()


def _ttl(hands: Hands, seconds: int | None) -> Steps:
    """Return the TTL to send.

    Raises:
        BucketUnsuitableError: the bucket cannot keep a value for as long.
    """
    info = hands.infos.get(hands.name)
    if info is None:
        info = hands.infos[hands.name] = yield hands.bucket().info()
    return ttl_for(info, seconds)


def _log_too_large(hands: Hands, value: Stored, error: ValueTooLargeError) -> None:
    # The text of the error has the key, which may be the id of a session.
    log.warning(
        "a value of %d bytes is too large for bucket %r, and is not cached; the limit is %s bytes",
        len(value.raw),
        hands.name,
        "unknown" if error.limit_bytes is None else error.limit_bytes,
    )
