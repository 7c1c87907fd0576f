"""How a value is shown (docs/http-api.md#values): base64, ready JSON, or the bytes themselves."""

import base64
import json
from typing import Any

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from jetkv_gateway.http.views import View, choose_view, entry_json, http_date
from jetkv_gateway.kv.errors import InvalidArgument
from jetkv_gateway.kv.model import Entry, Operation, to_base64

JSON = "application/json"
BYTES = "application/octet-stream"
TYPES = [None, JSON, BYTES, "text/plain", "application/x-www-form-urlencoded"]


def entry(value: bytes, content_type: str | None = None, key: str = "k") -> Entry:
    time = "2026-01-02T03:04:05.123456789Z"
    return Entry(key, to_base64(value), 7, time, Operation.PUT, content_type)


def shown(value: bytes, content_type: str | None) -> tuple[str, Any]:
    """(encoding, value) as a client reads them."""
    fields = json.loads(entry_json(entry(value, content_type), View.JSON))
    return fields["encoding"], fields["value"]


def raw(value: bytes, content_type: str | None = None) -> Entry:
    """As `entry`, of a direct read: the bytes themselves."""
    time = "2026-01-02T03:04:05.123456789Z"
    return Entry("k", value, 7, time, Operation.PUT, content_type)


# --- the default


def test_an_entry_is_shown_as_base64_with_exactly_these_fields() -> None:
    assert entry_json(entry(b"hello", JSON, "user:1"), View.BASE64) == (
        b'{"key":"user:1","value":"aGVsbG8=","revision":7,'
        b'"created_at":"2026-01-02T03:04:05.123456789Z","operation":"put"}'
    )


@pytest.mark.parametrize("size", [0, 1, 2, 3, 100, *range(65_534, 65_540), 98_303, 98_304, 200_001])
@pytest.mark.parametrize("view", [View.BASE64, View.JSON])
def test_an_entry_looks_the_same_however_its_value_came(size: int, view: View) -> None:
    value = bytes(number % 251 for number in range(size))
    assert entry_json(raw(value), view) == entry_json(entry(value), view)


@given(st.binary(max_size=200))
def test_an_entry_has_its_value_in_both_forms_and_its_size_however_it_came(value: bytes) -> None:
    for one in (raw(value), entry(value)):
        assert (one.value, one.base64, one.size) == (value, to_base64(value), len(value))


def test_a_ready_value_comes_with_its_encoding() -> None:
    assert orjson.loads(entry_json(entry(b"[1]", JSON), View.JSON)) == {
        "key": "k",
        "value": [1],
        "revision": 7,
        "created_at": "2026-01-02T03:04:05.123456789Z",
        "operation": "put",
        "encoding": "json",
    }


@pytest.mark.parametrize("operation", [Operation.DELETE, Operation.PURGE])
@pytest.mark.parametrize("view", [View.BASE64, View.JSON])
def test_a_tombstone_has_an_empty_value(operation: Operation, view: View) -> None:
    tombstone = Entry("k", "", 7, "2026-01-02T03:04:05Z", operation, None)
    fields = json.loads(entry_json(tombstone, view))
    assert (fields["value"], fields["operation"]) == ("", operation.value)


# --- stored as JSON


@pytest.mark.parametrize(
    ("value", "ready"),
    [
        (b'{"role":"admin"}', {"role": "admin"}),
        (b"[1, 2]", [1, 2]),
        (b"42", 42),
        (b"-1.5e3", -1500.0),
        (b'"42"', "42"),
        (b"true", True),
        (b"null", None),
        (b" \r\n\t{} \n", {}),
        ('"é"'.encode(), "é"),
        (b'"\\u00e9\\n"', "é\n"),
    ],
)
@pytest.mark.parametrize(
    "content_type",
    [JSON, "application/json; charset=utf-8", "Application/JSON", "application/problem+json"],
)
def test_what_was_stored_as_json_is_parsed(value: bytes, ready: Any, content_type: str) -> None:
    assert shown(value, content_type) == ("json", ready)


@pytest.mark.parametrize("value", ["", "{", "hello", "NaN", "{'a': 1}", "[1,]", "01", "1 2", "é"])
def test_what_was_stored_as_json_and_is_not_json_is_text(value: str) -> None:
    assert shown(value.encode(), JSON) == ("text", value)


# --- stored as octets, which is what the clients send for strings and bytes


@pytest.mark.parametrize(
    ("value", "ready"),
    [
        (b'{"a":1}', {"a": 1}),
        (b"[]", []),
        (b' \n\t\r[{"a": null}]', [{"a": None}]),
    ],
)
def test_a_json_object_or_array_stored_as_octets_is_parsed(value: bytes, ready: Any) -> None:
    assert shown(value, BYTES) == ("json", ready)


@pytest.mark.parametrize(
    "value",
    [
        "42",
        "-1",
        "1.0",
        "true",
        "false",
        "null",
        '"42"',
        '"quoted"',
        " 42",
        "",
        "hello",
        "{oops",
        "[1",
    ],
)
def test_any_other_string_stored_as_octets_stays_a_string(value: str) -> None:
    assert shown(value.encode(), BYTES) == ("text", value)


# --- stored without a type, or with one that says nothing


@pytest.mark.parametrize("content_type", [None, "", "application/x-www-form-urlencoded"])
@pytest.mark.parametrize(
    ("value", "encoding", "ready"),
    [
        (b"42", "json", 42),
        (b'"42"', "json", "42"),
        (b"null", "json", None),
        (b'{"a":[]}', "json", {"a": []}),
        (b"hello", "text", "hello"),
        (b"", "text", ""),
        (b"a=1&b=2", "text", "a=1&b=2"),
        (b"NaN", "text", "NaN"),
        (b"Infinity", "text", "Infinity"),
        (b"-Infinity", "text", "-Infinity"),
        (b"[NaN]", "text", "[NaN]"),
        (b"undefined", "text", "undefined"),
        (b"\xef\xbb\xbf{}", "text", "\ufeff{}"),
    ],
)
def test_without_a_type_it_is_json_where_it_is_valid_else_text(
    value: bytes, encoding: str, ready: Any, content_type: str | None
) -> None:
    assert shown(value, content_type) == (encoding, ready)


@pytest.mark.parametrize(
    "content_type", ["text/plain", "text/html; charset=utf-8", "image/svg+xml"]
)
@pytest.mark.parametrize("value", ["42", '{"a":1}', "hello", ""])
def test_what_was_stored_as_something_else_is_text(value: str, content_type: str) -> None:
    assert shown(value.encode(), content_type) == ("text", value)


# --- whatever the type


@pytest.mark.parametrize("content_type", TYPES)
@pytest.mark.parametrize(
    ("value", "text"),
    [
        (b"\xff\xfe", "//4="),
        (b"\x00\xff", "AP8="),
        (b'{"a":"\xff"}', "eyJhIjoi/yJ9"),
        (b'"\xed\xa0\x80"', "Iu2ggCI="),
        (b"caf\xe9", "Y2Fm6Q=="),
    ],
)
def test_what_is_not_utf_8_is_base64(value: bytes, text: str, content_type: str | None) -> None:
    assert shown(value, content_type) == ("base64", text)


@pytest.mark.parametrize(
    "number",
    [
        b"12345678901234567890123456789012345678901234567890",
        b"9007199254740993",
        b"0.1000000000000000055511151231257827021181583404541015625",
        b"1.0",
        b"-0",
        b"1E5",
    ],
)
@pytest.mark.parametrize("around", [b"%s", b'{"n": %s}', b"[%s]"])
def test_a_number_keeps_every_digit(number: bytes, around: bytes) -> None:
    value = around % number
    assert b'"value":' + value in entry_json(entry(value, JSON), View.JSON)


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(b"1e400", id="a number beyond double precision"),
        pytest.param(b"9" * 400, id="an integer beyond double precision"),
        pytest.param(b'"\\ud800"', id="half a surrogate pair"),
        pytest.param(b"[" * 2000 + b"]" * 2000, id="2000 arrays in one another"),
    ],
)
@pytest.mark.parametrize("content_type", [None, JSON])
def test_json_that_many_parsers_refuse_is_text(value: bytes, content_type: str | None) -> None:
    assert shown(value, content_type) == ("text", value.decode())


@pytest.mark.parametrize("content_type", TYPES)
@pytest.mark.parametrize(
    "value", ["\x00", "\x1b[0m", '"', "\\", "</script>", "\u2028", "🔑", "\r\n"]
)
def test_text_with_signs_of_any_kind_comes_back(value: str, content_type: str | None) -> None:
    assert shown(value.encode(), content_type) == ("text", value)


_json_like = st.lists(
    st.one_of(
        st.sampled_from('{}[]:,"\\ \n10-.ea\x00é').map(str.encode),
        st.sampled_from([b"NaN", b"true", b"null", b"\\u00", b"\\ud800", b"\xff", b"1e9"]),
    ),
    max_size=12,
).map(b"".join)


@settings(max_examples=400)
@given(
    st.one_of(st.binary(), _json_like, st.text().map(lambda text: text.encode("utf-8", "replace"))),
    st.sampled_from(TYPES),
)
@example(b'{"a":1}}', JSON)
@example(b'1,"revision":9', None)
@example(b"", JSON)
def test_the_answer_is_valid_json_whatever_the_bytes(value: bytes, content_type: str) -> None:
    answer = entry_json(entry(value, content_type), View.JSON)
    assert orjson.loads(answer).keys() == {
        "key",
        "value",
        "revision",
        "created_at",
        "operation",
        "encoding",
    }
    fields = json.loads(answer)
    assert fields["revision"] == 7
    if fields["encoding"] == "text":
        assert fields["value"].encode() == value
    elif fields["encoding"] == "base64":
        assert base64.b64decode(fields["value"], validate=True) == value
    else:
        assert fields["value"] == json.loads(value)


@given(st.binary())
def test_the_size_of_an_entry_is_that_of_its_bytes(value: bytes) -> None:
    assert entry(value).size == len(value)
    assert entry(value).value == value


# --- which view


@pytest.mark.parametrize("parameter", ["base64", "json", "raw"])
@pytest.mark.parametrize("accept", [None, b"application/octet-stream", b"application/json"])
@pytest.mark.parametrize("default", [View.BASE64, View.JSON])
def test_the_parameter_decides_before_all_else(
    parameter: str, accept: bytes | None, default: View
) -> None:
    assert choose_view(parameter, accept, default) is View(parameter)


@pytest.mark.parametrize("parameter", ["", "JSON", "text", "raw ", "base64,json"])
def test_an_unknown_view_is_refused(parameter: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        choose_view(parameter, None, View.BASE64)
    assert refused.value.message == "query parameter 'values' must be base64, json or raw"


@pytest.mark.parametrize(
    "accept",
    [
        b"application/octet-stream",
        b"Application/Octet-Stream",
        b"application/octet-stream, */*",
        b"application/octet-stream;q=0.5",
        b"application/octet-stream; q=0.9, application/json; q=0.8",
        b"application/octet-stream, application/json",
        b"text/html, application/octet-stream;q=0.1",
    ],
)
@pytest.mark.parametrize("default", [View.BASE64, View.JSON])
def test_a_client_that_accepts_octets_gets_the_bytes(accept: bytes, default: View) -> None:
    assert choose_view(None, accept, default) is View.RAW


@pytest.mark.parametrize(
    "accept",
    [
        None,
        b"",
        b"*/*",
        b"application/*",
        b"application/json",
        b"application/json, text/plain, */*",
        b"application/octet-stream;q=0",
        b"application/octet-stream;q=0.5, application/json",
        b"application/octet-stream;q=high",
        b"application/octet-streams",
        b"application/vnd.octet-stream",
        b"\xff;\xfe=,;;q",
    ],
)
@pytest.mark.parametrize("default", [View.BASE64, View.JSON])
def test_any_other_client_gets_the_view_of_its_base_url(
    accept: bytes | None, default: View
) -> None:
    assert choose_view(None, accept, default) is default


# --- around it


@pytest.mark.parametrize(
    ("created_at", "date"),
    [
        ("2026-01-02T03:04:05.123456789Z", b"Fri, 02 Jan 2026 03:04:05 GMT"),
        ("2026-01-02T03:04:05.9Z", b"Fri, 02 Jan 2026 03:04:05 GMT"),
        ("2026-01-02T03:04:05Z", b"Fri, 02 Jan 2026 03:04:05 GMT"),
        ("2024-02-29T23:59:59Z", b"Thu, 29 Feb 2024 23:59:59 GMT"),
    ],
)
def test_a_time_is_shown_as_an_http_date(created_at: str, date: bytes) -> None:
    assert http_date(created_at) == date
