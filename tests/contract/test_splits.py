"""The same bytes get the same answers, however they are split and whenever their pieces come.

Without sockets, so that each piece is one call, and tasks run between two pieces where hypothesis
says so. What each row is owed is seen in `test_strict_http.py`; here, only that nothing else than
its bytes decides.
"""

import asyncio
import re
from itertools import pairwise
from typing import Any, cast

import uvicorn
from hypothesis import given, settings
from hypothesis import strategies as st
from uvicorn.server import ServerState

from jetkv_gateway.http.call import Call
from jetkv_gateway.http.gateway import Gateway
from jetkv_gateway.http.request import Request
from jetkv_gateway.kv.errors import NotFound
from jetkv_gateway.serving.http1 import HttpConnection
from jetkv_gateway.serving.options import ServerOptions
from jetkv_gateway.serving.worker_state import WorkerState
from tests.contract.http_cases import Case
from tests.contract.http_table import CASES

INTERIM = b"HTTP/1.1 100 Continue\r\n\r\n"
# With the length of an id, that of an error changes.
IDS = re.compile(rb"(x-request-id: |\"request_id\":\"|content-length: )[0-9a-f-]+")


class Echo:
    """Answers in the gateway's place with all that it was sent."""

    def begin(self, request: Request) -> Call | None:
        call = Call(request)
        call.body_limit, call.limited = 1_000_000, False
        if request.target.match is None:
            call.fail(NotFound())
            return None
        return call

    async def run(self, call: Call) -> None:
        request, target = call.request, call.target
        await asyncio.sleep(0)
        told = target.method, target.sent_path, target.query, request.headers, request.body
        call.answer(200, b"", repr(told).encode())


class Transport:
    """One that keeps what is written, and whose kernel takes everything at once."""

    def __init__(self) -> None:
        self.written = b""
        self.ended = False
        self.reading = asyncio.Event()
        self.reading.set()
        self.protocol: Any = None

    def write(self, data: bytes) -> None:
        assert not self.ended, "something is written behind the end"
        self.written += data

    def writelines(self, parts: tuple[bytes, ...]) -> None:
        self.write(b"".join(parts))

    def close(self) -> None:
        self.ended = True

    abort = write_eof = close

    def can_write_eof(self) -> bool:
        return True

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None:
        self.reading.clear()

    def resume_reading(self) -> None:
        self.reading.set()

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        return cast(asyncio.BaseProtocol, self.protocol)

    def get_extra_info(self, _name: str) -> None:
        return None

    def get_write_buffer_size(self) -> int:
        return 0


async def answers_to(pieces: list[bytes], turns: list[int]) -> tuple[bytes, bool]:
    """Return what is written, and whether the connection ends.

    Args:
        turns: how often tasks run behind each piece; they run to their end behind the last.
    """
    worker = WorkerState(ServerOptions())
    worker.gateway = cast(Gateway, Echo())
    config = uvicorn.Config(lambda: None, log_config=None, lifespan="off", factory=True)
    state = ServerState()
    transport = Transport()
    transport.protocol = HttpConnection(worker, config, state, {})
    transport.protocol.connection_made(transport)
    for number, piece in enumerate(pieces):
        await transport.reading.wait()
        transport.protocol.data_received(piece)
        for _ in range(turns[number % len(turns)]):
            await asyncio.sleep(0)
    before = None
    while state.tasks or before != transport.written:
        before = transport.written
        for _ in range(10):
            await asyncio.sleep(0)
    written = transport.written.replace(INTERIM, b"")
    return IDS.sub(rb"\1", written), transport.ended


def sent(cases: list[Case]) -> bytes:
    return b"".join(case.sent for case in cases).replace(b"@K", b"/api/v1/kv/buckets/b/keys/k")


rows = st.sampled_from([case for case in CASES.values() if case.kept])
any_row = st.sampled_from(list(CASES.values()))
small = [case for case in CASES.values() if len(case.sent) < 2048]


@settings(deadline=None, max_examples=400)
@given(
    st.lists(rows, max_size=5),
    any_row,
    st.lists(st.floats(0, 1), min_size=1, max_size=30),
    st.lists(st.integers(0, 5), min_size=1, max_size=5),
)
def test_nothing_but_the_bytes_decides(
    cases: list[Case], last: Case, cuts: list[float], turns: list[int]
) -> None:
    data = sent([*cases, last])
    borders = [0, *sorted(int(cut * len(data)) for cut in cuts), len(data)]
    pieces = [data[start:end] for start, end in pairwise(borders) if start < end]
    assert asyncio.run(answers_to(pieces, turns)) == asyncio.run(answers_to([data], [0]))


@settings(deadline=None, max_examples=100)
@given(
    st.lists(st.sampled_from([case for case in small if case.kept]), max_size=3),
    st.sampled_from(small),
    st.lists(st.integers(0, 5), min_size=1, max_size=5),
)
def test_nothing_but_the_bytes_decides_byte_by_byte(
    cases: list[Case], last: Case, turns: list[int]
) -> None:
    data = sent([*cases, last])
    pieces = [data[n : n + 1] for n in range(len(data))]
    assert asyncio.run(answers_to(pieces, turns)) == asyncio.run(answers_to([data], [0]))


WITH_IDS = (
    b"PUT /api/v1/kv/buckets/b/keys/k HTTP/1.1\r\nHost: a\r\nTraceparent: 00-%d\r\n"
    b"Idempotency-Key: id-%d\r\nContent-Length: 5\r\n\r\nvalue"
)


def test_a_head_with_ids_that_comes_in_two_pieces_is_what_it_is_in_one() -> None:
    first, second = WITH_IDS % (1, 1), WITH_IDS % (22, 22)
    whole = asyncio.run(answers_to([first, second], [5]))
    assert whole[0].count(b"HTTP/1.1 200") == 2
    for cut in range(1, len(second)):
        pieces = [first, second[:cut], second[cut:]]
        assert asyncio.run(answers_to(pieces, [5])) == whole, second[:cut]


BITS = [
    b"\r", b"\n", b"\r\n", b"\r\n\r\n", b" ", b"\t", b"\x00", b"\xff", b":", b";", b",", b"0", b"5",
    b"HTTP/1.1", b"chunked", b"close", b"Host: a\r\n", b"Content-Length: 3\r\n",
    b"Transfer-Encoding: chunked\r\n", b"Expect: 100-continue\r\n", b"Upgrade: websocket\r\n",
]  # fmt: skip
changes = st.tuples(st.floats(0, 1), st.integers(0, 3), st.just(b"") | st.sampled_from(BITS))


@settings(deadline=None, max_examples=300)
@given(
    st.lists(st.sampled_from(small), min_size=1, max_size=3),
    st.lists(changes, min_size=1, max_size=4),
    st.lists(st.floats(0, 1), min_size=1, max_size=12),
    st.lists(st.integers(0, 5), min_size=1, max_size=5),
)
def test_nothing_but_the_bytes_decides_whatever_they_are(
    cases: list[Case],
    changed: list[tuple[float, int, bytes]],
    cuts: list[float],
    turns: list[int],
) -> None:
    data = sent(cases)
    for place, dropped, added in changed:
        at = int(place * len(data))
        data = data[:at] + added + data[at + dropped :]
    borders = [0, *sorted(int(cut * len(data)) for cut in cuts), len(data)]
    pieces = [data[start:end] for start, end in pairwise(borders) if start < end]
    whole = asyncio.run(answers_to([data] if data else [], [0]))
    assert b"HTTP/1.1 500" not in whole[0]
    assert asyncio.run(answers_to(pieces, turns)) == whole
