"""The metrics of a gateway with several workers."""

import os
import signal

from tests.cli.conftest import Serve
from tests.cli.workers import both_serve
from tests.support.figures import figures, value
from tests.support.http import Bucket, Http
from tests.support.waiting import until

PUTS = {
    "method": "PUT",
    "route": "/api/v1/kv/buckets/{bucket}/keys/{key...}",
    "status": "200",
}


def puts(http: Http) -> float:
    return value(figures(http), "jetkv_http_requests_total", **PUTS)


def write(http: Http, bucket: Bucket, times: int) -> None:
    for number in range(times):
        assert http.put(bucket.key(f"k{number}"), "v").status == 200


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
