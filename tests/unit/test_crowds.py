"""What a crowd that comes at once meets: the queue of those who connect, and the collector."""

import gc
import resource
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from jetkv_gateway.app import _COLLECT_AFTER
from jetkv_gateway.serving.server import listen

CROWD = 3_000
_MOST_QUEUED = Path("/proc/sys/net/core/somaxconn")


@pytest.fixture
def descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < CROWD + 500:
        pytest.skip("too few descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, CROWD + 500), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.skipif(
    not _MOST_QUEUED.exists() or int(_MOST_QUEUED.read_text()) < CROWD,
    reason="the system lets fewer wait",
)
def test_a_crowd_that_comes_before_any_is_accepted_is_connected_at_once(descriptors: None) -> None:
    with listen("127.0.0.1", 0) as listening, ExitStack() as stack:
        for _ in range(CROWD):
            # Where the queue is full, the kernel drops the first packet, and tries again for long.
            client = socket.create_connection(listening.getsockname(), timeout=0.9)
            stack.enter_context(client)


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="its collector looks at a part each time")
def test_a_collection_while_thousands_of_watches_begin_walks_what_is_new_alone() -> None:
    walked: list[int] = []

    def look(phase: str, info: dict[str, int]) -> None:
        if phase == "start" and info["generation"] == 1:
            walked.append(sum(len(gc.get_objects(generation=young)) for young in (0, 1)))

    before = gc.get_threshold()
    kept: list[object] = []
    gc.collect()
    gc.callbacks.append(look)
    gc.set_threshold(*_COLLECT_AFTER)
    try:
        for number in range(100_000):
            kept.append({"a": [number], "b": {"c": []}})
    finally:
        gc.set_threshold(*before)
        gc.callbacks.remove(look)
    assert walked
    assert max(walked) < 20_000
