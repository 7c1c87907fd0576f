"""Feature flags that keep themselves up to date."""

import copy
import logging
import math
import os
import threading
from collections.abc import Callable, Mapping
from typing import Any, Self

from jetkv._async.bucket import AsyncBucket, endpoint_of
from jetkv._async.runtime import AsyncBackground, AsyncSignal, MaybeAwaitable, now, resolve
from jetkv._async.watch_reader import AsyncWatchReader
from jetkv._core.answers import decoder
from jetkv._core.process import ProcessBound, fork_lock
from jetkv._core.retry import Retry, jitter
from jetkv._core.session import SnapshotEnd, WatchSession
from jetkv.codec import JSON
from jetkv.errors import (
    ClientClosedError,
    InvalidArgumentError,
    JetKVError,
    ValueDecodeError,
    WatchLostError,
)
from jetkv.models import Operation, Update
from jetkv.recipes._async.view import bucket_view, checked_bucket
from jetkv.recipes._flags import check_flag, is_on

__all__ = ["AsyncFlags"]

log = logging.getLogger("jetkv.recipes")

OnChange = Callable[[str, Any], MaybeAwaitable[None]]

# A gateway says something every 15 s.
_SILENCE_SECONDS = 20.0
_STOP_SECONDS = 2.0
_BACK_OFF = Retry(first_delay=0.1, longest_delay=5.0)
# For what nobody but an operator can mend: a token, a bucket's name.
_LONG_BACK_OFF = Retry(first_delay=0.1, longest_delay=15.0)
# A gateway that restarts is no news.
_OUTAGE_SECONDS = 3.0
_AWAY = "away"
_MISSING: Any = object()


class AsyncFlags(ProcessBound):
    """Feature flags, read from memory and kept up to date by a watch.

        flags = AsyncFlags(client.kv().bucket("feature-flags"), {"dark-mode": False})
        async with flags:
            if flags.enabled("dark-mode", user="ada"):
                ...

    A flag is a key with JSON: `true`, `{"enabled": true}`, `{"enabled": true, "rollout": 0.5}`
    (on for half of the users), or any other value for `get`.

    Guaranteed:
        - `start` never stops a boot. Where the gateway answers, all flags of the bucket are there
          when it returns. Where it does not, or refuses, the defaults stand, one warning in the
          log says why, and the flags come by themselves as soon as they can be had. `ready` says
          whether they have come, and `wait_ready` waits for them.
        - From then on every change comes by itself, in order, without a restart; reading does no
          I/O and never raises.
        - While the gateway is away the last known flags stand, `stale` says for how long they
          have, and one warning in the log says that they do. Where something may
          have been missed, a new snapshot is compared with them: what vanished meanwhile is gone
          here, too, and until then `stale` goes on.
        - A forked child, as of `gunicorn --preload`, follows the flags itself from the moment it
          first looks at them; until then it has those of its parent. (Not `AsyncFlags`: an event
          loop does not outlive a fork, and there `stale` is infinite.)
        - A value that is no flag is skipped with a warning in the log, and the last good one
          stands, or else the default.
        - The same user gets the same answer of the same rollout everywhere, and keeps what is on
          when the rollout grows.

    Not guaranteed: that all processes change at the same moment, or that every value in between
    is seen; that flags of a bucket with a TTL but without expiry markers go when they expire
    (they go with the next snapshot). A connection that dies without a word is noticed after
    40 s, and shows in `stale` after 20 s.

    Args:
        bucket: of any type; the values are JSON.
        defaults: what a flag is that is not in the bucket.
        filter: of keys, as of `bucket.keys`; None = all. A flag's name is its whole key.
        on_change: called with a flag's name and its new value, its default where it is gone, for
            each that changed after `start` has returned, one after the other, from the thread
            (async: task) that keeps them; while it runs, later changes wait.
    """

    def __init__(
        self,
        bucket: AsyncBucket[Any],
        defaults: Mapping[str, Any] | None = None,
        *,
        filter: str | None = None,
        on_change: OnChange | None = None,
    ) -> None:
        self._defaults = dict(defaults or {})
        for name, value in self._defaults.items():
            try:
                check_flag(value)
            except ValueError as error:
                raise InvalidArgumentError(f"default of flag {name!r}: {error}") from error
        if filter is not None and not isinstance(filter, str):
            raise InvalidArgumentError(f"a filter is text: {filter!r}")
        # One try each: the first failure is to be known at once, and what follows tries on.
        self._bucket = bucket_view(checked_bucket(bucket, self), JSON, attempts=1)
        self._filters = () if filter is None else (filter,)
        self._on_change = on_change
        self._flags: Mapping[str, Any] = {}
        self._seen_at: float | None = None
        self._watch: AsyncWatchReader[Any] | None = None
        self._begun = False
        self._late = False
        self._told: set[str] = set()
        self._guard = threading.Lock()
        self._pid = os.getpid()
        self._complete = False
        self._settled = AsyncSignal()
        self._there = AsyncSignal()
        self._closing = AsyncSignal()
        self._work = AsyncBackground(self._follow, f"jetkv flags of {bucket.name}")
        self._orphaned = False

    def get(self, name: str, default: Any = None) -> Any:
        """Return a copy of a flag's value: the stored one, else its default, else `default`."""
        self._after_fork()
        value = self._flags.get(name, _MISSING)
        if value is _MISSING:
            value = self._defaults.get(name, default)
        return copy.deepcopy(value) if isinstance(value, dict | list) else value

    def enabled(self, name: str, user: str | None = None) -> bool:
        """Return whether a flag is on: `true`, or an object whose `enabled` is true.

        Args:
            name: of the flag; one that is nowhere is off.
            user: whom a rollout asks about. Without one, a flag that is on for a part of the
                users is off.
        """
        self._after_fork()
        value = self._flags.get(name, _MISSING)
        if value is _MISSING:
            value = self._defaults.get(name)
        return is_on(name, value, user)

    @property
    def stale(self) -> float:
        """Seconds for which the flags may be out of date: 0 while the gateway speaks.

        Infinite before the first snapshot, when there are defaults only.
        """
        self._after_fork()
        if self._seen_at is None or self._orphaned:
            return math.inf
        watch = self._watch
        silence = now() - self._seen_at
        speaks = watch is not None and watch.connected and watch.synced
        return 0.0 if speaks and silence < _SILENCE_SECONDS else silence

    @property
    def ready(self) -> bool:
        """Whether the flags of the bucket have been there: before, there are defaults only."""
        self._after_fork()
        return self._seen_at is not None

    async def start(self, timeout: float = 2.0) -> None:
        """Begin to follow the flags; return when they are there, or cannot be had now.

        That is at once where the gateway cannot be reached, or refuses. The defaults stand then,
        the log says so once, and what follows the flags tries on in the background.

        Args:
            timeout: seconds to wait for a gateway that does not answer.

        Raises:
            InvalidArgumentError: it was started before.
        """
        self._after_fork()
        if self._begun:
            raise InvalidArgumentError("these flags were started before", hint="make another one")
        self._begun = True
        try:
            await self._work.start()
            settled = await self._settled.wait(timeout)
        except BaseException:
            await self.aclose()
            raise
        if not settled and self._is_late():
            self._tell(_AWAY, f"nothing came within {timeout:g} s")

    async def wait_ready(self, timeout: float | None = None) -> bool:
        """Wait until the flags of the bucket are there, and return whether they are.

        Args:
            timeout: seconds to wait; None = as long as it takes, or until they are closed.
        """
        self._after_fork()
        await self._there.wait(timeout)
        return self.ready

    async def aclose(self) -> None:
        """Stop following; what is known stands, and gets stale."""
        self._after_fork(follow=False)
        self._closing.set()
        watch = self._watch
        if watch is not None:
            watch.close()
        await self._work.stop(_STOP_SECONDS)
        self._watch = None
        self._there.set()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.aclose()

    def _after_fork(self, *, follow: bool = True) -> None:
        """In a forked child, begin to follow anew: the thread that does is its parent's."""
        if self._pid == os.getpid():
            return
        with fork_lock():
            if self._pid == os.getpid():
                return
            closed = self._closing.is_set()
            # Its locks may be held by threads that the child has not.
            self._guard, self._told, self._watch = threading.Lock(), set(), None
            self._settled, self._there, self._closing = AsyncSignal(), AsyncSignal(), AsyncSignal()
            self._work = AsyncBackground(self._follow, f"jetkv flags of {self._bucket.name}")
            if self._seen_at is not None or closed:
                self._there.set()
            if closed:
                self._closing.set()
            self._pid = os.getpid()
            if self._begun and follow and not closed:
                self._orphaned = not self._work.revive()

    async def _follow(self) -> None:
        failed = 0
        while not self._closing.is_set():
            self._watch = self._new_watch()
            self._complete = False
            back_off = _BACK_OFF
            try:
                await self._read(self._watch)
            except WatchLostError as error:
                log.info("flags of bucket %r begin again: %s", self._bucket.name, error)
            except ClientClosedError as error:
                log.warning("flags of bucket %r are followed no more: %s", self._bucket.name, error)
                self._settled.set()
                self._there.set()
                return
            except JetKVError as error:
                # Whatever stands in the way, it may be mended while this runs.
                if not error.retryable:
                    back_off = _LONG_BACK_OFF
                self._is_late()
                self._tell(_AWAY if error.retryable else type(error).__name__, error)
                self._settled.set()
            except Exception:  # a defect must not end what nobody waits for
                log.exception("flags of bucket %r begin again", self._bucket.name)
            failed = 1 if self._complete else failed + 1
            await self._closing.wait(back_off.delay(failed, 0.0, jitter()))

    def _new_watch(self) -> AsyncWatchReader[Any]:
        endpoint = endpoint_of(self._bucket)
        session = WatchSession(
            self._bucket.name,
            self._filters,
            decoder(JSON, self._bucket.name),
            snapshot=True,
            resume_after=None,
            ignore_deletes=False,
            max_bytes=endpoint.max_answer_bytes,
        )
        return AsyncWatchReader(endpoint, self._bucket.name, session)

    def _is_late(self) -> bool:
        """Return whether the flags are not there yet, and are told to `on_change` when they are."""
        with self._guard:
            self._late = self._late or self._seen_at is None
            return self._late

    def _tell(self, kind: str, reason: object) -> None:
        """Say what keeps the flags away: each kind once, until they are there again."""
        with self._guard:
            if kind in self._told:
                return
            self._told.add(kind)
        stand = "the defaults" if self._seen_at is None else "the last known ones"
        log.warning(
            "flags of bucket %r cannot be had, and %s stand; they come as soon as they can: %s",
            self._bucket.name,
            stand,
            reason,
        )

    def _look_for_outage(self, down_since: float) -> None:
        seen_at = now() if self._seen_at is None else self._seen_at
        if now() - down_since >= _OUTAGE_SECONDS or now() - seen_at >= _SILENCE_SECONDS:
            self._tell(_AWAY, f"the gateway was last there {now() - seen_at:.0f} s ago")

    def _tell_ready(self) -> None:
        with self._guard:
            told, self._told = self._told, set()
        if told:
            log.info("flags of bucket %r are there", self._bucket.name)

    async def _read(self, watch: AsyncWatchReader[Any]) -> None:
        """Follow one watch, step by step, so that it is seen when the gateway speaks."""
        snapshot: dict[str, Any] = {}
        down_since = math.inf
        while not self._closing.is_set():
            await watch.step()
            while watch.pending:
                item = watch.pop()
                if isinstance(item, SnapshotEnd):
                    self._complete = True
                    await self._replace(snapshot)
                elif self._complete:
                    await self._change(item)
                else:
                    self._collect(snapshot, item)
            if not self._complete:
                continue
            if not watch.connected:
                down_since = min(down_since, now())
                self._look_for_outage(down_since)
                continue
            down_since = math.inf
            if watch.synced:
                self._seen_at = now()
                if self._told:
                    self._tell_ready()

    def _collect(self, snapshot: dict[str, Any], update: Update[Any]) -> None:
        value = self._value(update)
        if value is _MISSING:
            snapshot.pop(update.key, None)
        else:
            snapshot[update.key] = value

    async def _change(self, update: Update[Any]) -> None:
        flags = dict(self._flags)
        self._collect(flags, update)
        await self._replace(flags)

    async def _replace(self, flags: dict[str, Any]) -> None:
        # A new mapping each time: a reader in another thread sees the one or the other.
        before, self._flags = self._flags, flags
        with self._guard:
            first = self._seen_at is None
            # Who has been given the defaults is told of what they become.
            silent = first and not self._late
            if first:
                self._seen_at = now()
        self._settled.set()
        self._there.set()
        if self._on_change is None or silent:
            return
        for name in sorted(before.keys() | flags.keys()):
            default = self._defaults.get(name, _MISSING)
            if _differ(before.get(name, default), flags.get(name, default)):
                try:
                    await resolve(self._on_change(name, self.get(name)))
                except Exception:  # it is the caller's, and the flags go on
                    log.exception("on_change of flag %r", name)

    def _value(self, update: Update[Any]) -> Any:
        """Return what an update makes of its flag; `_MISSING` where it takes it away."""
        if update.operation is not Operation.PUT:
            return _MISSING
        try:
            check_flag(update.value)
        except (ValueDecodeError, ValueError) as error:
            log.warning(
                "flag %r in bucket %r at revision %d is not valid, so the last valid one stays: %s",
                update.key,
                self._bucket.name,
                update.revision,
                error,
            )
            return self._flags.get(update.key, _MISSING)
        return update.value


def _differ(one: Any, other: Any) -> bool:
    # True == 1 in Python; in a flag it is not.
    return type(one) is not type(other) or one != other
