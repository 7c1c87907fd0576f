"""What a caller writes, as type checkers see it; checked by `test_types`, never run."""

# pyright: strict

from collections.abc import AsyncIterator, Iterator
from datetime import datetime, timedelta
from typing import Any, assert_type

from pydantic import BaseModel

from jetkv import (
    KV,
    NEVER,
    AsyncBucket,
    AsyncClient,
    AsyncKV,
    AsyncMultiWatch,
    AsyncWatch,
    Bucket,
    BucketInfo,
    BucketWarning,
    Caller,
    Change,
    Client,
    Codec,
    Entry,
    MultiWatch,
    Operation,
    Permission,
    Placement,
    Republish,
    RevisionMismatchError,
    Touched,
    Update,
    ValueTooLargeError,
    Watch,
    WatchLostError,
)
from jetkv.recipes import cached


class Session(BaseModel):
    user: str
    seen: int = 0


class Upper:
    """A codec of the caller's own."""

    content_type = "text/plain"

    def encode(self, value: str) -> bytes:
        return value.upper().encode()

    def decode(self, raw: bytes) -> str:
        return raw.decode()


def bucket_types(kv: KV) -> None:
    assert_type(kv.bucket("b"), Bucket[Any])
    assert_type(kv.bucket("b", Session), Bucket[Session])
    assert_type(kv.bucket("b", bytes), Bucket[bytes])
    assert_type(kv.bucket("b", str), Bucket[str])
    assert_type(kv.bucket("b", int), Bucket[int])
    assert_type(kv.bucket("b", dict[str, int]), Bucket[dict[str, int]])
    assert_type(kv.bucket("b", list[Session]), Bucket[list[Session]])
    assert_type(kv.bucket("b", Upper()), Bucket[str])
    assert_type(kv.bucket("b", int | None), Bucket[Any])


def own_codec() -> Codec[str]:
    return Upper()


def buckets(client: Client) -> None:
    with client as same:
        assert_type(same, Client)
    kv = client.kv()
    assert_type(kv, KV)
    info = kv.create_bucket("b", ttl=timedelta(minutes=5), history=5, storage="memory")
    assert_type(info, BucketInfo)
    assert_type(info.ttl, timedelta | None)
    assert_type(info.warnings, tuple[BucketWarning, ...])
    change = kv.ensure_bucket("b", ttl=timedelta(minutes=5), metadata={"a": "b", "c": None})
    assert_type(change, Change)
    assert_type(change.bucket, BucketInfo)
    assert_type(change.changed, tuple[str, ...])
    assert_type(kv.plan_bucket("b", republish=Republish("copies.>"), placement=Placement()), Change)
    assert_type(kv.buckets(), list[BucketInfo])
    assert_type(kv.bucket_info("b"), BucketInfo)
    assert_type(info.values, int | None)
    assert_type(kv.whoami(), Caller)
    assert_type(kv.can("read", "b", "k"), Permission)
    assert_type(kv.can("metrics").reason, str | None)


def calls(sessions: Bucket[Session]) -> None:
    entry = sessions.get("k", revision=7, consistency="eventual")
    assert_type(entry, Entry[Session])
    assert_type(entry.value, Session)
    assert_type(entry.value.user, str)
    assert_type(entry.raw, bytes)
    assert_type(entry.revision, int)
    assert_type(entry.created_at, datetime)
    assert_type(entry.operation, Operation)
    assert_type(sessions.get_or_none("k"), Entry[Session] | None)
    assert_type(sessions.exists("k"), bool)
    assert_type(sessions.put("k", Session(user="ada")), int)
    assert_type(sessions.create("k", Session(user="ada")), int)
    assert_type(sessions.update("k", Session(user="ada"), entry.revision), int)
    sessions.delete("k", revision=7)
    sessions.purge("k")
    assert_type(sessions.keys("user:*"), list[str])
    assert_type(sessions.history("k"), list[Entry[Session | None]])
    assert_type(sessions.info(), BucketInfo)
    assert_type(sessions.get_or_compute("k", lambda: Session(user="ada")), Session)
    assert_type(sessions.put("k", Session(user="ada"), ttl=30), int)
    assert_type(sessions.create("k", Session(user="ada"), ttl=NEVER), int)
    assert_type(sessions.touch("k", timedelta(minutes=5), revision=7), Touched)
    assert_type(sessions.touch("k").expires_at, datetime | None)
    assert_type(entry.expires_at, datetime | None)


def seen_once_more(session: Session | None) -> Session:
    return Session(user="ada", seen=session.seen + 1 if session else 1)


def loops(sessions: Bucket[Session], counters: Bucket[int]) -> None:
    assert_type(sessions.modify("k", seen_once_more), Entry[Session])
    assert_type(counters.modify("k", lambda n: (n or 0) + 1).value, int)


def watches(sessions: Bucket[Session]) -> None:
    watch = sessions.watch("user:*", "flag.>", snapshot=True, ignore_deletes=True)
    assert_type(watch, Watch[Session])
    with watch as changes:
        for update in changes:
            assert_type(update, Update[Session | None])
            assert_type(update.value, Session | None)
    assert_type(watch.last_revision, int | None)
    assert_type(watch.synced, bool)


def watches_of_several(kv: KV, sessions: Bucket[Session], counters: Bucket[int]) -> None:
    assert_type(kv.watch({"a": "user.*", "b": [">"]}), MultiWatch[Any])
    assert_type(kv.watch({sessions: ">"}, snapshot=True), MultiWatch[Session])
    watch = kv.watch({sessions: ">", "b": ["x", "y"]}, resume="1-a", ignore_deletes=True)
    assert_type(watch, MultiWatch[Any])
    assert_type(watch.bookmark, str | None)
    with kv.watch({counters: ">"}) as changes:
        for update in changes:
            assert_type(update, Update[int | None])
            assert_type(update.bucket, str)


def passed_on(sessions: Bucket[Session]) -> Iterator[Update[Session | None]]:
    return sessions.watch(resume_after=7)


def wider(entry: Entry[Session]) -> Entry[Session | None]:
    return entry


def facts(error: RevisionMismatchError, large: ValueTooLargeError, lost: WatchLostError) -> None:
    assert_type(error.current_revision, int | None)
    assert_type(error.status, int | None)
    assert_type(error.code, str)
    assert_type(error.request_id, str | None)
    assert_type(error.retryable, bool)
    assert_type(large.limit_bytes, int | None)
    assert_type(lost.last_revision, int | None)


def async_bucket_types(kv: AsyncKV) -> None:
    assert_type(kv.bucket("b"), AsyncBucket[Any])
    assert_type(kv.bucket("b", Session), AsyncBucket[Session])
    assert_type(kv.bucket("b", bytes), AsyncBucket[bytes])
    assert_type(kv.bucket("b", list[Session]), AsyncBucket[list[Session]])
    assert_type(kv.bucket("b", Upper()), AsyncBucket[str])


async def async_buckets(client: AsyncClient) -> None:
    async with client as same:
        assert_type(same, AsyncClient)
    kv = client.kv()
    assert_type(kv, AsyncKV)
    assert_type(await kv.create_bucket("b", ttl=None), BucketInfo)
    assert_type(await kv.ensure_bucket("b", history=5, protected=True), Change)
    assert_type(await kv.plan_bucket("b", allow_data_loss=True, storage="memory"), Change)
    assert_type(await kv.buckets(), list[BucketInfo])
    assert_type(await kv.whoami(), Caller)
    assert_type(await kv.can("delete", "b"), Permission)


async def async_calls(sessions: AsyncBucket[Session]) -> None:
    entry = await sessions.get("k", revision=7)
    assert_type(entry, Entry[Session])
    assert_type(entry.value, Session)
    assert_type(await sessions.get_or_none("k"), Entry[Session] | None)
    assert_type(await sessions.put("k", Session(user="ada")), int)
    assert_type(await sessions.update("k", Session(user="ada"), entry.revision), int)
    assert_type(await sessions.keys(), list[str])
    assert_type(await sessions.history("k"), list[Entry[Session | None]])


async def fetched() -> Session:
    return Session(user="ada")


async def seen_later(session: Session | None) -> Session:
    return seen_once_more(session)


async def async_loops(sessions: AsyncBucket[Session]) -> None:
    assert_type(await sessions.modify("k", seen_once_more), Entry[Session])
    assert_type(await sessions.modify("k", seen_later), Entry[Session])
    assert_type(await sessions.get_or_compute("k", fetched), Session)
    assert_type(await sessions.get_or_compute("k", lambda: Session(user="ada")), Session)


async def async_watches_of_several(kv: AsyncKV, sessions: AsyncBucket[Session]) -> None:
    assert_type(kv.watch({"a": "user.*"}), AsyncMultiWatch[Any])
    async with kv.watch({sessions: ">"}) as changes:
        async for update in changes:
            assert_type(update, Update[Session | None])


async def async_watches(sessions: AsyncBucket[Session]) -> None:
    watch = sessions.watch("user:*", snapshot=True)
    assert_type(watch, AsyncWatch[Session])
    async with watch as changes:
        async for update in changes:
            assert_type(update, Update[Session | None])
            assert_type(update.value, Session | None)


def async_passed_on(sessions: AsyncBucket[Session]) -> AsyncIterator[Update[Session | None]]:
    return sessions.watch()


def cached_functions(kv: KV, sessions: Bucket[Session], maybe: Bucket[int | None]) -> None:
    @cached(kv.bucket("b"), key="user:{id}")
    def profile(id: str) -> dict[str, Any]:
        return {"id": id}

    @cached(sessions)
    def session(user: str, seen: int = 0) -> Session:
        return Session(user=user, seen=seen)

    @cached(maybe)
    def number() -> int:
        return 5

    assert_type(profile("7"), dict[str, Any])
    assert_type(session("ada", seen=5), Session)
    assert_type(number(), int)
    profile.invalidate("7")


async def async_cached_functions(kv: AsyncKV, sessions: AsyncBucket[Session]) -> None:
    @cached(kv.bucket("b"))
    async def profile(id: str) -> dict[str, Any]:
        return {"id": id}

    @cached(sessions)
    async def session(user: str) -> Session:
        return Session(user=user)

    assert_type(await profile("7"), dict[str, Any])
    assert_type(await session("ada"), Session)
    await session.invalidate("ada")
