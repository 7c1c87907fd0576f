"""An answer written at once and one sent as ASGI says are the same."""

import asyncio
from collections.abc import Iterator

import pytest

from jetkv_gateway.embedded import NatsServer
from tests.support.gateway import running_gateway
from tests.support.http import Answer, Bucket, Http
from tests.support.watching import streaming, watching


@pytest.fixture(scope="module", params=["h11", "httptools"])
def plain(nats: NatsServer, request: pytest.FixtureRequest) -> Iterator[Http]:
    """A gateway on one of uvicorn's own implementations of HTTP."""
    with running_gateway(nats.url, protocol=request.param) as http:
        yield http


def comparable(answer: Answer) -> tuple[int, dict[str, str], bytes]:
    headers = {k: v for k, v in answer.headers.items() if k not in ("date", "server")}
    return answer.status, headers, answer.body


@pytest.mark.parametrize(
    ("method", "query", "headers"),
    [
        ("GET", "", {}),
        ("GET", "?values=json", {}),
        ("GET", "?values=raw", {}),
        ("HEAD", "", {}),
        ("GET", "", {"If_None_Match": '"1"'}),
        ("GET", "", {"If_Match": "2"}),
        ("GET", "?nonsense=1", {}),
        ("DELETE", "?purge=maybe", {}),
    ],
)
def test_answers_are_the_same_with_every_protocol(
    http: Http, plain: Http, bucket: Bucket, method: str, query: str, headers: dict[str, str]
) -> None:
    bucket.put("k", b'{"n":1}', Content_Type="application/json")
    path = bucket.key("k") + query
    headers = {**headers, "X_Request_Id": "same"}
    assert comparable(plain.request(method, path, **headers)) == comparable(
        http.request(method, path, **headers)
    )


def test_writes_are_answered_with_every_protocol(plain: Http, bucket: Bucket) -> None:
    elsewhere = Bucket(plain, bucket.name)
    answer = elsewhere.put("k", b"x" * 100_000)
    assert (answer.json, answer.headers["etag"]) == ({"revision": 1}, '"1"')
    assert elsewhere.get("k").value == b"x" * 100_000
    assert elsewhere.delete("k").status == 204
    assert elsewhere.get("k").status == 404


async def test_a_watch_says_the_same_with_every_protocol(
    http: Http, plain: Http, bucket: Bucket
) -> None:
    await asyncio.to_thread(bucket.put, "user:1", "before")
    query = "?snapshot=true"
    async with (
        watching(http, bucket.name, query) as ours,
        watching(plain, bucket.name, query) as other,
    ):
        texts = [await ours.text() for _ in range(2)]
        assert texts == [await other.text() for _ in range(2)]
        await asyncio.to_thread(bucket.put, "user:2", "after")
        assert await ours.text() == await other.text()
        await asyncio.to_thread(http.delete, bucket.path)
        assert await ours.closed() == await other.closed()


async def test_an_event_stream_says_the_same_with_every_protocol(
    http: Http, plain: Http, bucket: Bucket
) -> None:
    await asyncio.to_thread(bucket.put, "user:1", "before")
    query = "?snapshot=true"
    async with (
        streaming(http, bucket.name, query) as ours,
        streaming(plain, bucket.name, query) as other,
    ):
        assert await ours.take(2) == await other.take(2)


async def test_an_unknown_bucket_is_said_after_the_upgrade_with_every_protocol(
    plain: Http, bucket_name: str
) -> None:
    async with watching(plain, bucket_name) as watcher:
        frames, code = await watcher.closed()
    assert [frame["message"] for frame in frames] == ["bucket not found"]
    assert code == 4404


def test_a_page_allowed_by_cors_sees_its_headers_on_a_key(nats: NatsServer, bucket: Bucket) -> None:
    with running_gateway(nats.url, cors_origins=["https://app.example"]) as http:
        answer = Bucket(http, bucket.name).put("k", "v", Origin="https://app.example")
    assert answer.headers["access-control-allow-origin"] == "https://app.example"
    assert answer.headers["x-request-id"]
