"""The configurations of docs/mcp.md: a client starts or reaches a server with each of them."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jetkv.testing import LocalNats
from tests.docs.test_examples import ROOT, blocks
from tests.mcp.conftest import (
    BEARER,
    Place,
    document,
    http_server,
    over_http,
    over_stdio,
)
from tests.support.gateway import running_gateway
from tests.support.tokens import new_token, token_line

PAGE = ROOT / "docs" / "mcp.md"
CONFIGURATIONS = [json.loads(block) for block in blocks(PAGE, "json")]


def server_of(configuration: dict[str, Any]) -> dict[str, Any]:
    (servers,) = configuration.values()
    server: dict[str, Any] = servers["jetkv"]
    return server


@pytest.fixture
def place(tmp_path: Path, nats: LocalNats) -> Iterator[Place]:
    """A gateway whose file of tokens has the token that the page creates."""
    (scope,) = re.findall(r"--allow '([^']+)'", PAGE.read_text())
    everything, assistant = new_token(), new_token()
    lines = [token_line("admin", everything), token_line("assistant", assistant, scope)]
    (tmp_path / "tokens").write_text("\n".join(lines) + "\n")
    (tmp_path / "assistant.token").write_text(assistant)
    (tmp_path / "assistant.token").chmod(0o600)
    with running_gateway(
        nats.url,
        auth="tokens",
        auth_tokens=tmp_path / "tokens",
        bucket_prefix="docs_mcp_",
        buckets=["config", "hidden"],
    ) as http:
        yield Place(http, everything, assistant)


async def sees_its_bucket(client: Any) -> None:
    buckets = document(await client.call_tool("kv_list_buckets", {}))["buckets"]
    assert [one["name"] for one in buckets] == ["config"]


@pytest.mark.parametrize(
    "configuration", [one for one in CONFIGURATIONS if "command" in server_of(one)]
)
async def test_a_host_starts_a_server_as_the_page_says(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, configuration: dict[str, Any]
) -> None:
    monkeypatch.chdir(tmp_path)
    server = server_of(configuration)
    assert server["command"] == "jetkv"
    assert server["env"] == {"JETKV_URL": "http://localhost:9123"}
    command, *arguments = server["args"]
    assert command == "mcp"
    async with over_stdio({"JETKV_URL": place.http.url}, *arguments) as client:
        await sees_its_bucket(client)


async def test_a_host_reaches_a_server_as_the_page_says(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (configuration,) = [one for one in CONFIGURATIONS if "url" in server_of(one)]
    server = server_of(configuration)
    (line,) = re.findall(r"^jetkv mcp (.*)$", PAGE.read_text(), re.MULTILINE)
    arguments = line.split()
    assert f":{arguments[arguments.index('--port') + 1]}/mcp" in server["url"]
    arguments[arguments.index("--port") + 1] = "0"
    scheme, _, variable = server["headers"]["Authorization"].partition(" ")
    assert (scheme, variable) == ("Bearer", "${JETKV_MCP_BEARER_TOKEN}")
    with http_server(tmp_path, {"JETKV_URL": place.http.url}, *arguments) as url:
        async with over_http(url, token=BEARER) as client:
            await sees_its_bucket(client)
