# Made from sdk/jetkv/recipes/_async/flags.py by `make format`. Edit that file.
"""Feature flags that keep themselves up to date."""

import logging
import math
import os
import threading
from collections.abc import Callable, Mapping
from typing import Any, Self

from jetkv._core.answers import decoder
from jetkv._core.process import ProcessBound, fork_lock
from jetkv._core.retry import Retry, jitter
from jetkv._core.session import SnapshotEnd, WatchSession
from jetkv._sync.bucket import Bucket, endpoint_of
from jetkv._sync.runtime import Background, Signal, now, resolve
from jetkv._sync.watch_reader import WatchReader
from jetkv.codec import codec_for
from jetkv.errors import (
    ClientClosedError,
    FlagParseError,
    InvalidArgumentError,
    JetKVError,
    WatchLostError,
)
from jetkv.flags import Evaluation, Flag, parse_flag
from jetkv.models import Operation, Update
from jetkv.recipes._flags import (
    Unreadable,
    changed,
    default_flags,
    evaluation,
    is_on,
    stored_value,
)
from jetkv.recipes._sync.view import bucket_view, checked_bucket

__all__ = ["Flags"]

log = logging.getLogger("jetkv.recipes")

OnChange = Callable[[str, Any], None]

# A gateway sends a comment every 15 s.
_SILENCE_SECONDS = 20.0
_STOP_SECONDS = 2.0
_BACK_OFF = Retry(first_delay=0.1, longest_delay=5.0)
# For errors that only an operator can fix, such as a wrong token or bucket name.
_LONG_BACK_OFF = Retry(first_delay=0.1, longest_delay=15.0)
# A restart of the gateway is shorter, and is not logged.
_OUTAGE_SECONDS = 3.0
_OUTAGE = "outage"
# So that a value is read as the gateway reads it when it evaluates a flag.
_BYTES = codec_for(bytes)


class Flags(ProcessBound):
    """Feature flags in memory, which a watch keeps up to date.

        flags = Flags(client.kv().bucket("feature-flags"), {"dark-mode": False})
        with flags:
            if flags.enabled("dark-mode", user="ada"):
                ...
            color = flags.evaluate("color", "grey", user="ada", attributes={"plan": "pro"}).value

    A flag is a key with a JSON value: `true`, `{"enabled": true}`, `{"enabled": true, "rollout":
    0.5}` (on for half of the users), a definition of flagd with targeting (extra `flags`), or any
    other value. The gateway gives the same results over OpenFeature's protocol.

    You can rely on:
        - `start` never stops your program from starting. If the gateway answers, all flags are
          loaded when `start` returns. If it does not answer or refuses, the defaults apply, one
          warning in the log gives the reason, and the flags are loaded as soon as that is possible.
          `ready` tells whether they are loaded, and `wait_ready` waits for them.
        - After that, every change arrives by itself and in order. Reading a flag does no I/O and
          raises no error.
        - While the gateway is away, the flags keep their last values, `stale` tells for how long,
          and one warning is logged. If changes may have been missed, a new snapshot is loaded: a
          flag that has disappeared returns to its default. Until then, `stale` grows.
        - A forked child, such as a worker of `gunicorn --preload`, follows the flags itself as soon
          as it reads one. Until then it has its parent's values. This does not apply to
          `Flags`, because an event loop does not survive a fork: there, `stale` is infinite.
        - A value that is not a valid flag is skipped with a warning, and the flag keeps its last
          valid value or its default.
        - The same user gets the same answer for the same rollout in every process, and keeps the
          flag when the rollout grows.

    You cannot rely on: all processes changing at the same moment; seeing every value in between. In
    a bucket with a TTL but without expiry markers, an expired flag stays until the next snapshot.
    A connection that fails without an error is noticed after 40 s, and shows in `stale` after 20 s.

    Args:
        bucket: a bucket of any type. The values are JSON.
        defaults: the values of flags that are not in the bucket, by name.
        filter: a filter as in `bucket.keys`; None for all keys. A flag's name is its whole key.
        on_change: called with a flag's name and its new value (its default, if the flag is gone)
            after each change since `start` returned, one call at a time, from the thread (async:
            task) that follows the flags. Further changes wait while it runs.

    Raises:
        InvalidArgumentError: a default is not a valid flag, the filter is no text, or `bucket` is
            not a bucket of this client.
    """

    def __init__(
        self,
        bucket: Bucket[Any],
        defaults: Mapping[str, Any] | None = None,
        *,
        filter: str | None = None,
        on_change: OnChange | None = None,
    ) -> None:
        self._defaults = default_flags(defaults or {})
        if filter is not None and not isinstance(filter, str):
            raise InvalidArgumentError(f"a filter must be text, not {filter!r}")
        # One attempt each, so that the first failure is known at once. `_follow` tries again.
        self._bucket = bucket_view(checked_bucket(bucket, self), _BYTES, attempts=1)
        self._filters = () if filter is None else (filter,)
        self._on_change = on_change
        self._flags: Mapping[str, Flag | Unreadable] = {}
        self._heard_at: float | None = None
        self._watch: WatchReader[Any] | None = None
        self._started = False
        self._report_first = False
        self._logged: set[str] = set()
        self._guard = threading.Lock()
        self._pid = os.getpid()
        self._complete = False
        self._first_attempt_done = Signal()
        self._loaded = Signal()
        self._closing = Signal()
        self._background = Background(self._follow, f"jetkv flags of {bucket.name}")
        self._unfollowed = False

    def get(self, name: str, default: Any = None) -> Any:
        """Return a copy of a flag's value: the stored one, else its default, else `default`."""
        self._after_fork()
        return stored_value(self._flags, self._defaults, name, default)

    def enabled(
        self,
        name: str,
        user: str | None = None,
        attributes: Mapping[str, Any] | None = None,
    ) -> bool:
        """Return whether a flag is on: whether it is `true` for the user.

        Args:
            name: the flag's name. A flag that is neither stored nor has a default is off.
            user: the user, for a flag with a rollout. Without a user, a flag that is on for a part
                of the users is off.
            attributes: what else is known about the user, for a flag with targeting.
        """
        self._after_fork()
        return is_on(self._flags, self._defaults, name, user, attributes)

    def evaluate(
        self,
        name: str,
        default: Any = None,
        *,
        user: str | None = None,
        attributes: Mapping[str, Any] | None = None,
    ) -> Evaluation:
        """Return a flag's value for a user, its variant, and the reason, in OpenFeature's terms.

        It raises nothing. If there is no value, the result has the flag's default, or else
        `default`. `error_code` then tells whether something is wrong (docs/recipes.md).

        Args:
            name: the flag's name.
            default: the value if the flag gives none.
            user: the user: OpenFeature's targeting key.
            attributes: what else is known about the user, for a flag with targeting.
        """
        self._after_fork()
        return evaluation(self._flags, self._defaults, name, default, user, attributes)

    @property
    def stale(self) -> float:
        """Seconds for which the flags may be out of date; 0 while the gateway is connected.

        Infinite until the flags are loaded.
        """
        self._after_fork()
        if self._heard_at is None or self._unfollowed:
            return math.inf
        watch = self._watch
        silence = now() - self._heard_at
        current = watch is not None and watch.connected and watch.synced
        return 0.0 if current and silence < _SILENCE_SECONDS else silence

    @property
    def ready(self) -> bool:
        """Whether the flags have been loaded. Until then, the defaults apply."""
        self._after_fork()
        return self._heard_at is not None

    def start(self, timeout: float = 2.0) -> None:
        """Start to follow the flags, and return when they are loaded or cannot be loaded now.

        If the gateway refuses or cannot be reached, this returns at once. The defaults then apply,
        one warning is logged, and loading continues in the background.

        Args:
            timeout: seconds to wait for a gateway that does not answer.

        Raises:
            InvalidArgumentError: `start` was called before.
        """
        self._after_fork()
        if self._started:
            raise InvalidArgumentError(
                "these flags were started before", hint="make another object"
            )
        self._started = True
        try:
            self._background.start()
            attempted = self._first_attempt_done.wait(timeout)
        except BaseException:
            self.close()
            raise
        if not attempted and self._report_when_loaded():
            self._log_outage(_OUTAGE, f"no answer within {timeout:g} s")

    def wait_ready(self, timeout: float | None = None) -> bool:
        """Wait until the flags are loaded or closed; return whether they are loaded.

        Args:
            timeout: seconds to wait; None to wait without a limit.
        """
        self._after_fork()
        self._loaded.wait(timeout)
        return self.ready

    def close(self) -> None:
        """Stop following the flags. They keep their last values, and `stale` grows."""
        self._after_fork(follow=False)
        self._closing.set()
        watch = self._watch
        if watch is not None:
            watch.close()
        self._background.stop(_STOP_SECONDS)
        self._watch = None
        self._loaded.set()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def _after_fork(self, *, follow: bool = True) -> None:
        """In a forked child, start a new thread: the parent's does not exist there."""
        if self._pid == os.getpid():
            return
        with fork_lock():
            if self._pid == os.getpid():
                return
            closed = self._closing.is_set()
            # Threads that do not exist in the child may hold the old locks.
            self._guard, self._logged, self._watch = threading.Lock(), set(), None
            self._first_attempt_done, self._loaded, self._closing = (
                Signal(),
                Signal(),
                Signal(),
            )
            self._background = Background(self._follow, f"jetkv flags of {self._bucket.name}")
            if self._heard_at is not None or closed:
                self._loaded.set()
            if closed:
                self._closing.set()
            self._pid = os.getpid()
            if self._started and follow and not closed:
                self._unfollowed = not self._background.revive()

    def _follow(self) -> None:
        failed = 0
        while not self._closing.is_set():
            self._watch = self._new_watch()
            self._complete = False
            back_off = _BACK_OFF
            try:
                self._read(self._watch)
            except WatchLostError as error:
                log.info("flags of bucket %r are loaded again: %s", self._bucket.name, error)
            except ClientClosedError as error:
                log.warning(
                    "flags of bucket %r are no longer followed: %s", self._bucket.name, error
                )
                self._first_attempt_done.set()
                self._loaded.set()
                return
            except JetKVError as error:
                # Any of these errors may be fixed while the program runs.
                if not error.retryable:
                    back_off = _LONG_BACK_OFF
                self._report_when_loaded()
                self._log_outage(_OUTAGE if error.retryable else type(error).__name__, error)
                self._first_attempt_done.set()
            except Exception:  # Nobody awaits this loop, so a defect must not end it unseen.
                log.exception("flags of bucket %r are loaded again", self._bucket.name)
            failed = 1 if self._complete else failed + 1
            self._closing.wait(back_off.delay(failed, 0.0, jitter()))

    def _new_watch(self) -> WatchReader[Any]:
        endpoint = endpoint_of(self._bucket)
        session = WatchSession(
            self._bucket.name,
            self._filters,
            decoder(_BYTES, self._bucket.name),
            snapshot=True,
            resume_after=None,
            ignore_deletes=False,
            max_bytes=endpoint.max_answer_bytes,
        )
        return WatchReader(endpoint, session)

    def _report_when_loaded(self) -> bool:
        """Return whether the flags are not loaded yet; if so, report them to `on_change` later."""
        with self._guard:
            self._report_first = self._report_first or self._heard_at is None
            return self._report_first

    def _log_outage(self, kind: str, reason: object) -> None:
        """Log why the flags cannot be loaded, once for each kind of error until they are."""
        with self._guard:
            if kind in self._logged:
                return
            self._logged.add(kind)
        values = "the defaults apply" if self._heard_at is None else "the last values stay"
        log.warning(
            "flags of bucket %r cannot be loaded, so %s; loading is tried again: %s",
            self._bucket.name,
            values,
            reason,
        )

    def _check_for_outage(self, down_since: float) -> None:
        heard_at = now() if self._heard_at is None else self._heard_at
        if now() - down_since >= _OUTAGE_SECONDS or now() - heard_at >= _SILENCE_SECONDS:
            self._log_outage(_OUTAGE, f"the gateway last answered {now() - heard_at:.0f} s ago")

    def _log_loaded(self) -> None:
        with self._guard:
            logged, self._logged = self._logged, set()
        if logged:
            log.info("flags of bucket %r are loaded", self._bucket.name)

    def _read(self, watch: WatchReader[Any]) -> None:
        """Follow one watch step by step, to know when the gateway was last heard from."""
        snapshot: dict[str, Flag | Unreadable] = {}
        down_since = math.inf
        while not self._closing.is_set():
            watch.step()
            while watch.pending:
                item = watch.pop()
                if isinstance(item, SnapshotEnd):
                    self._complete = True
                    self._replace(snapshot)
                elif self._complete:
                    self._change(item)
                else:
                    self._collect(snapshot, item)
            if not self._complete:
                continue
            if not watch.connected:
                down_since = min(down_since, now())
                self._check_for_outage(down_since)
                continue
            down_since = math.inf
            if watch.synced:
                self._heard_at = now()
                if self._logged:
                    self._log_loaded()

    def _collect(self, flags: dict[str, Flag | Unreadable], update: Update[Any]) -> None:
        """Put the flag of an update among the flags, or take it away."""
        if update.operation is not Operation.PUT:
            flags.pop(update.key, None)
            return
        try:
            flags[update.key] = parse_flag(update.key, update.value)
        except FlagParseError as error:
            log.warning(
                "flag %r in bucket %r at revision %d is not valid, so the last valid one stays: %s",
                update.key,
                self._bucket.name,
                update.revision,
                error,
            )
            last = self._flags.get(update.key)
            flags[update.key] = last if isinstance(last, Flag) else Unreadable(str(error))

    def _change(self, update: Update[Any]) -> None:
        flags = dict(self._flags)
        self._collect(flags, update)
        self._replace(flags)

    def _replace(self, flags: dict[str, Flag | Unreadable]) -> None:
        # A new mapping each time, so that other threads see either the old or the new flags.
        before, self._flags = self._flags, flags
        with self._guard:
            first = self._heard_at is None
            # The first flags are reported only if `start` returned with the defaults.
            silent = first and not self._report_first
            if first:
                self._heard_at = now()
        self._first_attempt_done.set()
        self._loaded.set()
        if self._on_change is None or silent:
            return
        for name in sorted(before.keys() | flags.keys()):
            if changed(before, flags, self._defaults, name):
                try:
                    resolve(self._on_change(name, self.get(name)))
                except Exception:  # The caller's function may raise anything.
                    log.exception("on_change of flag %r", name)
