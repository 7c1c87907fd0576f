"""A watcher receives the keys of its filters."""

from urllib.parse import quote

import pytest

from tests.support.http import Bucket
from tests.support.watched import delete, put, watch
from tests.support.watching import updates


@pytest.mark.parametrize(
    ("filters", "keys", "wanted"),
    [
        ("user.a", "user,user.b,user.a.x,xuser.a,user.a", "user.a"),
        ("a b", "a b.x,ab,a b", "a b"),
        ("user.*", "user.a,user.a.b,user,users.a,user.z", "user.a,user.z"),
        ("user:*", "user:1,user:1.x,user.2,xuser:3,user:9", "user:1,user:9"),
        ("user-*", "user-1,user,user-1.x,user-b", "user-1,user-b"),
        ("user-*.name", "user-1.name,user-1,user-1.mail,user-2.name", "user-1.name,user-2.name"),
        ("*.name", "a.name,name,a.b.name,b.name", "a.name,b.name"),
        ("*", "a,a.b,b", "a,b"),
        ("user.>", "user,user.a,users.a,user.a.b", "user.a,user.a.b"),
        ("*.b.>", "a.b,a.b.c,b.c.d,x.b.c.d", "a.b.c,x.b.c.d"),
        (">", "a,a.b,a:b", "a,a.b,a:b"),
        ("", "a,a.b,a:b", "a,a.b,a:b"),
        ("user.", "user,user.a,users.x,user.a.b", "user.a,user.a.b"),
        ("user:", "user,user:1,users:1,user:1.x", "user:1,user:1.x"),
        ("user/", "user,user/1,users/1,user/1/x", "user/1,user/1/x"),
        ("user-", "user,user-1,users-1,user-1.x", "user-1,user-1.x"),
        ("user.*,user.a,>", "user.a,x,user.b", "user.a,x,user.b"),
        ("user.*,user.a", "user.a,x,user.b", "user.a,user.b"),
        ("a.>,b", "a,b,a.x,c,b", "b,a.x,b"),
        ("*.x,a.*", "a.x,b.x,a.b,c.c,a.c", "a.x,b.x,a.b,a.c"),
        ("a,b", "a,c,b,d,a", "a,b,a"),
        ("user-*,user.", "user-1,user,user.1", "user-1,user.1"),
    ],
)
async def test_a_watcher_sees_the_keys_of_its_filters_and_each_change_once(
    bucket: Bucket, filters: str, keys: str, wanted: str
) -> None:
    written, expected = keys.split(","), wanted.split(",")
    query = "&".join(f"key={quote(text, safe='')}" for text in filters.split(","))
    # The last key is always a wanted one: nothing can be on its way behind it.
    async with watch(bucket, f"?{query}") as watcher:
        for key in written:
            await put(bucket, key)
        frames = await watcher.take(len(expected))
        assert [frame["key"] for frame in frames] == expected
        revisions = [frame["revision"] for frame in frames]
        assert revisions == sorted(set(revisions))
        assert revisions[-1] == len(written)


async def test_a_filter_holds_for_deletes_too(bucket: Bucket) -> None:
    await put(bucket, "a.k")
    await put(bucket, "b.k")
    async with watch(bucket, "?key=b.*") as watcher:
        await delete(bucket, "a.k")
        await delete(bucket, "b.k")
        assert updates([await watcher.next()]) == [("b.k", "delete", 4)]


async def test_watchers_with_other_filters_do_not_disturb_each_other(bucket: Bucket) -> None:
    async with watch(bucket, "?key=a.*") as of_a, watch(bucket, "?key=b") as of_b:
        async with watch(bucket) as of_all:
            for key in ("a.1", "b", "a.2", "b"):
                await put(bucket, key)
            assert [frame["key"] for frame in await of_all.take(4)] == ["a.1", "b", "a.2", "b"]
        assert [frame["key"] for frame in await of_a.take(2)] == ["a.1", "a.2"]
        assert [frame["revision"] for frame in await of_b.take(2)] == [2, 4]
