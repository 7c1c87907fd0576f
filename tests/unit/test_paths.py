"""Raw paths and queries (docs/http-api.md#keys): routed as sent, decoded once."""

from urllib.parse import quote, urlencode

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from jetkv_gateway.http.call import Call
from jetkv_gateway.http.paths import bucket_name, key_name, parse_query
from jetkv_gateway.http.routes import ROUTER
from jetkv_gateway.kv.errors import InvalidArgument, InvalidBucketName
from tests.support.dead_request import DeadRequest

text = st.text(st.characters(exclude_categories=["Cs"]))


# --- the route of a key


def key_route(path: bytes) -> tuple[bytes, ...] | None:
    """The names of a path that is one of a key, else None."""
    match = ROUTER.find(path)
    if match is None or not match[0].template.endswith("/keys/{key...}"):
        return None
    return match[1]


@pytest.mark.parametrize(
    ("path", "bucket", "key"),
    [
        (b"/api/v1/kv/buckets/b/keys/k", b"b", b"k"),
        (b"/api/v1/kv/buckets/b/keys/a/b", b"b", b"a/b"),
        (b"/api/v1/kv/buckets/b/keys/a%2Fb", b"b", b"a%2Fb"),
        (b"/api/v1/kv/buckets/b/keys/", b"b", b""),
        (b"/api/v1/kv/buckets/b/keys//", b"b", b"/"),
        (b"/api/v1/kv/buckets/b/keys/a/", b"b", b"a/"),
        (b"/api/v1/kv/buckets/b/keys/../keys/k", b"b", b"../keys/k"),
        (b"/api/v1/kv/buckets/b/keys/..", b"b", b".."),
        (b"/api/v1/kv/buckets/keys/keys/keys/keys", b"keys", b"keys/keys"),
        (b"/api/v1/kv/buckets/a%2Fkeys/keys/k", b"a%2Fkeys", b"k"),
        (b"/api/v1/kv/buckets/../keys/k", b"..", b"k"),
    ],
)
def test_a_path_of_a_key_is_split_and_stays_encoded(path: bytes, bucket: bytes, key: bytes) -> None:
    assert key_route(path) == (bucket, key)


@pytest.mark.parametrize(
    "path",
    [
        b"/",
        b"/health",
        b"/api/v1/kv/buckets",
        b"/api/v1/kv/buckets/",
        b"/api/v1/kv/buckets/b",
        b"/api/v1/kv/buckets/b/",
        b"/api/v1/kv/buckets/b/keys",
        b"/api/v1/kv/buckets/b/keysx/k",
        b"/api/v1/kv/buckets/b//keys/k",
        b"/api/v1/kv/buckets//keys/k",
        b"/api/v1/kv/buckets/b%2Fkeys/k",
        b"/api/v1/kv/buckets/b/keys%2Fk",
        b"/api/v1/kv/buckets/b/history/keys/k",
        b"/api/v1/kv/%62uckets/b/keys/k",
        b"//api/v1/kv/buckets/b/keys/k",
        b"/json/json/api/v1/kv/buckets/b/keys/k",
        b"/jsonapi/v1/kv/buckets/b/keys/k",
    ],
)
def test_no_other_path_is_one_of_a_key(path: bytes) -> None:
    assert key_route(path) is None


def test_a_path_below_the_json_base_is_the_same_path() -> None:
    assert key_route(b"/json/api/v1/kv/buckets/b/keys/a/b") == (b"b", b"a/b")


# --- decoding


@pytest.mark.parametrize(
    ("raw", "key"),
    [
        (b"user:1", "user:1"),
        (b"user%3A1", "user:1"),
        (b"a%2fb", "a/b"),
        (b"a+b", "a+b"),
        (b"%2B", "+"),
        (b"%252F", "%2F"),
        (b"caf%C3%A9", "café"),
        (b"caf%c3%a9", "café"),
        (b"50%", "50%"),
        (b"%", "%"),
        (b"%%41", "%A"),
        (b"%4", "%4"),
        (b"%zz%41", "%zzA"),
        (b"%4g", "%4g"),
        (b"%+1", "%+1"),
        (b"%u00e9", "%u00e9"),
        (b"%2", "%2"),
        (b"a.%2E.", "a..."),
        (b"", ""),
    ],
)
def test_a_key_is_percent_decoded_once(raw: bytes, key: str) -> None:
    assert key_name(raw) == key


@given(text)
@example("%2F")
@example("100%25")
def test_a_key_encoded_in_full_comes_back(key: str) -> None:
    assert key_name(quote(key, safe="").encode()) == key


@given(text)
def test_a_key_with_its_slashes_left_alone_comes_back(key: str) -> None:
    assert key_name(quote(key, safe="/").encode()) == key


@pytest.mark.parametrize("raw", [b"%FF", b"a%C3", b"%C3%28", b"%ED%A0%80", b"%C0%80", b"\xff"])
def test_a_key_that_is_not_utf_8_is_refused(raw: bytes) -> None:
    with pytest.raises(InvalidArgument) as refused:
        key_name(raw)
    assert refused.value.message == "invalid key: not valid UTF-8"


@pytest.mark.parametrize(
    ("raw", "name"), [(b"cache", "cache"), (b"%63ache", "cache"), (b"a-b_C9", "a-b_C9")]
)
def test_a_bucket_name_is_percent_decoded(raw: bytes, name: str) -> None:
    assert bucket_name(raw) == name


@pytest.mark.parametrize("raw", [b"", b"a%2Fb", b"%2E%2E", b"a.b", b"%FF", b"%00", b"a%0A", b"a%"])
def test_a_bad_bucket_name_is_refused(raw: bytes) -> None:
    with pytest.raises(InvalidBucketName):
        bucket_name(raw)


# --- queries


@pytest.mark.parametrize(
    ("query", "parameters"),
    [
        (b"", {}),
        (b"filter=a", {"filter": "a"}),
        (b"filter=", {"filter": ""}),
        (b"filter", {"filter": ""}),
        (b"filter=a.%3E", {"filter": "a.>"}),
        (b"filter=a+b", {"filter": "a b"}),
        (b"filter=a%2Bb", {"filter": "a+b"}),
        (b"filter=user:*", {"filter": "user:*"}),
        (b"filter=a=b", {"filter": "a=b"}),
        (b"filter=50%", {"filter": "50%"}),
        (b"filter=%C3%A9", {"filter": "é"}),
        (b"limit=1&filter=a", {"limit": "1", "filter": "a"}),
    ],
)
def test_a_query_is_its_parameters(query: bytes, parameters: dict[str, str]) -> None:
    found = parse_query(query, frozenset({"filter", "limit"}))
    assert found == {name: [value] for name, value in parameters.items()}


def test_a_parameter_that_may_come_repeatedly_keeps_its_order() -> None:
    found = parse_query(b"key=b&key=a&key=b", frozenset({"key"}), frozenset({"key"}))
    assert found == {"key": ["b", "a", "b"]}


@given(text)
def test_a_filter_written_by_urlencode_comes_back(filter: str) -> None:
    query = urlencode({"filter": filter}).encode()
    assert parse_query(query, frozenset({"filter"})) == {"filter": [filter]}


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (b"fliter=a", "unknown query parameter 'fliter'"),
        (b"Filter=a", "unknown query parameter 'Filter'"),
        (b"filter%20=a", "unknown query parameter 'filter '"),
        (b"filter=a&b=c", "unknown query parameter 'b'"),
        (b"what", "unknown query parameter 'what'"),
        (b"=", "unknown query parameter ''"),
        (b"?", "unknown query parameter '?'"),
        (b"filter=a&filter=a", "query parameter 'filter' is given twice"),
        (b"&", "invalid query '&'"),
        (b"filter=%FF", "invalid query: not valid UTF-8"),
        (b"filter=\xff", "invalid query: not valid UTF-8"),
        (b"\xff", "invalid query: not valid UTF-8"),
    ],
)
def test_a_query_that_the_route_does_not_know_is_refused(query: bytes, message: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        parse_query(query, frozenset({"filter"}))
    assert refused.value.message == message


@pytest.mark.parametrize(
    ("known", "hint"),
    [
        (
            {"purge", "a"},
            "known parameters: a, purge; send the ? of a key as %3F",
        ),
        (set(), "known parameters: none; send the ? of a key as %3F"),
    ],
)
def test_an_unknown_parameter_is_answered_with_the_known_ones(known: set[str], hint: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        parse_query(b"b=c", frozenset(known))
    assert refused.value.hint == hint


def test_a_long_unknown_parameter_is_cut_in_the_text() -> None:
    with pytest.raises(InvalidArgument) as refused:
        parse_query(b"x" * 60_000, frozenset())
    assert refused.value.message == f"unknown query parameter '{'x' * 100}'"


# --- flags


def call(query: bytes) -> Call:
    """A call with a query, read as a row that knows `purge` reads it."""
    found = Call(DeadRequest(query=query))
    found.read_query(frozenset({"purge"}), frozenset())
    return found


@pytest.mark.parametrize(
    ("query", "value"), [(b"", False), (b"purge=true", True), (b"purge=false", False)]
)
def test_a_flag_is_true_or_false_and_false_when_absent(query: bytes, value: bool) -> None:
    assert call(query).flag("purge") is value


@pytest.mark.parametrize("value", ["", "1", "0", "yes", "True", "TRUE", " true", "true "])
def test_a_flag_of_anything_else_is_refused(value: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        call(urlencode({"purge": value}).encode()).flag("purge")
    assert refused.value.message == "query parameter 'purge' must be true or false"
