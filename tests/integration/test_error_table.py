"""Every row of the table of JetStream's refusals, as the real server makes it.

Each test first has the server say the code, then looks at what HTTP makes of it. Rows that no
server can be brought to say here are fed to the table, each with the reason.
"""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import orjson
import pytest

from jetkv_gateway.embedded import NatsServer
from jetkv_gateway.jetstream.api import Naming
from jetkv_gateway.jetstream.client import JetStream
from jetkv_gateway.jetstream.errors import TABLE, api_error
from jetkv_gateway.kv import errors as kv
from tests.integration import (  # noqa: F401 - their rows count, too
    test_error_decisions,
    test_error_table_limits,
    test_limited_buckets,
)
from tests.integration.rows import COVERED, fill, row
from tests.support.http import BUCKETS, Answer, Bucket, Http
from tests.support.link import connected
from tests.support.native import Native, bucket_stream, native_client


@pytest.mark.parametrize("code", TABLE)
def test_every_row_of_the_table_has_a_test(code: int) -> None:
    assert code in COVERED


@pytest.fixture
async def api(nats: NatsServer) -> AsyncIterator[JetStream]:
    """The gateway's own client of the JetStream API."""
    async with connected(nats.url) as connection:
        yield JetStream(connection, Naming(), 5)


# A server as it is.


@row(10037)
async def test_10037_no_message_is_key_not_found(bucket: Bucket, native: Native) -> None:
    query = {"last_by_subj": f"$KV.{bucket.name}.k"}
    error = await native.error(f"STREAM.MSG.GET.KV_{bucket.name}", query)
    assert error["err_code"] == 10037
    answer = bucket.get("k")
    assert (answer.status, answer.error) == (404, "key not found")


@row(10052)
async def test_10052_an_impossible_stream_is_an_invalid_argument(
    native: Native, api: JetStream, bucket_name: str
) -> None:
    stream = bucket_stream(bucket_name, max_age=1)
    assert (await native.error(f"STREAM.CREATE.KV_{bucket_name}", stream))["err_code"] == 10052
    await _create_raises(api, stream, kv.InvalidArgument, "max age needs to be >= 100ms")


@row(10054)
async def test_10054_a_value_that_its_headers_make_too_large_is_413(
    native: Native, http: Http, bucket_name: str
) -> None:
    await native.make_bucket(bucket_name, max_msg_size=40)
    bucket = Bucket(http, bucket_name)
    subject, stream = f"$KV.{bucket_name}.k", f"KV_{bucket_name}"
    ack = await native.publish(subject, bytes(39), Nats_Expected_Stream=stream)
    assert ack["error"]["err_code"] == 10054
    answer = bucket.put("k", bytes(39))
    assert (answer.status, answer.error) == (413, "value too large")
    assert answer.json["details"] == {"limit_bytes": 40}
    assert "headers" in answer.json["hint"]


@row(10058)
async def test_10058_a_stream_with_other_settings_is_an_existing_bucket(
    native: Native, api: JetStream, bucket_name: str
) -> None:
    await native.make_bucket(bucket_name)
    stream = bucket_stream(bucket_name, max_msgs_per_subject=5)
    assert (await native.error(f"STREAM.CREATE.KV_{bucket_name}", stream))["err_code"] == 10058
    await _create_raises(api, stream, kv.BucketExists, "bucket already exists")


async def _create_raises(api: JetStream, stream: dict[str, Any], kind: type, text: str) -> None:
    with pytest.raises(kind, match=text):
        await api.call(f"STREAM.CREATE.{stream['name']}", orjson.dumps(stream))


@row(10059)
async def test_10059_no_stream_is_bucket_not_found(
    native: Native, http: Http, bucket_name: str
) -> None:
    assert (await native.error(f"STREAM.INFO.KV_{bucket_name}"))["err_code"] == 10059
    bucket = Bucket(http, bucket_name)
    for answer in (
        bucket.get("k"),
        bucket.get("k", "?consistency=eventual"),
        bucket.get("k", "?revision=1"),
        bucket.put("k", "v"),
        bucket.put("k", "v", If_None_Match="*"),
        bucket.delete("k"),
        bucket.delete("k", "?purge=true"),
        bucket.history("k"),
        http.get(f"{bucket.path}/keys"),
        http.get(bucket.path),
        http.delete(bucket.path),
    ):
        assert (answer.status, answer.error) == (404, "bucket not found")


@row(10060)
async def test_10060_another_stream_that_takes_the_message_is_bucket_not_found(
    native: Native, bucket: Bucket
) -> None:
    bucket.put("k", "v")
    await native.api(f"STREAM.DELETE.KV_{bucket.name}")
    other = f"OTHER-{bucket.name}"
    await native.make_stream({"name": other, "subjects": [f"$KV.{bucket.name}.>"]})
    ack = await native.publish(
        f"$KV.{bucket.name}.k", b"v", Nats_Expected_Stream=f"KV_{bucket.name}"
    )
    assert ack["error"]["err_code"] == 10060
    assert bucket.put("k", "v").error == "bucket not found"


@row(10071)
async def test_10071_a_wrong_last_sequence_is_a_mismatch(native: Native, bucket: Bucket) -> None:
    assert bucket.put("k", "v").json == {"revision": 1}
    expected = {"Nats_Expected_Last_Subject_Sequence": "9"}
    ack = await native.publish(f"$KV.{bucket.name}.k", b"v", **expected)
    assert ack["error"]["err_code"] == 10071
    assert api_error(ack["error"]).message == "revision mismatch"
    answer = bucket.put("k", "v", If_Match="9")
    assert (answer.status, answer.error) == (412, "revision mismatch")
    assert answer.json["details"] == {"current_revision": 1}
    assert bucket.put("k", "v", If_None_Match="*").error == "key already exists"


@row(10074)
async def test_10074_replicas_without_a_cluster_are_an_invalid_argument(
    native: Native, http: Http, bucket_name: str
) -> None:
    stream = bucket_stream(bucket_name, num_replicas=3)
    assert (await native.error(f"STREAM.CREATE.KV_{bucket_name}", stream))["err_code"] == 10074
    answer = http.post(BUCKETS, {"name": bucket_name, "replicas": 3})
    assert (answer.status, answer.json["code"]) == (400, "invalid_argument")
    assert answer.error == "replicas > 1 not supported in non-clustered mode"


@row(10077)
async def test_10077_a_full_bucket_is_507_until_there_is_room(native: Native, make_bucket) -> None:
    bucket = make_bucket(max_bytes=120_000)
    answer = fill(bucket)
    ack = await native.publish(f"$KV.{bucket.name}.more", bytes(100_000))
    assert (ack["error"]["code"], ack["error"]["err_code"]) == (503, 10077)
    assert (answer.status, answer.error, answer.json["retryable"]) == (507, "bucket is full", False)
    assert "retry-after" not in answer.headers
    assert bucket.delete("k0").status == 204
    assert bucket.put("k9", bytes(50_000)).status == 200


@row(10110)
async def test_10110_a_bucket_that_denies_purges_says_so(
    native: Native, http: Http, bucket_name: str
) -> None:
    await native.make_bucket(bucket_name, deny_purge=True, allow_rollup_hdrs=False)
    bucket = Bucket(http, bucket_name)
    bucket.put("k", "v")
    error = await native.error(f"STREAM.PURGE.KV_{bucket_name}", {"filter": "x"})
    assert (error["code"], error["err_code"]) == (500, 10110)
    assert bucket.delete("k").status == 204
    _refused_for_good(bucket.delete("k", "?purge=true"), "stream purge not permitted")


@row(10111)
async def test_10111_a_bucket_without_roll_ups_says_so(
    native: Native, http: Http, bucket_name: str
) -> None:
    await native.make_bucket(bucket_name, allow_rollup_hdrs=False)
    bucket = Bucket(http, bucket_name)
    bucket.put("k", "v")
    ack = await native.publish(f"$KV.{bucket_name}.k", Nats_Rollup="sub")
    assert (ack["error"]["code"], ack["error"]["err_code"]) == (500, 10111)
    _refused_for_good(bucket.delete("k", "?purge=true"), "rollup not permitted")
    assert bucket.get("k").status == 200, "nothing was applied"
    assert bucket.delete("k").status == 204


@row(10109)
async def test_a_sealed_bucket_reads_and_says_why_it_does_not_write(
    native: Native, http: Http, bucket_name: str
) -> None:
    await native.make_bucket(bucket_name)
    bucket = Bucket(http, bucket_name)
    bucket.put("k", "v")
    sealed = bucket_stream(bucket_name, sealed=True)
    assert "error" not in await native.api(f"STREAM.UPDATE.KV_{bucket_name}", sealed)
    assert bucket.get("k").value == b"v"
    assert bucket.keys() == ["k"]
    for answer in (bucket.put("k", "w"), bucket.delete("k"), bucket.delete("k", "?purge=true")):
        _refused_for_good(answer, "sealed stream")


@row(10065)
async def test_a_bucket_whose_subjects_another_stream_has_says_so(
    native: Native, http: Http, bucket_name: str
) -> None:
    await native.make_stream({"name": bucket_name, "subjects": [f"$KV.{bucket_name}.>"]})
    answer = http.post(BUCKETS, {"name": bucket_name})
    _refused_for_good(answer, "subjects overlap with an existing stream")


def _refused_for_good(answer: Answer, reason: str) -> None:
    assert (answer.status, answer.json["code"]) == (409, "failed_precondition"), answer
    assert answer.json["retryable"] is False
    assert reason in answer.error


@row(10165)
async def test_10165_an_invalid_ttl_of_a_message_is_an_invalid_argument(
    native: Native, bucket: Bucket
) -> None:
    ack = await native.publish(f"$KV.{bucket.name}.k", b"v", Nats_TTL="500ms")
    if native.version < (2, 11):
        assert "error" not in ack, "before 2.11 the header means nothing"
        return
    assert ack["error"]["err_code"] == 10165
    error = api_error(ack["error"])
    assert (type(error), error.message) == (kv.InvalidArgument, "invalid per-message TTL")


# Replicated buckets.


@row(10164)
async def test_10164_a_write_in_flight_is_no_lost_race_by_itself(
    cluster: list[NatsServer], replicated: Bucket
) -> None:
    async with native_client(cluster[1].url) as native:
        subject = f"$KV.{replicated.name}.raw"
        create = {"Nats_Expected_Last_Subject_Sequence": "0"}
        for attempt in range(20):
            acks = await asyncio.gather(
                *(native.publish(f"{subject}{attempt}", b"v", **create) for _ in range(20))
            )
            codes = {ack["error"]["err_code"] for ack in acks if "error" in ack}
            if native.version < (2, 11):
                assert codes == {10071}, "2.10 has one code for both"
            elif 10164 in codes:
                break
        assert native.version < (2, 11) or 10164 in codes, "no two creates met in the leader"
    assert isinstance(api_error({"code": 400, "err_code": 10164}), kv.RevisionMismatch)


@row(10164)
def test_10164_of_many_creates_at_once_one_wins_and_the_others_see_its_revision(
    replicated: Bucket,
) -> None:
    for number in range(5):
        with ThreadPoolExecutor(16) as pool:
            answers = list(
                pool.map(
                    lambda _, key=f"race{number}": replicated.put(key, "v", If_None_Match="*"),
                    range(16),
                )
            )
        won = [answer.json["revision"] for answer in answers if answer.status == 200]
        lost = [answer for answer in answers if answer.status != 200]
        assert len(won) == 1
        assert {answer.error for answer in lost} == {"key already exists"}
        assert {answer.json["details"]["current_revision"] for answer in lost} == set(won)


@row(10158)
async def test_10158_a_write_with_an_id_that_is_under_way_gets_the_answer_of_the_first(
    cluster: list[NatsServer], replicated: Bucket
) -> None:
    async with native_client(cluster[1].url) as native:
        subject = f"$KV.{replicated.name}.underway"
        codes: set[int] = set()
        for attempt in range(20):
            name = {"Nats_Msg_Id": f"{replicated.name}-{attempt}"}
            acks = await asyncio.gather(
                *(native.publish(f"{subject}{attempt}", b"v", **name) for _ in range(20))
            )
            codes = {ack["error"]["err_code"] for ack in acks if "error" in ack}
            if native.version < (2, 11):
                assert {ack["seq"] for ack in acks if ack.get("duplicate")} >= {0}, "2.10 has none"
                break
            if codes:
                break
        assert native.version < (2, 11) or codes == {10158}
    with ThreadPoolExecutor(16) as pool:
        answers = list(
            pool.map(lambda _: replicated.put("under way", "v", Idempotency_Key="10158"), range(16))
        )
    assert len({(answer.status, answer.json["revision"]) for answer in answers}) == 1


# Fed to the table: no server says these to a client like ours, or not on demand.


@row(10009)
def test_10009_which_only_members_of_a_cluster_say_to_each_other_is_unavailable() -> None:
    error = api_error({"code": 500, "err_code": 10009, "description": "not the leader"})
    assert isinstance(error, kv.Unavailable)


@row(10076)
def test_10076_which_a_server_without_jetstream_has_no_api_to_say_is_unavailable() -> None:
    error = api_error({"code": 503, "err_code": 10076, "description": "JetStream not enabled"})
    assert isinstance(error, kv.Unavailable)


@pytest.mark.parametrize("code", [10077, 10110, 10111])
def test_a_failing_disk_which_cannot_be_had_here_is_unavailable(code: int) -> None:
    error = api_error({"code": 500, "err_code": code, "description": "input/output error"})
    assert isinstance(error, kv.Unavailable)
    assert "input/output error" in error.message


def test_a_code_of_a_future_server_is_never_a_defect_of_ours() -> None:
    fault = api_error({"code": 400, "err_code": 19999, "description": "no such colour"})
    assert (type(fault), fault.message) == (
        kv.BucketUnsuitable,
        "NATS refuses this: no such colour",
    )
    trouble = api_error({"code": 500, "err_code": 19998, "description": "out of paint"})
    assert (type(trouble), trouble.message) == (
        kv.Unavailable,
        "NATS cannot do this now: out of paint",
    )
