"""Buckets that promise less than one may think: named, and as weak as their warnings say."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jetkv_gateway.check import check
from jetkv_gateway.embedded import NatsServer
from jetkv_gateway.settings import Settings, load
from tests.support.cluster import cluster_config
from tests.support.gateway import running_gateway
from tests.support.http import BUCKETS, Answer, Bucket, Http
from tests.support.native import SECOND, Native
from tests.support.ports import free_ports
from tests.support.waiting import eventually, until


def codes(info: dict[str, Any]) -> list[str]:
    """The codes of a bucket's warnings; where there are none, there is no such field."""
    assert info.get("warnings") != []
    return [warning["code"] for warning in info.get("warnings", [])]


def listed(http: Http, name: str) -> dict[str, Any]:
    (info,) = [info for info in http.get(BUCKETS).json["buckets"] if info["name"] == name]
    return info


# --- on a server that stands alone


def test_a_bucket_in_memory_is_named_wherever_it_is_described(http: Http, bucket_name: str) -> None:
    created = http.post(BUCKETS, {"name": bucket_name, "storage": "memory"}).json
    bucket = Bucket(http, bucket_name)
    (warning,) = created["warnings"]
    assert warning["code"] == "memory_storage"
    assert warning["message"].startswith("kept in memory only: a restart of its server loses all")
    assert bucket.info()["warnings"] == listed(http, bucket_name)["warnings"] == [warning]
    http.delete(bucket.path)


def test_a_bucket_with_one_copy_is_not_named_where_there_is_one_server(bucket: Bucket) -> None:
    assert codes(bucket.info()) == codes(listed(bucket.http, bucket.name)) == []


@pytest.mark.parametrize(
    ("ttl", "named"),
    [(1, ["short_duplicate_window"]), (59, ["short_duplicate_window"]), (60, []), (3600, [])],
)
async def test_a_bucket_whose_keys_expire_within_the_retry_horizon_is_named(
    make_bucket, native: Native, ttl: int, named: list[str]
) -> None:
    silent = ["silent_expiry"] if native.version < (2, 11) else []
    bucket = await asyncio.to_thread(make_bucket, ttl_seconds=ttl)
    assert codes(bucket.info()) == named + silent


def test_a_bucket_whose_keys_expire_without_a_marker_is_named_wherever_it_is_described(
    make_bucket,
) -> None:
    bucket = make_bucket(ttl_seconds=3600, expiry_markers=False)
    (warning,) = bucket.info()["warnings"]
    assert warning["code"] == "silent_expiry"
    assert 'PATCH the bucket with {"expiry_markers":true}' in warning["message"]
    assert listed(bucket.http, bucket.name)["warnings"] == [warning]


async def test_the_remedy_of_silent_expiry_is_one(make_bucket, native: Native) -> None:
    bucket = await asyncio.to_thread(make_bucket, ttl_seconds=3600, expiry_markers=False)
    config = (await native.api(f"STREAM.INFO.KV_{bucket.name}"))["config"]
    marked = {**config, "subject_delete_marker_ttl": 3600 * SECOND}
    assert "error" not in await native.api(f"STREAM.UPDATE.KV_{bucket.name}", marked)
    # Servers that are older do not know the setting.
    expected = ["silent_expiry"] if native.version < (2, 11) else []
    assert codes(await asyncio.to_thread(bucket.info)) == expected


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({"duplicate_window": SECOND}, "short_duplicate_window"),
        ({"discard": "old", "max_bytes": 100_000}, "evicts_oldest"),
        ({"discard": "old", "max_msgs": 100}, "evicts_oldest"),
        ({"retention": "interest"}, "not_retained"),
        ({"no_ack": True}, "no_ack"),
    ],
    ids=str,
)
async def test_a_bucket_made_elsewhere_is_named_for_what_can_lose_a_write(
    http: Http, native: Native, bucket_name: str, settings: dict[str, Any], code: str
) -> None:
    await native.make_bucket(bucket_name, **settings)
    assert codes(Bucket(http, bucket_name).info()) == codes(listed(http, bucket_name)) == [code]


async def test_a_bucket_that_acknowledges_before_it_stores_is_named(
    http: Http, native: Native, bucket_name: str
) -> None:
    await native.make_bucket(bucket_name, persist_mode="async")
    # Servers that are older do not know the setting, and store first.
    expected = ["async_persistence"] if native.version >= (2, 12) else []
    assert codes(Bucket(http, bucket_name).info()) == expected


async def test_a_bucket_that_another_client_makes_as_usual_is_not_named(
    http: Http, native: Native, bucket_name: str
) -> None:
    await native.make_bucket(bucket_name)
    assert codes(Bucket(http, bucket_name).info()) == []


async def test_a_bucket_that_nats_py_makes_is_named_for_values_that_can_expire_unseen(
    http: Http, nats: NatsServer, native: Native, bucket_name: str
) -> None:
    await native.make_kv(bucket_name)
    # Servers that are older know no TTL of a single value.
    expected = ["silent_expiry"] if native.version >= (2, 11) else []
    assert codes(Bucket(http, bucket_name).info()) == codes(listed(http, bucket_name)) == expected
    warnings = (await check(settings_for(nats))).warnings.get(bucket_name, ())
    assert [warning.code for warning in warnings] == expected


async def test_a_bucket_whose_expired_values_are_marked_is_not_named(
    http: Http, native: Native, bucket_name: str
) -> None:
    marked = {"allow_msg_ttl": True, "subject_delete_marker_ttl": 60 * SECOND}
    await native.make_bucket(bucket_name, **marked)
    assert codes(Bucket(http, bucket_name).info()) == []


def test_the_document_describes_warnings(http: Http) -> None:
    schemas = http.get("/api/v1/openapi.json").json["components"]["schemas"]
    assert schemas["BucketOut"]["properties"]["warnings"] == {
        "type": "array",
        "items": {"$ref": "#/components/schemas/BucketWarning"},
        "title": "Warnings",
        "description": "Omitted when empty",
    }
    assert "warnings" not in schemas["BucketOut"]["required"]
    assert set(schemas["BucketWarning"]["required"]) == {"code", "message"}


# --- what they warn of


def test_what_is_in_memory_is_gone_after_a_restart_and_what_is_in_a_file_is_not(
    own_nats: NatsServer,
) -> None:
    own_nats.start()
    with running_gateway(own_nats.url) as http:
        memory, file = Bucket(http, "memory"), Bucket(http, "file")
        for bucket in (memory, file):
            assert http.post(BUCKETS, {"name": bucket.name, "storage": bucket.name}).status == 201
            assert bucket.put("k", "v").status == 200
        own_nats.stop()
        own_nats.start()
        until(lambda: file.get("k").status == 200, "the gateway is back", 20)
        assert file.get("k").value == b"v"
        assert memory.get("k").error == "bucket not found"


async def test_a_bucket_that_evicts_loses_its_oldest_values_in_silence(
    http: Http, native: Native, bucket_name: str
) -> None:
    await native.make_bucket(bucket_name, discard="old", max_msgs=3)
    bucket = Bucket(http, bucket_name)
    assert [bucket.put(f"k{number}", "v").status for number in range(5)] == [200] * 5
    assert bucket.keys() == ["k2", "k3", "k4"]


async def test_a_bucket_that_its_consumers_empty_can_lose_a_value_at_once(
    http: Http, native: Native, bucket_name: str
) -> None:
    await native.make_bucket(bucket_name, retention="interest")
    bucket = Bucket(http, bucket_name)
    assert bucket.put("k", "v").status == 200
    assert bucket.get("k").error == "key not found"


async def test_a_bucket_without_acks_leaves_the_outcome_of_every_write_unknown(
    nats: NatsServer, native: Native, bucket_name: str
) -> None:
    await native.make_bucket(bucket_name, no_ack=True)
    with running_gateway(nats.url, request_timeout=0.5) as impatient:
        answer: Answer = Bucket(impatient, bucket_name).put("k", "v")
    assert (answer.status, answer.json["details"]["outcome"]) == (504, "unknown")


# --- in a cluster


@pytest.fixture(scope="module")
def cluster_http(cluster: list[NatsServer]) -> Iterator[Http]:
    with running_gateway(cluster[0].url) as http:
        yield http


def made(http: Http, name: str, **settings: object) -> Bucket:
    """A bucket; a cluster that has just started may not answer the first request for one."""
    asked = {"name": name, **settings}
    until(lambda: http.post(BUCKETS, asked).status in (201, 409), "the cluster makes a bucket", 30)
    return Bucket(http, name)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({}, ["single_replica"]),
        ({"storage": "memory"}, ["single_replica", "memory_storage"]),
        ({"replicas": 3}, []),
        ({"replicas": 3, "storage": "memory"}, ["memory_storage"]),
    ],
    ids=str,
)
def test_a_bucket_with_one_copy_is_named_in_a_cluster(
    cluster_http: Http, bucket_name: str, settings: dict[str, object], named: list[str]
) -> None:
    bucket = made(cluster_http, bucket_name, **settings)
    assert codes(bucket.info()) == codes(listed(cluster_http, bucket_name)) == named
    cluster_http.delete(bucket.path)


def test_the_answer_to_a_creation_names_it_too(cluster_http: Http, bucket_name: str) -> None:
    ready = made(cluster_http, f"{bucket_name}-first")
    created = cluster_http.post(BUCKETS, {"name": bucket_name}).json
    assert codes(created) == ["single_replica"]
    assert "in the cluster test" in created["warnings"][0]["message"]
    for path in (ready.path, f"{BUCKETS}/{bucket_name}"):
        cluster_http.delete(path)


# --- `jetkv check`


def settings_for(server: NatsServer, **settings: object) -> Settings:
    return load({"nats_url": server.url, **settings}, None)


async def test_check_names_the_cluster_and_warns_of_its_buckets(
    cluster: list[NatsServer], cluster_http: Http, bucket_name: str
) -> None:
    bucket = made(cluster_http, bucket_name)
    report = await check(settings_for(cluster[1]))
    assert (report.exit_code, report.clusters) == (0, ["test"])
    assert [warning.code for warning in report.warnings[bucket_name]] == ["single_replica"]
    cluster_http.delete(bucket.path)


async def test_check_knows_a_cluster_before_there_is_a_bucket(
    cluster: list[NatsServer], cluster_http: Http
) -> None:
    made(cluster_http, "probe")  # it answers
    report = await check(settings_for(cluster[0], bucket_prefix="EMPTY_"))
    assert (report.exit_code, report.clusters, report.buckets) == (0, ["test"], [])


async def test_check_knows_a_server_that_stands_alone(nats: NatsServer, bucket: Bucket) -> None:
    with_buckets = await check(settings_for(nats))
    without = await check(settings_for(nats, bucket_prefix="EMPTY_"))
    assert bucket.name in with_buckets.buckets
    assert without.buckets == []
    assert with_buckets.clusters == without.clusters == []
    assert (with_buckets.exit_code, without.exit_code) == (0, 0)


async def test_check_does_not_guess_what_is_behind_a_leaf_node(tmp_path: Path) -> None:
    leaf_port, hub_port = free_ports(2)
    hub = NatsServer(
        tmp_path / "hub",
        jetstream="domain: hub",
        config=f'server_name: hub\nleafnodes {{ listen: "127.0.0.1:{leaf_port}" }}',
    )
    leaf = NatsServer(
        tmp_path / "leaf",
        config="jetstream: disabled\n"
        f"{cluster_config('leaf', hub_port, [])}\n"
        f'leafnodes {{ remotes: [{{ url: "nats://127.0.0.1:{leaf_port}" }}] }}',
    )
    with hub, leaf:
        settings = settings_for(leaf, nats_domain="hub")

        async def found() -> bool:
            return (await check(settings)).exit_code == 0

        await eventually(found, "the leaf node has found its hub", 30)
        assert (await check(settings)).clusters is None
        with running_gateway(leaf.url, nats_domain="hub") as http:
            made(http, "b")
        assert (await check(settings)).clusters == []
