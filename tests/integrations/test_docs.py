"""The examples of docs/integrations.md run, and do what the page says."""

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from jetkv import BucketNotFoundError, Client
from tests.support.http import Http

PAGE = (Path(__file__).parents[2] / "docs" / "integrations.md").read_text()
SECTIONS = {part.partition("\n")[0]: part for part in PAGE.split("\n## ")[1:]}


@pytest.fixture
def own_buckets(http: Http) -> Iterator[None]:
    """The buckets of the page, which are gone before a test and after it."""

    def remove() -> None:
        with Client(http.url) as client:
            for name in ("cache", "key-value", "mcp", "sessions"):
                with suppress(BucketNotFoundError):
                    client.kv().delete_bucket(name)

    remove()
    yield
    remove()


def run(section: str, url: str) -> dict[str, Any]:
    """Run all blocks of a section as one program; return its names."""
    blocks = re.findall(r"^```python\n(.*?)^```$", SECTIONS[section], re.MULTILINE | re.DOTALL)
    code = "\n".join(blocks).replace("http://localhost:9123", url)
    names: dict[str, Any] = {"__name__": section}
    exec(compile(code, f"docs/integrations.md#{section}", "exec"), names)
    return names


@pytest.mark.usefixtures("own_buckets")
def test_the_cache_of_cachelib_works_again_on_the_data_of_its_first_run(http: Http) -> None:
    run("cachelib", http.url)["cache"].close()
    run("cachelib", http.url)["cache"].close()


@pytest.mark.usefixtures("own_buckets")
def test_a_view_is_cached_by_flask_caching(http: Http, client: Client) -> None:
    app = run("Flask-Caching", http.url)["app"]
    assert app.test_client().get("/price/tea").json == {"cents": 300}
    bucket = client.kv().bucket("cache")
    (entry,) = bucket.entries(prefix="flask_cache_")
    assert entry.key == "flask_cache_view//price/tea"
    assert entry.value == {"cents": 300}
    bucket.put(entry.key, {"cents": 1})
    assert app.test_client().get("/price/tea").json == {"cents": 1}


@pytest.mark.usefixtures("own_buckets")
def test_a_session_of_flask_is_json_in_the_bucket(http: Http, client: Client) -> None:
    browser = run("Flask-Session", http.url)["app"].test_client()
    browser.post("/login/ada")
    assert browser.get("/me").text == "ada"
    (entry,) = client.kv().bucket("sessions").entries()
    assert entry.value == {"_permanent": True, "user": "ada"}
    assert entry.expires_at is not None
    assert (entry.expires_at - entry.created_at).days == 31


@pytest.mark.usefixtures("own_buckets")
def test_the_store_of_py_key_value_works_again_on_the_data_of_its_first_run(http: Http) -> None:
    run("py-key-value", http.url)
    run("py-key-value", http.url)


@pytest.mark.usefixtures("own_buckets")
async def test_fastmcp_keeps_its_answers_in_the_bucket(http: Http, client: Client) -> None:
    from fastmcp import Client as McpClient

    names = run("FastMCP", http.url)
    async with McpClient(names["mcp"]) as session:
        assert (await session.call_tool("forecast", {"city": "Bergen"})).data == {"celsius": 20.5}
    assert client.kv().bucket("mcp").keys("tools/")
    assert await names["auth"].get_client("nobody") is None
    await names["store"].close()
