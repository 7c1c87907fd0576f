"""Each code of nats-server's list has a decision; what passes is tried again, what stays is said.

`nats_errors.tsv` lists the codes of nats-server 2.10 to the newest: err_code, code, name in its
source, and the version that it was first seen in.
"""

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from jetkv_gateway.embedded import NatsServer
from jetkv_gateway.jetstream.errors import NOT_EXPECTED, TABLE, TRANSIENT, api_error
from jetkv_gateway.kv import errors as kv
from tests.integration.rows import row
from tests.servers import fetch
from tests.support.gateway import running_gateway
from tests.support.http import BUCKETS, Answer, Bucket, Http
from tests.support.native import Native, bucket_stream, native_client

CODES = {
    int(code): int(status)
    for code, status, *_ in (
        line.split("\t")
        for line in Path(__file__).with_name("nats_errors.tsv").read_text().splitlines()[1:]
    )
}


@pytest.mark.parametrize("code", CODES)
def test_every_code_that_a_server_can_say_has_one_decision(code: int) -> None:
    assert (code in TABLE) != (code in NOT_EXPECTED)


def test_no_decision_is_about_a_code_that_does_not_exist() -> None:
    assert {*TABLE, *NOT_EXPECTED} <= {*CODES}


@pytest.mark.parametrize("code", sorted(NOT_EXPECTED))
def test_a_code_that_is_not_met_goes_by_the_servers_class(code: int) -> None:
    error = api_error({"code": CODES[code], "err_code": code, "description": "words"})
    later = CODES[code] == 429 or CODES[code] >= 500
    assert type(error) is (kv.Unavailable if later else kv.BucketUnsuitable)
    assert error.message.endswith(": words")


# Fed to the table: no server says these to a client like ours, or not on demand. The words are the
# server's where it has words of its own.
LATER = {
    10004: "incomplete results",
    10006: "JetStream not in clustered mode",
    10007: "JetStream cluster not assigned to this server",
    10012: "input/output error",
    10035: "account not found",
    10041: "raft: log failed",
    10048: "stream assignment failed",
    10049: "input/output error",
    10050: "input/output error",
    10051: "stream closed",
    10063: "expected stream sequence does not match",
    10069: "input/output error",
    10075: "peer remap failed",
    10096: "stream not valid",
    10104: "error creating store for consumer: input/output error",
    10117: "subject details would exceed maximum allowed",
    10118: "stream is offline",
    10119: "consumer is offline",
    10124: "stream move already in progress",
    10163: "expected last sequence per subject temporarily unavailable",
    10176: "atomic publish batch is incomplete",
    10180: "min last sequence",
    10201: "atomic publish batch contains duplicate message id",
    10202: "cluster member change is in progress",
    10210: "atomic publish too many inflight",
    10211: "batch publish too many inflight",
    10226: "stream reconfiguration already in progress",
}
FOR_GOOD = {
    10003: "bad request",
    10053: "a limit without a name",
    10093: "consumer filter subject is not a valid subset of the interest subjects",
    10099: "multiple non-filtered consumers not allowed on workqueue stream",
    10100: "filtered consumer not unique on workqueue stream",
    10101: "consumer must be deliver all on workqueue stream",
    10120: "no JetStream default or applicable tiered limit present",
    10121: "consumer max ack pending exceeds system limit of 10",
    10123: "can not move and scale a stream in a single update",
    10134: "consumer config replicas must match interest retention stream's replicas",
    10174: "atomic publish is disabled",
    10177: "atomic publish unsupported header used: Nats-Msg-Id",
    10185: "JetStream minimum api level required",
    10199: "atomic publish batch is too large: 100",
}


@row(*LATER)
@pytest.mark.parametrize("code", LATER)
def test_what_passes_by_itself_is_503_and_to_be_tried_again(code: int) -> None:
    error = api_error({"code": CODES[code], "err_code": code, "description": LATER[code]})
    assert (error.status, error.retryable, error.retry_after) == (503, True, 1)
    assert LATER[code] in error.message


@row(*FOR_GOOD)
@pytest.mark.parametrize("code", FOR_GOOD)
def test_what_does_not_pass_is_409_with_the_reason(code: int) -> None:
    error = api_error({"code": CODES[code], "err_code": code, "description": FOR_GOOD[code]})
    assert (error.status, error.retryable) == (409, False)
    assert FOR_GOOD[code] in error.message


@row(10097)
def test_headers_that_are_too_large_are_an_invalid_argument() -> None:
    text = "header size exceeds maximum allowed of 64k"  # ours never are
    error = api_error({"code": 400, "err_code": 10097, "description": text})
    assert (error.status, error.message) == (400, text)


def test_what_a_write_is_tried_again_after_is_what_passes() -> None:
    assert {10008, 10163, 10167, 10202, 10210, 10211, 10226} <= TRANSIENT
    for code in TRANSIENT:
        assert isinstance(TABLE[code].error("words"), kv.Unavailable)


# By a server.


@row(10167)
async def test_10167_a_write_that_finds_the_queue_full_is_tried_again(
    native: Native, tmp_path: Path
) -> None:
    """A loud import beside the gateway: of 3,000 writes at once the server refuses most."""
    if native.version < (2, 11):
        return  # it has no such limit
    with (
        NatsServer(tmp_path, jetstream="max_buffered_msgs: 1") as server,
        running_gateway(server.url, buckets="b") as http,
        ThreadPoolExecutor(1) as pool,
    ):
        async with native_client(server.url) as importer:
            acks: asyncio.Queue[bytes] = asyncio.Queue()
            inbox = importer.client.new_inbox()

            async def note(message) -> None:
                if b"10167" in message.data:
                    acks.put_nowait(message.data)

            await importer.client.subscribe(inbox, cb=note)
            flood = asyncio.create_task(_flood(importer, inbox))
            try:
                async with asyncio.timeout(15):
                    await acks.get()
                    answers: list[Answer] = []
                    loop = asyncio.get_running_loop()
                    while not any("jetkv-retries" in answer.headers for answer in answers):
                        put = loop.run_in_executor(pool, Bucket(http, "b").put, "k", "v")
                        answers.append(await put)
            finally:
                flood.cancel()
        assert {answer.status for answer in answers} <= {200, 503}, answers
        for answer in answers:
            if answer.status == 503:
                assert answer.json["retryable"] is True
                assert answer.headers["retry-after"] == "1"
        assert Bucket(http, "b").put("k", "v").status == 200, "the import is over"


async def _flood(native: Native, inbox: str) -> None:
    while True:
        for number in range(500):
            await native.client.publish(f"$KV.b.{number}", b"v", reply=inbox)
        await asyncio.sleep(0.01)


@row(10167)
def test_10167_a_queue_that_stays_full_is_503() -> None:
    error = api_error({"code": 429, "err_code": 10167, "description": "too many requests"})
    assert (error.status, error.retryable, error.retry_after) == (503, True, 1)


@pytest.fixture(scope="module")
def downgraded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    """A server that has a bucket `new`, made by a newer one for what only that can do."""
    folder = tmp_path_factory.mktemp("downgraded")
    with NatsServer(folder) as newer:
        asyncio.run(_make_new(newer.url))
    with NatsServer(folder, binary=fetch("2.12.8")) as older:
        yield older


async def _make_new(url: str) -> None:
    async with native_client(url) as native:
        if native.version >= (2, 14):
            for name, settings in (("new", {"allow_batched": True}), ("old", {})):
                stream = bucket_stream(name, **settings)
                assert "error" not in await native.api(f"STREAM.CREATE.KV_{name}", stream)
                await native.publish(f"$KV.{name}.k", b"v")


@pytest.fixture(scope="module")
def after_downgrade(downgraded: NatsServer) -> Iterator[Http]:
    with running_gateway(downgraded.url) as http:
        yield http


@row(10194, 10195)
async def test_10194_a_bucket_that_needs_a_newer_server_says_that_an_operator_must_act(
    downgraded: NatsServer, after_downgrade: Http
) -> None:
    async with native_client(downgraded.url) as native:
        reply = await native.api("STREAM.INFO.KV_new")
        if reply["error"]["err_code"] == 10059:
            return  # JETKV_NATS_SERVER is too old to make such a bucket
        assert reply["error"]["err_code"] == 10194
    bucket = Bucket(after_downgrade, "new")
    requests: dict[str, Callable[[], Answer]] = {
        "info": lambda: after_downgrade.get(bucket.path),
        "get": lambda: bucket.get("k"),
        "put": lambda: bucket.put("k", "v"),
        "create": lambda: bucket.put("k", "v", If_None_Match="*"),
        "delete": lambda: bucket.delete("k"),
        "keys": lambda: after_downgrade.get(f"{bucket.path}/keys"),
        "history": lambda: bucket.history("k"),
        "delete bucket": lambda: after_downgrade.delete(bucket.path),
    }
    # The server leaves a read without an answer, so that some of them take their time.
    with ThreadPoolExecutor(len(requests)) as pool:
        asked = {name: pool.submit(request) for name, request in requests.items()}
    for name, answering in asked.items():
        answer = answering.result()
        assert (answer.status, answer.json["code"]) == (409, "failed_precondition"), name
        assert answer.json["retryable"] is False
        assert answer.error.startswith("the bucket is out of service: NATS says: stream is offline")
        assert "upgrade the server or delete the stream" in answer.json["hint"]
    assert Bucket(after_downgrade, "old").get("k").value == b"v"
    consumer = api_error({"code": 500, "err_code": 10195, "description": "consumer is offline: x"})
    assert (consumer.status, consumer.retryable) == (409, False)


async def test_a_bucket_that_is_out_of_service_is_not_replaced_by_a_new_one(
    downgraded: NatsServer, after_downgrade: Http
) -> None:
    """A server that stands alone would, with success, and what the bucket held is gone."""
    async with native_client(downgraded.url) as native:
        if (await native.api("STREAM.INFO.KV_new"))["error"]["err_code"] == 10059:
            return  # as above
        answer = after_downgrade.post(BUCKETS, {"name": "new"})
        assert (answer.status, answer.json["code"]) == (409, "failed_precondition")
        assert (await native.error("STREAM.INFO.KV_new"))["err_code"] == 10194, "it stands"


@row(10014)
async def test_10014_a_consumer_that_is_gone_is_no_trouble(bucket: Bucket, native: Native) -> None:
    error = await native.error(f"CONSUMER.DELETE.KV_{bucket.name}.none")
    assert error["err_code"] == 10014
    assert isinstance(api_error(error), kv.BucketUnsuitable), "who removes one takes it as gone"


@row(10084)
async def test_10084_a_work_queue_cannot_be_listed_and_says_so(
    native: Native, http: Http, bucket_name: str
) -> None:
    await native.make_bucket(bucket_name, retention="workqueue")
    bucket = Bucket(http, bucket_name)
    assert bucket.put("k", "v").status == 200
    assert bucket.get("k").value == b"v"
    answer = http.get(f"{bucket.path}/keys")
    assert (answer.status, answer.json["retryable"]) == (409, False)
    assert "consumer in pull mode requires" in answer.error


@row(10166)
async def test_10166_a_ttl_of_a_message_where_there_is_none_is_the_buckets(
    native: Native, make_bucket
) -> None:
    if native.version < (2, 11):
        return  # the header means nothing there
    bucket = make_bucket(key_ttl=False, expiry_markers=False)
    ack = await native.publish(f"$KV.{bucket.name}.k", b"v", Nats_TTL="5s")
    assert ack["error"]["err_code"] == 10166
    assert isinstance(api_error(ack["error"]), kv.BucketUnsuitable)


@row(10005)
async def test_10005_more_replicas_than_the_cluster_has_servers_is_said_at_once(
    replicated: Bucket, cluster: list[NatsServer]
) -> None:
    async with native_client(cluster[0].url) as native:
        stream = bucket_stream("five", num_replicas=5)
        error = await native.error("STREAM.CREATE.KV_five", stream)
        assert error["err_code"] == 10005
    answer = replicated.http.post(BUCKETS, {"name": "five", "replicas": 5})
    assert (answer.status, answer.json["retryable"]) == (409, False)
    assert "no suitable peers for placement" in answer.error
    away = {**error, "description": "no suitable peers for placement, peer offline"}
    assert isinstance(api_error(away), kv.Unavailable)


@row(10113, 10122)
async def test_10113_and_10122_what_an_account_wants_of_max_bytes_is_400(tmp_path: Path) -> None:
    limits = "max_file: 1GB, max_bytes_required: true, disk_max_stream_bytes: 1MB"
    config = (
        f"accounts {{ A {{ jetstream {{ {limits} }}, users: [{{ user: a, password: p }}] }} }}\n"
    )
    with (
        NatsServer(tmp_path, config=config) as server,
        running_gateway(server.url, nats_user="a", nats_password="p") as http,
    ):
        without = http.post(BUCKETS, {"name": "b"})
        assert (without.status, without.json["code"]) == (400, "invalid_argument")
        assert without.error.startswith("invalid max_bytes: account requires")
        too_large = http.post(BUCKETS, {"name": "b", "max_bytes": 10_000_000})
        assert (too_large.status, too_large.json["code"]) == (400, "invalid_argument")
        assert too_large.error.startswith("invalid max_bytes: stream max bytes exceeds")
        assert http.post(BUCKETS, {"name": "b", "max_bytes": 1_000_000}).status == 201
