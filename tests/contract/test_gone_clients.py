"""Clients that leave, take in nothing, or stay while the gateway stops."""

import asyncio
import logging
import re
import select
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from jetkv.testing import LocalNats
from jetkv_gateway.serving import deadlines
from jetkv_gateway.serving.http1 import HttpConnection
from tests.support.gateway import running_gateway
from tests.support.http import BUCKETS, Bucket, Http
from tests.support.raw import Wire
from tests.support.waiting import until

STREAM = "Accept: text/event-stream"


@contextmanager
def errors_of(name: str) -> Iterator[list[str]]:
    """What is logged as an error meanwhile."""
    said: list[str] = []

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.levelno >= logging.ERROR:
                said.append(record.getMessage())

    ear, logger = Ear(), logging.getLogger(name)
    logger.addHandler(ear)
    try:
        yield said
    finally:
        logger.removeHandler(ear)


@pytest.mark.parametrize("method", ["PUT", "GET"])
def test_a_client_that_left_before_its_answer_is_no_defect(method: str) -> None:
    with LocalNats() as nats, running_gateway(nats.url) as http, errors_of("jetkv.http") as said:
        bucket = Bucket(http, "b")
        assert http.post(BUCKETS, {"name": "b"}).status == 201
        assert bucket.put("k", "v").status == 200
        nats.pause()
        try:
            with socket.create_connection((http.host, http.port)) as client:
                lines = [f"{method} {bucket.key('k')} HTTP/1.1", f"Host: {http.host}"]
                client.sendall("\r\n".join([*lines, "Content-Length: 1", "", "x"]).encode())
                # What is answered later shows that the other one is under way.
                assert http.get("/health").status == 200
                # One that only ends its side may still read.
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            assert http.get("/health").status == 200
        finally:
            nats.resume()
        until(lambda: bucket.put("other", "v").status == 200, "NATS answers again")
    assert said == []


def test_requests_behind_a_head_of_a_watch_are_answered(bucket: Bucket) -> None:
    """Its answer has an end, other than that of a GET."""
    with Wire(bucket.http) as wire:
        wire.head("HEAD", f"{bucket.path}/watch", STREAM)
        wire.head("GET", bucket.key("nothing"))
        wire.head("GET", "/health")
        answers = [wire.answer(with_body=False), wire.answer(), wire.answer()]
    assert [answer.status for answer in answers] == [200, 404, 200]


@pytest.mark.parametrize("line", ["Connection: keep-alive", "Connection: close"])
def test_a_client_that_reads_nothing_of_a_small_answer_is_disconnected(
    nats: LocalNats, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    """However little is left of it: a connection that closes waits for it, too."""
    monkeypatch.setattr(deadlines, "_UNSENT_SECONDS", 0.5)
    made = HttpConnection.connection_made

    def with_little_room(self: HttpConnection, transport: asyncio.BaseTransport) -> None:
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        made(self, transport)

    monkeypatch.setattr(HttpConnection, "connection_made", with_little_room)
    with running_gateway(nats.url) as http, socket.socket() as client:
        bucket = Bucket(http, "small-answers")
        http.post(BUCKETS, {"name": bucket.name})
        assert bucket.put("k", "x" * 60_000).status == 200
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect((http.host, http.port))
        lines = [f"GET {bucket.key('k')} HTTP/1.1", f"Host: {http.host}", line, "", ""]
        client.sendall("\r\n".join(lines).encode())
        poll = select.poll()
        poll.register(client, 0)  # of a reset and an end of both sides alone
        assert poll.poll(15_000), "the connection stands"


def test_a_refused_request_whose_body_ends_in_a_stop_ends_its_connection(
    nats: LocalNats,
) -> None:
    """The stop need not wait until its time is over."""
    closed: list[bool] = []
    with ExitStack() as stack:
        with running_gateway(nats.url, request_timeout=20) as http:
            wire = stack.enter_context(Wire(http))
            wire.head("PUT", "/nothing", "Transfer-Encoding: chunked")
            wire.chunk(b"a part")
            assert wire.answer().status == 404

            def end_the_body() -> None:
                until(lambda: _refuses(http), "the gateway stops")
                wire.chunk(b"")
                closed.append(wire.is_closed())

            thread = threading.Thread(target=end_the_body)
            thread.start()
        thread.join(20)
    assert closed == [True]


def _refuses(http: Http) -> bool:
    try:
        socket.create_connection((http.host, http.port), timeout=5).close()
    except OSError:
        return True
    return False


def test_the_docs_say_after_how_long_a_client_that_reads_nothing_is_disconnected() -> None:
    page = Path(__file__).parents[2] / "docs" / "http-api.md"
    said = re.findall(r"reads nothing for (\d+)\s+seconds", page.read_text())
    assert set(map(float, said)) == {deadlines._UNSENT_SECONDS}
