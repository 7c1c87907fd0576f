"""Which pages may call the gateway, and what a browser is told (contract 1.6)."""

from typing import NoReturn

import pytest

from jetkv_gateway.http.call import Call
from jetkv_gateway.http.origins import LOOPBACK, Origins
from jetkv_gateway.kv.access import full_access
from jetkv_gateway.kv.errors import PermissionDenied

HOST = b"gw.example:9123"
NOBODY = Origins()
DEV = Origins(frozenset({LOOPBACK}), loopback_host=True)


async def _unused(*_: object) -> NoReturn:
    raise AssertionError("origins are decided without a word to or from the client")


def request(*lines: tuple[bytes, bytes]) -> Call:
    """A GET with these header lines."""
    scope = {
        "type": "http",
        "method": "GET",
        "raw_path": b"/health",
        "query_string": b"",
        "headers": [*lines],
    }
    return Call(scope, _unused, _unused, full_access)


def from_page(origin: bytes, host: bytes = HOST) -> Call:
    return request((b"host", host), (b"origin", origin))


def cors(call: Call) -> dict[bytes, bytes]:
    """What the answer will say to the browser."""
    return {name: value for name, value in call.answer_headers if name != b"x-request-id"}


def refusal(rule: Origins, call: Call) -> PermissionDenied:
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
    Origins(frozenset({"https://app.example", "https://b.example"})).check(call)
    assert cors(call) == {
        b"access-control-allow-origin": b"https://app.example",
        b"access-control-expose-headers": (
            b"Content-Encoding, ETag, Last-Modified, Retry-After, WWW-Authenticate, X-Request-Id, "
            b"JetKV-Consistency, JetKV-Retries"
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
    refusal(Origins(frozenset({"https://app.example"})), from_page(origin))


@pytest.mark.parametrize("origin", [b"https://any.example", b"http://localhost:3000", b"null"])
def test_a_star_allows_every_page(origin: bytes) -> None:
    call = from_page(origin)
    Origins(frozenset({"*"})).check(call)
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
    [b"localhost:9123", b"localhost", b"LocalHost:9123", b"127.0.0.1:9123", b"[::1]:9123", b""],
)
def test_dev_answers_under_a_loopback_name(host: bytes) -> None:
    DEV.check(request((b"host", host)))


@pytest.mark.parametrize(
    "host",
    [
        b"evil.example",
        b"evil.example:9123",
        b"localhost.evil.example:9123",
        b"127.0.0.1.nip.io:9123",
        b"10.0.0.1:9123",
        b"localhost:9123, evil.example",
        b"localhost:port",
    ],
)
def test_dev_refuses_a_foreign_name_that_was_pointed_at_this_machine(host: bytes) -> None:
    error = refusal(DEV, request((b"host", host)))
    assert error.message == (
        f"permission denied: host {host.decode()} is not this machine's loopback"
    )
    refusal(DEV, from_page(b"http://" + host, host))


def test_serve_answers_under_any_name() -> None:
    NOBODY.check(request((b"host", b"anything.example")))


# --- preflight


def test_a_preflight_allows_the_methods_and_headers_of_the_contract() -> None:
    asked = request((b"origin", b"https://a.example"), (b"access-control-request-method", b"PUT"))
    answer = dict(Origins.preflight(asked))
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
    assert Origins.preflight(request((b"origin", b"https://a.example"))) == []
