"""What no caller should write: each marked line is an error to type checkers, and no other is."""

# pyright: strict

from datetime import timedelta

from pydantic import BaseModel

from jetkv import AsyncBucket, Bucket, Client
from jetkv.recipes import cached


class Session(BaseModel):
    user: str
    seen: int = 0


def misuse(client: Client, sessions: Bucket[Session], counters: Bucket[int]) -> None:
    kv = client.kv()
    sessions.put("k", {"user": "ada"})  # wrong: a dict is no Session
    sessions.create("k", None)  # wrong: a bucket does not store its own absence
    sessions.update("k", Session(user="ada"), None)  # wrong: an update has a revision
    sessions.update("k", Session(user="ada"))  # wrong: it cannot be left out
    sessions.update("k", Session(user="ada"), "7")  # wrong: a revision is a number
    sessions.get(5)  # wrong: a key is text
    sessions.get("k", 7)  # wrong: a revision is named
    sessions.get("k", consistency="sometimes")  # wrong: strong or eventual
    print(sessions.get("k").value.missing)  # wrong: a Session has no such field
    print(sessions.get_or_none("k").value)  # wrong: it may be None
    sessions.watch(["a", "b"])  # wrong: filters are not a list
    sessions.watch(since=7)  # wrong: it is called resume_after
    sessions.keys(5)  # wrong: a filter is text
    sessions.get("k").revision = 7  # right: nobody needs it, and nothing forbids it
    kv.create_bucket("b", ttl=5)  # wrong: a ttl is a timedelta
    kv.create_bucket("b", timedelta(minutes=5))  # wrong: settings are named
    kv.create_bucket("b", storage="tape")  # wrong: file or memory
    kv.create_bucket("b", ttl_seconds=5)  # wrong: no such setting
    kv.bucket("b", Session).put("k", 5)  # wrong: the type that was given counts
    kv.bucket("b", bytes).put("k", "text")  # wrong: text is not bytes
    Client(token=5)  # wrong: a token is text
    Client("http://localhost:9123", "token")  # wrong: options are named
    counters.modify("k", lambda n: n + 1)  # wrong: there may be no value yet
    counters.modify("k", lambda n: str(n))  # wrong: text is no int
    counters.get_or_compute("k", lambda: "5")  # wrong: text is no int
    for update in sessions.watch():
        print(update.value.user)  # wrong: a delete has no value


async def async_misuse(sessions: AsyncBucket[Session]) -> None:
    print(sessions.get("k").value)  # wrong: not awaited
    await sessions.put("k", 5)  # wrong: a number is no Session
    await sessions.watch()  # wrong: a watch is looped over, not awaited
    for _ in sessions.watch():  # wrong: only `async for`
        pass
    async for update in sessions.watch():
        print(update.value.user)  # wrong: a delete has no value


def count(user: str) -> int:
    return len(user)


async def count_later(user: str) -> int:
    return len(user)


def misuse_of_cached(sessions: Bucket[Session], later: AsyncBucket[Session]) -> None:
    cached(sessions)(count)  # wrong: an int is no Session
    cached(sessions, key="{user}")(count)  # wrong: whatever the key
    cached(later)(count_later)  # wrong: neither is one that is awaited
    cached(later)(count)  # wrong: an AsyncBucket is for `async def`

    @cached(sessions)  # wrong: an int is no Session
    def decorated(user: str) -> int:
        return len(user)

    print(decorated)

    @cached(sessions)
    def session(user: str) -> Session:
        return Session(user=user)

    session(5)  # wrong: a user is text
    print(session("ada").missing)  # wrong: a Session has no such field
