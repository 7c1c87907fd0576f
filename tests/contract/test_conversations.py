"""Clients that wait for 100, stop sending, or send several requests at once."""

import pytest

from jetkv.testing import LocalNats
from tests.support.gateway import running_gateway
from tests.support.http import BUCKETS, Bucket, Http
from tests.support.raw import Wire

# --- Expect (RFC 9110 §10.1.1)


def test_a_client_that_waits_for_100_gets_one_and_then_the_answer(bucket: Bucket) -> None:
    with Wire(bucket.http) as wire:
        wire.head("PUT", bucket.key("k"), "Content-Length: 5", "Expect: 100-continue")
        assert wire.answer().status == 100
        wire.send(b"val")
        wire.send(b"ue")
        assert wire.answer().json == {"revision": 1}
        wire.head("PUT", bucket.key("k"), "Transfer-Encoding: chunked", "Expect: 100-continue")
        assert wire.answer().status == 100
        wire.chunk(b"other")
        wire.chunk(b"")
        assert wire.answer().json == {"revision": 2}


@pytest.mark.parametrize(
    ("method", "path", "line", "status"),
    [
        ("PUT", "/nope", "", 404),
        ("PATCH", "{key}", "", 405),
        ("PUT", f"{BUCKETS}/b.b/keys/k", "", 400),
        ("PUT", "{key}?nonsense=1", "", 400),
        ("PUT", "{key}", "Origin: https://evil.example", 403),
        ("PUT", "{key}", "Expect: a-miracle", 417),
        ("PUT", "{key}", "Transfer-Encoding: gzip, chunked", 501),
        ("PUT", "{key}", "Content-Length: 5", 400),
    ],
)
def test_a_client_that_waits_for_100_and_is_refused_gets_the_refusal_alone(
    bucket: Bucket, method: str, path: str, line: str, status: int
) -> None:
    lines = [line] if line else []
    if not line.startswith("Transfer-Encoding"):
        lines.append("Content-Length: 5")
    with Wire(bucket.http) as wire:
        wire.head(method, path.format(key=bucket.key("k")), *lines, "Expect: 100-continue")
        answer = wire.answer()
        assert (answer.status, answer.headers["connection"]) == (status, "close")
        assert wire.is_closed(), "nobody knows whether the body comes"
    assert bucket.keys() == []


@pytest.mark.parametrize("method", ["GET", "DELETE", "OPTIONS"])
def test_there_is_no_100_where_there_is_no_body(bucket: Bucket, method: str) -> None:
    with Wire(bucket.http) as wire:
        answer = wire.request(method, bucket.key("k"), "Expect: 100-continue")
        assert answer.status in (204, 404)


def test_a_client_of_1_0_gets_no_100(bucket: Bucket) -> None:
    with Wire(bucket.http) as wire:
        lines = ["Host: localhost", "Expect: 100-continue", "Content-Length: 1", "", ""]
        wire.send("\r\n".join([f"PUT {bucket.key('k')} HTTP/1.0", *lines]).encode())
        wire.send(b"v")
        assert wire.answer().status == 200


# --- what belongs to nobody


def test_a_trailer_is_no_header(bucket: Bucket) -> None:
    with Wire(bucket.http) as wire:
        wire.head("PUT", bucket.key("k"), "Transfer-Encoding: chunked", "Trailer: Content-Type")
        wire.chunk(b"value")
        wire.send(b"0\r\nContent-Type: text/x\r\nX-Request-Id: other\r\n\r\n")
        assert wire.answer().headers["x-request-id"] != "other"
        raw = wire.request("GET", bucket.key("k"), "Accept: application/octet-stream")
    assert (raw.body, raw.headers["content-type"]) == (b"value", "application/octet-stream")


def test_h11_ignores_an_offer_too(nats: LocalNats, bucket: Bucket) -> None:
    with running_gateway(nats.url, protocol="h11") as http:
        elsewhere = Bucket(http, bucket.name)
        answer = elsewhere.put("k", "value", Connection="Upgrade", Upgrade="h2c")
    assert (answer.status, bucket.get("k").value) == (200, b"value")


# --- a client that stops sending


def test_a_client_that_stops_sending_gets_its_answers(bucket: Bucket) -> None:
    with Wire(bucket.http) as wire:
        for number in range(5):
            wire.head("PUT", bucket.key("k"), "Content-Length: 1")
            wire.send(b"%d" % number)
        wire.head("GET", f"{bucket.path}/keys")
        wire.end_of_sending()
        assert [wire.answer().json["revision"] for _ in range(5)] == [1, 2, 3, 4, 5]
        last = wire.answer()
        assert (last.json["keys"], last.headers["connection"]) == (["k"], "close")
        assert wire.is_closed()


def test_what_was_whole_before_a_request_broke_off_is_answered(bucket: Bucket) -> None:
    with Wire(bucket.http) as wire:
        wire.head("PUT", bucket.key("whole"), "Content-Length: 1")
        wire.send(b"v")
        wire.head("PUT", bucket.key("broken"), "Content-Length: 9")
        wire.send(b"half")
        wire.end_of_sending()
        assert wire.answer().json == {"revision": 1}
        assert wire.is_closed()
    assert bucket.keys() == ["whole"]


def test_a_whole_request_is_answered_and_then_the_connection_ends(bucket: Bucket) -> None:
    with Wire(bucket.http) as wire:
        wire.head("PUT", bucket.key("k"), "Content-Length: 5")
        wire.send(b"value")
        wire.end_of_sending()
        answer = wire.answer()
        assert answer.json == {"revision": 1}
        # Its end may have come a moment later than the request.
        assert answer.headers.get("connection", "close") == "close"
        assert wire.is_closed()


def test_a_refused_request_is_answered_too(bucket: Bucket) -> None:
    with Wire(bucket.http) as wire:
        wire.head("GET", "/nope")
        wire.end_of_sending()
        assert wire.answer().status == 404
        assert wire.is_closed()


@pytest.mark.parametrize(
    "start",
    [
        b"",
        b"PUT",
        b"PUT /api HTTP/1.1",
        b"PUT /api HTTP/1.1\r\nHost: localhost\r\n",
        b"PUT /api HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r",
        b"\r\n",
    ],
)
def test_half_a_head_is_nobodys_request(http: Http, start: bytes) -> None:
    with Wire(http) as wire:
        wire.send(start)
        wire.end_of_sending()
        assert wire.is_closed()


def test_half_a_head_behind_whole_requests_takes_no_answer_from_them(bucket: Bucket) -> None:
    with Wire(bucket.http) as wire:
        wire.head("PUT", bucket.key("k"), "Content-Length: 5")
        wire.send(b"value")
        wire.head("GET", "/health")
        wire.send(b"PUT /half HTTP/1.1\r\nHo")
        wire.end_of_sending()
        assert wire.answer().json == {"revision": 1}
        assert wire.answer().json["status"] == "ok"
        assert wire.is_closed()


# --- what can be no request is refused before its end


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", 400, id="TLS"),
        pytest.param(b"\x00", 400, id="a NUL"),
        pytest.param(b"GET /" + b"a" * 65_536, 414, id="a URL"),
        pytest.param(b"GET / HTTP/1.1\r\nX: " + b"a" * 65_536, 431, id="a line"),
        pytest.param(b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 10_923, 431, id="lines"),
    ],
)
def test_a_head_that_cannot_come_to_anything_is_refused_at_once(
    http: Http, sent: bytes, status: int
) -> None:
    with Wire(http) as wire:
        wire.send(sent)
        answer = wire.answer()
        assert (answer.status, answer.headers["connection"]) == (status, "close")
        assert wire.is_closed()


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        pytest.param(b"5 5\r\n", 400, id="a size"),
        pytest.param(b"zz\r\n", 400, id="no size"),
        pytest.param(b"5;" + b"a" * 65_536, 400, id="an extension"),
        pytest.param(b"5\r\nvalueX\r\n", 400, id="data over the size"),
        pytest.param(b"0\r\nX: " + b"a" * 65_536, 400, id="a trailer"),
        pytest.param(b"0\r\n" + b"X: y\r\n" * 10_923, 400, id="trailers"),
    ],
)
def test_a_body_that_cannot_come_to_anything_is_refused_at_once(
    bucket: Bucket, sent: bytes, status: int
) -> None:
    with Wire(bucket.http) as wire:
        wire.head("PUT", bucket.key("k"), "Transfer-Encoding: chunked")
        wire.send(sent)
        answer = wire.answer()
        assert (answer.status, answer.headers["connection"]) == (status, "close")
        assert wire.is_closed()
    assert bucket.keys() == []


def test_a_refused_request_whose_body_breaks_gets_no_second_answer(http: Http) -> None:
    with Wire(http) as wire:
        wire.head("PUT", "/nope", "Transfer-Encoding: chunked")
        wire.send(b"nonsense\r\n\r\n")
        assert wire.answer().status in (400, 404)
        assert wire.is_closed()


# --- order


def test_answers_come_in_the_order_of_the_requests(bucket: Bucket) -> None:
    for number in range(50):
        bucket.put(f"key-{number}", "v" * 1000)
    asked = [
        ("GET", f"{bucket.path}/keys"),
        ("GET", bucket.key("key-1")),
        ("GET", f"{bucket.path}/history/key-2"),
        ("GET", "/nope"),
        ("PUT", bucket.key("new")),
        ("GET", "/health"),
        ("OPTIONS", bucket.key("new")),
        ("DELETE", bucket.key("new")),
        ("GET", bucket.key("new")),
    ] * 5
    with Wire(bucket.http) as wire:
        for number, (method, path) in enumerate(asked):
            wire.head(method, path, f"X-Request-Id: {number}")
        answers = [wire.answer() for _ in asked]
    assert [answer.headers["x-request-id"] for answer in answers] == [
        str(number) for number in range(len(asked))
    ]
    assert [answer.status for answer in answers] == [
        200, 200, 200, 404, 200, 200, 204, 204, 404,
    ] * 5  # fmt: skip


# --- HTTP/1.0


def test_a_long_history_over_1_0_has_no_chunks_and_ends_with_the_connection(make_bucket) -> None:
    bucket = make_bucket(history=3)
    for _ in range(3):
        bucket.put("k", b"x" * 300_000)
    whole = bucket.history("k")
    with Wire(bucket.http) as wire:
        wire.send(f"GET {bucket.path}/history/k HTTP/1.0\r\n\r\n".encode())
        answer = wire.answer(with_body=False)
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert "transfer-encoding" not in answer.headers
        assert wire.rest() == whole.body


def test_a_stream_over_1_0_has_no_chunks(bucket: Bucket) -> None:
    bucket.put("k", "v")
    with Wire(bucket.http) as wire:
        path = f"{bucket.path}/watch?snapshot=true"
        wire.send(f"GET {path} HTTP/1.0\r\nAccept: text/event-stream\r\n\r\n".encode())
        answer = wire.answer(with_body=False)
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert "transfer-encoding" not in answer.headers
        assert wire.line().startswith(b"retry: ")
