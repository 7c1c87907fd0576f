"""How a value is shown (docs/http-api.md#values): base64, raw, ready JSON, and `/json`."""

import asyncio
import gzip
import json
from typing import Any

import pytest

from tests.support.http import BUCKETS, Answer, Bucket, Http
from tests.support.native import Native
from tests.support.watching import watching

JSON = "application/json"
OCTETS = "application/octet-stream"
FORM = "application/x-www-form-urlencoded"


def put(bucket: Bucket, value: str | bytes, content_type: str | None) -> None:
    headers = {} if content_type is None else {"Content_Type": content_type}
    assert bucket.put("k", value, **headers).status == 200


def is_raw(answer: Answer) -> bool:
    return answer.headers["content-type"] != JSON


# --- the bytes themselves


@pytest.mark.parametrize(
    ("stored", "answered"),
    [
        (None, OCTETS),
        (JSON, JSON),
        ("text/plain; charset=utf-8", "text/plain; charset=utf-8"),
        ("image/png", "image/png"),
        ("text/html", "text/html"),
        ("not even a type", "not even a type"),
        ("x" * 255, "x" * 255),
    ],
)
@pytest.mark.parametrize("consistency", ["strong", "eventual"])
def test_raw_values_come_with_the_content_type_of_their_put(
    bucket: Bucket, stored: str | None, answered: str, consistency: str
) -> None:
    put(bucket, b"\x00\xff{", stored)
    answer = bucket.get("k", f"?values=raw&consistency={consistency}")
    assert (answer.status, answer.body) == (200, b"\x00\xff{")
    assert answer.headers["content-type"] == answered
    assert answer.headers["content-length"] == "3"


@pytest.mark.parametrize("content_type", ["text/html", "image/svg+xml", None, JSON])
def test_a_stored_page_does_not_run_as_one_of_the_gateways_own(
    bucket: Bucket, content_type: str | None
) -> None:
    put(bucket, "<script>alert(1)</script>", content_type)
    answer = bucket.get("k", Accept=OCTETS)
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-security-policy"] == "sandbox; default-src 'none'"


@pytest.mark.parametrize("content_type", ["", "x" * 256, "x" * 300, "text/é", "a\tb"])
def test_a_value_whose_content_type_cannot_be_kept_is_stored_without_one(
    bucket: Bucket, content_type: str
) -> None:
    put(bucket, b"\x00v", content_type)
    answer = bucket.get("k", "?values=raw")
    assert (answer.body, answer.headers["content-type"]) == (b"\x00v", OCTETS)
    put(bucket, '{"n":1}', content_type)
    assert bucket.get("k", "?values=json").json["value"] == {"n": 1}


# --- content encodings

GZIPPED = gzip.compress(b'{"n":1}', mtime=0)


@pytest.mark.parametrize("encoding", ["gzip", "br", "GZIP", "gzip, x-own", "z" * 64])
@pytest.mark.parametrize("consistency", ["strong", "eventual"])
def test_raw_values_come_with_the_content_encoding_of_their_put(
    bucket: Bucket, encoding: str, consistency: str
) -> None:
    assert bucket.put("k", GZIPPED, Content_Encoding=encoding, Content_Type=JSON).status == 200
    answer = bucket.get("k", f"?values=raw&consistency={consistency}")
    assert (answer.body, answer.headers["content-encoding"]) == (GZIPPED, encoding)
    assert answer.headers["content-type"] == JSON
    head = bucket.http.request("HEAD", bucket.key("k"), Accept=OCTETS)
    assert head.headers["content-encoding"] == encoding
    assert head.headers["content-length"] == str(len(GZIPPED))


@pytest.mark.parametrize("encoding", ["", "identity", "z" * 65, "gzip/1", "gzip;q=1", "é", "a b"])
def test_a_value_whose_content_encoding_cannot_be_kept_is_stored_without_one(
    bucket: Bucket, encoding: str
) -> None:
    assert bucket.put("k", "v", Content_Encoding=encoding).status == 200
    answer = bucket.get("k", "?values=raw")
    assert (answer.body, "content-encoding" in answer.headers) == (b"v", False)
    assert bucket.get("k", "?values=json").json["encoding"] == "text"


@pytest.mark.parametrize("stored", [GZIPPED, b'{"n":1}', b"text"])
def test_a_coded_value_is_base64_wherever_values_are_ready_to_use(
    bucket: Bucket, stored: bytes
) -> None:
    bucket.put("k", stored, Content_Encoding="gzip", Content_Type=JSON)
    answer = bucket.get("k", "?values=json")
    assert "content-encoding" not in answer.headers
    entry = answer.json
    assert (entry["encoding"], answer.value) == ("base64", stored)
    assert entry["content_encoding"] == "gzip"
    history = bucket.http.get(f"{bucket.path}/history/k?values=json").json["entries"]
    assert history == [entry]
    plain = bucket.get("k")
    assert (plain.value, set(plain.json)) == (
        stored,
        {"key", "value", "revision", "created_at", "operation"},
    )


async def test_a_watch_shows_a_coded_value_as_base64(http: Http, bucket: Bucket) -> None:
    ready = Http(http.host, http.port, base="/json")
    async with watching(ready, bucket.name) as watcher:
        await asyncio.to_thread(bucket.put, "k", b"text", Content_Encoding="gzip")
        frame = await watcher.next()
    assert (frame["encoding"], frame["value"]) == ("base64", "dGV4dA==")
    assert frame["content_encoding"] == "gzip"


async def test_native_clients_see_the_content_encoding_and_no_other_header(
    bucket: Bucket, native: Native
) -> None:
    headers = {"Nats_Rollup": "all", "KV_Operation": "DEL", "X_Own": "1", "Content_Language": "de"}
    await asyncio.to_thread(bucket.put, "k", b"v", Content_Encoding="gzip", **headers)
    last = await native.last(bucket.name, "k")
    stream = {"Nats-Expected-Stream": f"KV_{bucket.name}"}
    assert last == (b"v", {"Content-Encoding": "gzip", **stream})


def test_another_content_encoding_is_another_write(bucket: Bucket) -> None:
    def again(**headers: str) -> int:
        return bucket.put("k", "v", Idempotency_Key="1", **headers).status

    assert (again(Content_Encoding="gzip"), again(Content_Encoding="gzip")) == (200, 200)
    assert (again(), again(Content_Encoding="br")) == (409, 409)


def test_an_empty_value_is_an_empty_body(bucket: Bucket) -> None:
    put(bucket, b"", "text/plain")
    answer = bucket.get("k", "?values=raw")
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["content-length"] == "0"


def test_a_raw_value_has_the_validators_of_the_entry(bucket: Bucket) -> None:
    put(bucket, "v", None)
    answer = bucket.get("k", "?values=raw")
    assert (answer.headers["etag"], answer.headers["cache-control"]) == ('"1"', "no-cache")
    assert bucket.get("k", "?values=raw", If_None_Match='"1"').status == 304


def test_an_error_is_json_even_where_the_bytes_were_asked_for(bucket: Bucket) -> None:
    answer = bucket.get("absent", "?values=raw", Accept=OCTETS)
    assert (answer.status, answer.headers["content-type"]) == (404, JSON)
    assert answer.error == "key not found"


# --- Accept


@pytest.mark.parametrize(
    ("accept", "raw"),
    [
        (OCTETS, True),
        ("Application/Octet-Stream", True),
        (f"{OCTETS}, */*;q=0.1", True),
        (f"{JSON};q=0.5, {OCTETS}", True),
        (f" text/html , {OCTETS} ; q=1.0 ", True),
        (f"{JSON}, {OCTETS};q=0.9", False),
        (f"{OCTETS};q=0", False),
        (f"{OCTETS};q=zero", False),
        (JSON, False),
        ("*/*", False),
        ("application/*", False),
        ("text/html", False),
        ("", False),
        ("nonsense", False),
        (";;;,,,", False),
    ],
)
def test_accept_asks_for_the_bytes_only_by_their_name(
    bucket: Bucket, accept: str, raw: bool
) -> None:
    put(bucket, "v", None)
    answer = bucket.get("k", Accept=accept)
    assert answer.status == 200
    assert is_raw(answer) is raw
    assert answer.headers["vary"] == "Accept"


@pytest.mark.parametrize(("values", "raw"), [("base64", False), ("json", False), ("raw", True)])
@pytest.mark.parametrize("accept", [OCTETS, JSON])
def test_the_query_wins_over_accept(bucket: Bucket, accept: str, values: str, raw: bool) -> None:
    put(bucket, "v", None)
    assert is_raw(bucket.get("k", f"?values={values}", Accept=accept)) is raw


@pytest.mark.parametrize("values", ["", "Raw", "text", "raw,json"])
def test_an_unknown_way_to_show_values_is_400(bucket: Bucket, values: str) -> None:
    put(bucket, "v", None)
    answer = bucket.get("k", f"?values={values}")
    assert answer.status == 400
    assert answer.error == "query parameter 'values' must be base64, json or raw"


# --- ready values


@pytest.mark.parametrize(
    ("content_type", "stored", "encoding", "value"),
    [
        # stored as JSON: parsed
        (JSON, '{"role":"admin","n":[1,null]}', "json", {"role": "admin", "n": [1, None]}),
        (JSON, "42", "json", 42),
        (JSON, '"42"', "json", "42"),
        (JSON, "null", "json", None),
        (JSON, "{broken", "text", "{broken"),
        (JSON, "", "text", ""),
        # as the clients send strings and bytes: objects and arrays parsed, all else is text
        (OCTETS, '{"a":1}', "json", {"a": 1}),
        (OCTETS, " [1] ", "json", [1]),
        (OCTETS, "42", "text", "42"),
        (OCTETS, "true", "text", "true"),
        (OCTETS, '"quoted"', "text", '"quoted"'),
        (OCTETS, "{broken", "text", "{broken"),
        (OCTETS, b"\xff\xfe", "base64", "//4="),
        # without a type, and with the one that curl gives to any -d: JSON if it is JSON
        (None, "42", "json", 42),
        (None, "hello", "text", "hello"),
        (None, "NaN", "text", "NaN"),
        (None, "Infinity", "text", "Infinity"),
        (None, "[1, NaN]", "text", "[1, NaN]"),
        (None, b"\x80", "base64", "gA=="),
        (FORM, "42", "json", 42),
        (FORM, '{"a":1}', "json", {"a": 1}),
        (FORM, "a=1&b=2", "text", "a=1&b=2"),
        # any other type: text if it is text
        ("text/plain", "42", "text", "42"),
        ("text/plain", "é 🔑", "text", "é 🔑"),
        ("image/png", b"\x89PNG", "base64", "iVBORw=="),
    ],
)
def test_a_ready_value_says_what_it_is(
    bucket: Bucket, content_type: str | None, stored: str | bytes, encoding: str, value: Any
) -> None:
    put(bucket, stored, content_type)
    entry = bucket.get("k", "?values=json").json
    assert (entry["encoding"], entry["value"]) == (encoding, value)
    assert set(entry) == {"key", "value", "revision", "created_at", "operation", "encoding"}


def test_only_ready_values_come_with_an_encoding(bucket: Bucket) -> None:
    put(bucket, "{}", JSON)
    assert "encoding" not in bucket.get("k", "?values=base64").json


def test_numbers_keep_every_digit_that_was_stored(bucket: Bucket) -> None:
    stored = '{"id":12345678901234567890123,"pi":3.14159265358979323846264338}'
    put(bucket, stored, JSON)
    assert f'"value":{stored}' in bucket.get("k", "?values=json").body.decode()


@pytest.mark.parametrize(
    "stored",
    [
        b"1" * 5_000,
        b"1e999999",
        b'"\\ud800"',
        b'{"a":1,"a":2}',
        b"\xef\xbb\xbf{}",
        b'{"a":"\x00"}',
        b"\xed\xa0\x80",
        b"}{",
        b'{"a":1}{"b":2}',
        "\u2028\u2029".encode(),
        b"</script>",
    ],
)
@pytest.mark.parametrize("content_type", [JSON, OCTETS, None])
def test_the_answer_is_valid_json_whatever_is_stored(
    bucket: Bucket, stored: bytes, content_type: str | None
) -> None:
    put(bucket, stored, content_type)
    answer = bucket.get("k", "?values=json")
    assert answer.status == 200

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    json.loads(answer.body.decode(), parse_constant=refuse, parse_int=str, parse_float=str)


@pytest.mark.parametrize("stored", [b"[" * 100_000, b"[" * 5_000 + b"]" * 5_000])
def test_json_that_no_parser_would_take_is_text(bucket: Bucket, stored: bytes) -> None:
    put(bucket, stored, JSON)
    entry = bucket.get("k", "?values=json").json
    assert (entry["encoding"], entry["value"]) == ("text", stored.decode())


# --- the base URL /json


@pytest.fixture
def json_base(http: Http) -> Http:
    return Http(http.host, http.port, base="/json")


def test_under_json_values_are_ready_to_use(bucket: Bucket, json_base: Http) -> None:
    put(bucket, '{"role":"admin"}', JSON)
    answer = json_base.get(bucket.key("k"))
    assert answer.json["value"]["role"] == "admin"
    assert answer.json == bucket.get("k", "?values=json").json


@pytest.mark.parametrize(
    ("query", "value"), [("?values=base64", "e30="), ("?values=json", {}), ("", {})]
)
def test_under_json_the_query_still_decides(
    bucket: Bucket, json_base: Http, query: str, value: object
) -> None:
    put(bucket, "{}", JSON)
    assert json_base.get(bucket.key("k") + query).json["value"] == value


def test_under_json_the_bytes_can_be_had(bucket: Bucket, json_base: Http) -> None:
    put(bucket, "v", "text/plain")
    assert json_base.get(bucket.key("k"), Accept=OCTETS).body == b"v"
    assert json_base.get(bucket.key("k") + "?values=raw").body == b"v"


def test_under_json_histories_are_ready_to_use(bucket: Bucket, json_base: Http) -> None:
    put(bucket, "[1]", JSON)
    (entry,) = json_base.get(f"{bucket.path}/history/k").json["entries"]
    assert entry["value"] == [1]


def test_under_json_stands_the_whole_api(json_base: Http, bucket_name: str) -> None:
    bucket = Bucket(json_base, bucket_name)
    assert json_base.post(BUCKETS, {"name": bucket_name}).status == 201
    assert bucket.put("a/b", "1", If_None_Match="*").json == {"revision": 1}
    assert bucket.put("a/b", "2", If_Match="1").headers["etag"] == '"2"'
    assert bucket.keys() == ["a/b"]
    assert bucket.info()["values"] == 1
    assert bucket_name in [info["name"] for info in json_base.get(BUCKETS).json["buckets"]]
    assert bucket.delete("a/b").status == 204
    assert json_base.delete(bucket.path).status == 204
    for path in ("/health", "/ready", "/api/v1/capabilities", "/api/v1/openapi.json"):
        assert json_base.get(path).status == 200
    assert json_base.get("/nope").error == "route not found"


@pytest.mark.parametrize("path", ["/json", "/json/", "/json/json/health", "/JSON/health"])
def test_the_base_itself_is_no_route(http: Http, path: str) -> None:
    answer = http.get(path)
    assert (answer.status, answer.error) == (404, "route not found")
