"""TTL of a single key on servers of every version (docs/http-api.md#ttl-per-key)."""

from tests.support.http import Bucket
from tests.support.native import Native


async def test_a_server_that_has_no_ttls_is_named_with_the_version_that_has(
    bucket: Bucket, native: Native
) -> None:
    answer = bucket.put("k", "v", JetKV_TTL_Seconds="60")
    if native.version >= (2, 11):
        assert answer.status == 200
        return
    assert answer.status == 409
    assert "nats-server 2.11" in answer.error
    assert bucket.get("k").status == 404
