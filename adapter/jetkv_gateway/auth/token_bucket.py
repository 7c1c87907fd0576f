"""Tokens of the gateway's own bucket, which each worker follows.

A change takes effect in a worker when its feed delivers it, in milliseconds. While the bucket
cannot be read, the last state stays in force for a limited time. After that, nobody can tell which
tokens are withdrawn, so their requests are refused with 503.
"""

import asyncio
import logging
import random
import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from math import inf

from jetkv_gateway.auth.token_records import LOGIN, TICKET_KEY, USED, check_moment, read_record
from jetkv_gateway.auth.token_table import TokenTable
from jetkv_gateway.auth.tokens import Token
from jetkv_gateway.kv.errors import (
    BucketUnsuitable,
    GatewayError,
    InvalidArgument,
    KeyExists,
    PermissionDenied,
    Unavailable,
)
from jetkv_gateway.kv.token_store import Record, TokenFeed, TokenStore

__all__ = ["TokenBucket", "make_ticket_key"]

_log = logging.getLogger("jetkv.auth")

_TICK_SECONDS = 0.5
_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 5.0
_GROW_SECONDS = 15.0
_CONFIRM_SECONDS = 5.0
_TICKET_KEY_BYTES = 32
_PERMANENT = (PermissionDenied, BucketUnsuitable)


@dataclass(slots=True)
class _State:
    """What the records say."""

    table: TokenTable = field(default_factory=TokenTable)
    used: dict[str, float] = field(default_factory=dict)
    ticket_key: bytes | None = None

    def apply(self, record: Record) -> bool:
        """Apply a change; return whether it may change what a caller is allowed."""
        key, value, _ = record
        if key.startswith(LOGIN):
            name = key.removeprefix(LOGIN)
            if value is None:
                return self.table.remove(name)
            try:
                self.table.replace(read_record(key, value))
            except InvalidArgument as error:
                # Whoever wrote this has not only the right to write here, but used it.
                _log.error("%s; this token is refused", error.message)
                self.table.remove(name)
            return True
        if key.startswith(USED):
            name = key.removeprefix(USED)
            self.used[name] = _number(value)
        elif key == TICKET_KEY:
            self.ticket_key = value
            return True
        return False


async def make_ticket_key(store: TokenStore) -> None:
    """Create the secret that signs tickets, unless there is one.

    Raises:
        GatewayError: it cannot be created.
    """
    with suppress(KeyExists):
        await store.create(TICKET_KEY, secrets.token_bytes(_TICKET_KEY_BYTES))


class TokenBucket:
    """The tokens of the bucket, as the feed last delivered them.

    Args:
        store: the bucket.
        stale_after: seconds for which the last state stays in force while the bucket cannot be
            read.

    Attributes:
        version: grows with each change.
        refused: whether NATS refuses the access to the bucket, so that waiting does not help.
    """

    def __init__(self, store: TokenStore, stale_after: float) -> None:
        self.store = store
        self.version = 0
        self.refused = False
        self._stale_after = stale_after
        self._state = _State()
        self._loaded = False
        self._stale = True
        self._as_of = -inf
        self._reached = 0
        self._trouble: str | None = None
        self._changed = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def stale(self) -> bool:
        """Whether it cannot be known now which tokens are valid."""
        return self._stale

    @property
    def problem(self) -> str | None:
        """Why the bucket cannot be read now, in a text that everybody may see; or None."""
        if self._trouble is None and not (self._loaded and self._stale):
            return None
        trouble = self._trouble or "the leader of their stream does not answer"
        if not self._loaded:
            return f"the tokens of the bucket have not been read yet: {trouble}"
        left = "are refused" if self._stale else "stay in force"
        return (
            f"the tokens of the bucket cannot be read: {trouble}; those read before {left}"
            f" (token_stale_seconds: {self._stale_after:g})"
        )

    @property
    def ticket_key(self) -> bytes | None:
        """The secret that signs tickets; None until it is known."""
        return self._state.ticket_key

    def find(self, digest: bytes) -> Token | None:
        """Return the token that has this hash.

        Raises:
            Unavailable: nobody can tell.
        """
        if self._stale and not self.refused:
            raise Unavailable("the gateway cannot read its tokens now")
        return None if self._stale else self._state.table.find(digest)

    def named(self, name: str) -> Token | None:
        """Return the token that has this name."""
        return next(iter(self._state.table.named(name)), None)

    def tokens(self) -> list[Token]:
        """Return all tokens."""
        return self._state.table.tokens()

    def last_use(self, name: str) -> float | None:
        """Return when a token was last used, as stored, in seconds since 1970."""
        return self._state.used.get(name)

    def start(self) -> None:
        """Follow the bucket until `close`."""
        self._tasks = [
            asyncio.create_task(self._follow(), name="tokens"),
            asyncio.create_task(self._confirm(), name="newest token"),
            asyncio.create_task(self._watch_age(), name="age of tokens"),
            asyncio.create_task(self._keep_replicas(), name="replicas of tokens"),
        ]
        for task in self._tasks:
            task.add_done_callback(_log_defect)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def wait_loaded(self, seconds: float) -> bool:
        """Wait until the tokens are known, at most `seconds`."""
        return await self._wait(lambda: self._loaded or self.refused, seconds)

    async def wait_reached(self, revision: int, seconds: float) -> bool:
        """Wait until the feed has delivered a revision, at most `seconds`."""
        return await self._wait(lambda: self._reached >= revision, seconds)

    async def _wait(self, holds: Callable[[], bool], seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                while not holds():
                    changed = self._changed
                    await changed.wait()
        except TimeoutError:
            return False
        return True

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def _follow(self) -> None:
        pause = _FIRST_PAUSE
        while True:
            await self.store.wait_available(60)
            try:
                await self.store.ensure()
                opened = asyncio.get_running_loop().time()
                async with self.store.follow() as feed:
                    await self._load(feed, opened)
                    pause = _FIRST_PAUSE
                    await self._keep_ticket_key()
                    while True:
                        await self._read(feed, self._state)
            except GatewayError as error:
                self._note(error)
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
            pause = min(pause * 2, _LONGEST_PAUSE)

    async def _load(self, feed: TokenFeed, opened: float) -> None:
        """Read all records into a new state, and use that once it is complete."""
        state, complete = _State(), False
        while not complete:
            records = await feed.read()
            for record in records.changes:
                state.apply(record)
            complete = records.complete
            self._reached = records.reached
        self._state = state
        self._as_of = max(self._as_of, opened)
        if self._trouble is not None:
            _log.info("the tokens of the bucket can be read again: %d", len(state.table))
        self._loaded, self._stale, self.refused, self._trouble = True, False, False, None
        self.version += 1
        self._wake()

    async def _read(self, feed: TokenFeed, state: _State) -> None:
        records = await feed.read()
        changed = False
        for record in records.changes:
            changed = state.apply(record) or changed
        self.version += changed
        self._reached = max(self._reached, records.reached)
        self._wake()

    async def _keep_ticket_key(self) -> None:
        if self._state.ticket_key is None:
            try:
                await make_ticket_key(self.store)
            except GatewayError as error:
                # A gateway that only reads has tokens all the same. It has tickets once another
                # one, or `jetkv token create`, has made the key.
                _log.warning("there are no tickets yet: %s", error.message)

    def _note(self, error: GatewayError) -> None:
        self.refused = isinstance(error, _PERMANENT)
        text = "NATS does not permit it" if isinstance(error, PermissionDenied) else error.message
        if text != self._trouble:
            _log.warning("the tokens of the bucket cannot be read: %s; trying again", error.message)
        self._trouble = text
        self._wake()

    async def _confirm(self) -> None:
        """Ask the leader regularly whether the feed has delivered everything.

        A feed alone proves nothing: its server may be cut off from the others, and go on saying
        that nothing has changed.
        """
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(min(_CONFIRM_SECONDS, self._stale_after / 3))
            if not self._loaded:
                continue
            asked = loop.time()
            try:
                newest = await self.store.newest()
                if await self.wait_reached(newest, _CONFIRM_SECONDS):
                    self._as_of = max(self._as_of, asked)
            except GatewayError as error:
                _log.debug("cannot ask for the newest token: %s", error.message)

    async def _watch_age(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_TICK_SECONDS)
            stale = not self._loaded or loop.time() - self._as_of > self._stale_after
            if stale is not self._stale:
                self._stale = stale
                self.version += 1
                if stale:
                    _log.error(
                        "the tokens of the bucket could not be read for %g s: they are refused",
                        self._stale_after,
                    )

    async def _keep_replicas(self) -> None:
        """Give the bucket three replicas as soon as the cluster has servers for them."""
        grown = False
        while True:
            if self._loaded and not grown:
                try:
                    grown = await self.store.grow()
                except GatewayError as error:
                    _log.debug("cannot see the replicas of the tokens: %s", error.message)
            await asyncio.sleep(_GROW_SECONDS * random.uniform(0.5, 1.0) if self._loaded else 1.0)  # noqa: S311 - jitter


def _number(value: bytes | None) -> float:
    try:
        return check_moment(float(value or b"0"))
    except ValueError:
        return 0.0


def _log_defect(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("the tokens of the bucket are no longer followed", exc_info=error)
