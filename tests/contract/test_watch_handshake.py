"""Who gets a WebSocket, who is refused, what a client may send (docs/watch.md#websockets)."""

import asyncio
import base64
import logging
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

import pytest

from jetkv_gateway.embedded import NatsServer
from jetkv_gateway.http.auth import new_token, token_line
from jetkv_gateway.serving.rate_limit import RateLimit
from tests.support.gateway import running_gateway
from tests.support.http import BUCKETS, Answer, Bucket, Http
from tests.support.native import Native
from tests.support.raw import Wire
from tests.support.waiting import eventually, until
from tests.support.watching import UPGRADE, unread, updates, watch_path, watching

APP = "https://app.example"
EVIL = "https://evil.example"


def handshake(
    http: Http, bucket: str, query: str = "", *lines: str, upgrade: tuple[str, ...] = UPGRADE
) -> Answer:
    """The answer to a handshake; what is sent after a 101 is not read."""
    with Wire(http) as wire:
        return wire.request("GET", http.base + watch_path(bucket, query), *upgrade, *lines)


def without(name: str) -> tuple[str, ...]:
    return tuple(line for line in UPGRADE if not line.startswith(f"{name}:"))


def offering(*subprotocols: str) -> str:
    return f"Sec-WebSocket-Protocol: {', '.join(subprotocols)}"


def bearer(token: str) -> str:
    encoded = base64.urlsafe_b64encode(token.encode()).decode().rstrip("=")
    return f"ironflow.auth.bearer.{encoded}"


def assert_refused(answer: Answer, status: int, code: str) -> None:
    assert answer.status == status, answer
    assert answer.headers["content-type"] == "application/json"
    assert answer.json["code"] == code
    assert answer.headers["x-request-id"] == answer.json["request_id"]


# --- what is asked for


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


# --- the handshake itself


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


# --- subprotocols


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


# --- tokens


@dataclass
class Guarded:
    """A gateway that wants a token, and a token that opens it."""

    http: Http
    token: str


@pytest.fixture(scope="module")
def guarded(nats: NatsServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    token = new_token()
    file = tmp_path_factory.mktemp("watch-auth") / "tokens"
    file.write_text(token_line("alice", token) + "\n")
    with running_gateway(nats.url, auth="tokens", auth_tokens=file) as http:
        yield Guarded(http, token)


def test_a_token_in_the_authorization_header_opens(guarded: Guarded, bucket: Bucket) -> None:
    line = f"Authorization: Bearer {guarded.token}"
    assert handshake(guarded.http, bucket.name, "", line).status == 101


@pytest.mark.parametrize("token_first", [True, False])
def test_a_token_among_the_subprotocols_opens_and_is_not_echoed(
    guarded: Guarded, bucket: Bucket, token_first: bool
) -> None:
    offered = ["ironflow.v1", bearer(guarded.token)]
    line = offering(*(reversed(offered) if token_first else offered))
    answer = handshake(guarded.http, bucket.name, "", line)
    assert (answer.status, answer.headers["sec-websocket-protocol"]) == (101, "ironflow.v1")
    assert bearer(guarded.token) not in str(answer.headers)


def test_a_token_alone_among_the_subprotocols_opens(guarded: Guarded, bucket: Bucket) -> None:
    answer = handshake(guarded.http, bucket.name, "", offering(bearer(guarded.token)))
    assert answer.status == 101
    assert "sec-websocket-protocol" not in answer.headers


@pytest.mark.parametrize(
    "lines",
    [
        [],
        ["Authorization: Bearer nonsense"],
        ["Authorization: Basic nonsense"],
        [offering("ironflow.v1")],
        [offering("ironflow.v1", bearer("nonsense"))],
        [offering("ironflow.v1", "ironflow.auth.bearer.")],
        [offering("ironflow.v1", "ironflow.auth.bearer.no-base64-!!")],
        [offering("ironflow.v1", "ironflow.auth.bearer.x")],
        [offering("ironflow.v1", "ironflow.auth.bearer._w")],
    ],
)
def test_without_a_known_token_it_is_401_before_the_upgrade(
    guarded: Guarded, bucket: Bucket, lines: list[str]
) -> None:
    answer = handshake(guarded.http, bucket.name, "", *lines)
    assert_refused(answer, 401, "unauthenticated")
    assert answer.error == "authentication required"
    assert answer.headers["www-authenticate"] == "Bearer"


def test_a_bearer_subprotocol_that_is_the_bare_token_is_401(
    guarded: Guarded, bucket: Bucket
) -> None:
    line = offering("ironflow.v1", f"ironflow.auth.bearer.{guarded.token}")
    assert_refused(handshake(guarded.http, bucket.name, "", line), 401, "unauthenticated")


@pytest.mark.parametrize(("in_header", "status"), [("right", 101), ("wrong", 401)])
def test_a_header_wins_over_a_subprotocol(
    guarded: Guarded, bucket: Bucket, in_header: str, status: int
) -> None:
    tokens = {"right": guarded.token, "wrong": "nonsense"}
    other = tokens["wrong" if in_header == "right" else "right"]
    lines = [
        f"Authorization: Bearer {tokens[in_header]}",
        offering("ironflow.v1", bearer(other)),
    ]
    assert handshake(guarded.http, bucket.name, "", *lines).status == status


def test_who_may_not_come_in_learns_nothing_of_buckets_and_rules(guarded: Guarded) -> None:
    for name, query in (("no-such", ""), ("a.b", ""), ("no-such", "?x=1")):
        assert_refused(handshake(guarded.http, name, query), 401, "unauthenticated")


@pytest.mark.parametrize(
    "line",
    [
        "Authorization: Bearer nonsense",
        "Authorization: nonsense",
        offering("ironflow.auth.bearer.!!"),
        offering(bearer("nonsense")),
    ],
)
def test_with_auth_off_a_credential_is_ignored(bucket: Bucket, line: str) -> None:
    assert handshake(bucket.http, bucket.name, "", line).status == 101


def test_a_policy_that_says_no_is_403_before_the_upgrade(nats: NatsServer, bucket: Bucket) -> None:
    questions: list[tuple[str, str | None, str | None]] = []

    def nobody(principal, verb, bucket, key) -> bool:
        questions.append((verb.value, bucket, key))
        return False

    with running_gateway(nats.url, policy=nobody) as http:
        answer = handshake(http, bucket.name, "?key=secret")
    assert_refused(answer, 403, "permission_denied")
    assert answer.error == f"permission denied: watch in bucket {bucket.name}"
    assert questions == [("watch", bucket.name, None)]


# --- pages


@pytest.fixture(scope="module")
def open_to_app(nats: NatsServer) -> Iterator[Http]:
    with running_gateway(nats.url, cors_origins=[APP]) as http:
        yield http


@pytest.mark.parametrize("origin", [EVIL, "null", "", "http://localhost:5173", f"{APP}.evil"])
async def test_a_page_of_another_origin_is_403_and_nothing_is_opened(
    bucket: Bucket, native: Native, origin: str
) -> None:
    line = f"Origin: {origin}"
    answer = await asyncio.to_thread(handshake, bucket.http, bucket.name, "", line)
    assert_refused(answer, 403, "permission_denied")
    assert (await native.state(bucket.name))["consumer_count"] == 0


@pytest.mark.parametrize(
    "lines",
    [
        ("Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: websocket"),
        ("Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: websocket", f"Origin: {EVIL}"),
    ],
)
def test_a_page_of_another_site_is_403_before_the_upgrade(
    bucket: Bucket, lines: tuple[str, ...]
) -> None:
    assert_refused(handshake(bucket.http, bucket.name, "", *lines), 403, "permission_denied")


def test_a_page_whose_name_was_pointed_here_is_403_before_the_upgrade(bucket: Bucket) -> None:
    with Wire(bucket.http) as wire:
        head = [
            f"GET {watch_path(bucket.name)} HTTP/1.1",
            "Host: evil.example",
            "Origin: http://evil.example",
            *UPGRADE,
            "",
            "",
        ]
        wire.send("\r\n".join(head).encode())
        answer = wire.answer()
    assert_refused(answer, 403, "permission_denied")
    assert answer.error == "permission denied: host evil.example is not allowed"


def test_a_page_of_the_own_host_is_let_in(bucket: Bucket) -> None:
    http = bucket.http
    line = f"Origin: http://{http.host}:{http.port}"
    assert handshake(http, bucket.name, "", line).status == 101


def test_a_page_of_an_allowed_origin_is_let_in(open_to_app: Http, bucket: Bucket) -> None:
    assert handshake(open_to_app, bucket.name, "", f"Origin: {APP}").status == 101
    refused = handshake(open_to_app, bucket.name, "", f"Origin: {EVIL}")
    assert_refused(refused, 403, "permission_denied")


def test_on_loopback_only_a_loopback_name_will_do(nats: NatsServer, bucket: Bucket) -> None:
    with running_gateway(nats.url, loopback_host=True) as http, Wire(http) as wire:
        assert handshake(http, bucket.name).status == 101
        head = [f"GET {watch_path(bucket.name)} HTTP/1.1", "Host: evil.example", *UPGRADE, "", ""]
        wire.send("\r\n".join(head).encode())
        assert_refused(wire.answer(), 403, "permission_denied")


# --- what a client sends


@pytest.fixture
def errors_logged(http: Http) -> Iterator[list[logging.LogRecord]]:
    """What is logged as an error while the test runs; the gateway runs in this process."""
    records: list[logging.LogRecord] = []
    handler = logging.Handler(logging.ERROR)
    handler.emit = records.append  # type: ignore[method-assign]
    loggers = [logging.getLogger(name) for name in (None, "jetkv", "uvicorn")]
    for logger in loggers:
        logger.addHandler(handler)
    yield records
    for logger in loggers:
        logger.removeHandler(handler)


async def test_texts_and_bytes_of_a_client_are_ignored(bucket: Bucket) -> None:
    async with watching(bucket.http, bucket.name) as watcher:
        for message in ("hello", b"\xff\x00", '{"type":"subscribe"}', "", b"", "x" * 4096):
            await watcher.connection.send(message)
        await watcher.connection.send(["in ", "three ", "parts ä"])
        await (await watcher.connection.ping())
        await asyncio.to_thread(bucket.put, "k", "v")
        assert updates([await watcher.next()]) == [("k", "put", 1)]


async def test_a_clients_ping_is_answered(bucket: Bucket) -> None:
    async with watching(bucket.http, bucket.name) as watcher, asyncio.timeout(10):
        await (await watcher.connection.ping(b"there?"))


@pytest.mark.parametrize("message", ["x" * 4097, b"x" * 4097, ["x" * 2048, "x" * 2048, "x"]])
async def test_a_message_over_4096_bytes_closes_with_1009(bucket: Bucket, message) -> None:
    async with watching(bucket.http, bucket.name) as watcher:
        await watcher.connection.send(message)
        assert await watcher.closed() == ([], 1009)


@pytest.mark.parametrize("message", [b"\xff", [b"fine \xc3", b"\x28"], b"cut off \xc3"])
async def test_a_text_that_is_not_utf8_closes_with_1007_and_is_no_error_of_ours(
    bucket: Bucket, errors_logged: list[logging.LogRecord], message
) -> None:
    async with watching(bucket.http, bucket.name) as watcher:
        await watcher.connection.send(message, text=True)
        assert await watcher.closed() == ([], 1007)
    assert errors_logged == []


async def test_a_character_cut_in_two_by_fragments_is_fine(bucket: Bucket) -> None:
    async with watching(bucket.http, bucket.name) as watcher:
        await watcher.connection.send([b"\xc3", b"\xa4"], text=True)
        await asyncio.to_thread(bucket.put, "k", "v")
        assert updates([await watcher.next()]) == [("k", "put", 1)]


@pytest.mark.parametrize(
    "frame",
    [b"\x81\x01x", b"\xf1\x80\x00\x00\x00\x00", b"\x83\x80\x00\x00\x00\x00"],
    ids=["not masked", "reserved bits", "reserved opcode"],
)
async def test_a_broken_frame_ends_the_watch_and_is_no_error_of_ours(
    bucket: Bucket, errors_logged: list[logging.LogRecord], frame: bytes
) -> None:
    async with unread(bucket.http, bucket.name) as (reader, writer):
        writer.write(frame)
        async with asyncio.timeout(10):
            head = await reader.readexactly(4)
            writer.write_eof()
            await reader.read(-1)
        assert head[0] == 0x88, "a close frame"
        assert int.from_bytes(head[2:], "big") == 1002
    assert errors_logged == []


def test_what_is_sent_together_with_the_handshake_is_not_lost(bucket: Bucket) -> None:
    ping = b"\x89\x82\0\0\0\0hi"
    with Wire(bucket.http) as wire:
        head = [f"GET {watch_path(bucket.name)} HTTP/1.1", "Host: localhost", *UPGRADE, "", ""]
        wire.send("\r\n".join(head).encode() + ping)
        assert wire.answer().status == 101
        assert wire.read(4) == b"\x8a\x02hi"


async def test_a_client_that_sends_as_fast_as_it_can_is_ended_with_1008_and_others_are_served(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RateLimit, "PATIENCE_SECONDS", 0.0)

    async def send(writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while True:
                writer.write(b"\x81\x80\0\0\0\0" * 10_000)
                await writer.drain()

    async with (
        watching(bucket.http, bucket.name, "?key=k") as watcher,
        unread(bucket.http, bucket.name, "?key=other") as (reader, writer),
    ):
        sending = asyncio.create_task(send(writer))
        async with asyncio.timeout(20):
            for revision in range(1, 11):
                await asyncio.to_thread(bucket.put, "k", "v")
                assert updates([await watcher.next()]) == [("k", "put", revision)]
            first, size = await reader.readexactly(2)
            payload = await reader.readexactly(size)
            assert (first, payload[:2]) == (0x88, (1008).to_bytes(2, "big"))
        sending.cancel()


async def test_a_client_that_answers_no_ping_is_dropped_and_its_consumer_goes(
    nats: NatsServer, native: Native, bucket: Bucket
) -> None:
    with running_gateway(nats.url, watch_ping_seconds=0.2) as http:
        async with unread(http, bucket.name) as (reader, _), asyncio.timeout(10):
            assert (await native.state(bucket.name))["consumer_count"] == 1
            received = await reader.read(-1)
        assert received.startswith(b"\x89"), "a ping"

        async def no_consumer() -> bool:
            return (await native.state(bucket.name))["consumer_count"] == 0

        await eventually(no_consumer, "the consumer is gone", 5)


async def test_a_client_that_answers_pings_stays(nats: NatsServer, bucket: Bucket) -> None:
    with running_gateway(nats.url, watch_ping_seconds=0.5) as http:
        async with watching(http, bucket.name) as watcher:
            with pytest.raises(TimeoutError):
                await watcher.next(timeout=1.2)
            await asyncio.to_thread(bucket.put, "k", "v")
            assert updates([await watcher.next()]) == [("k", "put", 1)]


# --- NATS


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
