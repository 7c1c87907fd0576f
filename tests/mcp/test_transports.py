"""`jetkv mcp` as hosts run it: over stdio and over HTTP, with the clients of both protocols."""

import asyncio
import json
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from mcp.client import Client
from mcp.shared.exceptions import MCPError

from jetkv.cli.root import command
from jetkv.testing import LocalNats
from tests.mcp.conftest import (
    BEARER,
    ERAS,
    PROGRAM,
    Place,
    Told,
    document,
    http_server,
    over_http,
    over_stdio,
    plain,
)
from tests.support.waiting import until

# The SDK's client warns of what the newest protocol has no more; hosts of today still send it.
pytestmark = pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning")

URI = "jetkv://buckets/shop/keys/user.1"
INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "x", "version": "1"},
    },
}


async def everything(client: Client) -> None:
    """Read, list and write once."""
    got = document(await client.call_tool("kv_get", {"bucket": "shop", "key": "user.1"}))
    assert got["value"] == {"name": "Ada"}
    arguments = {"bucket": "shop", "key": "written", "value": "1"}
    assert document(await client.call_tool("kv_put", arguments))["revision"] > got["revision"]
    keys = document(await client.call_tool("kv_list_keys", {"bucket": "shop"}))["keys"]
    assert "written" in keys


async def subscribed_by_handshake(client: Client, told: Told, shop: Place, uri: str = URI) -> None:
    """Subscribe, be told of a change and of a delete, unsubscribe, be told no more."""
    await client.subscribe_resource(uri)
    shop.bucket.put("user.1", "2")
    assert await told.next() == uri
    (contents,) = (await client.read_resource(uri)).contents
    assert contents.text == "2"
    shop.bucket.delete("user.1")
    assert await told.next() == uri
    await client.unsubscribe_resource(uri)
    await client.subscribe_resource("jetkv://buckets/shop/keys/last")
    shop.bucket.put("user.1", "3")
    shop.bucket.put("last", "1")
    assert await told.next() == "jetkv://buckets/shop/keys/last"


async def listening(client: Client, shop: Place) -> None:
    """Listen to a key, and be told of its change and of no other."""
    async with client.listen(resource_subscriptions=[URI]) as events:
        shop.bucket.put("secret", "other")
        shop.bucket.put("user.1", "2")
        event = await asyncio.wait_for(anext(aiter(events)), 20)
        assert event.uri == URI


@pytest.mark.parametrize("mode", ERAS)
async def test_a_process_serves_a_client_over_stdio(shop: Place, mode: str) -> None:
    told = Told()
    async with over_stdio(
        shop.environment(), "--allow-writes", mode=mode, on_message=told
    ) as client:
        assert client.server_info is None or client.server_info.name == "jetkv"
        await everything(client)
        if mode == "legacy":
            await subscribed_by_handshake(client, told, shop)
        else:
            await listening(client, shop)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mcp")


@pytest.fixture(scope="module")
def url(shop: Place, folder: Path) -> Iterator[str]:
    """The URL of one process that all clients over HTTP share."""
    with http_server(folder, shop.environment(), "--allow-writes") as url:
        yield url


@pytest.mark.parametrize("mode", ERAS)
async def test_a_process_serves_clients_over_http(shop: Place, url: str, mode: str) -> None:
    told = Told()
    async with over_http(url, mode=mode, on_message=told) as client:
        await everything(client)
        if mode == "legacy":
            await subscribed_by_handshake(client, told, shop)
        else:
            await listening(client, shop)


async def test_a_client_that_leaves_takes_its_subscriptions_with_it(url: str) -> None:
    def place(number: int) -> str:
        return f"jetkv://buckets/shop/keys/k{number}"

    for first in (0, 40):
        async with over_http(url, mode="legacy") as client:
            places = map(place, range(first, first + 40))
            await asyncio.gather(*map(client.subscribe_resource, places))


def watches(shop: Place) -> float:
    metrics = shop.bucket.http.get("/metrics").body.decode()
    (count,) = re.findall(r'^jetkv_watches\{transport="sse"\} (\S+)$', metrics, re.MULTILINE)
    return float(count)


async def test_clients_share_a_watch_and_are_told_each(shop: Place, url: str) -> None:
    async with AsyncExitStack() as stack:
        clients = []
        for _ in range(3):
            told = Told()
            opened: AbstractAsyncContextManager[Client] = over_http(
                url, mode="legacy", on_message=told
            )
            client = await stack.enter_async_context(opened)
            await client.subscribe_resource(URI)
            clients.append(told)
        shop.bucket.put("user.1", "2")
        assert [await told.next() for told in clients] == [URI] * 3
        # Those of earlier tests may not have ended yet.
        until(lambda: watches(shop) == 1, "there is one watch")


async def test_a_subscription_goes_on_after_the_bucket_is_created_again(shop: Place) -> None:
    told = Told()
    bucket = shop.bucket.http
    assert bucket.post("/api/v1/kv/buckets", {"name": "brief"}).status == 201
    uri = "jetkv://buckets/brief/keys/k"
    async with over_stdio(shop.environment(), mode="legacy", on_message=told) as client:
        await client.subscribe_resource(uri)
        bucket.delete("/api/v1/kv/buckets/brief")
        assert await told.next() == uri
        with pytest.raises(MCPError):
            await client.read_resource(uri)
        assert bucket.post("/api/v1/kv/buckets", {"name": "brief"}).status == 201
        assert await told.next() == uri
        bucket.put("/api/v1/kv/buckets/brief/keys/k", "1")
        assert await told.next() == uri
    bucket.delete("/api/v1/kv/buckets/brief")


async def test_a_subscription_to_what_is_no_key_is_an_error(shop: Place) -> None:
    async with over_stdio(shop.environment(shop.reader), mode="legacy") as client:
        for uri in ("jetkv://buckets/shop", "jetkv://buckets/none/keys/k", "http://x/y"):
            with pytest.raises(MCPError):
                await client.subscribe_resource(uri)
        with pytest.raises(MCPError, match="does not allow"):
            await client.subscribe_resource("jetkv://buckets/other/keys/k")


def post(url: str, **headers: str) -> int:
    """The status of a first request of a client."""
    request = Request(
        url,
        json.dumps(INITIALIZE).encode(),
        {
            "Content-Type": "application/json",
            "Accept": "application/json, text/event-stream",
            **{name.replace("_", "-"): value for name, value in headers.items()},
        },
    )
    try:
        with urlopen(request, timeout=20) as answer:
            return int(answer.status)
    except HTTPError as error:
        error.close()
        return error.code


def test_nobody_gets_in_without_the_token(url: str, folder: Path) -> None:
    good = {"Authorization": f"Bearer {BEARER}"}
    assert post(url, **good) == 200
    assert post(url) == 401
    assert post(url, Authorization=f"Bearer {BEARER}x") == 401
    assert post(url, Authorization=f"Basic {BEARER}") == 401
    assert post(url, **good, Host="page.example") == 421
    assert post(url, **good, Origin="http://page.example") == 403
    assert post(url.replace("/mcp", "/other"), **good) == 404
    assert post(url.replace("/mcp", "/other")) == 401
    assert BEARER not in (folder / "mcp.log").read_text()


@pytest.mark.parametrize(
    ("arguments", "environment", "words"),
    [
        (["--transport=streamable-http"], {}, "needs a bearer token in JETKV_MCP_BEARER_TOKEN"),
        (
            ["--transport=streamable-http"],
            {"JETKV_MCP_BEARER_TOKEN": "short"},
            "at least 16",
        ),
        (
            ["--transport=streamable-http", "--host=0.0.0.0"],
            {"JETKV_MCP_BEARER_TOKEN": BEARER},
            "not an address of loopback",
        ),
        (["--tool-prefix=a b"], {}, "letters, digits"),
        (["--profile=none"], {}, "no profile 'none'"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(
    arguments: list[str],
    environment: dict[str, str],
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("os.environ", {**plain(), **environment})
    with pytest.raises(SystemExit) as ended:
        command({})(["mcp", *arguments])
    printed = capfd.readouterr()
    assert (ended.value.code, printed.out) == (2, "")
    assert words in printed.err
    assert printed.err.count("\n") == 1


async def test_a_server_without_a_gateway_starts_and_says_what_is_missing() -> None:
    async with over_stdio({"JETKV_URL": "http://127.0.0.1:1"}) as client:
        failed = document(await client.call_tool("kv_list_buckets", {}))
    assert failed["code"] == "unavailable"
    assert failed["retryable"] is True
    assert "start it" in failed["hint"]


def test_the_end_of_its_input_ends_it(shop: Place) -> None:
    done = subprocess.run(
        [PROGRAM, "mcp"],
        env={**plain(), **shop.environment()},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_sigterm_ends_it(shop: Place) -> None:
    process = subprocess.Popen(
        [PROGRAM, "mcp"],
        env={**plain(), **shop.environment()},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(json.dumps(INITIALIZE).encode() + b"\n")
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["id"] == 1
        process.send_signal(signal.SIGTERM)
        process.wait(20)
    finally:
        process.kill()
        process.stdin.close()
        process.stdout.close()


async def test_an_address_of_nats_is_enough(own_nats: LocalNats) -> None:
    own_nats.start()
    async with over_stdio({"JETKV_URL": own_nats.url}) as client:
        assert document(await client.call_tool("kv_list_buckets", {})) == {
            "buckets": [],
            "count": 0,
        }
