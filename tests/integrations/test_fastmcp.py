"""FastMCP keeps its data in a store of ours: two servers stand for two processes."""

from collections.abc import AsyncIterator

import pytest
from cryptography.fernet import Fernet
from fastmcp import Client as McpClient
from fastmcp import Context, FastMCP
from fastmcp.client.auth import OAuth
from fastmcp.server.auth import OAuthProxy
from fastmcp.server.auth.providers.jwt import StaticTokenVerifier
from fastmcp.server.event_store import EventStore
from fastmcp.server.middleware.caching import ResponseCachingMiddleware
from key_value.aio.wrappers.encryption import FernetEncryptionWrapper
from mcp.shared.auth import OAuthClientInformationFull, OAuthToken
from pydantic import AnyUrl

from jetkv import Client
from jetkv.integrations.py_key_value import JetKVStore
from tests.support.http import Http


@pytest.fixture
async def stores(http: Http, new_bucket: str) -> AsyncIterator[list[JetKVStore]]:
    """Two stores in one bucket, as in two processes."""
    made = [JetKVStore(url=http.url, bucket=new_bucket) for _ in range(2)]
    yield made
    for store in made:
        await store.close()


async def test_a_cached_answer_of_one_server_is_that_of_the_other(stores: list[JetKVStore]) -> None:
    calls = []

    def server(store: JetKVStore) -> FastMCP:
        mcp: FastMCP = FastMCP(
            "weather", middleware=[ResponseCachingMiddleware(cache_storage=store)]
        )

        @mcp.tool
        def forecast(city: str) -> dict[str, object]:
            calls.append(city)
            return {"city": city, "celsius": 20.5, "hours": [1, 2]}

        return mcp

    for store in stores:
        async with McpClient(server(store)) as client:
            assert [tool.name for tool in await client.list_tools()] == ["forecast"]
            for _ in range(2):
                answer = await client.call_tool("forecast", {"city": "Bergen"})
                assert answer.data == {"city": "Bergen", "celsius": 20.5, "hours": [1, 2]}
    assert calls == ["Bergen"]


def proxy(store: JetKVStore, key: bytes) -> OAuthProxy:
    return OAuthProxy(
        upstream_authorization_endpoint="https://login.example.org/authorize",
        upstream_token_endpoint="https://login.example.org/token",
        upstream_client_id="upstream",
        upstream_client_secret="secret",
        token_verifier=StaticTokenVerifier({}),
        base_url="https://mcp.example.org",
        jwt_signing_key="the same everywhere",
        client_storage=FernetEncryptionWrapper(key_value=store, fernet=Fernet(key)),
    )


async def test_a_client_that_registered_at_one_server_is_known_to_the_other(
    stores: list[JetKVStore], client: Client, new_bucket: str
) -> None:
    key = Fernet.generate_key()
    one, other = (proxy(store, key) for store in stores)
    await one.register_client(
        OAuthClientInformationFull(
            client_id="editor-7",
            client_secret="hush",
            redirect_uris=[AnyUrl("http://localhost:3000/callback")],
        )
    )
    found = await other.get_client("editor-7")
    assert found is not None
    assert found.client_id == "editor-7"
    (entry,) = client.kv().bucket(new_bucket).entries()
    assert entry.key == "mcp-oauth-proxy-clients::editor-7"
    assert b"hush" not in entry.raw


async def test_the_tokens_of_a_client_are_there_for_its_next_process(
    stores: list[JetKVStore],
) -> None:
    one, other = (OAuth("https://mcp.example.org/mcp", token_storage=store) for store in stores)
    token = OAuthToken(access_token="a", refresh_token="r", expires_in=3600)
    await one.token_storage_adapter.set_tokens(token)
    assert await other.token_storage_adapter.get_tokens() == token


async def test_events_are_replayed_by_the_other_server(stores: list[JetKVStore]) -> None:
    from mcp.types import JSONRPCNotification

    one, other = (EventStore(storage=store) for store in stores)
    ids = [
        await one.store_event("s", JSONRPCNotification(jsonrpc="2.0", method=f"m{number}"))
        for number in range(3)
    ]
    seen = []

    async def send(event: object) -> None:
        seen.append(event.message.method)  # type: ignore[attr-defined]  # an EventMessage

    assert await other.replay_events_after(ids[0], send) == "s"
    assert seen == ["m1", "m2"]


async def test_the_state_of_a_session_is_in_the_bucket(
    stores: list[JetKVStore], client: Client, new_bucket: str
) -> None:
    mcp: FastMCP = FastMCP("counter", session_state_store=stores[0])

    @mcp.tool
    async def remember(context: Context) -> list[int]:
        await context.set_state("found", [7])
        found: list[int] = await context.get_state("found")
        return found

    async with McpClient(mcp) as session:
        assert (await session.call_tool("remember")).data == [7]
    (entry,) = client.kv().bucket(new_bucket).entries()
    assert entry.key.startswith("fastmcp_state::")
    assert entry.value["value"] == {"value": [7]}
    assert entry.expires_at is not None
