"""Bodies that are too large, cut off, or not HTTP (docs/http-api.md#what-http-it-speaks)."""

from threading import Thread

import pytest

from tests.support.http import BUCKETS, Bucket, Http
from tests.support.raw import Wire

SERVER_LIMIT = 1024 * 1024 - 1024
PIECE = b"x" * 64 * 1024


def send_pieces(wire: Wire, count: int, *, chunked: bool) -> None:
    for _ in range(count):
        if chunked:
            wire.chunk(PIECE)
        else:
            wire.send(PIECE)
    if chunked:
        wire.chunk(b"")


@pytest.mark.parametrize(
    ("framing", "chunked"),
    [("Content-Length: 20971520", False), ("Transfer-Encoding: chunked", True)],
)
def test_a_body_over_the_limit_is_413_and_the_connection_goes_on(
    bucket: Bucket, framing: str, chunked: bool
) -> None:
    with Wire(bucket.http) as wire:
        wire.head("PUT", bucket.key("k"), framing)
        sender = Thread(target=send_pieces, args=(wire, 320), kwargs={"chunked": chunked})
        sender.start()
        answer = wire.answer()
        sender.join(10)
        assert not sender.is_alive()
        assert (answer.status, answer.error) == (413, "value too large")
        assert answer.json["details"] == {"limit_bytes": SERVER_LIMIT}
        assert wire.request("GET", bucket.key("k")).error == "key not found"


@pytest.mark.parametrize(
    ("framing", "chunked"),
    [("Content-Length: 20971520", False), ("Transfer-Encoding: chunked", True)],
)
def test_a_client_that_wants_the_connection_closed_still_reads_its_413(
    bucket: Bucket, framing: str, chunked: bool
) -> None:
    with Wire(bucket.http) as wire:
        wire.head("PUT", bucket.key("k"), framing, "Connection: close")
        send_pieces(wire, 320, chunked=chunked)
        answer = wire.answer()
        assert (answer.status, answer.error) == (413, "value too large")
        assert wire.is_closed()


def test_a_client_that_waits_for_100_learns_of_the_413_before_it_sends(bucket: Bucket) -> None:
    with Wire(bucket.http) as wire:
        lines = ["Content-Length: 20971520", "Expect: 100-continue"]
        assert wire.request("PUT", bucket.key("k"), *lines).status == 413


def test_a_client_that_waits_for_100_gets_it(bucket: Bucket) -> None:
    with Wire(bucket.http) as wire:
        wire.head("PUT", bucket.key("k"), "Content-Length: 1", "Expect: 100-continue")
        assert wire.answer().status == 100
        wire.send(b"v")
        assert wire.answer().status == 200


@pytest.mark.parametrize("path", ["/nope", f"{BUCKETS}/no-such/keys/k", "/health"])
def test_a_body_that_nobody_wants_does_not_spoil_the_connection(http: Http, path: str) -> None:
    with Wire(http) as wire:
        wire.head("PUT", path, "Content-Length: 5000000")
        sender = Thread(target=wire.send, args=(b"x" * 5_000_000,))
        sender.start()
        assert wire.answer().status in (404, 405, 413)
        sender.join(10)
        assert wire.request("GET", "/health").status == 200


# --- broken off


@pytest.mark.parametrize(
    ("framing", "start"),
    [
        pytest.param("Content-Length: 100", b"only the start", id="of a known length"),
        pytest.param("Content-Length: 100", b"", id="before the first byte"),
        pytest.param("Content-Length: 900000", b"x" * 800_000, id="of many kilobytes"),
        pytest.param("Transfer-Encoding: chunked", b"5\r\nwhole\r\n", id="between chunks"),
        pytest.param("Transfer-Encoding: chunked", b"5\r\nwh", id="within a chunk"),
        pytest.param("Transfer-Encoding: chunked", b"5\r\nwhole\r\n0\r\n", id="before its end"),
    ],
)
def test_a_body_cut_off_before_its_end_stores_nothing(
    bucket: Bucket, framing: str, start: bytes
) -> None:
    with Wire(bucket.http) as wire:
        wire.head("PUT", bucket.key("k"), framing)
        wire.send(start)
        wire.end_of_sending()
        assert wire.is_closed()
    assert bucket.put("other", "v").json == {"revision": 1}
    assert bucket.keys() == ["other"]


def test_a_chunked_body_that_goes_wrong_is_400_and_stores_nothing(bucket: Bucket) -> None:
    with Wire(bucket.http) as wire:
        wire.head("PUT", bucket.key("k"), "Transfer-Encoding: chunked")
        wire.send(b"5\r\nwhole\r\nnonsense\r\n")
        answer = wire.answer()
        assert (answer.status, answer.json["code"]) == (400, "invalid_argument")
        wire.end_of_sending()
        assert wire.is_closed()
    assert bucket.put("other", "v").json == {"revision": 1}
    assert bucket.keys() == ["other"]


def test_a_bucket_description_cut_off_before_its_end_creates_nothing(
    http: Http, bucket_name: str
) -> None:
    body = b'{"name":"%s"}' % bucket_name.encode()
    with Wire(http) as wire:
        wire.head("POST", BUCKETS, f"Content-Length: {len(body) + 1}")
        wire.send(body)
        wire.end_of_sending()
        assert wire.is_closed()
    assert http.get(f"{BUCKETS}/{bucket_name}").status == 404


# --- no HTTP


@pytest.mark.parametrize(
    "garbage",
    [
        b"nonsense\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET /health HTTP/9.9\r\nHost: x\r\n\r\n",
        b"GET health HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /a b HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /\x00 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /health HTTP/1.1\r\nBad Name: x\r\n\r\n",
        b"GET /health HTTP/1.1\r\nX: a\x00b\r\n\r\n",
        b"PUT /x HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"PUT /x HTTP/1.1\r\nContent-Length: 1, 1\r\n\r\nx",
        b"PUT /x HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
        b"PUT /x HTTP/1.1\r\nContent-Length: 99999999999999999999999\r\n\r\n",
        b"PUT /x HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx",
        b"PUT /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
def test_broken_http_gets_the_body_of_every_other_error(http: Http, garbage: bytes) -> None:
    with Wire(http) as wire:
        wire.send(garbage)
        answer = wire.answer()
        if answer.status == 404:  # the route was looked for before the body went wrong
            answer = wire.answer()
        assert (answer.status, answer.json["code"]) == (400, "invalid_argument")
        assert answer.headers["content-type"] == "application/json"
        assert answer.json["request_id"] == answer.headers["x-request-id"]
        assert answer.json["error"].startswith("invalid HTTP request: ")
        wire.end_of_sending()
        assert wire.is_closed()
    assert http.get("/health").status == 200


def test_requests_of_http_1_0_are_answered(http: Http) -> None:
    with Wire(http) as wire:
        wire.send(b"GET /health HTTP/1.0\r\n\r\n")
        assert wire.answer().status == 200
        assert wire.is_closed()


def test_requests_can_be_sent_without_waiting_for_the_answers(bucket: Bucket) -> None:
    with Wire(bucket.http) as wire:
        for number in range(20):
            wire.head("PUT", bucket.key("k"), "Content-Length: 2")
            wire.send(b"%02d" % number)
        assert [wire.answer().json["revision"] for _ in range(20)] == list(range(1, 21))
    assert bucket.get("k").value == b"19"
