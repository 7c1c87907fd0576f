"""The metrics of a gateway with several workers."""

import json
import os
import signal

from jetkv.testing import LocalNats
from tests.cli.conftest import Serve
from tests.cli.workers import both_serve
from tests.support.figures import figures, value
from tests.support.http import Bucket, Http
from tests.support.native import native_client
from tests.support.waiting import until

PUTS = {
    "method": "PUT",
    "route": "/api/v1/kv/buckets/{bucket}/keys/{key...}",
    "status": "200",
}


def puts(http: Http) -> float:
    return value(figures(http), "jetkv_http_requests_total", **PUTS)


def write(http: Http, bucket: Bucket, times: int) -> None:
    """Write, and wait until all of it is counted: the last answer comes before its count."""
    before = puts(http)
    for number in range(times):
        assert http.put(bucket.key(f"k{number}"), "v").status == 200
    until(lambda: puts(http) >= before + times, "every write is counted")


def test_every_worker_answers_with_the_requests_of_all(serve: Serve, bucket: Bucket) -> None:
    process, http = serve("--workers", "2")
    both_serve(process, http)
    write(http, bucket, 20)
    assert {puts(http) for _ in range(10)} == {20}
    assert value(figures(http), "jetkv_nats_connected") == 1


def test_a_worker_that_died_takes_no_counts_back(serve: Serve, bucket: Bucket) -> None:
    process, http = serve("--workers", "2")
    one, _ = both_serve(process, http)
    write(http, bucket, 20)
    os.kill(one, signal.SIGKILL)
    process.wait_for(f"worker {one} was killed by SIGKILL: replaced")
    assert puts(http) == 20
    both_serve(process, http)
    until(lambda: value(figures(http), "jetkv_nats_connected") == 1, "the new one is connected")
    write(http, bucket, 20)
    assert {puts(http) for _ in range(10)} == {40}


async def test_every_worker_shows_itself_as_a_nats_micro_service_with_its_own_requests(
    serve: Serve, bucket: Bucket, nats: LocalNats
) -> None:
    process, http = serve("--workers", "2", "--nats-service")
    workers = both_serve(process, http)
    write(http, bucket, 20)
    async with native_client(nats.url) as native:
        inbox = native.client.new_inbox()
        answers = await native.client.subscribe(inbox)
        await native.client.publish("$SRV.STATS.jetkv", reply=inbox)
        found = [json.loads((await answers.next_msg(5)).data) for _ in range(2)]
    assert {one["metadata"]["pid"] for one in found} == set(map(str, workers))
    writes = [end for one in found for end in one["endpoints"] if end["name"] == "write"]
    assert sum(one["num_requests"] for one in writes) == 20
