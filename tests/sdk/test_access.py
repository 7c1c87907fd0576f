"""What the SDK shows of access: refusals, who I am, what I may do, and what was left out."""

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Any, Protocol

import pytest

from jetkv import Caller, InvalidArgumentError, Permission, PermissionDeniedError
from jetkv_gateway.embedded import NatsServer
from tests.support.clients import MakeClient
from tests.support.gateway import running_gateway
from tests.support.http import Bucket, Http
from tests.support.listing import fill
from tests.support.scopes import ScopesAreTokens, token
from tests.support.tokens import new_token, token_line


@pytest.fixture(scope="module")
def scoped(nats: NatsServer) -> Iterator[Http]:
    with running_gateway(nats.url, authenticator=ScopesAreTokens()) as http:
        yield http


class KvOf(Protocol):
    async def __call__(self, *scopes: str) -> Any: ...


@pytest.fixture
async def kv_of(scoped: Http, make: MakeClient) -> AsyncIterator[KvOf]:
    """The buckets as a caller with these scopes sees them."""
    async with AsyncExitStack() as stack:

        async def open_kv(*scopes: str) -> Any:
            client = await stack.enter_async_context(make(scoped.url, token=token(*scopes)))
            return client.kv()

        yield open_kv


@pytest.fixture
def filled(bucket: Bucket) -> Bucket:
    fill(bucket, "admin.1", "user.1", "user.2")
    return bucket


async def test_a_refusal_names_the_verb_and_the_bucket(kv_of: KvOf, filled: Bucket) -> None:
    kv = await kv_of(f"read:{filled.name}/user.*")
    with pytest.raises(PermissionDeniedError) as refused:
        await kv.bucket(filled.name).put("user.1", 1)
    assert f"permission denied: write in bucket {filled.name}" in str(refused.value)
    assert (refused.value.status, refused.value.code) == (403, "permission_denied")
    assert not refused.value.retryable


async def test_a_caller_learns_who_it_is(kv_of: KvOf) -> None:
    caller = await (await kv_of("read:b", "write:c/x.*")).whoami()
    assert caller == Caller("read:b;write:c/x.*", "token", ("read:b", "write:c/x.*"), None)


async def test_a_caller_learns_when_its_token_expires(
    nats: NatsServer, make: MakeClient, tmp_path
) -> None:
    secret, file = new_token(), tmp_path / "tokens"
    file.write_text(token_line("ann", secret, "read:b", expires="2099-01-31T00:00:00Z"))
    with running_gateway(nats.url, auth="tokens", auth_tokens=file) as http:
        async with make(http.url, token=secret) as client:
            caller = await client.kv().whoami()
    assert caller == Caller("ann", "token", ("read:b",), datetime(2099, 1, 31, tzinfo=UTC))


async def test_a_caller_may_ask_before_it_tries(kv_of: KvOf) -> None:
    kv = await kv_of("read:b/user.*")
    allowed = await kv.can("read", "b", "user.1")
    assert allowed == Permission(True, "read:b/user.*", None)
    assert allowed
    refused = await kv.can("read", "b")
    assert not refused
    assert refused.reason == "your scopes allow read on some keys only in bucket b"
    assert not await kv.can("metrics")
    with pytest.raises(InvalidArgumentError, match="'verb' must be one of"):
        await kv.can("fly", "b")


async def test_a_page_says_whether_keys_were_left_out(kv_of: KvOf, filled: Bucket) -> None:
    bucket = (await kv_of(f"read:{filled.name}/user.*")).bucket(filled.name)
    for filter, keys, filtered in (
        (None, ("user.1", "user.2"), True),
        ("user.1", ("user.1",), False),
        ("admin.1", (), True),
    ):
        pages = [page async for page in bucket.pages(filter)]
        assert [(page.keys, page.filtered) for page in pages] == [(keys, filtered)]


async def test_several_keys_say_whether_some_were_left_out(kv_of: KvOf, filled: Bucket) -> None:
    bucket = (await kv_of(f"read:{filled.name}/user.*")).bucket(filled.name, bytes)
    some = await bucket.get_many(["admin.1", "user.1"])
    assert (list(some), some.filtered) == (["user.1"], True)
    assert not (await bucket.get_many(["user.1", "user.9"])).filtered


async def test_a_deletion_says_whether_keys_were_left_out(kv_of: KvOf, filled: Bucket) -> None:
    bucket = (await kv_of(f"delete:{filled.name}/user.*")).bucket(filled.name)
    dry = await bucket.delete_many(">", dry_run=True)
    assert (dry.matched, dry.filtered) == (2, True)
    assert not (await bucket.delete_many("user.*", dry_run=True)).filtered


@pytest.mark.parametrize("several", [False, True])
async def test_a_watch_says_whether_keys_are_left_out(
    kv_of: KvOf, filled: Bucket, several: bool
) -> None:
    kv = await kv_of(f"read:{filled.name}/user.*")

    def watch(*filters: str) -> Any:
        if several:
            return kv.watch({filled.name: filters}, snapshot=True)
        return kv.bucket(filled.name, bytes).watch(*filters, snapshot=True)

    for filters, filtered in (((), True), (("user.1", "user.2"), False)):
        async with watch(*filters) as changes:
            assert [update.key for update in await changes.snapshot()] == ["user.1", "user.2"]
            assert changes.filtered is filtered


async def test_the_size_of_a_bucket_that_is_read_in_part_is_none(
    kv_of: KvOf, filled: Bucket
) -> None:
    part = await (await kv_of(f"read:{filled.name}/user.*")).bucket_info(filled.name)
    assert (part.values, part.bytes, part.history) == (None, None, 1)
    whole = await (await kv_of(f"read:{filled.name}")).bucket_info(filled.name)
    assert whole.values == 3
