"""FastMCP keeps its data in a store of ours: two servers stand for two processes."""

import hashlib
import json
import threading
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import httpx
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


def proxy(store: JetKVStore, key: bytes, upstream: str = "https://login.example.org") -> OAuthProxy:
    return OAuthProxy(
        upstream_authorization_endpoint=f"{upstream}/authorize",
        upstream_token_endpoint=f"{upstream}/token",
        upstream_client_id="upstream",
        upstream_client_secret="secret",
        token_verifier=StaticTokenVerifier({"up-1": {"client_id": "ada", "scopes": []}}),
        require_authorization_consent="external",
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


class Upstream(BaseHTTPRequestHandler):
    """The token endpoint of a login service."""

    def do_POST(self) -> None:
        body = json.dumps({"access_token": "up-1", "token_type": "Bearer", "expires_in": 3600})
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def upstream() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Upstream) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join(10)


async def test_a_login_may_wander_from_one_server_to_the_other(
    stores: list[JetKVStore], upstream: str
) -> None:
    key = Fernet.generate_key()
    proxies = [proxy(store, key, upstream) for store in stores]
    apps = [FastMCP("nodes", auth=one).http_app() for one in proxies]
    callback = "http://localhost:3000/callback"
    secret = "v" * 64
    digest = hashlib.sha256(secret.encode()).digest()
    async with AsyncExitStack() as stack:
        one, other = [
            await stack.enter_async_context(
                httpx.AsyncClient(
                    transport=httpx.ASGITransport(app=app), base_url="https://mcp.example.org"
                )
            )
            for app in apps
        ]
        registered = await one.post(
            "/register",
            json={"redirect_uris": [callback], "token_endpoint_auth_method": "none"},
        )
        assert registered.status_code == 201, registered.text
        client_id = registered.json()["client_id"]
        begun = await other.get(
            "/authorize",
            params={
                "client_id": client_id,
                "redirect_uri": callback,
                "response_type": "code",
                "state": "mine",
                "code_challenge": urlsafe_b64encode(digest).decode().rstrip("="),
                "code_challenge_method": "S256",
            },
        )
        sent = parse_qs(urlsplit(begun.headers["location"]).query)
        came_back = await one.get(
            "/auth/callback", params={"code": "from-upstream", "state": sent["state"][0]}
        )
        given = parse_qs(urlsplit(came_back.headers["location"]).query)
        assert given["state"] == ["mine"]
        answer = await other.post(
            "/token",
            data={
                "grant_type": "authorization_code",
                "client_id": client_id,
                "code": given["code"][0],
                "redirect_uri": callback,
                "code_verifier": secret,
            },
        )
        assert answer.status_code == 200, answer.text
        token = answer.json()["access_token"]
    for one_of_them in proxies:
        known = await one_of_them.load_access_token(token)
        assert known is not None
        assert known.client_id == "ada"


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
