from tests.support.http import BUCKETS, Bucket, Http


def test_a_value_comes_back_byte_for_byte(bucket: Bucket) -> None:
    value = bytes(range(256))
    assert bucket.put("user:123", value).json == {"revision": 1}
    assert bucket.get("user:123").value == value


def test_two_gateways_agree_since_neither_keeps_anything(http: Http, bucket: Bucket) -> None:
    bucket.put("k", "v")
    assert http.get(f"{BUCKETS}/{bucket.name}").json["values"] == 1
