"""Tokens and tickets by the SDK."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from jetkv import (
    AuthenticationError,
    InvalidArgumentError,
    PermissionDeniedError,
    TokenExistsError,
    TokenKeptError,
    TokenNotFoundError,
)
from jetkv.testing import LocalNats
from tests.support.clients import MakeClient
from tests.support.gateway import running_gateway
from tests.support.http import Http
from tests.support.tokens import new_token, token_line
from tests.support.waiting import eventually


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Http, str]]:
    folder: Path = tmp_path_factory.mktemp("tokens")
    root = new_token()
    (folder / "tokens").write_text(token_line("root", root))
    with (
        LocalNats(folder / "nats") as nats,
        running_gateway(
            nats.url, auth="tokens", auth_tokens=folder / "tokens", buckets="b"
        ) as http,
    ):
        yield http, root


async def test_a_token_is_created_used_listed_and_withdrawn(
    guarded: tuple[Http, str], make: MakeClient
) -> None:
    http, root = guarded
    name = f"app-{make.__name__}"
    async with make(http.url, token=root) as client:
        kv = client.kv()
        made = await kv.create_token(
            name, ["read:b"], expires_in=timedelta(days=1), requests_per_second=9
        )
        assert made.token not in repr(made)
        assert (made.info.scopes, made.info.source) == (("read:b",), "bucket")
        assert made.info.requests_per_second == 9
        assert made.info.expires_at is not None
        assert made.info.expires_at > datetime.now(UTC) + timedelta(hours=23)
        async with make(http.url, token=made.token) as other:
            assert await other.kv().bucket("b").keys() == []
            with pytest.raises(PermissionDeniedError):
                await other.kv().tokens()
        found = {one.name: one for one in await kv.tokens()}
        assert found[name].last_used_at is not None
        assert found["root"].source == "file"
        with pytest.raises(TokenExistsError):
            await kv.create_token(name, ["read:b"])
        await kv.delete_token(name)
        with pytest.raises(TokenNotFoundError):
            await kv.delete_token(name)
        with pytest.raises(TokenKeptError):
            await kv.delete_token("root")
        async with make(http.url, token=made.token) as other:

            async def is_refused() -> bool:
                try:
                    await other.kv().bucket("b").keys()
                except AuthenticationError:
                    return True
                return False

            await eventually(is_refused, "it is refused", 2)


async def test_a_bad_token_is_an_invalid_argument(
    guarded: tuple[Http, str], make: MakeClient
) -> None:
    http, root = guarded
    async with make(http.url, token=root) as client:
        kv = client.kv()
        for arguments in (
            {"name": "x", "allow": "read:b"},
            {"name": "x", "allow": ["fly:b"]},
            {"name": "x y", "allow": ["read:b"]},
            {"name": "x", "allow": []},
            {"name": "x", "allow": ["read:b"], "expires_in": timedelta(milliseconds=1500)},
            {"name": "x", "allow": ["read:b"], "requests_per_second": 0},
        ):
            with pytest.raises(InvalidArgumentError):
                await kv.create_token(**arguments)


async def test_a_ticket_is_a_text_for_the_url_of_a_watch(
    guarded: tuple[Http, str], make: MakeClient
) -> None:
    http, root = guarded
    url = "/api/v1/kv/buckets/b/watch"
    async with make(http.url, token=root) as client:
        ticket = await client.kv().create_ticket(http.url + url)
        answer = http.request("HEAD", f"{url}?ticket={ticket}", Accept="text/event-stream")
        assert answer.status == 200
        with pytest.raises(InvalidArgumentError):
            await client.kv().create_ticket("/api/v1/kv/buckets/b/keys")


async def test_a_watch_whose_token_is_withdrawn_ends_with_an_error(
    guarded: tuple[Http, str], make: MakeClient
) -> None:
    http, root = guarded
    name = f"watcher-{make.__name__}"
    async with make(http.url, token=root) as admin:
        made = await admin.kv().create_token(name, ["read:b"])
        async with (
            make(http.url, token=made.token) as client,
            client.kv().bucket("b").watch() as watch,
        ):
            await admin.kv().bucket("b").put("k", "v")
            assert (await watch.__anext__()).key == "k"
            await admin.kv().delete_token(name)
            async with asyncio.timeout(10):
                with pytest.raises(AuthenticationError):
                    await watch.__anext__()
