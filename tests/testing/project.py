"""Tests of a project that uses the plugin; test_plugin.py runs them in a pytest of their own.

Their order matters: what one leaves is what the next would suffer from.
"""

import pytest


class TestBuckets:
    @pytest.mark.parametrize("n", [1, 2])
    def test_each_test_has_a_fresh_one(self, jetkv_bucket, jetkv_client, n) -> None:
        assert [b.name for b in jetkv_client.kv().buckets()] == [jetkv_bucket.name]
        assert jetkv_bucket.keys() == []
        jetkv_bucket.put("user:1", n)

    def test_one_with_settings(self, jetkv_make_bucket) -> None:
        bucket = jetkv_make_bucket(type=bytes, history=5)
        bucket.put("user:1", b"1")
        bucket.put("user:1", b"2")
        assert [entry.value for entry in bucket.history("user:1")] == [b"1", b"2"]

    def test_one_with_a_name(self, jetkv_make_bucket, jetkv_bucket_name) -> None:
        assert jetkv_make_bucket(name=jetkv_bucket_name).name == jetkv_bucket_name

    def test_one_that_the_test_deletes(self, jetkv_bucket, jetkv_client) -> None:
        jetkv_client.kv().delete_bucket(jetkv_bucket.name)

    def test_one_whose_client_the_test_closes(self, jetkv_bucket, jetkv_client) -> None:
        jetkv_client.close()

    def test_none_is_left(self, jetkv_client) -> None:
        assert jetkv_client.kv().buckets() == []


@pytest.mark.parametrize(
    "breakage", ["nats-kill", "nats-stop", "nats-pause", "gateway-kill", "gateway-pause", "both"]
)
class TestMending:
    def test_a_test_breaks_something(self, request, breakage) -> None:
        server, _, what = breakage.partition("-")
        if server == "both":
            nats = request.getfixturevalue("jetkv_nats")
            request.getfixturevalue("jetkv_bucket").put("user:1", 1)
            request.getfixturevalue("jetkv_gateway").pause()
            nats.kill()
        else:
            handle = request.getfixturevalue(f"jetkv_{server}")
            request.getfixturevalue("jetkv_bucket").put("user:1", 1)
            getattr(handle, what)()

    def test_the_next_sees_nothing_of_it(self, jetkv_bucket, breakage) -> None:
        assert jetkv_bucket.put("user:1", 1) == 1


class TestAsyncClient:
    async def check(self, client, bucket) -> None:
        await client.kv().bucket(bucket.name).put("user:1", 1)
        assert bucket.get("user:1").value == 1

    @pytest.mark.asyncio
    async def test_with_pytest_asyncio(self, jetkv_async_client, jetkv_bucket) -> None:
        await self.check(jetkv_async_client, jetkv_bucket)

    @pytest.mark.anyio
    @pytest.mark.parametrize("anyio_backend", ["asyncio"])
    async def test_with_anyio(self, anyio_backend, jetkv_async_client, jetkv_bucket) -> None:
        await self.check(jetkv_async_client, jetkv_bucket)
