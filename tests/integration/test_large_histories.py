"""A long history goes out while it is read: whole or visibly cut, and little of it at a time."""

import json
import os
import re
import socket
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from jetkv_gateway.serving import deadlines
from tests.support.http import Bucket
from tests.support.waiting import until

VALUE = os.urandom(1_000_000)
REVISIONS = 24


class Reader:
    """A client that reads only when it is told to."""

    def __init__(self, bucket: Bucket, version: str = "1.1") -> None:
        self._socket = socket.socket()
        self._socket.settimeout(20)
        self._socket.connect((bucket.http.host, bucket.http.port))
        lines = [
            f"GET {bucket.path}/history/k HTTP/{version}",
            "Host: localhost",
            "Connection: close",
            "",
            "",
        ]
        self._socket.sendall("\r\n".join(lines).encode())

    def __enter__(self) -> "Reader":
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def read(self, size: int) -> bytes:
        """Read so many bytes, or up to the end."""
        found = b""
        while len(found) < size:
            some = self._socket.recv(min(1 << 20, size - len(found)))
            if not some:
                break
            found += some
        return found

    def is_reset(self) -> bool:
        """Whether the gateway has broken the connection off; nothing is read."""
        return self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0

    def is_cut(self) -> bool:
        """Read on; whether the connection breaks before the answer is whole."""
        tail = b""
        try:
            while some := self._socket.recv(1 << 20):
                tail = (tail + some)[-20:]
        except ConnectionResetError:
            return True
        return not tail.endswith((b"0\r\n\r\n", b"]}"))


def memory() -> int:
    """This process's, and so the gateway's, in MiB."""
    status = Path("/proc/self/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+)", status)
    assert found is not None
    return int(found[1]) // 1024


@pytest.fixture
def large(make_bucket) -> Bucket:
    bucket = make_bucket(history=64)
    for _ in range(REVISIONS):
        assert bucket.put("k", VALUE, Content_Type="text/plain").status == 200
    return bucket


def test_a_long_history_is_the_document_that_a_short_one_is(large: Bucket) -> None:
    answer = large.history("k")
    assert answer.headers["content-type"] == "application/json"
    entries = [large.get("k", f"?revision={n}").body for n in range(1, REVISIONS + 1)]
    assert answer.body == b'{"entries":[%s]}' % b",".join(entries)


def test_a_short_history_has_a_length(make_bucket) -> None:
    bucket = make_bucket(history=3)
    bucket.put("k", "v")
    answer = bucket.history("k")
    assert answer.headers["content-length"] == str(len(answer.body))


def test_a_long_history_over_http_1_0_comes_without_chunks(large: Bucket) -> None:
    with Reader(large, "1.0") as reader:
        head, _, body = reader.read(1 << 30).partition(b"\r\n\r\n")
    assert b"chunked" not in head.lower()
    assert b"connection: close" in head.lower()
    assert len(json.loads(body)["entries"]) == REVISIONS


def test_clients_that_do_not_read_hold_little_and_keep_nobody_waiting(large: Bucket) -> None:
    before = memory()
    with ExitStack() as stack:
        readers = [stack.enter_context(Reader(large)) for _ in range(8)]
        for reader in readers:
            assert reader.read(12) == b"HTTP/1.1 200"
        # A reader does not wait for them.
        path = f"{large.path}/history/k"
        until(lambda: large.http.request("GET", path).status == 200, "another one reads it")
        assert memory() - before < 200
        assert not readers[0].is_cut()


def test_a_client_that_takes_its_time_gets_all_of_it(large: Bucket) -> None:
    with Reader(large) as reader:
        size = 0
        while some := reader.read(4 << 20):
            size += len(some)
            time.sleep(0.1)  # it is slow
            if some.endswith(b"0\r\n\r\n"):
                break
    assert size > REVISIONS * len(VALUE) * 4 / 3


def test_a_client_that_reads_nothing_is_cut_off(
    large: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deadlines, "_UNSENT_SECONDS", 0.3)
    with Reader(large) as reader:
        until(reader.is_reset, "the gateway gives up")


@pytest.mark.parametrize("version", ["1.1", "1.0"])
def test_a_history_that_breaks_off_never_looks_whole(large: Bucket, version: str) -> None:
    with Reader(large, version) as reader:
        reader.read(1000)
        assert large.http.delete(large.path).status == 204
        assert reader.is_cut()
    assert large.http.get("/health").status == 200
