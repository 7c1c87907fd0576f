"""cachelib's tests for every cache, run for ours. This file lies among them when it runs."""

import os
import uuid

import pytest
from clear import ClearTests
from common import CommonTests
from delete_many_with_prefix import DeleteManyWithPrefixTests
from has import HasTests
from serializer import SerializerTests
from test_redis_cache import SillySerializer
from test_redis_cache import TestRedisCache as ForRedis
from test_simple_cache import TestSimpleCache as ForThreads

from jetkv import Client
from jetkv.integrations.cachelib import JetKVCache

CLIENT = Client(os.environ["JETKV_TEST_URL"])


class CustomCache(JetKVCache):
    serializer = SillySerializer()


@pytest.fixture(scope="session", autouse=True)
def bucket():
    name = f"t-{uuid.uuid4().hex[:12]}"
    yield name
    CLIENT.kv().delete_bucket(name)


@pytest.fixture(autouse=True, params=[JetKVCache, CustomCache])
def cache_factory(request, key_prefix, bucket):
    def factory(self, **options):
        options.setdefault("key_prefix", key_prefix)
        cache = request.param(CLIENT, bucket, **options)
        cache.clear()
        return cache

    request.cls.cache_factory = factory


class TestJetKVCache(CommonTests, ClearTests, HasTests, DeleteManyWithPrefixTests, SerializerTests):
    test_callable_key = ForRedis.test_callable_key


class TestTimeAndThreads:
    """What cachelib asks of the cache in memory alone. Once is enough, since it takes long."""

    @pytest.fixture(autouse=True)
    def cache_factory(self, request, bucket):
        def factory(self, **options):
            return JetKVCache(CLIENT, bucket, key_prefix=f"{uuid.uuid4().hex}:", **options)

        request.cls.cache_factory = factory

    test_add_on_expired_key_succeeds = ForThreads.test_add_on_expired_key_succeeds
    test_has_on_expired_key_returns_false = ForThreads.test_has_on_expired_key_returns_false
    test_delete_nonexistent_returns_false = ForThreads.test_delete_nonexistent_returns_false
    test_concurrent_add_only_one_winner = ForThreads.test_concurrent_add_only_one_winner
    test_concurrent_inc_is_consistent = ForThreads.test_concurrent_inc_is_consistent
