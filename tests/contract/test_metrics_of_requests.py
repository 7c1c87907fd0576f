"""What `/metrics` says of requests, NATS and watches (docs/metrics.md)."""

import pytest
from websockets.asyncio.client import connect

from jetkv_gateway.embedded import NatsServer
from tests.support.figures import OPENMETRICS, figures, read_openmetrics, value
from tests.support.gateway import running_bucket
from tests.support.http import BUCKETS, Bucket, Http
from tests.support.waiting import until
from tests.support.watching import watch_path, watching

KEY = "/api/v1/kv/buckets/{bucket}/keys/{key...}"

LABELS = {
    "jetkv_http_requests_total": {"method", "route", "status"},
    "jetkv_http_request_duration_seconds_count": {"method", "route"},
    "jetkv_http_requests_in_flight": set(),
    "jetkv_http_requests_refused_total": {"reason"},
    "jetkv_nats_connected": set(),
    "jetkv_nats_request_duration_seconds_count": {"operation"},
    "jetkv_nats_errors_total": {"kind"},
    "jetkv_nats_reconnects_total": set(),
    "jetkv_retries_total": set(),
    "jetkv_unknown_outcomes_total": set(),
    "jetkv_conflicts_total": {"kind"},
    "jetkv_watches": {"transport"},
    "jetkv_watch_frames_total": {"transport"},
    "jetkv_watch_lag_revisions": set(),
    "jetkv_watch_slow_consumers_total": set(),
    "jetkv_feed_rebuilds_total": set(),
    "jetkv_event_loop_lag_seconds": set(),
    "jetkv_build_info": {"version", "python"},
}


@pytest.mark.parametrize("openmetrics", [False, True], ids=["text", "openmetrics"])
def test_every_metric_is_there_from_the_start_in_both_formats(
    http: Http, openmetrics: bool
) -> None:
    accept = (OPENMETRICS, read_openmetrics) if openmetrics else ()
    found: dict[str, set[str]] = {}
    for name, labels in figures(http, *accept):
        found[name] = {label for label, _ in labels}
    assert {name: found.get(name) for name in LABELS} == LABELS


def test_openmetrics_is_the_answer_to_who_asks_for_it(http: Http) -> None:
    answer = http.get("/metrics", accept=OPENMETRICS)
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert answer.body.endswith(b"# EOF\n")


def test_a_request_is_counted_and_timed_under_its_template(bucket: Bucket) -> None:
    request = {"method": "PUT", "route": KEY}
    before = figures(bucket.http)
    bucket.put("some/key", "v")
    after = figures(bucket.http)
    for name, labels in (
        ("jetkv_http_requests_total", {**request, "status": "200"}),
        ("jetkv_http_request_duration_seconds_count", request),
        ("jetkv_http_request_duration_seconds_bucket", {**request, "le": "+Inf"}),
        ("jetkv_nats_request_duration_seconds_count", {"operation": "publish"}),
    ):
        assert value(after, name, **labels) == value(before, name, **labels) + 1, name


def test_a_streamed_answer_is_counted_when_it_has_ended(bucket: Bucket) -> None:
    labels = {"method": "GET", "route": "/api/v1/kv/buckets/{bucket}/keys", "status": "200"}
    bucket.put("k", "v")
    before = figures(bucket.http)
    answer = bucket.http.get(f"{bucket.path}/keys", accept="application/x-ndjson")
    assert answer.status == 200
    after = figures(bucket.http)
    name = "jetkv_http_requests_total"
    assert value(after, name, **labels) == value(before, name, **labels) + 1


def test_hostile_paths_and_methods_add_no_series(bucket: Bucket) -> None:
    http = bucket.http

    def ask(number: int) -> None:
        http.get(f"/nothing/{number}")
        http.request(f"X{number}", f"/nothing/{number}")
        http.request(f"X{number}", bucket.key("k"))
        http.get(f"{BUCKETS}/no-such-{number}/keys/k{number}")
        http.get(bucket.key(f"k{number}?x{number}=1"))

    ask(0)
    before = figures(http)
    for number in range(1, 20):
        ask(number)
    assert figures(http).keys() == before.keys()


def test_conflicts_are_counted_by_their_kind(bucket: Bucket) -> None:
    bucket.put("k", "v")
    before = figures(bucket.http)
    assert bucket.put("k", "v", if_none_match="*").status == 412
    assert bucket.put("k", "v", if_match="999999").status == 412
    op = {"op": "update", "key": "k", "text": "v", "revision": 999999}
    each = bucket.http.post(f"{bucket.path}/batch", {"ops": [op], "atomic": False})
    assert each.json["results"][0]["status"] == 412
    after = figures(bucket.http)
    grown = {
        kind: value(after, "jetkv_conflicts_total", kind=kind)
        - value(before, "jetkv_conflicts_total", kind=kind)
        for kind in ("key_exists", "revision_mismatch")
    }
    assert grown == {"key_exists": 1, "revision_mismatch": 2}


def test_a_request_of_a_foreign_page_is_counted_as_refused(http: Http) -> None:
    before = figures(http)
    assert http.get("/health", origin="http://evil.example").status == 403
    after = figures(http)
    name, reason = "jetkv_http_requests_refused_total", "permission_denied"
    assert value(after, name, reason=reason) == value(before, name, reason=reason) + 1


def test_a_head_that_breaks_a_rule_is_counted(http: Http) -> None:
    before = figures(http)
    assert http.get("/health", content_length="x").status == 400
    after = figures(http)
    name, reason = "jetkv_http_requests_refused_total", "protocol"
    assert value(after, name, reason=reason) == value(before, name, reason=reason) + 1


async def test_a_watch_and_its_frames_are_counted(bucket: Bucket) -> None:
    labels = {"transport": "websocket"}
    before = figures(bucket.http)
    async with watching(bucket.http, bucket.name) as watcher:
        bucket.put("k", "v")
        await watcher.next()
        after = figures(bucket.http)
        for name in ("jetkv_watches", "jetkv_watch_frames_total"):
            assert value(after, name, **labels) == value(before, name, **labels) + 1, name
        begun = {"method": "GET", "route": "/api/v1/kv/buckets/{bucket}/watch", "status": "101"}
        name = "jetkv_http_requests_total"
        assert value(after, name, **begun) == value(before, name, **begun) + 1
    until(
        lambda: (
            value(figures(bucket.http), "jetkv_watches", **labels)
            == value(before, "jetkv_watches", **labels)
        ),
        "the watch is not counted any more",
    )


async def test_nats_that_goes_away_and_comes_back_shows_in_the_metrics(
    own_nats: NatsServer,
) -> None:
    with running_bucket(own_nats) as bucket:
        http = bucket.http
        async with watching(http, bucket.name) as watcher:
            before = figures(http)
            assert value(before, "jetkv_nats_connected") == 1
            own_nats.stop()
            until(lambda: value(figures(http), "jetkv_nats_connected") == 0, "it is gone")
            assert bucket.get("k").status == 503
            own_nats.start()
            until(lambda: http.get("/ready").status == 200, "it is back")
            until(lambda: bucket.put("k", "v").status == 200, "the bucket is back")
            await watcher.next(20)
        after = figures(http)
        assert value(after, "jetkv_nats_connected") == 1
        name = "jetkv_nats_errors_total"
        assert value(after, name, kind="not_connected") > value(before, name, kind="not_connected")
        for name in ("jetkv_nats_reconnects_total", "jetkv_feed_rebuilds_total"):
            assert value(after, name) > value(before, name), name


def test_a_write_without_an_answer_is_counted_as_unknown(own_nats: NatsServer) -> None:
    with running_bucket(own_nats, request_timeout=0.3) as bucket:
        bucket.put("k", "v")
        before = figures(bucket.http)
        own_nats.pause()
        assert bucket.put("k", "v").status == 504
        own_nats.resume()
        after = figures(bucket.http)
    name = "jetkv_unknown_outcomes_total"
    assert value(after, name) == value(before, name) + 1
    name = "jetkv_nats_errors_total"
    assert value(after, name, kind="timeout") > value(before, name, kind="timeout")


def test_the_event_loop_lag_is_measured(http: Http) -> None:
    assert value(figures(http), "jetkv_event_loop_lag_seconds") >= 0


async def test_a_reader_that_is_too_slow_is_counted(own_nats: NatsServer) -> None:
    with running_bucket(own_nats, watch_queue=16) as bucket:
        before = value(figures(bucket.http), "jetkv_watch_slow_consumers_total")
        async with connect(
            f"ws://{bucket.http.host}:{bucket.http.port}{watch_path(bucket.name)}",
            max_queue=1,
            compression=None,
            close_timeout=0.5,
        ):
            for number in range(200):
                bucket.put("k", b"v" * 200_000)
                if (
                    number % 10 == 9
                    and value(figures(bucket.http), "jetkv_watch_slow_consumers_total") > before
                ):
                    break
        after = figures(bucket.http)
    assert value(after, "jetkv_watch_slow_consumers_total") == before + 1
