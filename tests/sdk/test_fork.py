"""What a forked child holds of its parent's: nothing, and it takes nothing away from it."""

import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from tests.sdk.calls import INFO
from tests.sdk.test_closing import EVENTS
from tests.sdk.test_retry import GET
from tests.sdk.test_watch_place import updates
from tests.support.http import Bucket, Http
from tests.support.scripted import scripted

HEADER = """
import math, os, signal, sys, threading, time
from jetkv import Client
from jetkv.recipes import Election, Flags, Lock, cached

client = Client(sys.argv[1])
bucket = client.kv().bucket(sys.argv[2])


def fork(work):
    # A child that waits for ever is ended by its alarm.
    child = os.fork()
    if not child:
        signal.alarm(8)
        work()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
"""


def run(script: str, url: str, bucket: str) -> None:
    """Run a script in a process of its own: one that has threads, as ours, should not fork."""
    done = subprocess.run(
        [
            sys.executable,
            "-W",
            "ignore:This process:DeprecationWarning",
            "-c",
            HEADER + script,
            url,
            bucket,
        ],
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.fixture
def locks(make_bucket: Callable[..., Bucket]) -> Bucket:
    return make_bucket(ttl_seconds=30)


LEAVES = {
    "leaves the block": "sys.exit(0)",
    "releases": "lock.release()",
}


@pytest.mark.parametrize("leave", LEAVES.values(), ids=LEAVES)
def test_a_childs_end_leaves_its_parents_lock(http: Http, locks: Bucket, leave: str) -> None:
    script = f"""
lock = Lock(bucket, "job")
with lock:
    child = os.fork()
    if not child:
        signal.alarm(8)
        assert not lock.held
        {leave}
        sys.exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert bucket.exists("job") and lock.held
assert not bucket.exists("job")
"""
    run(script, http.url, locks.name)


def test_a_childs_resignation_leaves_its_parent_leading(http: Http, locks: Bucket) -> None:
    script = """
election = Election(bucket, "job", "parent")
with election:
    fork(election.resign)
    assert election.leader() == "parent" and election.is_leader
client.close()
"""
    run(script, http.url, locks.name)


ENDS = {
    "closes the watch": "watch.close()",
    "closes the client": "client.close()",
    "leaves both": "sys.exit(0)",
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_a_childs_end_leaves_its_parents_watch_its_connection(end: str) -> None:
    go = threading.Event()

    def go_on(connection: Any) -> None:
        connection.sendall(EVENTS)
        go.wait(20)
        connection.sendall(updates(8).encode())
        connection.recv(1)

    def last(connection: Any) -> None:
        connection.sendall(GET)
        go.set()

    script = f"""
watch = bucket.watch(resume_after=7).__enter__()
seen = []
reader = threading.Thread(target=lambda: seen.append(next(watch).revision))
reader.start()
deadline = time.monotonic() + 8
while not watch._reader.connected or not watch._reader._stream._busy:
    assert time.monotonic() < deadline
    time.sleep(0.01)
child = os.fork()
if not child:
    signal.alarm(8)
    {end}
    sys.exit(0)
assert os.waitpid(child, 0)[1] == 0
bucket.get("k")
reader.join(8)
assert seen == [8]
watch.close()
client.close()
"""
    with scripted(INFO, go_on, last) as server:
        run(script, server.url, "b")
        assert server.connections == 3


def test_a_child_waits_for_no_computation_of_its_parents_threads(
    http: Http, bucket: Bucket
) -> None:
    script = """
parent = os.getpid()
begun, go = threading.Event(), threading.Event()


@cached(bucket)
def compute(x):
    if os.getpid() == parent:
        begun.set()
        go.wait(20)
    return x


thread = threading.Thread(target=compute, args=(1,))
thread.start()
assert begun.wait(8)
fork(lambda: compute(1))
go.set()
thread.join(8)
assert compute(1) == 1
client.close()
"""
    run(script, http.url, bucket.name)


WAIT = """
def wait(condition):
    deadline = time.monotonic() + 8
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


"""


def test_a_child_follows_the_flags_that_its_parent_started(http: Http, bucket: Bucket) -> None:
    script = """
changes = []


def look():
    assert flags.enabled("f") and flags.ready
    wait(lambda: flags.stale == 0)
    bucket.put("f", False)
    wait(lambda: not flags.enabled("f"))
    wait(lambda: changes == [(os.getpid(), "f", False)])
    flags.close()
    assert flags.stale > 0


with Flags(bucket, on_change=lambda *change: changes.append((os.getpid(), *change))) as flags:
    assert flags.wait_ready(8)
    fork(look)
    wait(lambda: not flags.enabled("f"))
    wait(lambda: flags.stale == 0)
client.close()
"""
    bucket.put("f", "true", Content_Type="application/json")
    run(WAIT + script, http.url, bucket.name)


def test_threads_of_a_child_that_look_at_once_begin_one_follower(
    http: Http, bucket: Bucket
) -> None:
    script = """
def look():
    gate = threading.Barrier(8)

    def one():
        gate.wait(8)
        assert flags.enabled("f")

    threads = [threading.Thread(target=one) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(8)
    assert sum(thread.name.startswith("jetkv flags") for thread in threading.enumerate()) == 1
    wait(lambda: flags.stale == 0)
    flags.close()


with Flags(bucket) as flags:
    assert flags.wait_ready(8)
    fork(look)
    assert flags.stale == 0
client.close()
"""
    bucket.put("f", "true", Content_Type="application/json")
    run(WAIT + script, http.url, bucket.name)


def test_a_child_that_only_closes_its_parents_flags_follows_nothing(
    http: Http, bucket: Bucket
) -> None:
    script = """
def leave():
    flags.close()
    assert threading.active_count() == 1
    assert flags.enabled("f") and flags.wait_ready(0)


with Flags(bucket) as flags:
    assert flags.wait_ready(8)
    fork(leave)
    bucket.put("f", False)
    wait(lambda: not flags.enabled("f"))
client.close()
"""
    bucket.put("f", "true", Content_Type="application/json")
    run(WAIT + script, http.url, bucket.name)


def test_a_child_starts_flags_that_its_parent_only_made(http: Http, bucket: Bucket) -> None:
    script = """
def work():
    with flags:
        assert flags.wait_ready(8) and flags.enabled("f")


flags = Flags(bucket)
fork(work)
fork(work)
client.close()
"""
    bucket.put("f", "true", Content_Type="application/json")
    run(WAIT + script, http.url, bucket.name)


def test_a_child_may_call_where_a_thread_of_its_parent_was_at_it(
    http: Http, bucket: Bucket
) -> None:
    script = """
bucket.put("k", 1)
over = threading.Event()


def busy():
    while not over.is_set():
        bucket.get("k")


threads = [threading.Thread(target=busy) for _ in range(3)]
for thread in threads:
    thread.start()
for _ in range(5):
    fork(lambda: bucket.get("k"))
over.set()
for thread in threads:
    thread.join(8)
client.close()
"""
    run(script, http.url, bucket.name)
