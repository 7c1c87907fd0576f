"""Which names and pages may call the gateway (docs/http-api.md#pages-in-a-browser), and CORS."""

import base64
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from jetkv_gateway.embedded import NatsServer
from tests.support.gateway import running_gateway
from tests.support.http import BUCKETS, Bucket, Http
from tests.support.raw import Wire
from tests.support.tokens import new_token, token_line

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


@pytest.fixture(scope="module")
def named(nats: NatsServer) -> Iterator[Http]:
    """A gateway that answers under names, too, and that pages of one other origin may call."""
    names = "kv.example a.kv.example *.apps.example"
    with running_gateway(nats.url, allowed_hosts=names, cors_origins=[APP]) as http:
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
    named: Http, origin: str, host: str, status: int
) -> None:
    assert named.get("/health", Origin=origin, Host=host).status == status


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
    assert (answer.status, answer.headers["allow"]) == (204, "GET, HEAD, POST, OPTIONS")
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
        ("127.0.0.1@evil.example", 400),
        ("localhost, localhost", 400),
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


@pytest.mark.parametrize(("lines", "status"), [(b"", 403), (b"Host:\r\n", 400)])
def test_a_request_without_a_host_is_not_taken_for_this_machine(
    open_to_loopback: Http, lines: bytes, status: int
) -> None:
    with Wire(open_to_loopback) as wire:
        wire.send(b"GET /health HTTP/1.0\r\n%s\r\n" % lines)
        assert wire.answer().status == status


# --- names that somebody may have pointed here


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:9123", 200),
        ("10.0.0.1", 200),
        ("[::1]:9123", 200),
        ("localhost:9123", 200),
        ("kv.localhost", 200),
        ("gateway:9123", 200),
        ("my_gateway_1", 200),
        ("kv.example", 200),
        ("KV.example.:9123", 200),
        ("b.apps.example", 200),
        ("apps.example", 403),
        ("evil.example", 403),
        ("evil.example:9123", 403),
        ("EVIL.example.", 403),
        ("evil.", 403),
        ("127.0.0.1.evil.example", 403),
        ("127.1", 403),
        ("0x7f.1", 403),
        ("xn--bcher-kva.example", 403),
    ],
)
@pytest.mark.parametrize("path", ["/health", BUCKETS, "/docs", "/nope"])
def test_without_tokens_a_name_with_a_dot_has_to_be_allowed(
    named: Http, path: str, host: str, status: int
) -> None:
    answer = named.get(path, Host=host)
    if status == 403:
        assert answer.status == 403
        assert answer.error == f"permission denied: host {host} is not allowed"
        assert "allowed_hosts" in answer.json["hint"]
    else:
        assert answer.status in (200, 404)


@pytest.mark.parametrize("number", [b"1.0", b"1.1"])
def test_a_page_whose_name_was_pointed_here_changes_nothing(bucket: Bucket, number: bytes) -> None:
    with Wire(bucket.http) as wire:
        wire.send(
            b"PUT %s HTTP/%s\r\nHost: evil.example:9123\r\nOrigin: http://evil.example:9123\r\n"
            b"Sec-Fetch-Site: same-origin\r\nContent-Length: 5\r\n\r\nvalue"
            % (bucket.key("k").encode(), number)
        )
        assert wire.answer().status == 403
    assert bucket.keys() == []


def test_two_hosts_are_no_host(http: Http) -> None:
    with Wire(http) as wire:
        answer = wire.request("GET", "/health", "Host: localhost")
        assert answer.status in (400, 403)


def test_a_probe_of_http_1_0_needs_no_host(http: Http) -> None:
    with Wire(http) as wire:
        wire.send(b"GET /health HTTP/1.0\r\n\r\n")
        assert wire.answer().status == 200


def test_with_tokens_any_name_will_do(nats: NatsServer, tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    token = new_token()
    file.write_text(token_line("app", token))
    settings = {"auth": "tokens", "auth_tokens": file}
    with running_gateway(nats.url, **settings) as http:
        http.headers["Authorization"] = f"Bearer {token}"
        assert http.get(BUCKETS, Host="kv.example").status == 200
    with running_gateway(nats.url, allowed_hosts="kv.example", **settings) as http:
        http.headers["Authorization"] = f"Bearer {token}"
        assert http.get(BUCKETS, Host="kv.example").status == 200
        assert http.get(BUCKETS, Host="other.example").status == 403


# --- what a page of another site embeds, and links


IMAGE = ("Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: no-cors", "Sec-Fetch-Dest: image")
LINK = ("Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document")


@pytest.mark.parametrize("lines", [IMAGE, LINK], ids=["image", "link"])
@pytest.mark.parametrize("path", [BUCKETS, f"{BUCKETS}/b/keys/k", "/health", "/metrics", "/nope"])
def test_what_a_page_of_another_site_embeds_or_links_is_403(
    open_to_app: Http, path: str, lines: tuple[str, ...]
) -> None:
    with Wire(open_to_app) as wire:
        answer = wire.request("GET", path, *lines)
        assert (answer.status, answer.json["code"]) == (403, "permission_denied")


def test_a_link_may_open_the_description_of_the_api(http: Http) -> None:
    with Wire(http) as wire:
        assert wire.request("GET", "/docs", *LINK).status == 200
        assert wire.request("GET", "/docs", *IMAGE).status == 403


def test_an_allowed_page_of_another_site_is_let_in(open_to_app: Http) -> None:
    with Wire(open_to_app) as wire:
        lines = "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: cors", f"Origin: {APP}"
        answer = wire.request("GET", BUCKETS, *lines)
    assert (answer.status, answer.headers["access-control-allow-origin"]) == (200, APP)


# --- what is no JSON


@pytest.mark.parametrize(
    ("path", "policy"),
    [
        ("raw", "sandbox; default-src 'none'"),
        ("/metrics", "sandbox; default-src 'none'"),
        ("/docs", "default-src 'none'; "),
        ("/console", "default-src 'none'; "),
        ("/console/app.js", "default-src 'none'; "),
    ],
)
def test_what_is_no_json_runs_nothing_and_is_nobodys_to_embed(
    open_to_app: Http, bucket: Bucket, path: str, policy: str
) -> None:
    bucket.put("k", "<script>alert(1)</script>", Content_Type="text/html")
    path = f"{bucket.key('k')}?values=raw" if path == "raw" else path
    with Wire(open_to_app) as wire:
        own = wire.request("GET", path)
        shared = wire.request("GET", path, f"Origin: {APP}")
    assert own.status == shared.status == 200
    for answer in (own, shared):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-security-policy"].startswith(policy)
        assert "unsafe" not in answer.headers["content-security-policy"]
    assert own.headers["cross-origin-resource-policy"] == "same-origin"
    assert shared.headers["cross-origin-resource-policy"] == "cross-origin"


def test_the_page_of_the_api_has_the_style_that_its_policy_allows(http: Http) -> None:
    answer = http.get("/docs")
    (style,) = re.findall(r"<style>(.*?)</style>", answer.body.decode(), re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in answer.headers["content-security-policy"]
    assert not re.search(r"<script|<link|<img| style=| on[a-z]+=", answer.body.decode())
