"""One interface for raw HTTP, `Client` and `AsyncClient`, so that one test covers all three.

The results and errors do not show which of them was used. `api_http` and `api_client` implement the
interface.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any, Protocol

import pytest

from tests.support.waiting import eventually

SECONDS = 10

ODD_KEYS = [
    "user:123",
    "a b",
    "a/b/c",
    "/",
    "//a//",
    ".",
    "..",
    "...",
    "a/../b",
    ".hidden.",
    "a..b",
    "%2F",
    "100%",
    "a?b=c&d#e",
    "a+b",
    "*",
    ">",
    "user.*",
    "=3A",
    "=",
    "日本",
    "🔑",
    "e\u0301",
    "\u00e9",
    "'\"\\",
    "k" * 512,
]


class Kind(Enum):
    """The kinds of failure."""

    INVALID = "an argument is invalid"
    BUCKET_NOT_FOUND = "there is no such bucket"
    KEY_NOT_FOUND = "the key has no value"
    BUCKET_EXISTS = "the bucket exists"
    KEY_EXISTS = "the key has a value"
    REVISION_MISMATCH = "the key is at another revision"
    TOO_LARGE = "the value is too large"
    WOULD_LOSE_DATA = "the change would remove stored data"
    CANNOT_BE_CHANGED = "NATS cannot change this"
    PROTECTED = "the bucket is protected"
    BUCKET_DELETED = "the watched bucket is gone"
    RESYNC = "the watch may have missed changes"


ENDINGS = {
    "not_found": Kind.BUCKET_NOT_FOUND,
    "bucket_deleted": Kind.BUCKET_DELETED,
    "resync": Kind.RESYNC,
}
"""The failure that each code of a watch's last frame stands for."""


def known_details(details: Any) -> dict[str, Any]:
    """Return the details of an error that all three interfaces have."""
    names = ("current_revision", "limit_bytes", "history", "storage")
    return {name: details[name] for name in names if details and details.get(name) is not None}


class Failed(Exception):
    """Raised if the gateway refuses a call.

    Attributes:
        kind: the kind of failure.
        status: the status of the answer; None for the end of a watch.
        details: `current_revision` or `limit_bytes`, if the gateway sent it.
    """

    def __init__(self, kind: Kind, status: int | None, details: dict[str, Any]) -> None:
        super().__init__(kind, status, details)
        self.kind = kind
        self.status = status
        self.details = details


@dataclass(frozen=True)
class Found:
    """A stored value."""

    key: str
    value: bytes
    revision: int
    operation: str
    created_at: datetime


@dataclass(frozen=True)
class Change:
    """One update of a watch."""

    key: str
    value: bytes
    revision: int
    operation: str = "put"
    reason: str | None = None


@dataclass(frozen=True)
class Changed:
    """The result of a change of a bucket.

    Attributes:
        changed: names of settings, without a unit.
    """

    about: "About"
    changed: list[str]
    created: bool


@dataclass(frozen=True)
class About:
    """A bucket's description."""

    name: str
    values: int
    history: int
    ttl: int | None
    description: str
    storage: str
    created_at: datetime


class Changes(ABC):
    """An open watch. Every wait has a deadline."""

    def __init__(self) -> None:
        self._coming: asyncio.Future[Change] | None = None

    @property
    @abstractmethod
    def synced(self) -> bool:
        """Whether the snapshot is complete."""

    @abstractmethod
    async def _next(self) -> Change: ...

    async def take(self, count: int) -> list[Change]:
        """Return the next changes."""
        return [await self._await_next() for _ in range(count)]

    async def complete(self) -> None:
        """Wait until the snapshot is complete."""

        async def is_complete() -> bool:
            assert not self._reading().done(), "a change arrived that the test did not expect"
            return self.synced

        await eventually(is_complete, "the snapshot is complete")

    async def failure(self) -> Failed:
        """Return the failure that ends the watch. It must be the next thing that happens."""
        try:
            change = await self._await_next()
        except Failed as failed:
            return failed
        raise AssertionError(f"the watch went on: {change}")

    async def stop(self) -> None:
        """Cancel the read that is running."""
        if self._coming is not None:
            self._coming.cancel()
            await asyncio.gather(self._coming, return_exceptions=True)

    def _reading(self) -> "asyncio.Future[Change]":
        if self._coming is None:
            self._coming = asyncio.ensure_future(self._next())
        return self._coming

    async def _await_next(self) -> Change:
        reading = self._reading()
        async with asyncio.timeout(SECONDS):
            await asyncio.wait({reading})
        self._coming = None
        return reading.result()


class Api(Protocol):
    """The interface. Each method does what the SDK's method of this name does."""

    async def create_bucket(
        self, name: str, *, ttl: int | None = None, **settings: Any
    ) -> About: ...
    async def ensure_bucket(self, name: str, **settings: Any) -> Changed: ...
    async def plan_bucket(self, name: str, **settings: Any) -> Changed: ...
    async def buckets(self) -> list[About]: ...
    async def bucket_info(self, name: str) -> About: ...
    async def delete_bucket(self, name: str) -> None: ...
    async def get(
        self, bucket: str, key: str, *, revision: int | None = None, consistency: str = "strong"
    ) -> Found: ...
    async def put(self, bucket: str, key: str, value: bytes) -> int: ...
    async def create(self, bucket: str, key: str, value: bytes) -> int: ...
    async def update(self, bucket: str, key: str, value: bytes, revision: int) -> int: ...
    async def delete(self, bucket: str, key: str, *, revision: int | None = None) -> None: ...
    async def purge(self, bucket: str, key: str, *, revision: int | None = None) -> None: ...
    async def keys(self, bucket: str, filter: str | None = None) -> list[str]: ...
    async def history(self, bucket: str, key: str) -> list[Found]: ...
    def watch(
        self,
        bucket: str,
        *filters: str,
        snapshot: bool = False,
        resume_after: int | None = None,
        ignore_deletes: bool = False,
    ) -> AbstractAsyncContextManager[Changes]: ...


async def refused(call: Awaitable[Any]) -> Failed:
    """Return the failure of a call that must fail."""
    with pytest.raises(Failed) as caught:
        await call
    return caught.value
