"""A cache that was made before a fork, as under `gunicorn --preload`, works in all processes."""

import subprocess
import sys

from tests.support.http import Http

SCRIPT = """
import os, signal, sys, threading
from jetkv.integrations.cachelib import JetKVCache

cache = JetKVCache(sys.argv[1], sys.argv[2])
cache.set("k", (1, 2))
over = threading.Event()


def busy():
    while not over.is_set():
        assert cache.get("k") == (1, 2)


threads = [threading.Thread(target=busy) for _ in range(3)]
for thread in threads:
    thread.start()
children = []
for _ in range(4):
    child = os.fork()
    if not child:
        signal.alarm(20)  # ends a child that waits for ever
        for _ in range(25):
            assert cache.get("k") == (1, 2)
            cache.inc("hits")
        os._exit(0)
    children.append(child)
assert [os.waitpid(child, 0)[1] for child in children] == [0] * 4
over.set()
for thread in threads:
    thread.join(10)
assert cache.get("hits") == 100
cache.close()
"""


def test_children_of_a_fork_share_a_cache_with_their_parent(http: Http, new_bucket: str) -> None:
    # A process that has threads, as this one, should not fork.
    quiet = ["-W", "ignore:This process:DeprecationWarning"]
    done = subprocess.run(
        [sys.executable, *quiet, "-c", SCRIPT, http.url, new_bucket],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
