"""A gateway with tokens, and clients of `jetkv mcp`: the official SDK's, unchanged."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp import types
from mcp.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client

from jetkv import AsyncClient
from jetkv.mcp.server import Options, make_server
from jetkv.testing import LocalNats
from tests.support.gateway import running_gateway
from tests.support.http import Bucket, Http
from tests.support.tokens import new_token, token_line
from tests.support.waiting import until

PROGRAM = str(Path(sys.executable).with_name("jetkv"))
BEARER = "a-bearer-token-of-the-tests"
ERAS = ["legacy", "2026-07-28"]
"""Modes of the client: the handshake of 2025 and before, and the protocol without one."""

Connect = Callable[..., AbstractAsyncContextManager[Client]]


class Place:
    """A gateway with a bucket `shop`; the token `everything`, and `reader` with narrow scopes."""

    def __init__(self, http: Http, everything: str, reader: str) -> None:
        self.http = http
        self.everything = everything
        self.reader = reader
        admin = Http(http.host, http.port, Authorization=f"Bearer {everything}")
        self.bucket = Bucket(admin, "shop")

    def environment(self, token: str | None = None) -> dict[str, str]:
        return {"JETKV_URL": self.http.url, "JETKV_TOKEN": token or self.everything}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, nats: LocalNats) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("shop")
    everything, reader = new_token(), new_token()
    lines = [
        token_line("everything", everything),
        token_line("reader", reader, "read:shop/user.*", "read:shop/greeting"),
    ]
    (folder / "tokens").write_text("\n".join(lines) + "\n")
    with running_gateway(
        nats.url,
        auth="tokens",
        auth_tokens=folder / "tokens",
        bucket_prefix=f"{folder.name}_",
        buckets=["shop", "other"],
    ) as http:
        yield Place(http, everything, reader)


@pytest.fixture(autouse=True)
def _fresh(shop: Place) -> None:
    """Only these keys are in the bucket when a test begins."""
    answer = shop.bucket.http.delete(f"{shop.bucket.path}/keys?filter=%3E&purge=true")
    assert answer.status == 200, answer
    shop.bucket.put("user.1", '{"name":"Ada"}', Content_Type="application/json")
    shop.bucket.put("greeting", "hello", Content_Type="text/plain")
    shop.bucket.put("secret", "42")


@pytest.fixture
def connect(shop: Place) -> Connect:
    """A client of a server in this process, on the real gateway."""

    @asynccontextmanager
    async def connect(
        mode: str = "auto", token: str | None = None, **options: Any
    ) -> AsyncIterator[Client]:
        client = partial(AsyncClient, shop.http.url, token=token or shop.everything)
        async with Client(make_server(client, Options(**options)), mode=mode) as connected:
            yield connected

    return connect


@asynccontextmanager
async def over_stdio(
    environment: dict[str, str],
    *arguments: str,
    mode: str = "auto",
    on_message: Any = None,
    command: str = PROGRAM,
) -> AsyncIterator[Client]:
    """A client of `jetkv mcp` as a process, over its standard input and output."""
    parameters = StdioServerParameters(
        command=command, args=["mcp", *arguments], env={**plain(), **environment}
    )
    async with Client(stdio_client(parameters), mode=mode, message_handler=on_message) as connected:
        yield connected


@contextmanager
def http_server(folder: Path, environment: dict[str, str], *arguments: str) -> Iterator[str]:
    """Run `jetkv mcp` over HTTP, and yield its URL."""
    port_file = folder / "port"
    process = subprocess.Popen(
        [PROGRAM, "mcp", "--transport", "streamable-http", f"--port-file={port_file}", *arguments],
        env={**plain(), "JETKV_MCP_BEARER_TOKEN": BEARER, **environment},
        stderr=(folder / "mcp.log").open("wb"),
    )

    def listens() -> bool:
        assert process.poll() is None, (folder / "mcp.log").read_text()
        return port_file.exists() and port_file.read_text().endswith("\n")

    try:
        until(listens, "the server listens", 60)
        yield f"http://127.0.0.1:{port_file.read_text().strip()}/mcp"
    finally:
        process.terminate()
        assert process.wait(20) == 0, (folder / "mcp.log").read_text()


@asynccontextmanager
async def over_http(
    url: str, *, mode: str = "auto", on_message: Any = None, token: str = BEARER
) -> AsyncIterator[Client]:
    """A client of a server over HTTP."""
    headers = {"Authorization": f"Bearer {token}"}
    async with (
        httpx2.AsyncClient(headers=headers, trust_env=False, timeout=30) as web,
        Client(
            streamable_http_client(url, http_client=web), mode=mode, message_handler=on_message
        ) as connected,
    ):
        yield connected


def plain() -> dict[str, str]:
    """The environment without settings of jetkv and without profiles."""
    found = {name: value for name, value in os.environ.items() if not name.startswith("JETKV_")}
    return {**found, "XDG_CONFIG_HOME": "/nonexistent"}


def document(result: types.CallToolResult) -> Any:
    """The JSON of a result's text, which is also its structured content if it is no error."""
    (block,) = result.content
    assert isinstance(block, types.TextContent)
    found = json.loads(block.text)
    assert result.structured_content == (None if result.is_error else found)
    return found


class Told:
    """The URIs of which a client was told that they changed."""

    def __init__(self) -> None:
        self.uris: asyncio.Queue[str] = asyncio.Queue()

    async def __call__(self, message: Any) -> None:
        if isinstance(message, types.ResourceUpdatedNotification):
            self.uris.put_nowait(message.params.uri)

    async def next(self) -> str:
        return await asyncio.wait_for(self.uris.get(), 20)
