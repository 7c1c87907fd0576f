"""Metrics of named buckets, exemplars, and the switch (docs/metrics.md)."""

import re

import pytest

from jetkv.testing import LocalNats
from jetkv_gateway.settings import SettingsError, load
from tests.support.figures import OPENMETRICS, figures, read_openmetrics, value
from tests.support.gateway import running_gateway
from tests.support.http import BUCKETS, Bucket, Http
from tests.support.traces import traceparent_of, tracing_gateway

KEY = "/api/v1/kv/buckets/{bucket}/keys/{key...}"
DURATION = "jetkv_http_request_duration_seconds_bucket"


def exemplars(http: Http) -> list[tuple[dict[str, str], str, float, float]]:
    """Return labels of the sample, trace id, seconds and bound of each exemplar."""
    answer = http.get("/metrics", accept=OPENMETRICS)
    return [
        (
            sample.labels,
            sample.exemplar.labels["trace_id"],
            sample.exemplar.value,
            float(sample.labels["le"]),
        )
        for family in read_openmetrics(answer.body.decode())
        for sample in family.samples
        if sample.exemplar is not None
    ]


def test_requests_of_a_named_bucket_are_counted_and_timed_with_its_name(
    nats: LocalNats, make_bucket
) -> None:
    named, other = make_bucket(), make_bucket()
    with running_gateway(nats.url, metrics_buckets=[named.name]) as http:
        for bucket in (named, other):
            http.put(bucket.key("k"), "v")
            http.get(bucket.key("none"))
            http.request("PROPFIND", bucket.key("k"))
        found = figures(http)
    counted = "jetkv_bucket_requests_total"
    assert value(found, counted, bucket=named.name, method="PUT", status="200") == 1
    assert value(found, counted, bucket=named.name, method="GET", status="404") == 1
    assert value(found, counted, bucket=named.name, method="DELETE", status="204") == 0
    assert value(found, counted, bucket=named.name, method="other", status="405") == 1
    timed = "jetkv_bucket_request_duration_seconds_count"
    assert value(found, timed, bucket=named.name, method="PUT") == 1
    assert {dict(labels)["bucket"] for _, labels in found if "bucket" in dict(labels)} == {
        named.name
    }


def test_without_the_setting_no_bucket_is_a_label(http: Http, bucket: Bucket) -> None:
    http.put(bucket.key("k"), "v")
    assert not [name for name, labels in figures(http) if "bucket" in dict(labels)]
    assert not [name for name, _ in figures(http) if name.startswith("jetkv_bucket_")]


@pytest.mark.parametrize("names", ["not/a/bucket", " ".join(f"b{n}" for n in range(33))])
def test_a_name_that_is_no_bucket_and_too_many_are_refused(names: str) -> None:
    with pytest.raises(SettingsError, match="metrics_buckets"):
        load({"metrics_buckets": names}, None)


def test_without_metrics_the_route_is_404_and_says_why_and_requests_are_served(
    nats: LocalNats, bucket: Bucket
) -> None:
    with running_gateway(nats.url, metrics=False) as http:
        assert http.put(bucket.key("k"), "v").status == 200
        answer = http.get("/metrics")
    assert (answer.status, answer.json["code"]) == (404, "not_found")
    assert "setting metrics" in answer.json["hint"]


def test_traces_work_without_metrics(nats: LocalNats, bucket: Bucket) -> None:
    with tracing_gateway(nats.url, metrics=False) as (http, spans):
        answer = http.put(bucket.key("k"), "v")
    assert "nats publish" in [call.name for call in spans.below(spans.of(answer))]


def test_a_recorded_request_is_an_exemplar_of_its_bucket_where_openmetrics_is_asked_for(
    nats: LocalNats, bucket: Bucket
) -> None:
    with tracing_gateway(nats.url) as (http, _):
        answers = [http.put(bucket.key("k"), "v") for _ in range(20)]
        found = [one for one in exemplars(http) if one[0]["method"] == "PUT"]
        text = http.get("/metrics").body.decode()
    # Other gateways of this process count in the same cells.
    assert {trace for _, trace, _, _ in found} & {traceparent_of(answer)[1] for answer in answers}
    for labels, _, seconds, bound in found:
        assert labels["route"] == KEY
        assert 0 < seconds <= bound
    assert len({labels["le"] for labels, *_ in found}) == len(found), "one for each bucket"
    assert "trace_id" not in text


def test_a_request_that_is_not_recorded_is_no_exemplar(
    nats: LocalNats, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    with tracing_gateway(nats.url) as (http, _):
        trace = traceparent_of(http.get(f"{BUCKETS}/{bucket.name}"))[1]
        assert trace not in [one[1] for one in exemplars(http)]


def test_what_openmetrics_shows_of_an_exemplar_keeps_its_limit_of_128_characters(
    nats: LocalNats, bucket: Bucket
) -> None:
    with tracing_gateway(nats.url) as (http, _):
        http.put(bucket.key("k"), "v")
        body = http.get("/metrics", accept=OPENMETRICS).body.decode()
    shown = re.findall(r" # \{(.*?)\} ", body)
    assert shown
    for labels in shown:
        assert len(re.sub(r'[=",]', "", labels)) <= 128
