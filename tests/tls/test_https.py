"""What works over plain HTTP works over TLS, on both event loops."""

import json
import socket
import ssl
import subprocess
import sys
import threading
import warnings

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from jetkv.testing import LocalNats
from tests.support.gateway import running_gateway
from tests.support.http import BUCKETS, Bucket, Http
from tests.support.https import Connection, client_context
from tests.support.tls import Certificates
from tests.support.waiting import until

KEYS = f"{BUCKETS}/tls/keys"
LARGE = b"v" * 1_000_000


def failures(https: Http, reason: str) -> float:
    """How many handshakes have failed for a reason."""
    name = f'jetkv_tls_handshake_failures_total{{reason="{reason}"}} '
    lines = https.get("/metrics").body.decode().splitlines()
    return next(float(line.removeprefix(name)) for line in lines if line.startswith(name))


def test_a_value_is_the_same_after_its_way_through_tls(https: Http) -> None:
    bucket = Bucket(https, "tls")
    assert bucket.put("large", LARGE).status == 200
    assert bucket.get("large").value == LARGE
    assert bucket.keys("larg*") == ["large"]


def test_one_connection_serves_many_requests(https: Http) -> None:
    with Connection(https) as connection:
        assert [connection.get("/health") for _ in range(50)] == [200] * 50


def test_a_websocket_watches_over_tls(https: Http) -> None:
    bucket = Bucket(https, "tls")
    address = f"wss://127.0.0.1:{https.port}{bucket.path}/watch?key=ws-*"
    with connect(address, ssl=https.tls, max_size=None) as watch:
        bucket.put("ws-1", LARGE)
        frame = json.loads(watch.recv(timeout=10))
        assert (frame["key"], len(frame["value"])) == ("ws-1", 1_333_336)


def test_a_pong_and_other_frames_of_a_watcher_are_read_over_tls(https: Http) -> None:
    address = f"wss://127.0.0.1:{https.port}{BUCKETS}/tls/watch"
    with connect(address, ssl=https.tls) as watch:
        # More than the gateway reads at once.
        assert watch.ping(b"x" * 125).wait(10)
        watch.send(b"y" * 3000)
        assert watch.ping(b"z" * 125).wait(10)


def test_an_event_stream_watches_over_tls(https: Http) -> None:
    bucket = Bucket(https, "tls")
    with Connection(https) as connection:
        connection.socket.sendall(
            f"GET {bucket.path}/watch?key=sse HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            "Accept: text/event-stream\r\n\r\n".encode()
        )
        received = connection.socket.recv(65536)
        assert received.startswith(b"HTTP/1.1 200 ")
        revision = bucket.put("sse", "v").json["revision"]
        while b"\nid: %d\n" % revision not in received and b"id: %d" % revision not in received:
            part = connection.socket.recv(65536)
            assert part, received
            received += part


def test_a_page_of_the_gateway_itself_is_its_own_origin(https: Http) -> None:
    assert https.get(BUCKETS, Origin=https.url).status == 200
    assert https.get(BUCKETS, Origin="https://elsewhere.example").status == 403


def test_a_client_that_closes_during_a_request_leaves_nothing_behind(
    https: Http, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(5):
        with Connection(https) as connection:
            connection.socket.sendall(
                f"PUT {KEYS}/gone HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nab".encode()
            )
    for _ in range(5):
        with Connection(https) as connection:
            connection.socket.sendall(f"GET {KEYS} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
    assert https.get("/health").status == 200
    assert Bucket(https, "tls").get("gone").status == 404
    assert caplog.records == []


def test_the_last_answer_of_a_connection_is_followed_by_its_end(https: Http) -> None:
    with Connection(https) as connection:
        # Less than the time for which a plain connection is still read.
        connection.socket.settimeout(3)
        connection.socket.sendall(b"GET /none HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
        received = b""
        while part := connection.socket.recv(65536):
            received += part
        assert received.startswith(b"HTTP/1.1 404 ")


# --- the handshake


def test_old_versions_of_tls_are_refused(https: Http, authority: Certificates) -> None:
    old = client_context(authority)
    # These versions are deprecated in Python, too.
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        old.minimum_version = ssl.TLSVersion.TLSv1
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises(OSError):
        Connection(https, old)


def test_tls_1_2_has_forward_secrecy_and_no_compression(
    https: Http, authority: Certificates
) -> None:
    older = client_context(authority)
    older.maximum_version = ssl.TLSVersion.TLSv1_2
    with Connection(https, older) as connection:
        cipher = connection.socket.cipher()
        assert cipher is not None
        assert cipher[0].startswith("ECDHE-")
        assert connection.socket.compression() is None
        assert connection.get("/health") == 200


def test_http_1_1_is_what_alpn_selects(https: Http, authority: Certificates) -> None:
    offering = client_context(authority)
    offering.set_alpn_protocols(["h2", "http/1.1"])
    with Connection(https, offering) as connection:
        assert connection.socket.selected_alpn_protocol() == "http/1.1"


@pytest.mark.parametrize("sent", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\xff\xff" * 999, b"\0"])
def test_garbage_instead_of_a_handshake_ends_that_connection_only(
    https: Http, sent: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with Connection(https) as other:
        with socket.create_connection((https.host, https.port), timeout=10) as stranger:
            stranger.sendall(sent)
            stranger.shutdown(socket.SHUT_WR)
            try:
                while stranger.recv(4096):
                    pass
            except ConnectionResetError:
                pass
        assert other.get("/health") == 200
    assert caplog.records == []


def test_a_handshake_that_fails_is_counted(https: Http) -> None:
    before = failures(https, "protocol")
    with socket.create_connection((https.host, https.port), timeout=10) as stranger:
        stranger.sendall(b"GET / HTTP/1.1\r\n\r\n")
    until(lambda: failures(https, "protocol") > before, "it is counted")


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_a_silent_handshake_has_a_deadline(
    nats: LocalNats, authority: Certificates, files, loop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jetkv_gateway.serving.acceptor.HANDSHAKE_SECONDS", 0.2)
    cert, key = files
    with (
        running_gateway(
            nats.url, tls=client_context(authority), loop=loop, tls_cert=cert, tls_key=key
        ) as https,
        socket.create_connection((https.host, https.port), timeout=10) as silent,
    ):
        assert silent.recv(1) == b""
        until(lambda: failures(https, "timeout") >= 1, "it is counted")


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_silent_handshakes_over_the_limit_end_the_oldest_and_take_nothing_from_others(
    nats: LocalNats, authority: Certificates, files, loop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jetkv_gateway.serving.tls_handshakes.Handshakes.MOST", 8)
    cert, key = files
    with running_gateway(
        nats.url, tls=client_context(authority), loop=loop, tls_cert=cert, tls_key=key
    ) as https:
        silent = [socket.create_connection((https.host, https.port), 10) for _ in range(30)]
        try:
            with Connection(https) as connection:
                assert connection.get("/health") == 200
            for one in silent[:20]:
                one.settimeout(10)
                with pytest.raises((ConnectionResetError, AssertionError)):
                    assert one.recv(1) != b""
        finally:
            for one in silent:
                one.close()


def test_the_gateway_serves_while_a_thousand_clients_do_not_finish_their_handshakes(
    https: Http,
) -> None:
    silent = [socket.create_connection((https.host, https.port), 10) for _ in range(1000)]
    try:
        for one in silent[::2]:
            one.sendall(b"\x16\x03\x01")
        assert [https.get("/health").status for _ in range(10)] == [200] * 10
    finally:
        for one in silent:
            one.close()


# --- clients with certificates


def test_a_client_needs_a_certificate_of_the_right_authority(
    nats: LocalNats, authority: Certificates, files, tmp_path
) -> None:
    strangers = Certificates(tmp_path / "strangers")
    cert, key = files
    good = client_context(authority, authority.issue("someone", file="someone"))
    with running_gateway(
        nats.url, tls=good, tls_cert=cert, tls_key=key, tls_client_ca=authority.ca
    ) as https:
        assert https.get(BUCKETS).status == 200
        for refused in (
            client_context(authority),
            client_context(authority, strangers.issue("someone", file="someone")),
        ):
            # TLS 1.3 tells a client after its own part of the handshake.
            with pytest.raises(OSError), Connection(https, refused) as connection:
                connection.get(BUCKETS)


@pytest.mark.parametrize("wants_certificate", [False, True])
def test_the_health_check_of_the_image_works_with_tls(
    nats: LocalNats, authority: Certificates, files, wants_certificate: bool
) -> None:
    cert, key = files
    login = authority.issue("someone", file="someone")
    settings = {"tls_client_ca": authority.ca} if wants_certificate else {}
    variables = {f"JETKV_{name.upper()}": str(value) for name, value in settings.items()}
    with running_gateway(
        nats.url, tls=client_context(authority, login), tls_cert=cert, tls_key=key, **settings
    ) as https:
        checked = subprocess.run(
            [sys.executable, "-I", "-S", "deploy/healthcheck.py", "/health"],
            env={"JETKV_PORT": str(https.port), "JETKV_TLS_CERT": str(cert), **variables},
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
    assert checked.returncode == 0, checked.stdout
    assert ("certificate" in checked.stdout) is wants_certificate


# --- the stop


def test_a_stop_closes_idle_connections_and_watches_over_tls(
    nats: LocalNats, authority: Certificates, files
) -> None:
    cert, key = files
    with running_gateway(
        nats.url, tls=client_context(authority), tls_cert=cert, tls_key=key, buckets="tls"
    ) as https:
        idle = Connection(https)
        assert idle.get("/health") == 200
        address = f"wss://127.0.0.1:{https.port}{BUCKETS}/tls/watch"
        closes: list[int] = []
        watching = threading.Event()

        def listen() -> None:
            with connect(address, ssl=https.tls) as watch:
                watching.set()
                try:
                    watch.recv()
                except ConnectionClosed as closed:
                    closes.append(closed.rcvd.code if closed.rcvd else 0)

        listener = threading.Thread(target=listen)
        listener.start()
        assert watching.wait(10)
    listener.join(10)
    assert closes == [1001]
    assert idle.socket.recv(1) == b""
    idle.socket.close()
