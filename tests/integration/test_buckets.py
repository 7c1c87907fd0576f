"""Creating and deleting buckets, where NATS itself would let too much pass."""

from concurrent.futures import ThreadPoolExecutor

from jetkv_gateway.embedded import NatsServer
from tests.support.gateway import running_gateway
from tests.support.http import BUCKETS, Http
from tests.support.native import Native

SETTINGS = {"history": 3, "ttl_seconds": 60, "max_value_size": 100}


def test_the_same_bucket_again_is_refused_though_nats_would_accept_it(
    http: Http, make_bucket
) -> None:
    bucket = make_bucket(**SETTINGS)
    bucket.put("k", "v")
    answer = http.post(BUCKETS, {"name": bucket.name, **SETTINGS})
    assert (answer.status, answer.error) == (409, "bucket already exists")
    assert answer.json["code"] == "already_exists"
    assert bucket.get("k").status == 200


def test_the_same_bucket_with_other_settings_is_refused_and_stays_as_it_is(
    http: Http, make_bucket
) -> None:
    bucket = make_bucket(**SETTINGS)
    assert http.post(BUCKETS, {"name": bucket.name, "history": 9}).status == 409
    assert bucket.info()["history"] == SETTINGS["history"]


def test_of_many_creates_of_one_name_at_once_one_succeeds(http: Http, bucket_name: str) -> None:
    with ThreadPoolExecutor(12) as pool:
        answers = list(
            pool.map(lambda _: http.post(BUCKETS, {"name": bucket_name}), range(12)),
        )
    assert sorted(answer.status for answer in answers) == [201] + [409] * 11
    assert http.delete(f"{BUCKETS}/{bucket_name}").status == 204


def test_of_creates_through_two_gateways_at_once_one_succeeds(
    http: Http, nats: NatsServer, bucket_name: str
) -> None:
    with running_gateway(nats.url) as other, ThreadPoolExecutor(8) as pool:
        answers = list(
            pool.map(
                lambda gateway: gateway.post(BUCKETS, {"name": bucket_name}), [http, other] * 4
            )
        )
    assert sorted(answer.status for answer in answers) == [201] + [409] * 7
    assert http.delete(f"{BUCKETS}/{bucket_name}").status == 204


async def test_a_bucket_deleted_natively_can_be_created_again_at_once(
    native: Native, make_bucket, http: Http
) -> None:
    bucket = make_bucket(max_value_size=10)
    assert bucket.put("k", "v").status == 200
    await native.api(f"STREAM.DELETE.KV_{bucket.name}")
    assert bucket.put("k", "v").error == "bucket not found"
    assert http.post(BUCKETS, {"name": bucket.name}).status == 201
    assert bucket.put("k", "longer than ten bytes").json == {"revision": 1}


async def test_a_bucket_deleted_and_made_again_natively_has_its_new_limit_at_once(
    native: Native, make_bucket
) -> None:
    bucket = make_bucket(max_value_size=10)
    assert bucket.put("k", "v").status == 200
    await native.api(f"STREAM.DELETE.KV_{bucket.name}")
    await native.make_bucket(bucket.name)
    assert bucket.put("k", "longer than ten bytes").status == 200


async def test_a_bucket_made_here_has_the_layout_of_native_ones(
    native: Native, make_bucket
) -> None:
    bucket = make_bucket(history=2, ttl_seconds=60)
    config = (await native.api(f"STREAM.INFO.KV_{bucket.name}"))["config"]
    assert config["subjects"] == [f"$KV.{bucket.name}.>"]
    assert config["discard"] == "new"
    assert config["allow_direct"] is True
    assert config["allow_rollup_hdrs"] is True
    assert config["deny_delete"] is True
    kv = await native.kv(bucket.name)
    status = await kv.status()
    assert (status.history, status.ttl) == (2, 60)
