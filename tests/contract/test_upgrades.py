"""An offer to upgrade that nobody takes changes nothing (RFC 9110 §7.8); a handshake does."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.http import Bucket
from tests.support.raw import Wire
from tests.support.watching import UPGRADE, watch_path

H2C = (
    "Connection: Upgrade, HTTP2-Settings",
    "HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA",
    "Upgrade: h2c",
)
OFFERS = {
    "h2c": H2C,
    "an unknown protocol": ("Connection: upgrade", "Upgrade: foo/2"),
    "several protocols": ("Connection: Upgrade", "Upgrade: h2c, websocket"),
    "a WebSocket, by another method": UPGRADE,
    "on lines of their own": ("Connection: keep-alive", "Connection: upgrade", "Upgrade: h2c"),
}

JAVA = """
import java.net.URI;
import java.net.http.*;

public class Client {
    public static void main(String[] arguments) throws Exception {
        HttpClient client = HttpClient.newHttpClient();
        URI key = URI.create(arguments[0]);
        HttpRequest put = HttpRequest.newBuilder(key)
            .PUT(HttpRequest.BodyPublishers.ofString(arguments[1])).build();
        for (int i = 0; i < 2; i++) {
            var stored = client.send(put, HttpResponse.BodyHandlers.ofString());
            System.out.println(stored.statusCode() + " " + stored.body());
        }
        HttpRequest get = HttpRequest.newBuilder(key)
            .header("Accept", "application/octet-stream").build();
        System.out.println(client.send(get, HttpResponse.BodyHandlers.ofString()).body());
    }
}
"""


@pytest.mark.parametrize("offer", OFFERS.values(), ids=OFFERS)
@pytest.mark.parametrize("framing", ["length", "chunks"])
def test_the_body_behind_an_offer_is_stored_and_what_follows_is_answered(
    bucket: Bucket, offer: tuple[str, ...], framing: str
) -> None:
    bucket.put("k", "before")
    with Wire(bucket.http) as wire:
        if framing == "length":
            wire.head("PUT", bucket.key("k"), *offer, "Content-Length: 5")
            wire.send(b"value")
        else:
            wire.head("PUT", bucket.key("k"), *offer, "Transfer-Encoding: chunked")
            wire.chunk(b"value")
            wire.chunk(b"")
        wire.head("GET", bucket.key("k"))
        assert wire.answer().json == {"revision": 2}
        assert wire.answer().value == b"value"


def test_a_bucket_is_made_from_the_body_behind_an_offer(bucket: Bucket, bucket_name: str) -> None:
    body = b'{"name":"%s","history":3}' % bucket_name.encode()
    with Wire(bucket.http) as wire:
        wire.head("POST", "/api/v1/kv/buckets", *H2C, f"Content-Length: {len(body)}")
        wire.send(body)
        assert (wire.answer().status, Bucket(bucket.http, bucket_name).info()["history"]) == (
            201,
            3,
        )
    bucket.http.delete(f"/api/v1/kv/buckets/{bucket_name}")


def test_each_of_many_requests_in_one_packet_may_offer(bucket: Bucket) -> None:
    with Wire(bucket.http) as wire:
        path = bucket.key("k")
        host = f"{bucket.http.host}:{bucket.http.port}"
        lines = "\r\n".join([f"Host: {host}", *H2C, "Content-Length: 2", "", ""])
        wire.send(b"".join(f"PUT {path} HTTP/1.1\r\n{lines}{n:02}".encode() for n in range(50)))
        assert [wire.answer().json["revision"] for _ in range(50)] == list(range(1, 51))
    assert bucket.get("k").value == b"49"


def test_a_head_behind_an_offer_obeys_the_same_rules(bucket: Bucket) -> None:
    with Wire(bucket.http) as wire:
        answer = wire.request("GET", f"{bucket.key('k')}?", *H2C)
        assert (answer.status, answer.json["code"]) == (400, "invalid_argument")
        wire.head("PUT", bucket.key("k"), *H2C, "Content-Length: 1", "Content-Length: 2")
        assert wire.answer().status == 400
    assert bucket.keys() == []


def test_a_watch_that_offers_no_websocket_is_told_what_it_takes(bucket: Bucket) -> None:
    with Wire(bucket.http) as wire:
        assert wire.request("GET", watch_path(bucket.name), *H2C).status == 426


def test_a_handshake_may_name_its_connection_options_on_several_lines(bucket: Bucket) -> None:
    with Wire(bucket.http) as wire:
        wire.head("GET", watch_path(bucket.name), *UPGRADE, "Connection: keep-alive")
        assert wire.answer().status == 101


def test_a_handshake_waits_for_the_answers_before_it(bucket: Bucket) -> None:
    bucket.put("k", "v")
    for _ in range(20):
        with Wire(bucket.http) as wire:
            host = f"{bucket.http.host}:{bucket.http.port}"
            heads = [
                [f"GET {bucket.key('k')} HTTP/1.1", f"Host: {host}", "", ""],
                [f"GET {watch_path(bucket.name)} HTTP/1.1", f"Host: {host}", *UPGRADE, "", ""],
            ]
            wire.send(b"".join("\r\n".join(lines).encode() for lines in heads))
            assert wire.answer().value == b"v"
            assert wire.answer().status == 101


def test_connect_is_refused_as_broken_http_is(bucket: Bucket) -> None:
    with Wire(bucket.http) as wire:
        wire.send(b"CONNECT x:80 HTTP/1.1\r\nHost: x:80\r\n\r\n")
        answer = wire.answer()
        assert (answer.status, "CONNECT" in answer.error) == (400, True)
        wire.end_of_sending()
        assert wire.is_closed()


@pytest.mark.skipif(shutil.which("java") is None, reason="no Java on this machine")
def test_javas_own_client_stores_what_it_sends(bucket: Bucket, tmp_path: Path) -> None:
    source = tmp_path / "Client.java"
    source.write_text(JAVA)
    url = bucket.http.url + bucket.key("k")
    command = ["java", "-XX:TieredStopAtLevel=1", str(source), url, "from Java"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout.splitlines() == ['200 {"revision":1}', '200 {"revision":2}', "from Java"]


def curl_speaks_http2() -> bool:
    if shutil.which("curl") is None:
        return False
    version = subprocess.run(["curl", "-V"], capture_output=True, text=True, check=True)
    return "HTTP2" in version.stdout


@pytest.mark.skipif(not curl_speaks_http2(), reason="no curl with HTTP/2 on this machine")
def test_curl_that_would_like_http2_stores_what_it_sends(bucket: Bucket) -> None:
    url = bucket.http.url + bucket.key("k")
    command = ["curl", "-sS", "--http2", "-T", "-", url, "--next", "-sS", "--http2", url]
    ran = subprocess.run(
        command, input=b"from curl" * 50_000, capture_output=True, timeout=30, check=True
    )
    assert ran.stdout.startswith(b'{"revision":1}{"key":"k",')
    assert bucket.get("k").value == b"from curl" * 50_000
