"""Where a watch of either client stands: after what it has handed out, never after what waits."""

import pytest

from jetkv import WatchLostError
from tests.sdk.calls import INFO, ONCE, take
from tests.support.http import Bucket, Http
from tests.support.scripted import http, scripted

KEYS = [f"k{number}" for number in range(5)]


def updates(*revisions: int) -> str:
    """Return the events of puts, `1` of `k1` at revision 1 and so on."""
    return "".join(
        f'id: {revision}\ndata: {{"type":"kv_update","bucket":"b","key":"k{revision}",'
        f'"value":"MQ==","revision":{revision},"operation":"put"}}\n\n'
        for revision in revisions
    )


SNAPSHOT_END = 'id: 3\ndata: {"type":"kv_snapshot_end","revision":3}\n\n'
DELETED = 'data: {"type":"error","message":"bucket deleted","code":"bucket_deleted"}\n\n'


def stream(events: str) -> bytes:
    """Return an event stream that comes in one piece."""
    return http(200, events, kind="text/event-stream")


async def test_a_watch_stands_after_what_it_has_returned(make) -> None:
    with scripted(INFO, stream(updates(1, 2, 3))) as server:
        async with (
            make(server.url, retry=ONCE) as client,
            client.kv().bucket("b").watch(resume_after=0) as watch,
        ):
            stands = [((await take(watch, 1))[0].revision, watch.last_revision) for _ in range(3)]
    assert stands == [(1, 1), (2, 2), (3, 3)]


@pytest.mark.parametrize("count", range(1, 5))
async def test_a_reader_that_stops_and_resumes_at_its_place_misses_nothing(
    make, http: Http, bucket: Bucket, count: int
) -> None:
    for key in KEYS:
        bucket.put(key, b"1")
    async with make(http.url) as client:
        opened = client.kv().bucket(bucket.name)
        async with opened.watch(snapshot=True) as first:
            seen = [update.key for update in await take(first, count)]
        async with opened.watch(resume_after=first.last_revision) as second:
            seen += [update.key for update in await take(second, len(KEYS) - count)]
    assert seen == KEYS


async def test_a_snapshot_is_complete_once_all_of_it_was_returned(make) -> None:
    with scripted(INFO, stream(updates(1, 2, 3) + SNAPSHOT_END)) as server:
        async with (
            make(server.url, retry=ONCE) as client,
            client.kv().bucket("b").watch(snapshot=True) as watch,
        ):
            told = [((await take(watch, 1))[0].revision, watch.synced) for _ in range(3)]
    assert told == [(1, False), (2, False), (3, True)]


async def test_what_came_before_the_end_is_returned_before_it_is_raised(make) -> None:
    with scripted(INFO, stream(updates(1, 2) + DELETED)) as server:
        async with (
            make(server.url, retry=ONCE) as client,
            client.kv().bucket("b").watch(resume_after=0) as watch,
        ):
            assert [update.key for update in await take(watch, 2)] == ["k1", "k2"]
            with pytest.raises(WatchLostError) as caught:
                await take(watch, 1)
    assert (caught.value.reason, caught.value.last_revision) == ("bucket_deleted", 2)
