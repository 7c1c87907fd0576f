"""Limits of servers, accounts and streams: less is asked for where less works, else the reason.

Never a 500, a 504 or a "bucket is full" where it is not.
"""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from jetkv_gateway.embedded import NatsServer
from tests.integration.rows import row
from tests.support.gateway import running_gateway
from tests.support.http import BUCKETS, Answer, Bucket, Http
from tests.support.native import SECOND, Native
from tests.support.watching import watching

INACTIVE = SECOND // 2


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Http]:
    """A gateway on a server that limits the duplicate window of streams."""
    limits = 'limits { duplicate_window: "10s" }'
    with (
        NatsServer(tmp_path_factory.mktemp("limited"), jetstream=limits) as server,
        running_gateway(server.url) as http,
    ):
        yield http


@pytest.mark.parametrize(
    ("settings", "window"),
    [({}, "10 s"), ({"ttl_seconds": 3600}, "10 s"), ({"ttl_seconds": 5}, "5 s")],
)
def test_a_bucket_is_made_with_the_duplicate_window_that_the_server_allows(
    limited: Http, settings: dict[str, int], window: str
) -> None:
    name = f"b{settings.get('ttl_seconds', 0)}"
    answer = limited.post(BUCKETS, {"name": name, **settings})
    assert answer.status == 201, answer
    warnings = {warning["code"]: warning["message"] for warning in answer.json["warnings"]}
    assert f"known for {window} only" in warnings["short_duplicate_window"]
    bucket = Bucket(limited, name)
    tries = [bucket.put("k", "v", Idempotency_Key="once").json for _ in range(2)]
    assert tries == [{"revision": 1}] * 2


@pytest.mark.parametrize(("ttl", "window"), [(0, 120), (3600, 120), (5, 5)])
async def test_without_a_limit_the_duplicate_window_is_two_minutes_or_the_ttl(
    native: Native, make_bucket, ttl: int, window: int
) -> None:
    bucket = make_bucket(ttl_seconds=ttl)
    config = (await native.api(f"STREAM.INFO.KV_{bucket.name}"))["config"]
    assert config["duplicate_window"] == window * SECOND


@row(10153)
@pytest.mark.parametrize(
    "limits",
    [
        {"inactive_threshold": INACTIVE},
        {"max_ack_pending": 1},
        {"inactive_threshold": INACTIVE, "max_ack_pending": 1},
    ],
    ids=str,
)
async def test_10153_limits_on_consumers_stop_no_listing_and_no_watch(
    native: Native, http: Http, bucket_name: str, limits: dict[str, int]
) -> None:
    await native.make_bucket(bucket_name, consumer_limits=limits)
    if "inactive_threshold" in limits:
        consumer = {"name": "c", "ack_policy": "none", "inactive_threshold": SECOND}
        create = {"stream_name": f"KV_{bucket_name}", "config": consumer}
        error = await native.error(f"CONSUMER.CREATE.KV_{bucket_name}.c", create)
        assert error["err_code"] == 10153
    bucket = Bucket(http, bucket_name)
    for key in ("a", "b"):
        assert (await asyncio.to_thread(bucket.put, key, "v")).status == 200
    assert await asyncio.to_thread(bucket.keys) == ["a", "b"]
    for query in ("", "?snapshot=true", "?resume_after=1"):
        async with watching(http, bucket_name, query) as watcher:
            # Longer than a consumer may be inactive: its requests wait, and keep it.
            await asyncio.sleep(INACTIVE / SECOND * 1.5)
            assert (await asyncio.to_thread(bucket.put, "last", query)).status == 200
            frames = await watcher.until(lambda frame: frame.get("key") == "last")
            assert all(frame["type"] != "error" for frame in frames)
            if query == "?snapshot=true":
                assert [frame.get("key") for frame in frames][:2] == ["a", "b"]


@pytest.mark.parametrize("history", [1, 3])
async def test_a_bucket_that_takes_no_overwrites_says_so_and_warns(
    native: Native, http: Http, bucket_name: str, history: int
) -> None:
    await native.make_bucket(
        bucket_name, discard_new_per_subject=True, max_msgs_per_subject=history
    )
    bucket = Bucket(http, bucket_name)
    (warning,) = bucket.info()["warnings"]
    assert warning["code"] == "no_overwrites"
    assert f"takes {'one revision' if history == 1 else '3 revisions'}" in warning["message"]
    for _ in range(history):
        assert bucket.put("k", "v").status == 200
    revision = bucket.get("k").json["revision"]
    for answer in (
        bucket.put("k", "w"),
        bucket.put("k", "w", If_Match=str(revision)),
        bucket.put("k", "w", Idempotency_Key="once"),
        bucket.delete("k"),
    ):
        assert (answer.status, answer.json["code"]) == (409, "failed_precondition")
        assert answer.json["retryable"] is False
        assert "discard_new_per_subject" in answer.error
    assert bucket.get("k").json["revision"] == revision
    assert bucket.put("another", "v").status == 200
    purged = bucket.delete("k", "?purge=true")
    # Older servers refuse a roll-up as well; the newest lets it through.
    assert purged.status == 204 or "discard_new_per_subject" in purged.error
    assert bucket.get("k").status == (404 if purged.status == 204 else 200)


FULL, UNSUITABLE, TOO_LARGE = 507, 409, 413


@pytest.mark.parametrize(
    ("settings", "refused"),
    [
        ({"max_msgs": 1}, {"put": FULL, "create": FULL}),
        ({"max_bytes": 60}, dict.fromkeys(("put", "create", "delete", "purge"), FULL)),
        ({"deny_purge": True, "allow_rollup_hdrs": False}, {"purge": UNSUITABLE}),
        (
            {"max_msg_size": 8},
            {
                "put": TOO_LARGE,
                "create": TOO_LARGE,
                "delete": UNSUITABLE,
                "purge": UNSUITABLE,
            },
        ),
        ({"retention": "workqueue"}, {"keys": UNSUITABLE}),
        ({"retention": "interest"}, {}),
        ({"allow_direct": False}, {}),
        ({"max_consumers": 1}, {}),
        ({"first_seq": 1_000_000}, {}),
        ({"compression": "s2"}, {}),
        ({"allow_atomic": True}, {}),
        ({"allow_batched": True}, {}),
    ],
    ids=str,
)
async def test_what_a_stream_refuses_is_refused_for_good_and_all_else_works(
    native: Native, http: Http, bucket_name: str, settings: dict[str, Any], refused: dict[str, int]
) -> None:
    if "allow_batched" in settings and native.version < (2, 14):
        return  # it has no such streams
    await native.make_bucket(bucket_name, **settings)
    await native.publish(f"$KV.{bucket_name}.k", b"v")
    bucket = Bucket(http, bucket_name)
    gone = settings.get("retention") == "interest"  # at once: nobody consumes it
    answers: dict[str, Answer] = {
        "create": bucket.put("another key", "v", If_None_Match="*"),
        "put": bucket.put("another", "v"),
        "keys": http.get(f"{bucket.path}/keys"),
        "get": bucket.get("k"),
        "history": bucket.history("k"),
        "delete": bucket.delete("k"),
    }
    if "delete" not in refused:
        bucket.put("k", "v")
    answers["purge"] = bucket.delete("k", "?purge=true")
    for name, answer in answers.items():
        if name in refused:
            assert (answer.status, answer.json["retryable"]) == (refused[name], False), name
        elif gone and name in ("get", "history"):
            assert (answer.status, answer.error) == (404, "key not found")
        else:
            assert answer.status in (200, 204), (name, answer)


@row(10169)
async def test_10169_a_bucket_that_counts_takes_no_values_and_says_so(
    native: Native, http: Http, bucket_name: str
) -> None:
    if native.version < (2, 12):
        return  # it has no such streams
    await native.make_bucket(bucket_name, allow_msg_counter=True, discard="old")
    answer = Bucket(http, bucket_name).put("k", "v")
    assert (answer.status, answer.json["retryable"]) == (409, False)
    assert "message counter increment is missing" in answer.error
