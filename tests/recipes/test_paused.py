"""Processes that stop without a word, and go on later as if nothing had been."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from jetkv.recipes import Lock
from tests.support.http import Http

HOLDER = """
import sys
from jetkv import Client, LockLostError
from jetkv.recipes import Lock

client = Client(sys.argv[1])
lock = Lock(client.kv().bucket(sys.argv[2]), "x")
lock.acquire()
print(lock.fencing, flush=True)
for _ in sys.stdin:
    try:
        lock.check()
        print("held", lock.held, flush=True)
    except LockLostError:
        print("lost", lock.held, flush=True)
"""

FORKER = """
import os, sys
from jetkv import Client
from jetkv.recipes import Lock

client = Client(sys.argv[1])
with Lock(client.kv().bucket(sys.argv[2]), "x") as lock:
    if os.fork() == 0:
        os._exit(10 + lock.held)
    print("child", os.waitstatus_to_exitcode(os.wait()[1]) - 10, "parent", lock.held)
"""


@contextmanager
def holder(http: Http, bucket: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, http.url, bucket],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=10)


def ask(process: subprocess.Popen[str]) -> str:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("?\n")
    process.stdin.flush()
    return process.stdout.readline().strip()


@pytest.fixture
def locks(make_bucket) -> str:
    return make_bucket(ttl_seconds=1).name


def test_a_holder_that_was_paused_knows_that_another_holds_by_now(http, sync_kv, locks) -> None:
    with holder(http, locks) as process:
        assert process.stdout is not None
        fencing = int(process.stdout.readline())
        assert ask(process) == "held True"
        os.kill(process.pid, signal.SIGSTOP)
        with Lock(sync_kv.bucket(locks), "x", timeout=10) as lock:
            assert lock.fencing > fencing
            os.kill(process.pid, signal.SIGCONT)
            assert ask(process) == "lost False"
            lock.check()


def test_a_forked_child_does_not_hold_the_lock_of_its_parent(http, make_bucket) -> None:
    bucket = make_bucket(ttl_seconds=60).name
    done = subprocess.run(
        [sys.executable, "-c", FORKER, http.url, bucket],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert done.stdout == "child 0 parent True\n"
