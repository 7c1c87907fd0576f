"""The published Ironflow client for Python, unchanged, against the gateway.

`make test` installs it from requirements/ironflow.txt; nothing else of the project needs it.
"""

import base64
import json
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from ironflow import CommandDedup, IronflowClient, IronflowError, PreconditionFailedError

from jetkv_gateway.embedded import NatsServer
from tests.support.gateway import running_gateway
from tests.support.http import Http
from tests.support.tokens import new_token, token_line

pytestmark = pytest.mark.official_client


@pytest.fixture
def client(http: Http) -> IronflowClient:
    return IronflowClient(server_url=http.url)


@pytest.fixture
def bucket(client: IronflowClient, bucket_name: str) -> Iterator[str]:
    client.kv_buckets({"name": bucket_name})
    yield bucket_name
    client.kv_delete_buckets(bucket_name)


def decoded(entry: dict) -> object:
    """What the client stored: it sends every value as JSON text."""
    return json.loads(base64.b64decode(entry["value"]))


def test_a_created_bucket_has_the_fields_that_the_client_promises(
    client: IronflowClient, bucket_name: str
) -> None:
    info = client.kv_buckets(
        {"name": bucket_name, "description": "d", "ttl_seconds": 300, "history": 5}
    )
    assert info["name"] == bucket_name
    assert (info["description"], info["ttl_seconds"], info["history"]) == ("d", 300, 5)
    assert (info["values"], info["bytes"]) == (0, 0)
    assert info["created_at"]
    client.kv_delete_buckets(bucket_name)


def test_a_bucket_with_warnings_is_read_like_any_other(
    client: IronflowClient, bucket_name: str
) -> None:
    made = client.kv_buckets({"name": bucket_name, "storage": "memory"})
    read = client.kv_get_buckets(bucket_name)
    assert made["name"] == read["name"] == bucket_name
    assert [warning["code"] for warning in read["warnings"]] == ["memory_storage"]
    assert bucket_name in [info["name"] for info in client.kv_list_buckets()["buckets"]]
    client.kv_delete_buckets(bucket_name)


def test_a_bucket_that_exists_is_a_409(client: IronflowClient, bucket: str) -> None:
    with pytest.raises(IronflowError, match="bucket already exists") as error:
        client.kv_buckets({"name": bucket})
    assert (error.value.status_code, error.value.code) == (409, "already_exists")


def test_buckets_are_listed(client: IronflowClient, bucket: str) -> None:
    listed = client.kv_list_buckets()
    assert bucket in [info["name"] for info in listed["buckets"]]
    assert listed["count"] == len(listed["buckets"])


def test_a_deleted_bucket_is_not_found(client: IronflowClient, bucket_name: str) -> None:
    client.kv_buckets({"name": bucket_name})
    client.kv_delete_buckets(bucket_name)
    with pytest.raises(IronflowError, match="bucket not found") as error:
        client.kv_get_buckets(bucket_name)
    assert (error.value.status_code, error.value.code) == (404, "not_found")


@pytest.mark.parametrize(
    "key", ["user:123", "user.123", "a/b c", "user:123:profile", "ключ", "a*b>c", "100%", ".dots."]
)
def test_any_key_comes_back_with_its_value(client: IronflowClient, bucket: str, key: str) -> None:
    revision = client.kv_update_buckets_keys(bucket, key, {"n": 1})["revision"]
    entry = client.kv_get_buckets_keys(bucket, key)
    assert (entry["key"], entry["revision"], entry["operation"]) == (key, revision, "put")
    assert decoded(entry) == {"n": 1}
    assert client.kv_list_buckets_keys(bucket)["keys"] == [key]


@pytest.mark.parametrize("value", ["text", 42, None, [1, {"a": []}], True, ""])
def test_json_values_survive(client: IronflowClient, bucket: str, value: object) -> None:
    client.kv_update_buckets_keys(bucket, "k", value)
    entry = client.kv_get_buckets_keys(bucket, "k")
    # The client sends no body at all for None.
    assert entry["value"] == "" if value is None else decoded(entry) == value


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "application/json",
        "application/octet-stream",
        "text/plain; charset=utf-8",
        "image/png",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "not a type",
        "",
        "x" * 255,
        "x" * 300,
        "text/é",
        "a\tb",
    ],
)
def test_a_value_of_any_content_type_is_taken_and_comes_back(
    client: IronflowClient, bucket: str, content_type: str | None
) -> None:
    path = f"/api/v1/kv/buckets/{bucket}/keys/k"
    value = b'\x00\xff{"n":1}'
    put = client._request_binary("PUT", path, value, headers={"Content-Type": content_type})
    entry = client.kv_get_buckets_keys(bucket, "k")
    assert entry["revision"] == put["revision"]
    assert base64.b64decode(entry["value"]) == value


def test_a_lost_create_is_a_precondition_failed_error(client: IronflowClient, bucket: str) -> None:
    client.kv_update_buckets_keys(bucket, "k", 1, if_none_match="*")
    with pytest.raises(PreconditionFailedError, match="key already exists") as error:
        client.kv_update_buckets_keys(bucket, "k", 2, if_none_match="*")
    assert error.value.code == "failed_precondition"


def test_a_lost_compare_and_set_is_a_precondition_failed_error(
    client: IronflowClient, bucket: str
) -> None:
    first = client.kv_update_buckets_keys(bucket, "k", 1)["revision"]
    client.kv_update_buckets_keys(bucket, "k", 2, if_match=str(first))
    with pytest.raises(PreconditionFailedError, match="revision mismatch"):
        client.kv_update_buckets_keys(bucket, "k", 3, if_match=str(first))


def test_a_missing_key_is_not_found(client: IronflowClient, bucket: str) -> None:
    with pytest.raises(IronflowError, match="key not found") as error:
        client.kv_get_buckets_keys(bucket, "absent")
    assert error.value.status_code == 404


@pytest.mark.parametrize("purge", [None, False, True])
def test_delete_and_purge_leave_no_value(
    client: IronflowClient, bucket: str, purge: bool | None
) -> None:
    client.kv_update_buckets_keys(bucket, "k", 1)
    client.kv_delete_buckets_keys(bucket, "k", purge=purge)
    assert client.kv_list_buckets_keys(bucket) == {"keys": [], "count": 0}


@pytest.mark.parametrize(
    ("filter", "found"),
    [
        ("user.*", ["user.1", "user.2"]),
        ("session.>", ["session.a.b"]),
        (">", ["session.a.b", "user.1", "user.2", "user:3"]),
        ("user:*", ["user:3"]),
        ("user:", ["user:3"]),
        ("user.1", ["user.1"]),
    ],
)
def test_filters_find_what_the_documents_show(
    client: IronflowClient, bucket: str, filter: str, found: list[str]
) -> None:
    for key in ("user.1", "user.2", "user:3", "session.a.b"):
        client.kv_update_buckets_keys(bucket, key, 1)
    assert client.kv_list_buckets_keys(bucket, filter=filter)["keys"] == found


def test_a_missing_credential_is_a_401_with_its_text(nats: NatsServer, tmp_path) -> None:
    tokens = tmp_path / "tokens"
    token = new_token()
    tokens.write_text(token_line("app", token))
    with running_gateway(nats.url, auth="tokens", auth_tokens=tokens) as http:
        with pytest.raises(IronflowError, match="authentication required") as error:
            IronflowClient(server_url=http.url).kv_list_buckets()
        assert error.value.status_code == 401
        assert "count" in IronflowClient(server_url=http.url, api_key=token).kv_list_buckets()


def race(threads: int, act: Callable[[int], object]) -> list[object]:
    """Run `act(0) … act(threads - 1)` at the same moment, and return what they return."""
    barrier = threading.Barrier(threads)

    def run(number: int) -> object:
        barrier.wait()
        return act(number)

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(run, range(threads)))


def test_of_eight_threads_racing_for_one_claim_one_wins(http: Http, bucket_name: str) -> None:
    # An instance each, as in eight processes: only the gateway decides.
    dedups = [
        CommandDedup(IronflowClient(server_url=http.url), bucket_name, 3600) for _ in range(8)
    ]
    for command in range(10):
        priors = race(8, lambda n, c=command: dedups[n].try_claim(f"pay/{c} #{c}", {"by": n}))
        winners = [number for number, prior in enumerate(priors) if prior is None]
        assert len(winners) == 1
        assert [prior for prior in priors if prior is not None] == [{"by": winners[0]}] * 7


def test_a_finalized_claim_is_read_by_later_callers(http: Http, bucket_name: str) -> None:
    dedup = CommandDedup(IronflowClient(server_url=http.url), bucket_name)
    assert dedup.try_claim("c", {"status": "claimed"}) is None
    dedup.finalize("c", {"status": "done"})
    assert dedup.try_claim("c", {"status": "claimed"}) == {"status": "done"}


def test_a_released_claim_can_be_won_again(http: Http, bucket_name: str) -> None:
    dedup = CommandDedup(IronflowClient(server_url=http.url), bucket_name)
    assert dedup.try_claim("c", 1) is None
    dedup.release("c")
    dedup.release("c")
    assert dedup.try_claim("c", 2) is None


def test_dedup_makes_its_bucket_again_when_it_is_gone(http: Http) -> None:
    client = IronflowClient(server_url=http.url)
    name = f"orders-{uuid.uuid4().hex[:8]}"
    dedup = CommandDedup(client, name, 0)
    assert dedup.try_claim("c", 1) is None
    client.kv_delete_buckets(name)
    assert dedup.try_claim("c", 2) is None


def test_health_and_capabilities_have_the_shape_that_the_client_reads(
    client: IronflowClient,
) -> None:
    assert client.health()["status"] == "ok"
    assert client.ready()["issues"] == {}
    assert "kv" in client.capabilities()["features"]
