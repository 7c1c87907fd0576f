"""HEAD wherever there is GET: the same status and headers, and no body (RFC 9110 §9.3.2)."""

import pytest

from jetkv_gateway.http.routes import ROUTES
from tests.support.http import Bucket
from tests.support.raw import Wire

PATHS = [route.template for route in ROUTES if route.method == "GET"]
# What differs from one answer to the next, whatever the method.
CHANGES = {"date"}
# The figures count the requests for them, too.
LENGTH_CHANGES = {"/metrics"}


@pytest.mark.parametrize("template", PATHS)
@pytest.mark.parametrize("base", ["", "/json"])
def test_head_has_the_headers_of_get_and_no_body(bucket: Bucket, template: str, base: str) -> None:
    bucket.put("k", '{"n":1}', Content_Type="application/json")
    path = base + template.replace("{bucket}", bucket.name).replace("{key...}", "k")
    # An error's body has the request's id in it, whose length would count.
    with Wire(bucket.http) as wire:
        got = wire.request("GET", path, "X-Request-Id: same")
    # An event stream has no end, so nothing can follow it on its connection.
    with Wire(bucket.http) as wire:
        asked = wire.request("HEAD", path, "X-Request-Id: same")
        after = wire.request("GET", "/health")
    assert (asked.status, after.status) == (got.status, 200)
    ignored = CHANGES | ({"content-length"} if template in LENGTH_CHANGES else set())
    assert {name: asked.headers.get(name) for name in asked.headers.keys() - ignored} == {
        name: got.headers.get(name) for name in got.headers.keys() - ignored
    }


def test_head_of_what_is_not_there_says_so_without_a_body(bucket: Bucket) -> None:
    with Wire(bucket.http) as wire:
        got = wire.request("GET", bucket.key("k"))
        asked = wire.request("HEAD", bucket.key("k"))
        assert wire.request("GET", "/health").status == 200
    assert (asked.status, asked.headers["content-type"]) == (404, "application/json")
    assert got.json["code"] == "not_found"


def test_head_of_an_event_stream_has_its_headers_and_ends(bucket: Bucket) -> None:
    with Wire(bucket.http) as wire:
        path = f"{bucket.path}/watch?snapshot=true"
        asked = wire.request("HEAD", path, "Accept: text/event-stream")
        assert (asked.status, asked.headers["content-type"]) == (200, "text/event-stream")
        assert wire.request("GET", "/health").status == 200


def test_head_of_a_long_history_has_no_body(make_bucket) -> None:
    bucket = make_bucket(history=3)
    for _ in range(3):
        bucket.put("k", b"x" * 300_000)
    with Wire(bucket.http) as wire:
        asked = wire.request("HEAD", f"{bucket.path}/history/k")
        assert (asked.status, asked.headers["content-type"]) == (200, "application/json")
        assert wire.request("GET", "/health").status == 200
