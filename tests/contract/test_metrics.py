"""The metrics, in Prometheus's text format (docs/http-api.md#health-and-metrics)."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

from prometheus_client.parser import text_string_to_metric_families

from jetkv_gateway.embedded import NatsServer
from tests.support.gateway import running_bucket, running_gateway
from tests.support.http import Answer, Bucket, Http
from tests.support.waiting import until


def figure(http: Http, name: str) -> float:
    """Return one figure of `/metrics`."""
    answer = http.get("/metrics")
    assert answer.status == 200
    return next(
        sample.value
        for family in text_string_to_metric_families(answer.body.decode())
        for sample in family.samples
        if sample.name == name
    )


def test_metrics_are_prometheus_text(http: Http) -> None:
    answer = http.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    assert b"# TYPE jetkv_retries_total counter" in answer.body


def test_an_answer_says_how_often_the_gateway_tried_again_and_the_counter_grows_by_that(
    own_nats: NatsServer,
) -> None:
    with running_bucket(own_nats, request_timeout=0.3) as bucket:
        bucket.put("k", "v")
        before = figure(bucket.http, "jetkv_retries_total")
        own_nats.pause()
        answers: list[Answer] = []
        reader = threading.Thread(target=lambda: answers.append(bucket.get("k")))
        reader.start()
        reader.join(1)
        own_nats.resume()
        reader.join(10)
    assert answers[0].status == 200
    retries = int(answers[0].headers["jetkv-retries"])
    assert retries >= 1
    with running_gateway(own_nats.url) as http:
        assert figure(http, "jetkv_retries_total") == before + retries


def test_a_request_does_not_take_over_the_retries_of_the_one_that_made_room_for_it(
    own_nats: NatsServer,
) -> None:
    """With room for one, the others begin in what the first one leaves behind."""
    own_nats.start()
    limits = {"max_requests": 1, "request_wait": 30, "request_timeout": 0.3}
    with running_gateway(own_nats.url, buckets="b", **limits) as http:
        bucket = Bucket(http, "b")
        bucket.put("k", "v")
        own_nats.pause()
        with ThreadPoolExecutor(3) as pool:
            first = pool.submit(bucket.get, "k")
            others = [pool.submit(bucket.get, "k") for _ in range(2)]
            until(lambda: not others[0].done(), "they wait")
            time.sleep(0.5)  # the time that the first one's tries take
            own_nats.resume()
            answers = [one.result(20) for one in (first, *others)]
    assert [answer.status for answer in answers] == [200, 200, 200]
    assert sum("jetkv-retries" in answer.headers for answer in answers) == 1


def test_an_answer_of_the_first_try_says_nothing_of_retries(bucket: Bucket) -> None:
    assert "jetkv-retries" not in bucket.put("k", "v").headers
    assert "jetkv-retries" not in bucket.get("k").headers
