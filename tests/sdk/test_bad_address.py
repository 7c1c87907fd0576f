"""Both clients, given an address, a token or an option that cannot be used."""

import math
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from jetkv import Client, InvalidArgumentError, Retry, UnavailableError

# --- the address


BAD_URLS = {
    "no scheme": ("localhost:9123", "localhost:9123"),
    "another scheme": ("ftp://localhost", "ftp://localhost"),
    "a WebSocket's": ("ws://localhost", "ws://localhost"),
    "empty": ("", "''"),
    "no host": ("http://", "http://"),
    "a port too high": ("http://localhost:99999", "99999"),
    "a port that is not a number": ("http://localhost:port", "port"),
    "port 0": ("http://localhost:0", "http://localhost:0"),
    "half an IPv6 address": ("http://[::1", "[::1"),
    "an address of one interface": ("http://[fe80::1%nope]", "%nope"),
    "a query": ("http://localhost?x=1", "query"),
    "a fragment": ("http://localhost#x", "fragment"),
    "a space": ("http://local host", "local host"),
    "a line break": ("http://localhost\n", "localhost\\n"),
    "a name that is not ASCII": ("http://münchen", "münchen"),
    "an empty label": ("http://a..b", "a..b"),
    "a label too long": (f"http://{'a' * 64}", "a" * 64),
    "the path of the API": ("http://localhost/api/v1", "/api/v1"),
    "bytes": (b"http://localhost", "bytes"),
    "nothing": (None, "NoneType"),
}


@pytest.mark.parametrize(("url", "said"), BAD_URLS.values(), ids=BAD_URLS)
async def test_a_url_that_cannot_be_one_is_refused_at_once(make, url: Any, said: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        make(url)
    assert said in str(caught.value)


@pytest.mark.parametrize("tail", ["/json", "/json/"])
async def test_the_base_for_ready_values_is_refused_with_the_right_one(make, tail: str) -> None:
    with pytest.raises(InvalidArgumentError, match="'http://localhost:9123'"):
        make(f"http://localhost:9123{tail}")


@pytest.mark.parametrize(
    "url",
    [
        "http://ada:s3cret@localhost:9123",
        "http://:s3cret@localhost:9123",
        "ftp://ada:s3cret@localhost:9123",
        "http://ada:s3cret@localhost:port",
        "http://ada:s3cret@localhost?x",
        "http://ada:s3cret@local host",
        "http://ada:s3cret@localhost/api/v1",
    ],
)
async def test_a_password_in_a_url_is_refused_and_not_shown(make, url: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        make(url)
    assert "s3cret" not in f"{caught.value!s}{caught.value!r}"


@pytest.mark.parametrize("token", ["", "two words", "line\n", "tökén", 5, b"bytes"])
async def test_a_token_that_cannot_be_one_is_refused(make, token: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="token"):
        make("http://localhost:9123", token=token)


async def test_a_token_that_is_refused_is_not_shown(make) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        make("http://localhost:9123", token="s3cret\n")
    assert "s3cret" not in f"{caught.value!s}{caught.value!r}"


OPTIONS = {
    "no time": {"timeout": 0},
    "less than no time": {"timeout": -1.0},
    "no number": {"timeout": math.nan},
    "time without end": {"timeout": None},
    "a timedelta": {"timeout": timedelta(seconds=5)},
    "no connections": {"max_connections": 0},
    "a number of tries": {"retry": 3},
    "another kind of proxy": {"proxy": "socks5://localhost"},
    "no URL of a proxy": {"proxy": "http://["},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
async def test_an_option_that_cannot_be_used_is_refused_by_its_name(
    make, options: dict[str, Any]
) -> None:
    with pytest.raises(InvalidArgumentError, match=next(iter(options))):
        make("http://localhost:9123", **options)


@pytest.mark.parametrize("seconds", [-1, float("nan"), "1", None, True])
@pytest.mark.parametrize("name", ["first_delay", "longest_delay", "patience"])
def test_a_delay_that_is_no_number_of_seconds_is_refused(name: str, seconds: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="seconds from 0"):
        Retry(**{name: seconds})


@pytest.mark.parametrize("attempts", [0, 1.5, "3", None, True])
def test_attempts_that_are_no_count_are_refused(attempts: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="attempts must be a whole number from 1"):
        Retry(attempts=attempts)


def test_patience_may_have_no_end() -> None:
    assert Retry(patience=float("inf")).patience == float("inf")


def test_what_the_caller_is_handling_is_not_taken_for_the_reason(nobody: str) -> None:
    with Client(nobody, retry=Retry(attempts=1)) as client:
        try:
            Path("/nowhere/a-file").read_text()
        except FileNotFoundError:
            with pytest.raises(UnavailableError, match="Connection refused"):
                client.kv().bucket("b").get("k")
