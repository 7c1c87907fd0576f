"""What clients see of a gateway that is told to stop, as a process and with all signals."""

import asyncio
import os
import signal
import socket
import time
from collections.abc import Callable

import pytest

from jetkv.testing import LocalNats
from jetkv_gateway.app import factory, server_options
from jetkv_gateway.auth.authenticator import NoAuth
from jetkv_gateway.serving.processes import _SAME_SIGNAL_SECONDS
from jetkv_gateway.serving.server import GatewayServer, config_for, listen
from jetkv_gateway.serving.worker import SILENCE_SECONDS
from jetkv_gateway.settings import load
from tests.cli.conftest import Process
from tests.cli.workers import both_serve, children, children_of, runs
from tests.support.http import Answer, Bucket, Http
from tests.support.native import Native
from tests.support.raw import Wire
from tests.support.waiting import until
from tests.support.watching import streaming, watching

pytestmark = pytest.mark.long

STOP_SECONDS = 21
"""What a stop may take by docs/deployment.md, with default settings."""


@pytest.fixture(params=[1, 2], ids=["one process", "two workers"])
def workers(request: pytest.FixtureRequest) -> list[str]:
    return ["--workers", str(request.param)]


def tell(process: Process, number: int = signal.SIGTERM) -> None:
    process.popen.send_signal(number)


def tell_again(process: Process) -> None:
    time.sleep(_SAME_SIGNAL_SECONDS)  # sooner it would count as the first
    tell(process)


def refuses(http: Http) -> bool:
    try:
        socket.create_connection((http.host, http.port), timeout=5).close()
    except ConnectionRefusedError:
        return True
    return False


def test_a_gateway_that_stops_is_not_ready_and_goes_on_until_a_second_signal(
    serve, workers: list[str], bucket: Bucket
) -> None:
    process, http = serve("--shutdown-delay", "60", *workers)
    with Wire(http) as kept:
        assert kept.request("GET", "/ready").status == 200
        tell(process)
        until(lambda: http.get("/ready").status == 503, "it is not ready")
        until(lambda: kept.request("GET", "/ready").status == 503, "nor where it was asked")
        answer = kept.request("GET", "/ready")
        assert answer.json["issues"] == {"gateway": "it is stopping; use another one"}
        assert "connection" not in answer.headers
        assert Bucket(http, bucket.name).put("k", "v").status == 200, "new connections come in"
        tell_again(process)
        assert process.popen.wait(10) == 0
        assert kept.is_closed()
    assert "Traceback" not in process.output


def test_the_delay_ends_by_itself(serve) -> None:
    process, http = serve("--shutdown-delay", "1")
    began = time.monotonic()
    tell(process)
    until(lambda: http.get("/ready").status == 503, "it is not ready")
    assert process.popen.wait(10) == 0
    assert time.monotonic() - began >= 1


@pytest.mark.parametrize(("number", "workers"), [(signal.SIGTERM, "2"), (signal.SIGINT, "1")])
def test_the_next_request_of_a_kept_connection_is_answered_and_is_the_last(
    serve, workers: str, bucket: Bucket, number: int
) -> None:
    process, http = serve("--workers", workers)
    with Wire(http) as one, Wire(http) as other:
        for wire in (one, other):
            assert wire.request("GET", bucket.path).status == 200
        tell(process, number)
        # It waits a second at most for a next request, so they follow one another.
        answers: list[Answer] = []
        until(lambda: _put_is_last(one, bucket, answers), "an answer was the last")
        assert {answer.status for answer in answers} == {200}
        assert one.is_closed()
        # Nothing was asked here: it is closed, and not reset.
        assert other.is_closed()
        until(lambda: refuses(http), "new connections are refused")
    assert process.popen.wait(10) == 0
    assert bucket.get("k").status == 200
    assert "Traceback" not in process.output


def _put_is_last(wire: Wire, bucket: Bucket, answers: list[Answer]) -> bool:
    answers.append(wire.request("PUT", bucket.key("k"), "Content-Length: 0"))
    return answers[-1].headers.get("connection") == "close"


def test_a_request_that_is_still_being_sent_is_answered(serve, bucket: Bucket) -> None:
    process, http = serve()
    with Wire(http) as body, Wire(http) as headers:
        body.head("PUT", bucket.key("body"), "Content-Length: 4")
        body.send(b"ab")
        headers.send(f"PUT {bucket.key('headers')} HTTP/1.1\r\nHost: x\r\nContent-".encode())
        until(lambda: http.get("/ready").status == 200, "the gateway has read that far")
        tell(process)
        until(lambda: refuses(http), "it stops")
        time.sleep(1.5)  # longer than a connection that says nothing is kept
        body.send(b"cd")
        headers.send(b"Length: 2\r\n\r\nxy")
        for wire in (body, headers):
            answer = wire.answer()
            assert (answer.status, answer.headers["connection"]) == (200, "close")
            assert wire.is_closed()
    assert process.popen.wait(10) == 0
    assert (bucket.get("body").value, bucket.get("headers").value) == (b"abcd", b"xy")


def test_requests_sent_behind_one_another_are_all_answered(serve, bucket: Bucket) -> None:
    process, http = serve()
    with Wire(http) as wire:
        wire.head("PUT", bucket.key("1"), "Content-Length: 2")
        wire.send(b"a")
        until(lambda: http.get("/ready").status == 200, "the gateway has read that far")
        tell(process)
        until(lambda: refuses(http), "it stops")
        wire.send(b"b")
        first = wire.answer()
        assert (first.status, first.headers["connection"]) == (200, "close")
        wire.head("PUT", bucket.key("2"), "Content-Length: 0")
        assert wire.is_closed(), "and what comes after the last answer is not half done"
    assert process.popen.wait(10) == 0
    assert bucket.get("2").status == 404


class _LateConnection(GatewayServer):
    """Stops just after a client has connected, which the event loop has not seen yet."""

    late: socket.socket

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        assert sockets is not None
        self.late = socket.create_connection(sockets[0].getsockname())
        self.late.sendall(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        await super().shutdown(sockets)


def test_a_connection_that_waits_to_be_accepted_is_answered(nats: LocalNats) -> None:
    settings = load({"auth": "off", "nats_url": nats.url, "log_level": "error"}, None)
    config = config_for(factory(settings, NoAuth()), server_options(settings))
    server = _LateConnection(config, lambda: setattr(server, "should_exit", True))
    with (
        listen("127.0.0.1", 0) as listening,
        asyncio.Runner(loop_factory=config.get_loop_factory()) as runner,
    ):
        runner.run(server.serve(sockets=[listening]))
    with server.late as late:
        answer = b"".join(iter(lambda: late.recv(4096), b""))
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert b"connection: close" in answer


@pytest.fixture
def frozen(serve, own_nats: LocalNats) -> Callable[..., tuple[Process, Http, Bucket]]:
    """A gateway with a bucket, whose nats-server has stopped to answer."""

    def frozen(*arguments: str) -> tuple[Process, Http, Bucket]:
        own_nats.start()
        process, http = serve("--bucket", "b", *arguments, on=own_nats)
        bucket = Bucket(http, "b")
        assert bucket.put("k", "v").status == 200
        own_nats.pause()
        return process, http, bucket

    return frozen


def test_a_write_that_cannot_be_waited_for_is_answered_as_unknown(
    frozen, own_nats: LocalNats
) -> None:
    process, http, bucket = frozen("--request-timeout", "60")
    with Wire(http) as write, Wire(http) as delete, Wire(http) as read, Wire(http) as half:
        write.head("PUT", bucket.key("k"), "Content-Length: 0")
        delete.head("DELETE", bucket.key("k"))
        read.head("GET", bucket.key("k"))
        half.head("PUT", bucket.key("k"), "Content-Length: 2")
        until(lambda: http.get("/health").status == 200, "the gateway has read them")
        tell(process)
        until(lambda: refuses(http), "it stops")
        tell_again(process)
        for wire in (write, delete):
            answer = wire.answer()
            assert answer.status == 504
            assert answer.json["details"] == {"outcome": "unknown"}
            assert (answer.json["retryable"], answer.headers["connection"]) == (False, "close")
        for wire in (read, half):
            answer = wire.answer()
            assert (answer.status, answer.json["code"]) == (503, "unavailable")
            assert (answer.json["retryable"], answer.headers["retry-after"]) == (True, "1")
        for wire in (write, delete, read, half):
            assert wire.is_closed()
    assert process.popen.wait(10) == 0
    assert "Traceback" not in process.output


def test_a_request_that_never_comes_to_its_end_holds_a_stop_up_until_the_bound(
    serve, bucket: Bucket
) -> None:
    process, http = serve("--request-timeout", "0.5")
    with Wire(http, timeout=20) as body, Wire(http, timeout=20) as headers:
        body.head("PUT", bucket.key("body"), "Content-Length: 4")
        headers.send(b"GET / HTTP/1.1\r\n")
        until(lambda: http.get("/ready").status == 200, "the gateway has read that far")
        began = time.monotonic()
        tell(process)
        for wire in (body, headers):
            answer = wire.answer()
            assert (answer.status, answer.error) == (503, "the gateway stops")
            assert wire.is_closed()
        assert process.popen.wait(10) == 0
        assert 5 < time.monotonic() - began < STOP_SECONDS
    assert bucket.get("body").status == 404
    assert "Traceback" not in process.output


async def test_watches_end_with_a_word_and_leave_no_consumer(
    serve, workers: list[str], bucket: Bucket, native: Native
) -> None:
    process, http = await asyncio.to_thread(serve, *workers)

    async def consumers() -> int:
        return (await native.api(f"STREAM.INFO.KV_{bucket.name}"))["state"]["consumer_count"]

    async with (
        watching(http, bucket.name) as watcher,
        streaming(http, bucket.name) as stream,
    ):
        assert await consumers() > 0
        tell(process)
        frames, code = await watcher.closed()
        assert (frames, code) == ([], 1001)
        while await stream.block() is not None:
            pass
        assert stream.ended, "with its last chunk"
    assert await asyncio.to_thread(process.popen.wait, 10) == 0
    assert await consumers() == 0
    assert "Traceback" not in process.output


def test_a_stop_ends_while_nats_does_not_answer(frozen, own_nats: LocalNats) -> None:
    process, http, bucket = frozen()
    with Wire(http, timeout=20) as wire:
        wire.head("PUT", bucket.key("k"), "Content-Length: 0")
        until(lambda: http.get("/health").status == 200, "the gateway has read it")
        tell(process)
        answer = wire.answer()
        assert (answer.status, answer.json["details"]["outcome"]) == (504, "unknown")
    assert process.popen.wait(STOP_SECONDS) == 0
    assert "Traceback" not in process.output


def test_a_stop_ends_while_nats_is_away(frozen, own_nats: LocalNats) -> None:
    process, http, _ = frozen()
    own_nats.resume()
    own_nats.kill()
    until(lambda: http.get("/ready").status == 503, "the gateway knows")
    assert process.stop(seconds=10) == 0


def test_a_stop_ends_while_clients_do_not_read(serve, bucket: Bucket) -> None:
    bucket.put("big", b"x" * 900_000)
    process, http = serve("--request-timeout", "0.5")
    wires = [Wire(http) for _ in range(3)]
    for wire in wires:
        for _ in range(20):
            wire.head("GET", bucket.key("big"))
    until(lambda: http.get("/health").status == 200, "the gateway has read them")
    assert process.stop(seconds=STOP_SECONDS) == 0
    for wire in wires:
        wire.__exit__()


async def test_a_stop_ends_while_watchers_do_not_read(serve, bucket: Bucket) -> None:
    process, http = await asyncio.to_thread(serve)
    async with (
        watching(http, bucket.name, max_queue=1) as watcher,
        streaming(http, bucket.name) as stream,
    ):
        watcher.connection.transport.pause_reading()
        stream.writer.transport.pause_reading()
        for _ in range(30):
            await asyncio.to_thread(bucket.put, "k", b"x" * 500_000)
        assert await asyncio.to_thread(process.stop, signal.SIGTERM, STOP_SECONDS) == 0
        watcher.connection.transport.abort()


def test_a_signal_that_reaches_all_processes_is_one_signal(serve, bucket: Bucket) -> None:
    process, http = serve("--workers", "2")
    workers = both_serve(process, http)
    with Wire(http) as wire:
        wire.head("PUT", bucket.key("k"), "Content-Length: 1")
        until(lambda: http.get("/ready").status == 200, "the gateway has read that far")
        for number in (signal.SIGINT, signal.SIGTERM):
            for pid in (*workers, *children_of(process.popen.pid), process.popen.pid):
                os.kill(pid, number)
        until(lambda: refuses(http), "it stops")
        wire.send(b"v")
        assert wire.answer().status == 200
    assert process.popen.wait(10) == 0


def test_a_worker_that_hangs_is_killed_in_the_end(serve) -> None:
    process, http = serve("--workers", "2")
    hung, _other = both_serve(process, http)
    os.kill(hung, signal.SIGSTOP)
    tell(process)
    until(lambda: len(children(process)) == 1, "the other has ended")
    tell_again(process)
    assert process.popen.wait(8) == 1
    assert not runs(hung)
    assert f"worker {hung} did not stop in time: killed" in process.output


def test_no_worker_outlives_a_first_process_that_was_killed(serve, bucket: Bucket) -> None:
    process, http = serve("--workers", "2")
    workers = both_serve(process, http)
    with Wire(http) as wire:
        wire.head("PUT", bucket.key("k"), "Content-Length: 1")
        until(lambda: http.get("/ready").status == 200, "the gateway has read that far")
        process.popen.kill()
        until(lambda: refuses(http), "the workers stop")
        wire.send(b"v")
        assert wire.answer().status == 200
    until(lambda: not any(map(runs, workers)), "the workers have ended")


def test_a_worker_that_was_killed_is_replaced_and_the_other_goes_on(serve, bucket: Bucket) -> None:
    process, http = serve("--workers", "2")
    killed, other = both_serve(process, http)
    os.kill(killed, signal.SIGKILL)
    answers = [http.put(bucket.key("k"), "v").status for _ in range(20)]
    assert answers == [200] * 20
    process.wait_for(rf"worker {killed} was killed by SIGKILL: replaced")
    assert other in both_serve(process, http)
    assert process.stop() == 0


def test_a_worker_that_falls_silent_is_replaced(serve) -> None:
    process, http = serve("--workers", "2")
    silent, _other = both_serve(process, http)
    os.kill(silent, signal.SIGSTOP)
    process.wait_for(f"worker {silent} was killed by SIGKILL: replaced", SILENCE_SECONDS + 5)
    both_serve(process, http)
    assert process.stop() == 0
