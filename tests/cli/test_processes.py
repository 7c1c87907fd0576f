"""The death of any process of a gateway, and SIGHUP: a line in the log, and a service."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from jetkv.testing import LocalNats
from tests.cli.conftest import Process, Serve
from tests.cli.workers import both_serve, children, helper_of, runs
from tests.support.http import BUCKETS, Bucket, Http
from tests.support.raw import Wire
from tests.support.tokens import new_token, token_line
from tests.support.waiting import until

pytestmark = pytest.mark.long


@pytest.fixture(params=[1, 2], ids=["one process", "two workers"])
def workers(request: pytest.FixtureRequest) -> int:
    number: int = request.param
    return number


NKEY = "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY"
PUBLIC = "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4"


@contextmanager
def nkey_server(folder: Path) -> Iterator[tuple[LocalNats, Path]]:
    """A nats-server that wants a signature, and the file with the seed for it."""
    seed = folder / "seed"
    seed.write_text(NKEY)
    config = f"authorization {{ users: [{{ nkey: {PUBLIC} }}] }}"
    with LocalNats(folder / "nats", config=config) as nats:
        yield nats, seed


# --- the death of a process


def test_the_workers_go_on_without_the_process_that_they_were_forked_from(
    serve: Serve, bucket: Bucket
) -> None:
    process, http = serve("--workers", "2")
    workers = both_serve(process, http)
    helper = helper_of(process, "forkserver")
    with Wire(http) as wire:
        wire.head("PUT", bucket.key("k"), "Content-Length: 1")
        os.kill(helper, signal.SIGKILL)
        process.wait_for(
            f"ERROR jetkv: process {helper}, which workers are forked from, was killed by SIGKILL: "
            "another one takes its place, the workers go on"
        )
        wire.send(b"v")
        assert wire.answer().status == 200, "what was in flight is answered"
    assert all(map(runs, workers))
    assert helper_of(process, "forkserver") != helper

    os.kill(workers[0], signal.SIGKILL)
    process.wait_for(rf"worker {workers[0]} ended with an unknown exit code: replaced")
    until(lambda: len(children(process)) == 1, "another one is there, of the new helper", 20)
    assert [http.get(bucket.path).status for _ in range(20)] == [200] * 20

    assert process.stop() == 0
    assert not any(map(runs, workers))
    assert "Traceback" not in process.output


def test_a_worker_that_is_lost_together_with_the_helper_is_replaced(
    serve: Serve, bucket: Bucket
) -> None:
    process, http = serve("--workers", "2")
    workers = both_serve(process, http)
    # As the kernel does it when memory runs out.
    for pid in (helper_of(process, "forkserver"), *workers):
        os.kill(pid, signal.SIGKILL)
    for worker in workers:
        process.wait_for(
            rf"worker {worker} (ended with an unknown exit code|was killed by SIGKILL): replaced"
        )
    both_serve(process, http)
    assert http.get(bucket.path).status == 200
    assert process.stop() == 0
    assert "Traceback" not in process.output


def test_the_resource_tracker_is_started_again_and_the_log_says_so(serve: Serve) -> None:
    process, http = serve("--workers", "2")
    workers = both_serve(process, http)
    tracker = helper_of(process, "resource_tracker")
    os.kill(tracker, signal.SIGKILL)
    process.wait_for(
        f"ERROR jetkv: process {tracker}, Python's resource tracker, was killed by SIGKILL: "
        "another one takes its place, the workers go on"
    )
    assert helper_of(process, "resource_tracker") != tracker
    assert both_serve(process, http) == workers
    assert process.stop() == 0


def test_a_worker_that_cannot_be_forked_is_tried_again(
    serve: Serve, tmp_path: Path, bucket: Bucket
) -> None:
    process, http = serve("--workers", "2")
    workers = both_serve(process, http)
    # It hangs, and is killed while the first process waits for a worker of it.
    helper = helper_of(process, "forkserver")
    os.kill(helper, signal.SIGSTOP)
    os.kill(workers[0], signal.SIGKILL)
    process.wait_for(f"worker {workers[0]} ended with an unknown exit code: replaced")
    assert http.get(bucket.path).status == 200, "the other one serves"
    os.kill(helper, signal.SIGKILL)
    # Which of the two it is told by depends on whether it was asked for a worker by then.
    process.wait_for(
        "ERROR jetkv: cannot start a worker: .*; trying again"
        f"|process {helper}, which workers are forked from, was killed by SIGKILL"
    )
    until(lambda: len(children(process)) == 1, "there are two again", 20)
    assert process.stop() == 0
    assert "Traceback" not in process.output


def test_a_fork_server_that_hangs_is_killed_and_another_one_takes_its_place(
    serve: Serve, bucket: Bucket
) -> None:
    # A minute, which a first start may need, is too long for a test.
    first = (
        "import signal, jetkv_gateway.serving.worker as worker\n"
        "def shorten(*_): worker._START_SECONDS = 1.0; print('shorter', flush=True)\n"
        "signal.signal(signal.SIGUSR1, shorten)"
    )
    process, http = serve("--workers", "2", first=first)
    lost, other = both_serve(process, http)
    process.popen.send_signal(signal.SIGUSR1)
    process.wait_for("shorter")
    helper = helper_of(process, "forkserver")
    os.kill(helper, signal.SIGSTOP)
    os.kill(lost, signal.SIGKILL)
    process.wait_for(f"ERROR jetkv: process {helper}, which workers are forked from, hangs: killed")
    assert http.get(bucket.path).status == 200, "the other one serves"
    process.wait_for("ERROR jetkv: cannot start a worker: .*; trying again")
    until(lambda: len(children(process)) == 1, "another one is there, of a new helper", 20)
    assert runs(other)
    assert http.get(bucket.path).status == 200
    assert process.stop() == 0


def test_workers_whose_first_process_was_killed_say_why_they_stop_and_leave_its_place_free(
    serve: Serve,
) -> None:
    # A delay is for a stop that somebody asked for; this address is wanted again at once.
    process, http = serve("--workers", "2", "--shutdown-delay", "60")
    workers = both_serve(process, http)
    helpers = [helper_of(process, name) for name in ("forkserver", "resource_tracker")]
    process.popen.kill()
    process.popen.wait()
    until(lambda: not any(map(runs, [*workers, *helpers])), "no process is left")
    said = "ERROR jetkv: the main process is gone: this worker stops"
    assert process.output.count(said) == 2
    again, _ = serve("--workers", "2", "--port", str(http.port))
    assert again.stop() == 0


def test_a_worker_that_somebody_stops_is_replaced(serve: Serve) -> None:
    process, http = serve("--workers", "2")
    stopped, other = both_serve(process, http)
    os.kill(stopped, signal.SIGTERM)
    process.wait_for(f"WARNING jetkv: worker {stopped} ended with exit code 0: replaced")
    assert other in both_serve(process, http)
    assert process.stop() == 0


def test_a_worker_that_cannot_start_for_a_file_is_said_so_and_starts_once_it_is_back(
    start: Callable[..., Process], tmp_path: Path
) -> None:
    with nkey_server(tmp_path) as (nats, seed):
        process = start(
            "serve", "--auth", "off", "--port", "0", "--nats-url", nats.url, "--workers", "2",
            "--nats-nkey", str(seed), "--bucket", "b",
        )  # fmt: skip
        http = process.http()
        workers = both_serve(process, http)
        away = seed.rename(tmp_path / "away")
        os.kill(workers[0], signal.SIGKILL)
        process.wait_for(f"ERROR jetkv: a worker cannot start: no such file: {seed}")
        assert [http.put(f"{BUCKETS}/b/keys/k", "v").status for _ in range(20)] == [200] * 20
        away.rename(seed)
        until(lambda: len(children(process)) == 2, "there are two again", 20)
        both_serve(process, http)
        assert process.stop() == 0
        assert "Traceback" not in process.output


# --- SIGHUP


def test_a_hangup_has_the_tokens_read_again_and_ends_nothing(
    serve: Serve, workers: int, tmp_path: Path
) -> None:
    tokens = tmp_path / "tokens"
    token = new_token()
    tokens.write_text(token_line("app", token) + "\n")
    process, http = serve(
        "--auth", "tokens", "--auth-tokens", str(tokens), "--workers", str(workers)
    )
    http.headers["Authorization"] = f"Bearer {token}"
    if workers > 1:
        pids = both_serve(process, http)
    process.popen.send_signal(signal.SIGHUP)
    said = f"INFO jetkv.auth: read 1 tokens from {tokens}"
    until(lambda: process.output.count(said) == workers, "each says what it read")
    tokens.write_text("broken")
    process.popen.send_signal(signal.SIGHUP)
    said = f"ERROR jetkv.auth: {tokens}, line 1: must be name:sha256"
    until(lambda: process.output.count(said) >= workers, "each says that it is broken")
    assert {http.get(BUCKETS).status for _ in range(20)} == {200}, "the last good one is in force"
    if workers > 1:
        assert both_serve(process, http) == pids
    assert process.stop() == 0
    assert "Traceback" not in process.output


def test_a_hangup_that_reaches_all_processes_ends_none(serve: Serve, bucket: Bucket) -> None:
    process, http = serve("--workers", "2")
    workers = both_serve(process, http)
    helpers = [helper_of(process, name) for name in ("forkserver", "resource_tracker")]
    for pid in (*workers, *helpers, process.popen.pid):
        os.kill(pid, signal.SIGHUP)
    said = "INFO jetkv: reload: files are read again"
    until(lambda: process.output.count(said) == 2, "each worker reloads once")
    assert both_serve(process, http) == workers
    assert [helper_of(process, name) for name in ("forkserver", "resource_tracker")] == helpers
    assert process.stop() == 0


def test_a_hangup_says_which_file_for_nats_cannot_be_used_and_the_connection_stays(
    start: Callable[..., Process], tmp_path: Path
) -> None:
    with nkey_server(tmp_path) as (nats, seed):
        process = start(
            "serve", "--auth", "off", "--port", "0", "--nats-url", nats.url,
            "--nats-nkey", str(seed), "--bucket", "b",
        )  # fmt: skip
        http = process.http()
        until(lambda: http.get("/ready").status == 200, "the gateway is ready")
        process.popen.send_signal(signal.SIGHUP)
        process.wait_for(
            "reload: the next connection to NATS uses the credentials and certificates"
        )
        seed.write_text(NKEY[:-9])
        process.popen.send_signal(signal.SIGHUP)
        process.wait_for(
            f"ERROR jetkv: reload: cannot use the nkey file {seed}: .*; the connection"
        )
        seed.unlink()
        process.popen.send_signal(signal.SIGHUP)
        process.wait_for(
            f"ERROR jetkv: reload: no such file: {seed}; the connection to NATS continues"
        )
        assert Bucket(http, "b").put("k", "v").status == 200
        assert process.stop() == 0


# --- the token file


def test_a_worker_is_replaced_while_the_token_file_is_broken_and_knows_the_tokens(
    serve: Serve, tmp_path: Path
) -> None:
    tokens = tmp_path / "tokens"
    first, second = new_token(), new_token()
    tokens.write_text(token_line("first", first) + "\n")
    process, http = serve(
        "--auth", "tokens", "--auth-tokens", str(tokens), "--workers", "2", "--log-level", "debug"
    )
    lost, other = both_serve(process, http)
    tokens.write_text(token_line("first", first) + "\n" + token_line("second", second) + "\n")
    until(lambda: process.output.count("read 2 tokens") == 3, "all have read it")
    assert _both_know(http, second)
    tokens.unlink()
    until(lambda: process.output.count("cannot read the token file") == 3, "all miss it")
    os.kill(lost, signal.SIGKILL)
    process.wait_for(f"worker {lost} was killed by SIGKILL: replaced")
    assert other in both_serve(process, http)
    assert _both_know(http, first)
    assert _both_know(http, second)
    assert "auth" in http.get("/ready").json["warnings"]
    assert "Traceback" not in process.output


def _both_know(http: Http, token: str) -> bool:
    seen: dict[str, int] = {}
    for _ in range(200):
        answer = http.get(BUCKETS, Authorization=f"Bearer {token}")
        seen[answer.headers["x-request-id"].partition("-")[0]] = answer.status
        if len(seen) == 2:
            break
    return set(seen.values()) == {200}


def test_a_token_file_that_becomes_a_pipe_holds_up_nobody(serve: Serve, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    token = new_token()
    tokens.write_text(token_line("app", token) + "\n")
    process, http = serve("--auth", "tokens", "--auth-tokens", str(tokens))
    tokens.unlink()
    os.mkfifo(tokens)
    until(lambda: "auth" in http.get("/ready").json["warnings"], "/ready warns, nobody came in")
    assert http.get(BUCKETS, Authorization=f"Bearer {token}").status == 200
    assert "it is not a regular file" in process.output
    assert process.stop() == 0
