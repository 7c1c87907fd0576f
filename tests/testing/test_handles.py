"""What a test can do to the servers of the plugin's fixtures."""

import socket
from urllib.parse import urlsplit

import pytest

from jetkv import Bucket, Client, Retry, UnavailableError
from jetkv.testing import ServerDidNotStart, ServerHandle, wait_until_ready


@pytest.fixture(params=["jetkv_nats", "jetkv_gateway"])
def server(request: pytest.FixtureRequest) -> ServerHandle:
    return request.getfixturevalue(request.param)


def connect(url: str) -> socket.socket:
    """Connect; what NATS greets with is read."""
    parts = urlsplit(url)
    connection = socket.create_connection((parts.hostname, parts.port), timeout=10)
    if parts.scheme == "nats":
        while b"\n" not in connection.recv(65536):
            pass
    return connection


def test_a_handle_does_what_the_protocol_says(server: ServerHandle) -> None:
    assert isinstance(server, ServerHandle)


def test_what_was_written_outlives_a_crash_of_nats(
    jetkv_bucket: Bucket, jetkv_nats: ServerHandle, jetkv_url: str
) -> None:
    revision = jetkv_bucket.put("user:1", {"name": "Ada"})
    jetkv_nats.kill()
    jetkv_nats.start()
    wait_until_ready(jetkv_url, seconds=10)
    assert jetkv_bucket.get("user:1").revision == revision


def test_a_restart_keeps_the_address(server: ServerHandle) -> None:
    before = server.url
    server.restart()
    assert server.url == before
    connect(before).close()


def test_a_paused_server_keeps_its_connections_and_answers_after_it(server: ServerHandle) -> None:
    with connect(server.url) as connection:
        server.pause()
        connection.sendall(b"GET /health HTTP/1.0\r\n\r\n")
        connection.settimeout(0.2)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        server.resume()
        connection.settimeout(10)
        assert connection.recv(1)


def test_pausing_twice_takes_one_resume(server: ServerHandle, jetkv_url: str) -> None:
    server.pause()
    server.pause()
    server.resume()
    wait_until_ready(jetkv_url, seconds=10)


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_a_paused_server_can_be_ended(server: ServerHandle, end: str) -> None:
    server.pause()
    assert server.running
    getattr(server, end)()
    assert not server.running
    with pytest.raises(ConnectionRefusedError):
        connect(server.url)


def test_starting_a_running_server_does_nothing(server: ServerHandle) -> None:
    with connect(server.url) as connection:
        server.start()
        connection.sendall(b"GET /health HTTP/1.0\r\n\r\n")
        assert connection.recv(1)


def test_a_write_without_nats_is_certainly_not_applied(
    jetkv_url: str, jetkv_bucket: Bucket, jetkv_nats: ServerHandle
) -> None:
    jetkv_nats.kill()
    with (
        Client(jetkv_url, retry=Retry(attempts=1)) as client,
        pytest.raises(UnavailableError),
    ):
        client.kv().bucket(jetkv_bucket.name).put("user:1", 1)
    jetkv_nats.start()
    wait_until_ready(jetkv_url, seconds=10)
    assert not jetkv_bucket.exists("user:1")


def test_waiting_for_a_gateway_without_nats_ends_with_its_reason(
    jetkv_url: str, jetkv_nats: ServerHandle
) -> None:
    jetkv_nats.kill()
    with pytest.raises(ServerDidNotStart, match=r"is not ready after 0\.2 s: nats: "):
        wait_until_ready(jetkv_url, seconds=0.2)
