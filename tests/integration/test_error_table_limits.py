"""Rows of the table that need a server or an account of their own; see `test_error_table`."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from jetkv_gateway.embedded import NatsServer
from jetkv_gateway.jetstream.errors import api_error
from jetkv_gateway.kv import errors as kv
from tests.integration.rows import fill, row
from tests.support.cluster import cluster_config
from tests.support.gateway import running_gateway
from tests.support.http import BUCKETS, Bucket, Http
from tests.support.native import Native, bucket_stream, native_client
from tests.support.ports import free_ports
from tests.support.waiting import until

ACCOUNTS = """
accounts {
  SMALL {
    jetstream { max_mem: 300KB, max_file: 300KB, max_streams: 3, max_consumers: 1 }
    users: [{ user: small, password: p }]
  }
  NONE { users: [{ user: none, password: p }] }
}
"""


def _login(user: str) -> dict[str, str]:
    return {"nats_user": user, "nats_password": "p"}


@pytest.fixture(scope="module")
def accounts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    """A server with an account that has limits, and one without JetStream."""
    with NatsServer(tmp_path_factory.mktemp("accounts"), config=ACCOUNTS) as server:
        yield server


@pytest.fixture(scope="module")
def small(accounts: NatsServer) -> Iterator[Http]:
    """A gateway on the account that has limits."""
    with running_gateway(accounts.url, **_login("small")) as http:
        yield http


@pytest.fixture
async def small_native(accounts: NatsServer) -> AsyncIterator[Native]:
    async with native_client(accounts.url, user="small", password="p") as native:
        yield native


@pytest.fixture
def small_bucket(small: Http) -> Iterator[Bucket]:
    bucket = Bucket(small, "b")
    assert small.post(BUCKETS, {"name": "b"}).status == 201
    yield bucket
    assert small.delete(bucket.path).status == 204


@pytest.fixture(scope="module", autouse=True)
def leaderless(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    """A member of a cluster whose others never come; it says so after ten seconds."""
    own, other = free_ports(2)
    config = cluster_config("alone", own, [other])
    with NatsServer(tmp_path_factory.mktemp("leaderless"), config=config) as server:
        yield server


@row(10002)
async def test_10002_a_full_account_is_a_full_bucket(
    small_bucket: Bucket, small_native: Native
) -> None:
    answer = fill(small_bucket)
    assert (answer.status, answer.error, answer.json["retryable"]) == (507, "bucket is full", False)
    ack = await small_native.publish("$KV.b.more", bytes(50_000))
    assert ack["error"]["err_code"] == 10002
    assert "resource limits exceeded for account" in answer.json["hint"]
    assert small_bucket.delete("k0").status == 204, "what frees room still works"
    assert small_bucket.put("k0", "v").status == 200


@row(10023)
def test_10023_a_full_server_is_unavailable(tmp_path: Path) -> None:
    with (
        NatsServer(tmp_path, jetstream="max_file_store: 300KB") as server,
        running_gateway(server.url, buckets="b") as http,
    ):
        answer = fill(Bucket(http, "b"))
        assert (answer.status, answer.error) == (503, "insufficient resources")
        assert Bucket(http, "b").get("k0").status == 200


@row(10026)
async def test_10026_no_consumer_left_for_a_listing_is_429(
    small_bucket: Bucket, small_native: Native
) -> None:
    small_bucket.put("k", "v")
    consumer = {"stream_name": "KV_b", "config": {"name": "c", "ack_policy": "none"}}
    await small_native.api("CONSUMER.CREATE.KV_b.c", consumer)
    consumer["config"] = {"name": "d", "ack_policy": "none"}
    assert (await small_native.error("CONSUMER.CREATE.KV_b.d", consumer))["err_code"] == 10026
    answer = small_bucket.http.get(f"{small_bucket.path}/keys")
    assert (answer.status, answer.json["code"]) == (429, "resource_exhausted")
    assert answer.error == "maximum consumers limit reached"
    assert answer.headers["retry-after"] == "1"


@row(10027)
async def test_10027_no_stream_left_for_a_bucket_is_429(small: Http, small_native: Native) -> None:
    for name in ("one", "two", "three"):
        await small_native.make_bucket(name)
    error = await small_native.error("STREAM.CREATE.KV_four", bucket_stream("four"))
    assert error["err_code"] == 10027
    answer = small.post(BUCKETS, {"name": "four"})
    assert (answer.status, answer.error) == (429, "maximum number of streams reached")


@row(10028, 10047)
@pytest.mark.parametrize(
    ("storage", "code", "what"), [("memory", 10028, "memory"), ("file", 10047, "storage")]
)
async def test_10028_and_10047_a_bucket_larger_than_its_account_is_507(
    small: Http, small_native: Native, storage: str, code: int, what: str
) -> None:
    stream = bucket_stream("big", storage=storage, max_bytes=1_000_000)
    assert (await small_native.error("STREAM.CREATE.KV_big", stream))["err_code"] == code
    answer = small.post(BUCKETS, {"name": "big", "storage": storage, "max_bytes": 1_000_000})
    assert (answer.status, answer.error) == (507, "bucket is full")
    assert f"insufficient {what} resources" in answer.json["hint"]


@row(10039)
async def test_10039_an_account_without_jetstream_is_not_ready(accounts: NatsServer) -> None:
    async with native_client(accounts.url, user="none", password="p") as native:
        error = await native.error("STREAM.INFO.KV_b")
    assert error["err_code"] == 10039
    assert isinstance(api_error(error), kv.Unavailable)
    with running_gateway(accounts.url, ready=False, **_login("none")) as http:
        until(lambda: "jetstream" in http.get("/ready").json["issues"], "the gateway connected")
        issues = http.get("/ready").json["issues"]
        assert issues == {"jetstream": "JetStream not enabled for account"}


@row(10008)  # the last one: its server has had time to find out that it stays alone
async def test_10008_a_cluster_without_a_leader_is_not_ready(leaderless: NatsServer) -> None:
    with running_gateway(leaderless.url, ready=False) as http:
        reason = "JetStream system temporarily unavailable"
        until(lambda: _jetstream_issue(http) == reason, "the server knows", 15)
        async with native_client(leaderless.url) as native:
            error = await native.error("STREAM.INFO.KV_b")
        assert error["err_code"] == 10008
        answer = http.get(BUCKETS)
        assert (answer.status, answer.error) == (503, reason)
        assert answer.headers["retry-after"] == "1"


def _jetstream_issue(http: Http) -> str | None:
    issue: str | None = http.get("/ready").json["issues"].get("jetstream")
    return issue
