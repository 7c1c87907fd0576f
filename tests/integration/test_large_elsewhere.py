"""What others make large without this gateway knowing is nobody's trouble, either."""

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from jetkv.testing import LocalNats
from tests.integration.test_large_reads import slow_consumers
from tests.support.gateway import running_gateway
from tests.support.http import BUCKETS, Bucket

VALUE = os.urandom(1_000_000)
KEYS = 120


@pytest.mark.parametrize("query", ["", "?consistency=eventual&values=raw"])
async def test_keys_known_small_that_another_gateway_made_large_cost_nobody_the_connection(
    own_nats: LocalNats, tmp_path: Path, query: str
) -> None:
    own_nats.start()
    keys = [f"k{number}" for number in range(KEYS)]
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(KEYS))
    with running_gateway(own_nats.url) as http, running_gateway(own_nats.url) as elsewhere:
        http.post(BUCKETS, {"name": "b"})
        here, there = Bucket(http, "b"), Bucket(elsewhere, "b")
        for key in keys:
            assert here.put(key, "small").status == 200
        # From now on this gateway takes them for small, for some seconds at least.
        for key in keys:
            assert here.get(key).value == b"small"
        for key in keys:
            assert there.put(key, VALUE).status == 200
        reads = (asyncio.to_thread(here.get, key, query) for key in keys)
        answers = await asyncio.gather(*reads)
    assert [answer.body for answer in answers if answer.status != 200] == []
    assert slow_consumers(tmp_path) == 0
