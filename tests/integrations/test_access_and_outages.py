"""What the tokens of caches and stores have to cover, and what a gateway's restart does to them."""

import time

import pytest

from jetkv import Client, PermissionDeniedError, UnavailableError
from jetkv.integrations.cachelib import JetKVCache
from jetkv.integrations.py_key_value import JetKVStore
from jetkv.testing import LocalNats
from tests.support.gateway import running_gateway
from tests.support.ports import free_port
from tests.support.scopes import ScopesAreTokens, token
from tests.support.waiting import until


def use(cache: JetKVCache) -> None:
    """Call everything that a cache with a prefix has."""
    assert cache.set("k", (1, 2))
    assert cache.get_many("k", "l") == [(1, 2), None]
    assert cache.set_many({"a": 1, "b": 2}) == ["a", "b"]
    assert cache.inc("a") == 2
    assert cache.add("a", 1) is False
    assert cache.has("b")
    assert cache.delete("b")
    assert cache.delete_many("a", "b") == ["a", "b"]
    assert cache.clear()
    assert cache.get("k") is None


async def test_three_verbs_on_the_keys_of_a_prefix_are_enough(
    nats: LocalNats, client: Client, new_bucket: str
) -> None:
    client.kv().create_bucket(new_bucket)
    with running_gateway(nats.url, authenticator=ScopesAreTokens()) as http:
        allowed = token(f"read,write,delete:{new_bucket}/shop:")
        cache = JetKVCache(http.url, new_bucket, key_prefix="shop:", token=allowed)
        use(cache)
        cache.close()
        strange = JetKVCache(http.url, new_bucket, key_prefix="bank:", token=allowed)
        with pytest.raises(PermissionDeniedError):
            strange.set("k", 1)
        with pytest.raises(PermissionDeniedError):
            strange.get("k")
        strange.close()
        allowed = token(f"read,write,delete:{new_bucket}/users::")
        async with JetKVStore(url=http.url, token=allowed, bucket=new_bucket) as store:
            await store.put("k", {"a": 1}, collection="users", ttl=60)
            assert await store.keys(collection="users") == ["k"]
            assert await store.delete("k", collection="users")
            assert await store.destroy_collection("users")
            with pytest.raises(PermissionDeniedError):
                await store.get("k", collection="tokens")


def test_the_bucket_is_made_by_a_token_with_admin_alone(
    nats: LocalNats, client: Client, new_bucket: str
) -> None:
    with running_gateway(nats.url, authenticator=ScopesAreTokens()) as http:
        some = JetKVCache(http.url, new_bucket, token=token(f"read,write,delete:{new_bucket}"))
        with pytest.raises(PermissionDeniedError, match="admin"):
            some.set("k", 1)
        every = JetKVCache(http.url, new_bucket, token=token(f"*:{new_bucket}"))
        use(every)
        use(some)
        some.close()
        every.close()


def test_a_wrong_token_is_an_error_even_where_an_outage_is_none(nats: LocalNats) -> None:
    with running_gateway(nats.url, authenticator=ScopesAreTokens()) as http:
        cache = JetKVCache(http.url, "c", token=token("read:others"), on_error="miss")
        with pytest.raises(PermissionDeniedError):
            cache.get("k")
        cache.close()


def test_a_cache_goes_on_when_its_gateway_comes_back(
    nats: LocalNats, client: Client, new_bucket: str
) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    loud, quiet = (JetKVCache(url, new_bucket, on_error=how) for how in ("raise", "miss"))
    with running_gateway(nats.url, port=port):
        assert loud.set("k", 1)
        assert quiet.get("k") == 1
    with pytest.raises(UnavailableError):
        loud.get("k")
    begun = time.monotonic()
    assert quiet.get("k") is None
    assert quiet.set("k", 2) is False
    assert time.monotonic() - begun < 3
    with running_gateway(nats.url, port=port):
        assert loud.get("k") == 1
        until(lambda: quiet.get("k") == 1, "the cache tries again")
        assert quiet.set("k", 2)
    loud.close()
    quiet.close()
