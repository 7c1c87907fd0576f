"""Which names and pages may call the gateway, and what a browser is told."""

import pytest

from jetkv_gateway.http.call import Call
from jetkv_gateway.http.hosts import AllowedHosts, allowed_host
from jetkv_gateway.http.origins import LOOPBACK, AllowedOrigins, isolation_headers
from jetkv_gateway.kv.errors import PermissionDenied
from tests.support.dead_request import DeadRequest

HOST = b"gw.example:9123"
NOBODY = AllowedOrigins()
DEV = AllowedOrigins(frozenset({LOOPBACK}), AllowedHosts(loopback=True))
APP = b"https://app.example"
OPEN_TO_APP = AllowedOrigins(frozenset({APP.decode()}))
OPEN_TO_ALL = AllowedOrigins(frozenset({"*"}))
NAMED = AllowedHosts(["kv.example.org", "*.apps.example.org", "gateway.internal"])


def request(*lines: tuple[bytes, bytes], method: str = "GET", path: bytes = b"/health") -> Call:
    """A request with these header lines."""
    return Call(DeadRequest(path, *lines, method=method))


def from_page(origin: bytes, host: bytes = HOST) -> Call:
    return request((b"host", host), (b"origin", origin))


def cors(call: Call) -> dict[bytes, bytes]:
    """What the answer will say to the browser."""
    return pairs(call.lines)


def pairs(lines: bytes) -> dict[bytes, bytes]:
    """Header lines by name, without the request's id."""
    found = [line.partition(b": ") for line in lines.split(b"\r\n")[:-1]]
    return {name: value for name, _, value in found if name != b"x-request-id"}


def refusal(rule: AllowedOrigins, call: Call) -> PermissionDenied:
    with pytest.raises(PermissionDenied) as refused:
        rule.check(call)
    assert cors(call) == {}
    return refused.value


# --- nobody is allowed: as `serve` starts


def test_a_request_without_an_origin_is_no_page_and_comes_in() -> None:
    call = request((b"host", HOST))
    NOBODY.check(call)
    assert cors(call) == {}


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        (b"gw.example:9123", b"http://gw.example:9123"),
        (b"gw.example:9123", b"https://gw.example:9123"),
        (b"gw.example", b"http://gw.example"),
        (b"gw.example", b"https://gw.example"),
        (b"gw.example:80", b"http://gw.example"),
        (b"gw.example", b"http://gw.example:80"),
        (b"gw.example:443", b"https://gw.example"),
        (b"GW.Example:9123", b"http://gw.example:9123"),
        (b"127.0.0.1:9123", b"http://127.0.0.1:9123"),
        (b"[::1]:9123", b"http://[::1]:9123"),
        (b"[::1]", b"http://[::1]"),
    ],
)
def test_a_page_of_the_gateways_own_host_comes_in_without_cors(host: bytes, origin: bytes) -> None:
    call = from_page(origin, host)
    NOBODY.check(call)
    assert cors(call) == {}


@pytest.mark.parametrize(
    "origin",
    [
        b"https://evil.example",
        b"http://gw.example",
        b"http://gw.example:3000",
        b"http://gw.example:91230",
        b"http://sub.gw.example:9123",
        b"http://gw.example:9123.evil.example",
        b"http://evil.example/gw.example:9123",
        b"http://gw.example:9123@evil.example",
        b"http://localhost:9123",
        b"file://gw.example:9123",
        b"chrome-extension://gw.example:9123",
        b"gw.example:9123",
        b"null",
        b"",
        b"://",
        b"http://",
        b"http://gw.example:9123, https://evil.example",
        b"\xff",
    ],
)
def test_a_page_of_another_host_is_refused(origin: bytes) -> None:
    error = refusal(NOBODY, from_page(origin))
    assert error.message == (f"permission denied: origin {origin.decode('latin-1')} is not allowed")
    assert error.hint == "add it to the setting cors_origins (--cors-origin)"


def test_a_page_is_refused_where_the_request_names_no_host() -> None:
    refusal(NOBODY, request((b"origin", b"http://gw.example")))
    refusal(NOBODY, request((b"origin", b"http://"), (b"host", b"")))


def test_a_second_origin_line_is_refused_with_the_first() -> None:
    own, foreign = (b"origin", b"http://gw.example:9123"), (b"origin", b"https://evil.example")
    refusal(NOBODY, request((b"host", HOST), own, foreign))


def test_a_very_long_origin_is_cut_in_the_text() -> None:
    error = refusal(NOBODY, from_page(b"http://" + b"x" * 5000))
    assert len(error.message) < 300


# --- some are allowed


def test_an_allowed_page_comes_in_and_may_read_the_answer() -> None:
    call = from_page(b"https://app.example")
    AllowedOrigins(frozenset({"https://app.example", "https://b.example"})).check(call)
    assert cors(call) == {
        b"access-control-allow-origin": b"https://app.example",
        b"access-control-expose-headers": (
            b"Content-Encoding, ETag, Last-Modified, Retry-After, WWW-Authenticate, X-Request-Id, "
            b"JetKV-Consistency, JetKV-Filtered, JetKV-Retries, JetKV-Stale, traceparent"
        ),
        b"vary": b"Origin",
    }


@pytest.mark.parametrize(
    "origin",
    [
        b"http://app.example",
        b"https://app.example:8443",
        b"https://app.example.evil.example",
        b"https://evil-app.example",
        b"https://sub.app.example",
        b"https://app.example/",
    ],
)
def test_a_page_that_only_looks_like_an_allowed_one_is_refused(origin: bytes) -> None:
    refusal(AllowedOrigins(frozenset({"https://app.example"})), from_page(origin))


@pytest.mark.parametrize("origin", [b"https://any.example", b"http://localhost:3000", b"null"])
def test_a_star_allows_every_page(origin: bytes) -> None:
    call = from_page(origin)
    AllowedOrigins(frozenset({"*"})).check(call)
    assert cors(call)[b"access-control-allow-origin"] == origin


# --- loopback: as `dev` starts


@pytest.mark.parametrize(
    "origin",
    [
        b"http://localhost",
        b"http://localhost:3000",
        b"https://localhost:3000",
        b"http://app.localhost:5173",
        b"http://127.0.0.1:8080",
        b"http://127.1.2.3",
        b"http://[::1]:3000",
    ],
)
def test_a_page_of_this_machine_comes_in_whatever_its_port(origin: bytes) -> None:
    call = from_page(origin, b"localhost:9123")
    DEV.check(call)
    assert cors(call)[b"access-control-allow-origin"] == origin


@pytest.mark.parametrize(
    "origin",
    [
        b"http://localhost.evil.example",
        b"http://evil-localhost",
        b"http://127.0.0.1.evil.example",
        b"http://1127.0.0.1",
        b"http://localhost:3000.evil.example",
        b"http://localhost@evil.example",
        b"http://user@localhost",
        b"http://localhost/",
        b"http://.localhost",
        b"http://192.168.0.1",
        b"http://10.0.0.1:9123",
        b"http://[::2]",
        b"ftp://localhost",
        b"chrome-extension://localhost",
        b"null",
    ],
)
def test_a_page_of_any_other_machine_is_refused_by_dev(origin: bytes) -> None:
    refusal(DEV, from_page(origin, b"localhost:9123"))


@pytest.mark.parametrize(
    "host",
    [
        b"localhost:9123",
        b"localhost",
        b"localhost.:9123",
        b"LocalHost:9123",
        b"kv.localhost",
        b"127.0.0.1:9123",
        b"127.255.3.1",
        b"[::1]:9123",
        b"[0:0:0:0:0:0:0:1]",
        b"[::ffff:7f00:1]:9123",
    ],
)
def test_dev_answers_under_a_loopback_name(host: bytes) -> None:
    DEV.check(request((b"host", host)))


@pytest.mark.parametrize("lines", [(), ((b"host", b""),)])
def test_dev_refuses_a_request_that_names_no_host(lines: tuple[tuple[bytes, bytes], ...]) -> None:
    error = refusal(DEV, request(*lines))
    assert error.message == (
        "permission denied: a request without a Host is not for this machine's loopback"
    )


@pytest.mark.parametrize(
    "host",
    [
        b"evil.example",
        b"evil.example:9123",
        b"localhost.evil.example:9123",
        b"127.0.0.1.nip.io:9123",
        b"10.0.0.1:9123",
        b"0.0.0.0:9123",
        b"gateway:9123",
        b"evillocalhost",
        b".localhost",
        b"localhost..",
        b"127.1:9123",
        b"[::2]",
        b"[::ffff:0a00:1]",
        b"localhost:9123, evil.example",
        b"localhost:port",
        b"evil.example@localhost",
    ],
)
def test_dev_refuses_a_foreign_name_that_was_pointed_at_this_machine(host: bytes) -> None:
    error = refusal(DEV, request((b"host", host)))
    assert error.message == (
        f"permission denied: host {host.decode()} is not this machine's loopback"
    )
    refusal(DEV, from_page(b"http://" + host, host))


@pytest.mark.parametrize(
    ("host", "passes"),
    [(b"kv.example.org:9123", True), (b"localhost", True), (b"x.example.org", False)],
)
def test_dev_answers_under_a_name_that_is_allowed_too(host: bytes, passes: bool) -> None:
    rule = AllowedOrigins(frozenset(), AllowedHosts(["kv.example.org"], loopback=True))
    if passes:
        rule.check(request((b"host", host)))
    else:
        refusal(rule, request((b"host", host)))


# --- names that somebody may have pointed here, where nobody needs a token


@pytest.mark.parametrize(
    "host",
    [
        # addresses: nobody can point them elsewhere
        b"10.0.0.1:9123",
        b"127.0.0.1",
        b"255.255.255.255",
        b"[::1]:9123",
        b"[fe80::1]",
        b"[2001:DB8::7]:9123",
        b"[::ffff:10.0.0.1]",
        b"2130706433",
        # this machine
        b"localhost",
        b"LOCALHOST:9123",
        b"localhost.",
        b"kv.localhost:9123",
        b"a.b.localhost.",
        # the local network's: compose files, Kubernetes in one namespace, host names
        b"gateway",
        b"gateway:9123",
        b"my_gateway_1:9123",
        b"Jetkv-0",
        b"x:",
        # allowed
        b"kv.example.org",
        b"kv.example.org:9123",
        b"KV.Example.Org",
        b"kv.example.org.:9123",
        b"a.apps.example.org",
        b"a.b.apps.example.org:1",
        b"gateway.internal",
        # HTTP/1.0
        b"",
    ],
)
def test_an_address_a_local_name_and_an_allowed_name_pass(host: bytes) -> None:
    AllowedOrigins(hosts=NAMED).check(request((b"host", host)))


@pytest.mark.parametrize(
    "host",
    [
        b"evil.example",
        b"evil.example:9123",
        b"EVIL.example",
        b"evil.example.",
        b"evil.example.:9123",
        b"evil.",
        b"gateway.:9123",
        b"xn--bcher-kva.example",
        "bücher.example".encode(),
        "bücher".encode(),
        b"evil_name.example",
        b"_dmarc.evil.example",
        b"127.0.0.1.evil.example",
        b"127.0.0.1.nip.io",
        b"localhost.evil.example",
        b"evil-localhost.example",
        b"kv.example.org.evil.example",
        b"evilkv.example.org",
        b"x.kv.example.org",
        b"apps.example.org",
        b"evilapps.example.org",
        # what browsers write otherwise before they send it
        b"0x7f.1",
        b"127.1",
        b"0x7f.0.0.1",
        b"0177.0.0.1",
        b"127.0.0.01",
        b"1.2.3.4.5",
        b"127.0.0.256",
        b"1.2.3",
        b"[::1",
        b"::1",
        b"[v1.x]",
        b"[::1]evil.example",
        b"[1.2.3.4]",
        b"evil%2eexample",
        b"evil%2Eexample:9123",
        "evil。example".encode(),
        # no host at all
        b"localhost@evil.example",
        b"evil.example@localhost",
        b"user:pass@localhost",
        b"localhost:port",
        b"localhost:80:80",
        b"localhost, localhost",
        b"localhost/",
        b"localhost#evil.example",
        b"local host",
        b".",
        b"..",
        b".localhost",
        b"evil..example",
        b"-.evil",
        b"\xff",
        b"localhost\x00",
        b"a" * 300,
        b"localhost:" + b"0" * 300,
    ],
)
def test_any_other_name_is_refused_where_nobody_needs_a_token(host: bytes) -> None:
    error = refusal(AllowedOrigins(hosts=NAMED), request((b"host", host)))
    shown = host[:200].decode("latin-1")
    assert error.message == f"permission denied: host {shown} is not allowed"
    assert error.hint == (
        "add it to the setting allowed_hosts (--allowed-host), or use --auth tokens"
    )
    # As a page of that name calls: to the browser, it and the gateway are one origin.
    refusal(AllowedOrigins(hosts=NAMED), from_page(b"http://" + host, host))


def test_a_host_gets_the_same_answer_each_time() -> None:
    rule = AllowedOrigins(hosts=AllowedHosts(["kv.example.org"]))
    for _ in range(3):
        rule.check(request((b"host", b"kv.example.org")))
        refusal(rule, request((b"host", b"evil.example")))


def test_a_client_that_names_ever_new_hosts_takes_no_memory() -> None:
    hosts = AllowedHosts()
    for number in range(5000):
        hosts.check(b"gateway-%d" % number)
        with pytest.raises(PermissionDenied):
            hosts.check(b"evil-%d.example" % number)
    assert len(hosts.known) <= 1024


def test_a_star_allows_every_name() -> None:
    for host in (b"anything.example", b"xn--bcher-kva.example.", b"", b"gateway"):
        AllowedOrigins(hosts=AllowedHosts(["*"])).check(request((b"host", host)))
        AllowedOrigins(hosts=AllowedHosts(["*"], loopback=True)).check(request((b"host", host)))


@pytest.mark.parametrize(
    ("text", "entry"),
    [
        ("kv.example.org", "kv.example.org"),
        ("KV.Example.org.", "kv.example.org"),
        ("*.Example.org", "*.example.org"),
        ("gateway", "gateway"),
        ("10.0.0.1", "10.0.0.1"),
        ("[::1]", "::1"),
        ("2001:DB8:0::7", "2001:db8::7"),
        ("*", "*"),
    ],
)
def test_an_entry_of_the_list_is_a_name(text: str, entry: str) -> None:
    assert allowed_host(text) == entry


@pytest.mark.parametrize(
    "text",
    [
        "https://kv.example.org",
        "kv.example.org:9123",
        "kv.*.org",
        "*kv.example.org",
        "*.",
        "**",
        "bücher.example",
        "a b",
        "kv.example.org/",
        ".example.org",
        "",
    ],
)
def test_an_entry_that_no_host_can_match_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"must be like kv\.example\.org, \*\.example\.org or \*"):
        allowed_host(text)


# --- what carries no Origin: links, images, scripts


def fetched(
    site: bytes,
    mode: bytes = b"no-cors",
    dest: bytes = b"image",
    *lines: tuple[bytes, bytes],
    method: str = "GET",
    path: bytes = b"/api/v1/kv/buckets/b/keys/k",
) -> Call:
    """What a browser sends for a page or for its user."""
    about = (b"sec-fetch-site", site), (b"sec-fetch-mode", mode), (b"sec-fetch-dest", dest)
    return request((b"host", HOST), *about, *lines, method=method, path=path)


@pytest.mark.parametrize(
    ("mode", "dest"),
    [
        (b"no-cors", b"image"),
        (b"no-cors", b"script"),
        (b"no-cors", b"empty"),
        (b"navigate", b"document"),
        (b"navigate", b"iframe"),
        (b"websocket", b"websocket"),
    ],
)
@pytest.mark.parametrize("rule", [NOBODY, OPEN_TO_APP], ids=["nobody", "app"])
def test_what_a_page_of_another_site_embeds_or_links_to_is_refused(
    rule: AllowedOrigins, mode: bytes, dest: bytes
) -> None:
    error = refusal(rule, fetched(b"cross-site", mode, dest))
    assert error.message == "permission denied: the request comes from a page of another site"


@pytest.mark.parametrize("path", [b"/docs", b"/json/docs", b"/console", b"/console/"])
def test_a_link_of_another_site_may_open_a_page_of_the_gateways(path: bytes) -> None:
    NOBODY.check(fetched(b"cross-site", b"navigate", b"document", path=path))


@pytest.mark.parametrize(
    ("method", "path", "mode", "dest"),
    [
        ("POST", b"/docs", b"navigate", b"document"),
        ("HEAD", b"/docs", b"navigate", b"document"),
        ("GET", b"/docs", b"navigate", b"iframe"),
        ("GET", b"/docs", b"navigate", b"embed"),
        ("GET", b"/docs", b"no-cors", b"document"),
        ("GET", b"/docs", b"", b""),
        ("GET", b"/docsx", b"navigate", b"document"),
        ("GET", b"/consoles", b"navigate", b"document"),
        ("GET", b"/health", b"navigate", b"document"),
        ("GET", b"/metrics", b"navigate", b"document"),
    ],
)
def test_another_site_may_do_nothing_else_with_the_gateways_pages(
    method: str, path: bytes, mode: bytes, dest: bytes
) -> None:
    refusal(NOBODY, fetched(b"cross-site", mode, dest, method=method, path=path))


@pytest.mark.parametrize("site", [b"none", b"same-origin", b"same-site", b"", b"new-word"])
@pytest.mark.parametrize("mode", [b"navigate", b"no-cors", b"cors"])
def test_what_the_user_or_a_page_of_the_same_site_asks_for_comes_in(
    site: bytes, mode: bytes
) -> None:
    call = fetched(site, mode)
    NOBODY.check(call)
    assert cors(call) == {}


def test_the_same_site_is_not_the_same_origin() -> None:
    # Such as a page on another port of localhost: what it could change or read says who it is.
    refusal(NOBODY, fetched(b"same-site", b"cors", b"empty", (b"origin", b"http://gw.example")))


def test_cors_lets_a_page_of_another_site_in() -> None:
    call = fetched(b"cross-site", b"cors", b"empty", (b"origin", APP))
    OPEN_TO_APP.check(call)
    assert cors(call)[b"access-control-allow-origin"] == APP
    refusal(OPEN_TO_APP, fetched(b"cross-site", b"cors", b"empty", (b"origin", b"https://b.c")))


def test_the_own_host_by_another_scheme_is_another_site() -> None:
    refusal(NOBODY, fetched(b"cross-site", b"cors", b"empty", (b"origin", b"http://" + HOST)))


def test_a_star_lets_pages_embed_what_they_may_read_anyway() -> None:
    call = fetched(b"cross-site")
    OPEN_TO_ALL.check(call)
    assert pairs(isolation_headers(call))[b"cross-origin-resource-policy"] == b"cross-origin"


# --- what is no JSON


@pytest.mark.parametrize(
    ("rule", "call", "policy"),
    [
        (NOBODY, request((b"host", HOST)), b"same-origin"),
        (NOBODY, fetched(b"same-site"), b"same-origin"),
        (NOBODY, from_page(b"http://" + HOST), b"same-origin"),
        (OPEN_TO_APP, request((b"host", HOST)), b"same-origin"),
        (OPEN_TO_APP, from_page(APP), b"cross-origin"),
        (OPEN_TO_ALL, from_page(b"null"), b"cross-origin"),
    ],
)
def test_only_a_page_that_cors_lets_in_may_embed_an_answer(
    rule: AllowedOrigins, call: Call, policy: bytes
) -> None:
    rule.check(call)
    assert isolation_headers(call) == (
        b"x-content-type-options: nosniff\r\n"
        b"content-security-policy: sandbox; default-src 'none'\r\n"
        b"cross-origin-resource-policy: %s\r\n" % policy
    )


# --- preflight


def test_a_preflight_allows_the_methods_and_headers_of_the_contract() -> None:
    asked = request((b"origin", b"https://a.example"), (b"access-control-request-method", b"PUT"))
    answer = pairs(AllowedOrigins.preflight(asked))
    methods = answer[b"access-control-allow-methods"].split(b", ")
    assert {b"GET", b"PUT", b"DELETE", b"POST", b"PATCH"} <= set(methods)
    assert set(answer[b"access-control-allow-headers"].lower().split(b", ")) >= {
        b"authorization",
        b"content-encoding",
        b"content-type",
        b"if-match",
        b"if-none-match",
        b"idempotency-key",
        b"jetkv-ttl-seconds",
        b"last-event-id",
        b"traceparent",
        b"x-request-id",
    }
    assert answer[b"access-control-max-age"] == b"600"


def test_an_options_request_that_is_no_preflight_gets_no_cors() -> None:
    assert AllowedOrigins.preflight(request((b"origin", b"https://a.example"))) == b""
