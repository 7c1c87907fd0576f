"""Which handshakes of a watch are accepted (docs/watch.md#websockets)."""

import asyncio

import pytest

from jetkv_gateway.embedded import NatsServer
from tests.support.gateway import running_gateway
from tests.support.handshakes import assert_refused, bearer, handshake, offering, without
from tests.support.http import BUCKETS, Bucket, Http
from tests.support.raw import Wire
from tests.support.waiting import until
from tests.support.watching import UPGRADE, updates, watch_path, watching


@pytest.mark.parametrize("name", ["a.b", "a%20b", "%C3%A4", "a%2Fb", "%2A", "x" * 201, "a%0D"])
def test_a_bad_bucket_name_is_400_before_the_upgrade(http: Http, name: str) -> None:
    answer = handshake(http, name)
    assert_refused(answer, 400, "invalid_argument")
    assert answer.error == "invalid bucket name"


@pytest.mark.parametrize(
    "key",
    ["a%3Eb", "%3E.a", "a%3E", "*%3E", "a.%3E.b", "a%0Ab", "a%00", "a%7F", "x" * 513, "%FF"],
)
def test_a_bad_filter_is_400_before_the_upgrade(bucket: Bucket, key: str) -> None:
    for query in (f"?key={key}", f"?key=fine&key={key}"):
        assert_refused(handshake(bucket.http, bucket.name, query), 400, "invalid_argument")


def test_a_filter_may_have_512_bytes(bucket: Bucket) -> None:
    assert handshake(bucket.http, bucket.name, f"?key={'x' * 512}").status == 101


def test_sixty_four_filters_are_allowed_and_no_more(bucket: Bucket) -> None:
    filters = [f"key=k{number}" for number in range(65)]
    assert handshake(bucket.http, bucket.name, f"?{'&'.join(filters[:64])}").status == 101
    answer = handshake(bucket.http, bucket.name, f"?{'&'.join(filters)}")
    assert_refused(answer, 400, "invalid_argument")
    assert "'key'" in answer.error


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("?snapshoot=true", "snapshoot"),
        ("?x", "x"),
        ("?filter=a", "filter"),
        ("?Key=a", "Key"),
        ("?env=a&env=b", "env"),
        ("?snapshot=true&snapshot=true", "snapshot"),
        ("?resume_after=1&resume_after=2", "resume_after"),
    ],
)
def test_a_parameter_that_is_unknown_or_given_twice_is_400_and_named(
    bucket: Bucket, query: str, named: str
) -> None:
    answer = handshake(bucket.http, bucket.name, query)
    assert_refused(answer, 400, "invalid_argument")
    assert f"'{named}'" in answer.error


@pytest.mark.parametrize(
    "value",
    ["", "-1", "1.5", "%C2%B2", "%D9%A3", "9" * 20, "abc", "0x1", "%2B1", "1%20", "%201", "1_0"],
)
def test_resume_after_takes_nothing_but_a_revision(bucket: Bucket, value: str) -> None:
    answer = handshake(bucket.http, bucket.name, f"?resume_after={value}")
    assert_refused(answer, 400, "invalid_argument")
    assert "'resume_after'" in answer.error


async def test_the_largest_number_is_a_revision_in_the_future(bucket: Bucket) -> None:
    async with watching(bucket.http, bucket.name, f"?resume_after={'9' * 19}") as watcher:
        frames, code = await watcher.closed()
    assert ([frame["code"] for frame in frames], code) == (["resync"], 4409)


def test_a_snapshot_and_a_resume_at_once_are_400(bucket: Bucket) -> None:
    answer = handshake(bucket.http, bucket.name, "?snapshot=true&resume_after=1")
    assert_refused(answer, 400, "invalid_argument")
    assert handshake(bucket.http, bucket.name, "?snapshot=false&resume_after=0").status == 101


@pytest.mark.parametrize("flag", ["snapshot", "ignore_deletes", "meta_only"])
@pytest.mark.parametrize("value", ["", "1", "yes", "True", "TRUE", "on"])
def test_a_flag_takes_true_and_false_only(bucket: Bucket, flag: str, value: str) -> None:
    answer = handshake(bucket.http, bucket.name, f"?{flag}={value}")
    assert_refused(answer, 400, "invalid_argument")
    assert f"'{flag}'" in answer.error


def test_a_refused_handshake_keeps_the_callers_request_id(bucket: Bucket) -> None:
    answer = handshake(bucket.http, bucket.name, "?x=1", "X-Request-Id: mine")
    assert_refused(answer, 400, "invalid_argument")
    assert answer.json["request_id"] == "mine"


def test_a_handshake_that_succeeds_has_a_request_id_too(bucket: Bucket) -> None:
    answer = handshake(bucket.http, bucket.name, "", "X-Request-Id: mine")
    assert (answer.status, answer.headers["x-request-id"]) == (101, "mine")


def test_a_url_of_more_than_8000_bytes_is_400(bucket: Bucket) -> None:
    answer = handshake(bucket.http, bucket.name, f"?env={'x' * 8000}")
    assert_refused(answer, 400, "invalid_argument")
    assert "8,000 bytes" in answer.error


def test_a_url_of_almost_8000_bytes_is_fine(bucket: Bucket) -> None:
    assert handshake(bucket.http, bucket.name, f"?env={'x' * 7800}").status == 101


@pytest.mark.parametrize("base", ["", "/json"])
def test_a_plain_get_is_told_to_upgrade(bucket: Bucket, base: str) -> None:
    answer = bucket.http.get(base + watch_path(bucket.name))
    assert_refused(answer, 426, "invalid_argument")
    assert answer.headers["upgrade"] == "websocket"
    assert "text/event-stream" in answer.json["hint"]


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/health",
        BUCKETS,
        f"{BUCKETS}/{{bucket}}",
        f"{BUCKETS}/{{bucket}}/keys",
        f"{BUCKETS}/{{bucket}}/keys/watch",
        f"{BUCKETS}/{{bucket}}/watch/",
        f"{BUCKETS}/{{bucket}}/watch/k",
        f"{BUCKETS}//watch",
    ],
)
def test_a_websocket_on_another_route_is_404(bucket: Bucket, path: str) -> None:
    with Wire(bucket.http) as wire:
        answer = wire.request("GET", path.replace("{bucket}", bucket.name), *UPGRADE)
    assert_refused(answer, 404, "not_found")


@pytest.mark.parametrize(
    "upgrade",
    [
        without("Sec-WebSocket-Key"),
        (*without("Sec-WebSocket-Key"), "Sec-WebSocket-Key: abc"),
        (*without("Sec-WebSocket-Key"), "Sec-WebSocket-Key: not base64 at all!"),
        (*without("Sec-WebSocket-Key"), "Sec-WebSocket-Key: dG9vIHNob3J0"),
        without("Sec-WebSocket-Version"),
        (*without("Sec-WebSocket-Version"), "Sec-WebSocket-Version: 12"),
    ],
    ids=["no key", "cut key", "no base64", "short key", "no version", "version 12"],
)
def test_a_broken_handshake_is_400_with_a_json_body(
    bucket: Bucket, upgrade: tuple[str, ...]
) -> None:
    answer = handshake(bucket.http, bucket.name, upgrade=upgrade)
    assert_refused(answer, 400, "invalid_argument")
    assert answer.error.startswith("invalid WebSocket handshake: ")


def test_a_client_of_another_version_is_told_which_one_is_spoken_here(bucket: Bucket) -> None:
    # RFC 6455, 4.2.2: whatever the status, the answer has to say so.
    upgrade = (*without("Sec-WebSocket-Version"), "Sec-WebSocket-Version: 12")
    answer = handshake(bucket.http, bucket.name, upgrade=upgrade)
    assert answer.headers.get("sec-websocket-version") == "13"


@pytest.mark.parametrize(
    "lines",
    [
        [f"X-Header: {'h' * 9000}"],
        [f"X-Header-{number}: 1" for number in range(130)],
        ["Content-Length: 5"],
        ["Transfer-Encoding: chunked"],
    ],
    ids=["a long header", "many headers", "a body", "a chunked body"],
)
def test_a_handshake_that_cannot_be_read_is_answered_and_closed(
    bucket: Bucket, lines: list[str]
) -> None:
    with Wire(bucket.http, timeout=3) as wire:
        answer = wire.request("GET", watch_path(bucket.name), *UPGRADE, *lines)
        assert 400 <= answer.status < 500
        assert_refused(answer, answer.status, "invalid_argument")
        assert wire.is_closed()


async def test_a_long_cookie_does_no_harm(bucket: Bucket) -> None:
    # Cookies of all ports of localhost come along.
    headers = {"Cookie": "c" * 9000}
    async with watching(bucket.http, bucket.name, additional_headers=headers) as watcher:
        await asyncio.to_thread(bucket.put, "k", "v")
        assert (await watcher.next())["key"] == "k"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_a_handshake_by_another_method_is_refused_with_a_json_body(
    bucket: Bucket, method: str
) -> None:
    with Wire(bucket.http) as wire:
        answer = wire.request(method, watch_path(bucket.name), *UPGRADE, "Content-Length: 0")
    assert answer.status in (400, 405)
    assert_refused(answer, answer.status, "invalid_argument")


def test_a_handshake_without_connection_upgrade_is_a_plain_get(bucket: Bucket) -> None:
    answer = handshake(bucket.http, bucket.name, upgrade=without("Connection"))
    assert_refused(answer, 426, "invalid_argument")


@pytest.mark.parametrize(
    "offered",
    [
        ("ironflow.v1",),
        ("ironflow.v1", bearer("any")),
        (bearer("any"), "ironflow.v1"),
        ("other", "ironflow.v1", "ironflow.v2"),
    ],
)
def test_ironflow_v1_is_selected_whenever_it_is_offered(
    bucket: Bucket, offered: tuple[str, ...]
) -> None:
    answer = handshake(bucket.http, bucket.name, "", offering(*offered))
    assert (answer.status, answer.headers["sec-websocket-protocol"]) == (101, "ironflow.v1")


def test_it_is_selected_from_a_second_header_line_too(bucket: Bucket) -> None:
    lines = [offering(bearer("any")), offering("ironflow.v1")]
    answer = handshake(bucket.http, bucket.name, "", *lines)
    assert (answer.status, answer.headers["sec-websocket-protocol"]) == (101, "ironflow.v1")


@pytest.mark.parametrize(
    "offered", [(), ("other",), ("IRONFLOW.V1",), (bearer("any"),), ("ironflow.v2", "other")]
)
def test_nothing_else_is_ever_selected(bucket: Bucket, offered: tuple[str, ...]) -> None:
    lines = [offering(*offered)] if offered else []
    answer = handshake(bucket.http, bucket.name, "", *lines)
    assert answer.status == 101
    assert "sec-websocket-protocol" not in answer.headers


@pytest.mark.parametrize("offered", [["ironflow.v1", bearer("any")], ["other"], None])
async def test_the_watch_works_whatever_was_offered(
    bucket: Bucket, offered: list[str] | None
) -> None:
    async with watching(bucket.http, bucket.name, subprotocols=offered) as watcher:
        await asyncio.to_thread(bucket.put, "k", "v")
        assert updates([await watcher.next()]) == [("k", "put", 1)]


@pytest.mark.parametrize("query", ["", "?snapshot=true", "?resume_after=0"])
def test_while_nats_is_down_a_handshake_is_503(own_nats: NatsServer, query: str) -> None:
    own_nats.start()
    with running_gateway(own_nats.url, buckets="b") as http:
        assert handshake(http, "b", query).status == 101
        own_nats.stop()
        until(lambda: http.get("/ready").status == 503, "the gateway notices")
        answer = handshake(http, "b", query)
    assert_refused(answer, 503, "unavailable")
    assert answer.headers["retry-after"] == "1"
    assert answer.json["retryable"] is True
