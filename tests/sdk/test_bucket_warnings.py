"""What a caller of the SDK sees of a bucket's warnings, of new gateways and old ones."""

import json

import pytest

from jetkv import BucketWarning, UnexpectedAnswerError
from tests.sdk.calls import INFO, ONCE
from tests.support.clients import MakeClient
from tests.support.http import Http
from tests.support.scripted import http as answer
from tests.support.scripted import scripted

DESCRIPTION = json.loads(INFO.partition(b"\r\n\r\n")[2])


async def test_a_bucket_shows_its_warnings(make: MakeClient, http: Http, make_bucket) -> None:
    name = make_bucket(storage="memory", ttl_seconds=30).name
    async with make(http.url) as client:
        info = await client.kv().bucket_info(name)
        (listed,) = [found for found in await client.kv().buckets() if found.name == name]
    # On nats-server 2.10, which has no expiry markers, a third one follows.
    assert [warning.code for warning in info.warnings][:2] == [
        "memory_storage",
        "short_duplicate_window",
    ]
    assert info.warnings[0].message.startswith("kept in memory only")
    assert listed.warnings == info.warnings
    assert "warnings" not in info.more


async def test_a_bucket_that_keeps_its_promises_has_no_warnings(
    make: MakeClient, http: Http, make_bucket
) -> None:
    async with make(http.url) as client:
        assert (await client.kv().bucket_info(make_bucket().name)).warnings == ()


async def test_an_older_gateway_names_no_warnings(make: MakeClient) -> None:
    with scripted(INFO) as server:
        async with make(server.url) as client:
            assert (await client.kv().bucket_info("b")).warnings == ()


async def test_a_warning_that_a_newer_gateway_has_is_shown(make: MakeClient) -> None:
    warnings = [{"code": "moon_phase", "message": "wait for the tide", "since": "2031"}]
    with scripted(answer(200, json.dumps(DESCRIPTION | {"warnings": warnings}))) as server:
        async with make(server.url) as client:
            info = await client.kv().bucket_info("b")
    assert info.warnings == (BucketWarning("moon_phase", "wait for the tide"),)


@pytest.mark.parametrize("warnings", [7, "text", [7], [{"code": "x"}]])
async def test_what_are_no_warnings_is_no_answer_of_a_gateway(
    make: MakeClient, warnings: object
) -> None:
    with scripted(answer(200, json.dumps(DESCRIPTION | {"warnings": warnings}))) as server:
        async with make(server.url, retry=ONCE) as client:
            with pytest.raises(UnexpectedAnswerError):
                await client.kv().bucket_info("b")
