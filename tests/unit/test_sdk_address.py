"""A client's address, token and proxy are checked before anything is sent."""

import pytest

from jetkv._core.address import Address
from jetkv.errors import InvalidArgumentError

PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://localhost:9123", "http://localhost:9123"),
        ("http://localhost:9123/", "http://localhost:9123"),
        ("https://kv.example.org", "https://kv.example.org:443"),
        ("http://10.0.0.1", "http://10.0.0.1:80"),
        ("http://[::1]:9123", "http://[::1]:9123"),
        ("https://example.org/storage/kv/", "https://example.org:443/storage/kv"),
    ],
)
def test_an_address_is_its_origin_and_what_stands_before_the_api(url: str, shown: str) -> None:
    assert str(Address.parse(url)) == shown


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("localhost:9123", "not an http or https URL"),
        ("", "not an http or https URL"),
        ("ftp://localhost", "not an http or https URL"),
        ("http://", "not an http or https URL"),
        ("http://localhost:port", "not a URL"),
        ("http://localhost:99999", "not a URL"),
        ("http://me:secret@localhost:9123", "password"),
        ("http://localhost:0", "host or port of the URL"),
        ("http://a..b", "host or port of the URL"),
        ("http://[fe80::1%eth0]:9123", "host or port of the URL"),
        ("http://a%20b", "host or port of the URL"),
        ("http://" + "a" * 64, "host or port of the URL"),
        ("http://localhost:9123?x=1", "query"),
        ("http://localhost:9123/#x", "fragment"),
        ("http://localhost:9123/a b", "printable"),
        ("http://localhost:9123/\r\nX: y", "printable"),
        ("http://localhost:9123/api/v1", "must not have /api/v1"),
        ("http://localhost:9123/json", "without /json"),
        (None, "a URL must be text"),
    ],
)
def test_an_address_that_cannot_be_used_is_refused_with_the_reason(url, reason: str) -> None:
    with pytest.raises(InvalidArgumentError, match=reason):
        Address.parse(url)


@pytest.mark.parametrize(
    "url",
    [
        "http://me:hunter2@localhost:9123",
        "ftp://me:hunter2@h",
        "http://me:hunter2@h:x",
        "me:hunter2@h",
    ],
)
def test_a_password_in_a_url_is_not_repeated_in_the_error(url: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        Address.parse(url)
    assert "hunter2" not in str(caught.value)


def test_a_token_goes_as_a_bearer_and_is_never_shown() -> None:
    address = Address.parse("http://localhost:9123", token="s3cret")
    assert address.headers["Authorization"] == "Bearer s3cret"
    assert "s3cret" not in repr(address)


@pytest.mark.parametrize("token", ["", "with space", "line\nbreak", "ünïcode"])
def test_a_token_that_cannot_go_into_a_header_is_refused_unseen(token: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        Address.parse("http://localhost:9123", token=token)
    assert not token or token not in str(caught.value)


def test_the_environment_names_a_proxy_for_each_scheme(monkeypatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.example.org:3128")
    assert Address.parse("http://kv.example.org").proxy == "http://proxy.example.org:3128"
    assert Address.parse("https://kv.example.org").proxy is None


def test_no_proxy_names_what_is_reached_directly(monkeypatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.example.org:3128")
    monkeypatch.setenv("NO_PROXY", "localhost,.internal")
    assert Address.parse("http://localhost:9123").proxy is None
    assert Address.parse("http://kv.internal").proxy is None


def test_an_empty_proxy_wins_over_the_environment(monkeypatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.example.org:3128")
    assert Address.parse("http://kv.example.org", proxy="").proxy is None


def test_a_proxy_without_a_scheme_is_an_http_one() -> None:
    assert Address.parse("http://a", proxy="proxy:3128").proxy == "http://proxy:3128"


def test_a_kind_of_proxy_that_is_not_spoken_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="must be an http or https"):
        Address.parse("http://a", proxy="socks5://proxy:1080")


def test_a_proxys_password_goes_apart_from_its_address_and_is_never_shown() -> None:
    address = Address.parse("http://a", proxy="http://me:p%40ss@proxy:3128")
    assert (address.proxy, address.proxy_login) == ("http://proxy:3128", ("me", "p@ss"))
    assert "ss@" not in repr(address)
    assert "p%40ss" not in repr(address)
