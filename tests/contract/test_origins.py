"""Which pages may call the gateway, and CORS for those (contract 1.6)."""

from collections.abc import Iterator

import pytest

from jetkv_gateway.embedded import NatsServer
from jetkv_gateway.http.auth import new_token, token_line
from tests.support.gateway import running_gateway
from tests.support.http import BUCKETS, Bucket, Http
from tests.support.raw import Wire

APP = "https://app.example"
EVIL = "https://evil.example"


@pytest.fixture(scope="module")
def open_to_app(nats: NatsServer) -> Iterator[Http]:
    """A gateway that pages of one other origin may call."""
    with running_gateway(nats.url, cors_origins=[APP, "http://10.0.0.1:8080"]) as http:
        yield http


@pytest.fixture(scope="module")
def open_to_loopback(nats: NatsServer) -> Iterator[Http]:
    """As `jetkv dev` runs it: for pages of this machine, and called by a loopback name."""
    settings = {"cors_origins": "loopback", "loopback_host": True}
    with running_gateway(nats.url, **settings) as http:
        yield http


def tokens(header: str) -> set[str]:
    return {part.strip().lower() for part in header.split(",")}


# --- foreign pages


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", BUCKETS),
        ("POST", BUCKETS),
        ("GET", f"{BUCKETS}/b/keys/k"),
        ("HEAD", f"{BUCKETS}/b/keys/k"),
        ("PUT", f"{BUCKETS}/b/keys/k"),
        ("DELETE", f"{BUCKETS}/b/keys/k"),
        ("OPTIONS", f"{BUCKETS}/b/keys/k"),
        ("GET", "/health"),
        ("GET", "/ready"),
        ("GET", "/api/v1/capabilities"),
        ("GET", "/docs"),
        ("GET", "/nope"),
    ],
)
def test_a_page_of_another_origin_is_403_everywhere(http: Http, method: str, path: str) -> None:
    answer = http.request(method, path, Origin=EVIL)
    assert answer.status == 403
    assert "access-control-allow-origin" not in answer.headers
    if method != "HEAD":
        assert answer.json["code"] == "permission_denied"
        assert answer.error == f"permission denied: origin {EVIL} is not allowed"
        assert answer.json["hint"].startswith("add it to the setting cors_origins")


def test_a_page_of_another_origin_is_refused_before_anything_is_done(bucket: Bucket) -> None:
    bucket.put("k", "v")
    for answer in (
        bucket.put("k", "evil", Origin=EVIL),
        bucket.put("new", "evil", Origin=EVIL),
        bucket.delete("k", Origin=EVIL),
        bucket.http.delete(bucket.path, Origin=EVIL),
        bucket.http.post(BUCKETS, {"name": f"{bucket.name}-2"}, Origin=EVIL),
    ):
        assert answer.status == 403
    assert bucket.get("k").json["revision"] == 1
    assert bucket.keys() == ["k"]
    assert bucket.http.get(f"{bucket.path}-2").status == 404


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "",
        "http://",
        "127.0.0.1:{port}",
        "http://127.0.0.1",
        "http://127.0.0.1:{other}",
        "http://localhost:{port}",
        "http://127.0.0.1:{port}.evil.example",
        "http://evil.example:{port}",
        "http://127.0.0.1:{port}/",
        "http://x@127.0.0.1:{port}",
        "file://127.0.0.1:{port}",
        "chrome-extension://127.0.0.1:{port}",
        "http://127.0.0.1:{port}, https://evil.example",
        "*",
    ],
)
def test_an_origin_that_is_not_the_own_host_is_403(http: Http, origin: str) -> None:
    sent = origin.format(port=http.port, other=http.port + 1)
    assert http.get(BUCKETS, Origin=sent).status == 403


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_page_of_the_gateways_own_host_is_let_in(http: Http, scheme: str) -> None:
    answer = http.get(BUCKETS, Origin=f"{scheme}://127.0.0.1:{http.port}")
    assert answer.status == 200
    assert "access-control-allow-origin" not in answer.headers, "it needs none"


@pytest.mark.parametrize(
    ("origin", "host", "status"),
    [
        ("http://kv.example", "kv.example", 200),
        ("http://KV.example", "kv.Example", 200),
        ("http://kv.example", "kv.example:80", 200),
        ("https://kv.example", "kv.example:443", 200),
        ("https://kv.example:443", "kv.example", 200),
        ("https://kv.example", "kv.example:80", 403),
        ("http://kv.example:8080", "kv.example", 403),
        ("http://a.kv.example", "kv.example", 403),
        ("http://kv.example", "a.kv.example", 403),
    ],
)
def test_the_default_port_may_be_named_or_not(
    http: Http, origin: str, host: str, status: int
) -> None:
    assert http.get("/health", Origin=origin, Host=host).status == status


def test_two_origins_are_403(open_to_app: Http) -> None:
    with Wire(open_to_app) as wire:
        lines = [f"Origin: {APP}", f"Origin: {EVIL}"]
        assert wire.request("GET", BUCKETS, *lines).status == 403


# --- allowed pages


@pytest.mark.parametrize(
    "path", [BUCKETS, "/health", "/nope", f"{BUCKETS}/no-such", f"{BUCKETS}/no-such/keys/k"]
)
def test_an_allowed_page_may_read_every_answer(open_to_app: Http, path: str) -> None:
    with Wire(open_to_app) as wire:
        answer = wire.request("GET", path, f"Origin: {APP}")
    assert answer.status in (200, 404)
    assert answer.headers["access-control-allow-origin"] == APP
    assert "origin" in tokens(answer.headers["vary"])
    assert "access-control-allow-credentials" not in answer.headers
    assert {"etag", "last-modified", "retry-after", "x-request-id", "jetkv-consistency"} <= tokens(
        answer.headers["access-control-expose-headers"]
    )


def test_an_entry_varies_by_both_accept_and_origin(open_to_app: Http, bucket: Bucket) -> None:
    bucket.put("k", "v")
    with Wire(open_to_app) as wire:
        answer = wire.request("GET", bucket.key("k"), f"Origin: {APP}")
    assert tokens(answer.headers["vary"]) == {"accept", "origin"}


def test_a_request_without_an_origin_gets_no_cors_headers(open_to_app: Http) -> None:
    answer = open_to_app.get(BUCKETS)
    assert answer.status == 200
    assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize(
    "origin", [EVIL, "http://app.example", f"{APP}:8443", f"{APP}.evil.example", "https://app", "*"]
)
def test_any_other_origin_is_still_403(open_to_app: Http, origin: str) -> None:
    assert open_to_app.get(BUCKETS, Origin=origin).status == 403


@pytest.mark.parametrize("path", [BUCKETS, f"{BUCKETS}/b", f"{BUCKETS}/b/keys/k", "/health"])
@pytest.mark.parametrize("method", ["GET", "PUT", "POST", "DELETE", "PATCH"])
def test_a_preflight_allows_the_methods_and_headers_of_the_clients(
    open_to_app: Http, path: str, method: str
) -> None:
    answer = open_to_app.request("OPTIONS", path, Origin=APP, Access_Control_Request_Method=method)
    assert (answer.status, answer.body) == (204, b"")
    assert answer.headers["access-control-allow-origin"] == APP
    assert method.lower() in tokens(answer.headers["access-control-allow-methods"])
    assert {
        "authorization",
        "content-encoding",
        "content-type",
        "if-match",
        "if-none-match",
        "idempotency-key",
        "jetkv-ttl-seconds",
        "last-event-id",
        "x-ironflow-environment",
        "x-ironflow-sdk",
        "x-request-id",
        "traceparent",
    } <= tokens(answer.headers["access-control-allow-headers"])
    assert int(answer.headers["access-control-max-age"]) > 0


def test_a_preflight_of_another_origin_is_403(open_to_app: Http) -> None:
    answer = open_to_app.request(
        "OPTIONS", BUCKETS, Origin=EVIL, Access_Control_Request_Method="GET"
    )
    assert answer.status == 403
    assert "access-control-allow-methods" not in answer.headers


def test_options_alone_is_no_preflight(open_to_app: Http) -> None:
    answer = open_to_app.request("OPTIONS", BUCKETS, Origin=APP)
    assert (answer.status, answer.headers["allow"]) == (204, "GET, POST, OPTIONS")
    assert "access-control-allow-methods" not in answer.headers


def test_a_star_lets_every_page_in(nats: NatsServer) -> None:
    with running_gateway(nats.url, cors_origins="*") as http:
        for origin in (EVIL, "null", "http://localhost:1"):
            answer = http.get(BUCKETS, Origin=origin)
            assert (answer.status, answer.headers["access-control-allow-origin"]) == (200, origin)


def test_with_tokens_a_preflight_needs_none_and_a_401_can_be_read(
    nats: NatsServer, tmp_path
) -> None:
    file = tmp_path / "tokens"
    file.write_text(token_line("alice", new_token()))
    settings = {"auth": "tokens", "auth_tokens": file, "cors_origins": APP}
    with running_gateway(nats.url, **settings) as http:
        preflight = {"Origin": APP, "Access_Control_Request_Method": "GET"}
        assert http.request("OPTIONS", BUCKETS, **preflight).status == 204
        answer = http.get(BUCKETS, Origin=APP)
        assert (answer.status, answer.headers["access-control-allow-origin"]) == (401, APP)
        assert http.get(BUCKETS, Origin=EVIL).status == 403


# --- loopback


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://localhost:5173", 200),
        ("http://localhost", 200),
        ("https://localhost:8443", 200),
        ("http://app.localhost:3000", 200),
        ("http://127.0.0.1:3000", 200),
        ("http://127.1.2.3:3000", 200),
        ("http://[::1]:3000", 200),
        ("http://localhost.evil.example", 403),
        ("http://127.0.0.1.evil.example", 403),
        ("http://evil-localhost", 403),
        ("http://localhost:3000.evil.example", 403),
        ("http://10.0.0.1:3000", 403),
        ("http://[::2]:3000", 403),
        ("null", 403),
        ("file://localhost", 403),
    ],
)
def test_loopback_stands_for_every_port_of_this_machine(
    open_to_loopback: Http, origin: str, status: int
) -> None:
    answer = open_to_loopback.get(BUCKETS, Origin=origin)
    assert answer.status == status
    if status == 200:
        assert answer.headers["access-control-allow-origin"] == origin


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("localhost:9123", 200),
        ("LOCALHOST:9123", 200),
        ("kv.localhost", 200),
        ("127.0.0.1:9123", 200),
        ("[::1]:9123", 200),
        ("evil.example", 403),
        ("evil.example:9123", 403),
        ("localhost.evil.example", 403),
        ("127.0.0.1.evil.example", 403),
        ("127.0.0.1@evil.example", 403),
        ("localhost, localhost", 403),
        ("10.0.0.1", 403),
    ],
)
@pytest.mark.parametrize("path", ["/health", f"{BUCKETS}/b.b/keys/k"])
def test_a_name_that_only_points_at_this_machine_is_403(
    open_to_loopback: Http, path: str, host: str, status: int
) -> None:
    answer = open_to_loopback.get(path, Host=host)
    if status == 403:
        assert answer.status == 403
        assert answer.error == f"permission denied: host {host} is not this machine's loopback"
    else:
        assert answer.status in (200, 400)


def test_without_the_setting_any_host_name_will_do(http: Http) -> None:
    assert http.get("/health", Host="kv.internal.example").status == 200
