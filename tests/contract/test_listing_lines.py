"""Listings as JSON lines (docs/http-api.md#json-lines)."""

import json

import pytest

from tests.support.http import BUCKETS, Bucket, Http
from tests.support.listing import NDJSON, begin_lines, fill, lines
from tests.support.native import Native
from tests.support.raw import Wire
from tests.support.waiting import eventually


def test_the_last_line_says_how_many_and_up_to_which_revision(bucket: Bucket) -> None:
    fill(bucket, "b", "a", "c")
    bucket.delete("a")
    *entries, end = lines(bucket)
    assert [entry["key"] for entry in entries] == ["b", "c"]
    assert end == {"type": "end", "count": 2, "revision": 4}


def test_an_empty_bucket_is_an_end_alone(bucket: Bucket) -> None:
    assert lines(bucket) == [{"type": "end", "count": 0, "revision": 0}]


@pytest.mark.parametrize("history", [1, 5])
def test_lines_are_in_revision_order_and_have_the_newest_of_each_key(
    make_bucket, history: int
) -> None:
    bucket = make_bucket(history=history)
    fill(bucket, "a", "b", "c", "a", "d", "b")
    *entries, end = lines(bucket)
    assert [(one["key"], one["revision"]) for one in entries] == [
        ("c", 3),
        ("a", 4),
        ("d", 5),
        ("b", 6),
    ]
    assert end["revision"] == 6


def test_include_says_what_a_line_has(bucket: Bucket) -> None:
    bucket.put("k", "four", Content_Type="text/plain")
    shown = bucket.get("k").json
    assert lines(bucket, "include=keys")[0] == {"key": "k"}
    assert lines(bucket, "include=values")[0] == {**shown, "content_type": "text/plain"}
    meta = {name: shown[name] for name in ("key", "revision", "created_at", "operation")}
    assert lines(bucket)[0] == {**meta, "size": 4, "content_type": "text/plain"}


@pytest.mark.parametrize("include", ["values", "history", "values&values=json"])
def test_a_line_with_a_value_says_what_the_value_is(bucket: Bucket, include: str) -> None:
    bucket.put("plain", "x", Content_Type="text/plain")
    bucket.put("packed", "x", Content_Type="application/json", Content_Encoding="gzip")
    plain, packed, _ = lines(bucket, f"include={include}")
    assert (plain["content_type"], "content_encoding" in plain) == ("text/plain", False)
    assert (packed["content_type"], packed["content_encoding"]) == ("application/json", "gzip")


def test_a_history_has_every_stored_revision_with_its_operation(make_bucket) -> None:
    bucket = make_bucket(history=5)
    fill(bucket, "a", "b")
    bucket.put("a", "2")
    bucket.delete("a")
    bucket.delete("b", "?purge=true")
    *entries, end = lines(bucket, "include=history&values=json")
    assert [(one["key"], one["operation"], one["value"]) for one in entries] == [
        ("a", "put", "v"),
        ("a", "put", 2),
        ("a", "delete", ""),
        ("b", "purge", ""),
    ]
    assert entries[:3] == bucket.http.get(f"{bucket.path}/history/a?values=json").json["entries"]
    assert end == {"type": "end", "count": 4, "revision": 5}


def test_a_value_with_line_breaks_is_one_line(bucket: Bucket) -> None:
    bucket.put("k", '{\r\n  "a": "x\\ny"\n}\n', Content_Type="application/json")
    assert lines(bucket, "include=values&values=json")[0]["value"] == {"a": "x\ny"}


@pytest.mark.parametrize(
    ("query", "kept"),
    [("filter=a.*", ["a.1"]), ("prefix=a.", ["a.1", "a.b.c"]), ("prefix=a", ["a", "a.1", "a.b.c"])],
)
def test_lines_can_be_of_a_filter_or_a_prefix(bucket: Bucket, query: str, kept: list[str]) -> None:
    fill(bucket, "a", "a.1", "a.b.c", "b")
    *entries, end = lines(bucket, query)
    assert [entry["key"] for entry in entries] == kept
    assert (end["count"], end["revision"]) == (len(kept), 4)


def test_an_unknown_bucket_is_404_and_not_a_line(http: Http, bucket_name: str) -> None:
    answer = http.get(f"{BUCKETS}/{bucket_name}/keys", Accept=NDJSON)
    assert (answer.status, answer.error) == (404, "bucket not found")


@pytest.mark.parametrize(
    ("accept", "is_lines"),
    [
        ("application/x-ndjson", True),
        ("Application/X-NDJSON; charset=utf-8", True),
        ("application/x-ndjson, application/json", True),
        ("application/json, application/x-ndjson;q=0.5", False),
        ("application/x-ndjson;q=0", False),
        ("*/*", False),
        ("text/x-ndjson", False),
    ],
)
def test_lines_are_sent_to_those_who_ask_for_them(
    bucket: Bucket, accept: str, is_lines: bool
) -> None:
    answer = bucket.http.get(f"{bucket.path}/keys", Accept=accept)
    assert (answer.headers["content-type"] == NDJSON) is is_lines


def test_head_has_the_headers_of_lines(bucket: Bucket) -> None:
    answer = bucket.http.request("HEAD", f"{bucket.path}/keys", Accept=NDJSON)
    assert (answer.status, answer.headers["content-type"], answer.body) == (200, NDJSON, b"")


@pytest.mark.parametrize("history", [1, 5])
@pytest.mark.parametrize("size", [0, 100, 200_000, 1_000_000])
def test_values_of_any_size_come(make_bucket, size: int, history: int) -> None:
    bucket = make_bucket(history=history, storage="memory")
    for number in range(5):
        assert bucket.put(f"k{number}", b"x" * size).status == 200
    *entries, end = lines(bucket, "include=values")
    assert [(one["key"], len(one["value"])) for one in entries] == [
        (f"k{number}", (size + 2) // 3 * 4) for number in range(5)
    ]
    assert end["count"] == 5


@pytest.mark.parametrize("count", [63, 64, 65, 127, 128, 129, 192, 193])
@pytest.mark.parametrize("include", ["meta", "values"])
def test_a_listing_ends_whatever_the_number_of_keys(make_bucket, include: str, count: int) -> None:
    bucket = make_bucket(storage="memory")
    fill(bucket, *(f"k{number}" for number in range(count)))
    assert lines(bucket, f"include={include}")[-1]["count"] == count


# --- readers that are slow, or leave


async def _fill(native: Native, bucket: Bucket, count: int, size: int) -> None:
    await native.fill(bucket.name, [f"k{number:06}" for number in range(count)], b"x" * size)


@pytest.mark.parametrize("history", [1, 5])
async def test_a_slow_reader_slows_the_server_down(
    native: Native, make_bucket, history: int
) -> None:
    bucket = make_bucket(storage="memory", history=history)
    await _fill(native, bucket, 400, 100_000)

    async def delivered() -> int:
        found = await native.api(f"CONSUMER.NAMES.KV_{bucket.name}")
        if not found["consumers"]:
            return 0
        info = await native.api(f"CONSUMER.INFO.KV_{bucket.name}.{found['consumers'][0]}")
        seq: int = info["delivered"]["consumer_seq"]
        return seq

    with Wire(bucket.http) as wire:
        begin_lines(wire, bucket, "include=values")
        before = -1

        async def rests() -> bool:
            nonlocal before
            now, before = before, await delivered()
            return before > 0 and now == before

        await eventually(rests, "nothing more is delivered")
        # What it has not read is in the server, but for some buffers on the way.
        assert before < 300
        body = wire.read_chunked()
    *entries, end = [json.loads(line) for line in body.splitlines()]
    assert len(entries) == 400
    assert end["type"] == "end"


async def test_a_reader_that_leaves_frees_its_consumer(native: Native, make_bucket) -> None:
    bucket = make_bucket(storage="memory")
    await _fill(native, bucket, 400, 100_000)

    async def consumers() -> int:
        count: int = (await native.state(bucket.name))["consumer_count"]
        return count

    async def none_is_left() -> bool:
        return not await consumers()

    with Wire(bucket.http) as wire:
        begin_lines(wire, bucket, "include=values")
        await eventually(consumers, "it is read")
    await eventually(none_is_left, "the consumer is gone", 5)


async def test_lines_that_break_off_end_with_an_error(native: Native, make_bucket) -> None:
    bucket = make_bucket(storage="memory")
    await _fill(native, bucket, 400, 100_000)
    with Wire(bucket.http) as wire:
        begin_lines(wire, bucket, "include=values")
        await native.api(f"STREAM.DELETE.KV_{bucket.name}")
        *entries, last = [json.loads(line) for line in wire.read_chunked().splitlines()]
    assert 0 < len(entries) < 400
    assert last["type"] == "error"
    assert last["code"] == "unavailable"


async def test_lines_leave_no_consumer_behind(native: Native, bucket: Bucket) -> None:
    fill(bucket, "a", "b")
    for include in ("keys", "meta", "values", "history"):
        lines(bucket, f"include={include}")
    assert (await native.state(bucket.name))["consumer_count"] == 0
