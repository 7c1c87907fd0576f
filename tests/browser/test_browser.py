"""What a browser makes of a watch: its own rules for subprotocols, origins and coming back."""

import base64
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jetkv_gateway.embedded import NatsServer
from tests.browser.conftest import Page
from tests.support.gateway import running_gateway
from tests.support.http import BUCKETS, Bucket, Http
from tests.support.tokens import new_token, token_line
from tests.support.waiting import until
from tests.support.watching import updates, value_of, watch_path

WATCH_PAGE = Path(__file__).parents[2] / "docs" / "watch.md"

OpenPage = Callable[..., Page]


def put(bucket: Bucket, key: str, value: str) -> int:
    answer = bucket.put(key, value)
    assert answer.status == 200, answer
    return answer.json["revision"]


def events_url(http: Http, bucket: Bucket, query: str = "") -> str:
    return http.url + watch_path(bucket.name, query)


def socket_url(http: Http, bucket: Bucket) -> str:
    return events_url(http, bucket).replace("http:", "ws:")


def protocols(token: str) -> list[str]:
    """What the JavaScript clients offer: a browser sets no header on a WebSocket."""
    encoded = base64.urlsafe_b64encode(token.encode()).decode().rstrip("=")
    return ["ironflow.v1", f"ironflow.auth.bearer.{encoded}"]


def shown(frame: dict) -> tuple[str, bytes, int]:
    return frame["key"], value_of(frame), frame["revision"]


def is_snapshot_end(frame: dict) -> bool:
    return frame["type"] == "kv_snapshot_end"


@pytest.fixture
def token() -> str:
    return new_token()


@pytest.fixture
def guarded(nats: NatsServer, tmp_path, token: str) -> Iterator[Http]:
    """A gateway that wants a token, and that pages on this machine may call."""
    path = tmp_path / "tokens"
    path.write_text(token_line("page", token))
    with running_gateway(
        nats.url, auth="tokens", auth_tokens=path, cors_origins=["loopback"]
    ) as http:
        yield http


@pytest.fixture
def friendly(nats: NatsServer) -> Iterator[Http]:
    """A gateway that pages on this machine may call."""
    with running_gateway(nats.url, cors_origins=["loopback"]) as http:
        yield http


def test_a_websocket_with_its_token_among_the_subprotocols_gets_updates(
    guarded: Http, token: str, bucket: Bucket, open_page: OpenPage
) -> None:
    page = open_page(socket=socket_url(guarded, bucket), protocol=protocols(token))
    assert page.next() == {"what": "open", "protocol": "ironflow.v1"}
    revision = put(bucket, "user:1", "ж")
    assert shown(page.next()["frame"]) == ("user:1", "ж".encode(), revision)


def test_a_websocket_with_a_token_that_is_refused_never_opens(
    guarded: Http, bucket: Bucket, open_page: OpenPage
) -> None:
    page = open_page(socket=socket_url(guarded, bucket), protocol=protocols("jetkv_wrong"))
    assert [page.next()["what"], page.next()["what"]] == ["error", "close"]


def test_a_websocket_learns_why_it_is_closed(
    friendly: Http, bucket: Bucket, open_page: OpenPage
) -> None:
    page = open_page(socket=socket_url(friendly, bucket))
    assert page.next() == {"what": "open", "protocol": ""}
    assert friendly.delete(bucket.path).status == 204
    frame = page.next()["frame"]
    assert (frame["type"], frame["code"]) == ("error", "bucket_deleted")
    assert page.next() == {"what": "close", "code": 4410}


def test_an_event_source_gets_the_values_then_their_end_then_updates(
    friendly: Http, bucket: Bucket, open_page: OpenPage
) -> None:
    stored = [("a", b"1", put(bucket, "a", "1")), ("b", b"2", put(bucket, "b", "2"))]
    page = open_page(events=events_url(friendly, bucket, "?snapshot=true"))
    assert page.next() == {"what": "open"}
    told = [page.next() for _ in range(3)]
    assert [shown(thing["frame"]) for thing in told[:2]] == stored
    assert told[2]["frame"] == {"type": "kv_snapshot_end", "revision": stored[-1][2]}
    revision = put(bucket, "a", "3")
    live = page.next()
    assert (shown(live["frame"]), live["id"]) == (("a", b"3", revision), str(revision))


def test_an_event_source_comes_back_to_a_restarted_gateway_and_misses_and_repeats_nothing(
    nats: NatsServer, bucket: Bucket, open_page: OpenPage
) -> None:
    # `bucket` is written to by the shared gateway, which knows nothing of the one that restarts.
    written = [("k0", "put", put(bucket, "k0", "stored"))]
    with running_gateway(nats.url, cors_origins=["loopback"]) as first:
        page = open_page(events=events_url(first, bucket, "?snapshot=true"))
        frames = page.frames(is_snapshot_end)
        written += [(f"k{n}", "put", put(bucket, f"k{n}", "live")) for n in range(5)]
        frames += page.frames(lambda frame: frame["revision"] == written[-1][2])
    assert page.next() == {"what": "error", "gave_up": False}
    # Each a key of its own: of two writes to one key the bucket keeps only the newer.
    written += [(f"m{n}", "put", put(bucket, f"m{n}", "meanwhile")) for n in range(50)]
    assert bucket.delete("k1").status == 204
    written.append(("k1", "delete", written[-1][2] + 1))
    with running_gateway(nats.url, port=first.port, cors_origins=["loopback"]):
        told = page.until(lambda thing: thing["what"] == "open")
        assert not any(thing.get("gave_up") for thing in told)
        frames += page.frames(lambda frame: frame["revision"] == written[-1][2])
        written.append(("last", "put", put(bucket, "last", "live again")))
        frames += page.frames(lambda frame: frame["revision"] == written[-1][2])
    assert updates(frames) == written


def test_an_event_source_goes_over_to_the_new_bucket_of_the_same_name(
    friendly: Http, bucket: Bucket, open_page: OpenPage
) -> None:
    for n in range(3):
        put(bucket, f"old{n}", "x")
    page = open_page(events=events_url(friendly, bucket, "?snapshot=true"))
    page.frames(is_snapshot_end)
    assert friendly.delete(bucket.path).status == 204
    end = page.until(lambda thing: thing["what"] == "message")[-1]
    assert (end["frame"]["type"], end["frame"]["code"]) == ("error", "bucket_deleted")
    assert friendly.post(BUCKETS, {"name": bucket.name}).status == 201
    revision = put(bucket, "new", "y")
    assert page.next() == {"what": "error", "gave_up": False}
    assert page.next() == {"what": "open"}
    assert [shown(frame) for frame in page.frames(is_snapshot_end)[:-1]] == [
        ("new", b"y", revision)
    ]


def test_a_websocket_of_a_foreign_page_is_refused(
    http: Http, bucket: Bucket, open_page: OpenPage
) -> None:
    page = open_page(socket=socket_url(http, bucket))
    assert [page.next()["what"], page.next()["what"]] == ["error", "close"]


def test_an_event_source_of_a_foreign_page_is_refused_for_good(
    http: Http, bucket: Bucket, open_page: OpenPage
) -> None:
    page = open_page(events=events_url(http, bucket, "?snapshot=true"))
    assert page.next() == {"what": "error", "gave_up": True}


def test_the_page_of_the_docs_keeps_its_flags_current_whatever_restarts(
    nats: NatsServer, open_page: OpenPage
) -> None:
    (example,) = re.findall(r"^```js\n(.*?)^```$", WATCH_PAGE.read_text(), re.MULTILINE | re.DOTALL)
    script = (
        f"const gateway = asked.get('gateway');\n{example}\n"
        "source.addEventListener('message', () => tell('flags', Object.fromEntries(flags)));"
    )
    settings = {"cors_origins": ["loopback"], "buckets": ["feature-flags"]}
    with running_gateway(nats.url, **settings) as http:
        flags = Bucket(http, "feature-flags")
        until(lambda: flags.put("dark-mode", '{"on":true}').status == 200, "the bucket is there")
        page = open_page(script, gateway=http.url)
        page.until(lambda told: told.get("dark-mode") == {"on": True})
        flags.put("dark-mode", '{"on":false}')
        page.until(lambda told: told.get("dark-mode") == {"on": False})
        port = http.port
    with running_gateway(nats.url, port=port, **settings) as http:
        flags.delete("dark-mode")
        flags.put("beta", "1")
        page.until(lambda told: told == {"what": "flags", "beta": 1})
        http.delete(flags.path)
