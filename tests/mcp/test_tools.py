"""What the tools promise, and what they return, on a real gateway."""

import jsonschema
import pytest
from mcp.shared.exceptions import MCPError

from jetkv.mcp.feeds import MOST_KEYS
from tests.mcp.conftest import Connect, Place, document

READING = ["kv_list_buckets", "kv_list_keys", "kv_get"]


async def test_there_are_three_tools_that_read(connect: Connect) -> None:
    async with connect() as client:
        tools = (await client.list_tools()).tools
    assert [tool.name for tool in tools] == READING
    assert all(tool.annotations and tool.annotations.read_only_hint for tool in tools)


async def test_a_fourth_one_writes_where_that_is_allowed(connect: Connect) -> None:
    async with connect(allow_writes=True) as client:
        tools = (await client.list_tools()).tools
    assert [tool.name for tool in tools] == [*READING, "kv_put"]
    hints = tools[-1].annotations
    assert hints is not None
    assert (hints.read_only_hint, hints.destructive_hint, hints.idempotent_hint) == (
        False,
        True,
        True,
    )


async def test_each_tool_says_all_that_a_host_shows(connect: Connect) -> None:
    async with connect(allow_writes=True) as client:
        for tool in (await client.list_tools()).tools:
            assert tool.title
            assert tool.description
            assert tool.output_schema
            hints = tool.annotations
            assert hints is not None
            assert None not in (
                hints.read_only_hint,
                hints.destructive_hint,
                hints.idempotent_hint,
                hints.open_world_hint,
            )
            assert all(one["description"] for one in tool.input_schema["properties"].values())
            assert tool.input_schema["additionalProperties"] is False


async def test_a_prefix_gives_the_names_of_ironflow(connect: Connect) -> None:
    async with connect(prefix="ironflow_", allow_writes=True) as client:
        names = [tool.name for tool in (await client.list_tools()).tools]
        assert names == [f"ironflow_{name}" for name in (*READING, "kv_put")]
        found = document(
            await client.call_tool("ironflow_kv_get", {"bucket": "shop", "key": "greeting"})
        )
        assert found["value"] == "hello"
        with pytest.raises(MCPError, match="no tool"):
            await client.call_tool("kv_get", {"bucket": "shop", "key": "greeting"})


async def test_what_they_return_fits_what_they_say(connect: Connect) -> None:
    calls = {
        "kv_list_buckets": {},
        "kv_list_keys": {"bucket": "shop", "limit": 1},
        "kv_get": {"bucket": "shop", "key": "user.1"},
        "kv_put": {"bucket": "shop", "key": "user.2", "value": "{}"},
    }
    async with connect(allow_writes=True) as client:
        schemas = {tool.name: tool.output_schema for tool in (await client.list_tools()).tools}
        for name, arguments in calls.items():
            result = await client.call_tool(name, arguments)
            jsonschema.validate(document(result), schemas[name])


async def test_buckets_are_listed_in_pages(connect: Connect) -> None:
    async with connect() as client:
        first = document(await client.call_tool("kv_list_buckets", {"limit": 1}))
        assert [one["name"] for one in first["buckets"]] == ["other"]
        assert first["count"] == 1
        rest = document(await client.call_tool("kv_list_buckets", {"cursor": first["next_cursor"]}))
        assert [one["name"] for one in rest["buckets"]] == ["shop"]
        assert "next_cursor" not in rest


async def test_keys_are_listed_in_pages(connect: Connect) -> None:
    found: list[str] = []
    cursor = None
    async with connect() as client:
        while True:
            arguments = {"bucket": "shop", "limit": 2, "cursor": cursor}
            page = document(await client.call_tool("kv_list_keys", arguments))
            found += page["keys"]
            cursor = page.get("next_cursor")
            if cursor is None:
                break
    assert found == ["greeting", "secret", "user.1"]


async def test_keys_are_listed_by_a_filter(connect: Connect) -> None:
    async with connect() as client:
        page = document(
            await client.call_tool("kv_list_keys", {"bucket": "shop", "filter": "user.*"})
        )
    assert page == {"keys": ["user.1"], "count": 1}


async def test_a_page_has_at_most_a_thousand_keys(connect: Connect) -> None:
    async with connect() as client:
        result = await client.call_tool("kv_list_keys", {"bucket": "shop", "limit": 1001})
    assert result.is_error
    assert document(result)["code"] == "invalid_argument"


@pytest.mark.parametrize(
    ("stored", "content_type", "value", "encoding"),
    [
        (b'{"name":"Ada"}', "application/json", {"name": "Ada"}, "json"),
        (b"hello", "text/plain", "hello", "text"),
        (b"\xff\x00", "application/octet-stream", "/wA=", "base64"),
    ],
)
async def test_a_value_is_ready_to_use(
    connect: Connect, shop: Place, stored: bytes, content_type: str, value: object, encoding: str
) -> None:
    revision = shop.bucket.put("one", stored, Content_Type=content_type).json["revision"]
    async with connect() as client:
        found = document(await client.call_tool("kv_get", {"bucket": "shop", "key": "one"}))
    assert found["value"] == value
    assert found["encoding"] == encoding
    assert found["revision"] == revision
    assert found["operation"] == "put"


@pytest.mark.parametrize("stored", [b"x" * 101, b'"' + b"x" * 100 + b'"', b"\xff" * 101])
async def test_a_large_value_is_refused_and_not_cut(
    connect: Connect, shop: Place, stored: bytes
) -> None:
    shop.bucket.put("large", stored)
    shop.bucket.put("small", b"x" * 100)
    async with connect(max_value_bytes=100) as client:
        small = await client.call_tool("kv_get", {"bucket": "shop", "key": "small"})
        assert document(small)["value"] == "x" * 100
        result = await client.call_tool("kv_get", {"bucket": "shop", "key": "large"})
        with pytest.raises(MCPError, match="at most 100"):
            await client.read_resource("jetkv://buckets/shop/keys/large")
    assert result.is_error
    assert "at most 100" in document(result)["error"]


async def test_a_value_is_written_as_json_or_text(connect: Connect, shop: Place) -> None:
    async with connect(allow_writes=True) as client:
        for key, value in (("json", '{"a": 1}'), ("text", "not {json}")):
            arguments = {"bucket": "shop", "key": key, "value": value}
            put = document(await client.call_tool("kv_put", arguments))
            assert put["revision"] == int(shop.bucket.get(key).headers["etag"].strip('"'))
    types = [
        shop.bucket.get(key, "?values=raw").headers["content-type"] for key in ("json", "text")
    ]
    assert types == ["application/json", "text/plain; charset=utf-8"]
    assert shop.bucket.get("json").value == b'{"a": 1}'


async def test_a_write_with_a_revision_replaces_nothing_newer(
    connect: Connect, shop: Place
) -> None:
    async with connect(allow_writes=True) as client:
        arguments = {"bucket": "shop", "key": "greeting"}
        read = document(await client.call_tool("kv_get", arguments))
        shop.bucket.put("greeting", "newer")
        arguments |= {"value": "mine", "expected_revision": read["revision"]}
        result = await client.call_tool("kv_put", arguments)
    assert result.is_error
    failed = document(result)
    assert failed["code"] == "failed_precondition"
    assert "kv_get" in failed["hint"]
    assert shop.bucket.get("greeting").value == b"newer"


async def test_revision_0_creates_a_key_once(connect: Connect) -> None:
    arguments = {"bucket": "shop", "key": "new", "value": "1", "expected_revision": 0}
    async with connect(allow_writes=True) as client:
        assert not (await client.call_tool("kv_put", arguments)).is_error
        assert (await client.call_tool("kv_put", arguments)).is_error


async def test_a_server_that_reads_writes_nothing(connect: Connect, shop: Place) -> None:
    async with connect() as client:
        arguments = {"bucket": "shop", "key": "greeting", "value": "mine"}
        result = await client.call_tool("kv_put", arguments)
    assert result.is_error
    assert "--allow-writes" in document(result)["hint"]
    assert shop.bucket.get("greeting").value == b"hello"


async def test_the_scopes_of_the_token_hold(connect: Connect, shop: Place) -> None:
    async with connect(token=shop.reader, allow_writes=True) as client:
        keys = document(await client.call_tool("kv_list_keys", {"bucket": "shop"}))
        assert keys == {"keys": ["greeting", "user.1"], "count": 2, "filtered": True}
        buckets = document(await client.call_tool("kv_list_buckets", {}))["buckets"]
        assert [one["name"] for one in buckets] == ["shop"]
        for name, more in (("kv_get", {"key": "secret"}), ("kv_put", {"key": "x", "value": "1"})):
            result = await client.call_tool(name, {"bucket": "shop", **more})
            assert document(result)["code"] == "permission_denied"


@pytest.mark.parametrize(
    ("name", "arguments", "code", "words"),
    [
        ("kv_get", {"bucket": "shop", "key": "none"}, "not_found", "kv_list_keys"),
        ("kv_get", {"bucket": "none", "key": "k"}, "not_found", "kv_list_buckets"),
        ("kv_get", {"bucket": "shop"}, "invalid_argument", "key"),
        ("kv_get", {"bucket": "shop", "key": "a", "keys": "b"}, "invalid_argument", "keys"),
        ("kv_get", {"bucket": "a/b", "key": "a"}, "invalid_argument", "bucket"),
        ("kv_list_keys", {"bucket": "shop", "cursor": "x"}, "invalid_argument", "cursor"),
    ],
)
async def test_an_error_says_what_to_do(
    connect: Connect, name: str, arguments: dict[str, str], code: str, words: str
) -> None:
    async with connect() as client:
        result = await client.call_tool(name, arguments)
    failed = document(result)
    assert result.is_error
    assert failed["code"] == code
    assert failed["retryable"] is False
    assert words in f"{failed['error']} {failed.get('hint', '')}"


async def test_a_wrong_token_is_the_users_to_correct(connect: Connect, shop: Place) -> None:
    async with connect(token="jkv_wrong") as client:
        failed = document(await client.call_tool("kv_list_buckets", {}))
    assert failed["code"] == "unauthenticated"
    assert "user" in failed["hint"]
    assert "jkv_wrong" not in str(failed)


async def test_a_resource_is_the_value_as_it_is_stored(connect: Connect, shop: Place) -> None:
    shop.bucket.put("a/b c", b"\xff\x00", Content_Type="image/x")
    async with connect() as client:
        (text,) = (await client.read_resource("jetkv://buckets/shop/keys/user.1")).contents
        assert (text.text, text.mime_type) == ('{"name":"Ada"}', "application/json")
        for uri in ("jetkv://buckets/shop/keys/a/b%20c", "jetkv://buckets/shop/keys/a%2Fb%20c"):
            (blob,) = (await client.read_resource(uri)).contents
            assert (blob.blob, blob.mime_type, blob.uri) == ("/wA=", "image/x", uri)


async def test_buckets_are_resources_and_keys_a_template(connect: Connect) -> None:
    async with connect() as client:
        listed = (await client.list_resources()).resources
        assert [one.uri for one in listed] == ["jetkv://buckets/other", "jetkv://buckets/shop"]
        (described,) = (await client.read_resource(listed[1].uri)).contents
        assert '"name": "shop"' in described.text
        (template,) = (await client.list_resource_templates()).resource_templates
        assert template.uri_template == "jetkv://buckets/{bucket}/keys/{key}"


@pytest.mark.parametrize(
    "uri",
    ["jetkv://buckets/shop/keys/none", "jetkv://x", "file:///etc/passwd", "jetkv://buckets/none"],
)
async def test_a_resource_that_is_not_there_is_an_error(connect: Connect, uri: str) -> None:
    async with connect() as client:
        with pytest.raises(MCPError):
            await client.read_resource(uri)


async def test_at_most_so_many_keys_are_subscribed_to(connect: Connect) -> None:
    uris = [f"jetkv://buckets/shop/keys/k{n}" for n in range(MOST_KEYS + 1)]
    async with connect(mode="2026-07-28") as client:
        async with client.listen(resource_subscriptions=uris[:-1]):
            with pytest.raises(MCPError, match="at most"):
                async with client.listen(resource_subscriptions=uris[-1:]):
                    pass
        async with client.listen(resource_subscriptions=uris[-1:]):
            pass
