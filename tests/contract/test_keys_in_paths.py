"""Which bytes of a path are which key (docs/http-api.md#keys): decoded once, nothing cleaned."""

from threading import Thread

import pytest

from tests.support.http import BUCKETS, Bucket, Http
from tests.support.raw import Wire


def key_of(bucket: Bucket, path: str) -> str:
    """Store under a path as it stands, and return the key that came of it."""
    answer = bucket.http.put(f"{bucket.path}/keys/{path}", "v")
    assert answer.status == 200, answer
    (key,) = bucket.keys()
    return key


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("plain", "plain"),
        ("a/b", "a/b"),
        ("a%2Fb", "a/b"),
        ("a%2fb", "a/b"),
        ("a/", "a/"),
        ("/a", "/a"),
        ("//", "//"),
        ("a//b", "a//b"),
        ("a%2F%2Fb", "a//b"),
        (".", "."),
        ("..", ".."),
        ("../x", "../x"),
        ("a/../b", "a/../b"),
        ("a/./b", "a/./b"),
        ("%2e%2e/b", "../b"),
        ("..%2Fb", "../b"),
        ("keys/keys", "keys/keys"),
        (".a", ".a"),
        ("a.", "a."),
        ("a..b", "a..b"),
        ("...", "..."),
        ("a.b.c", "a.b.c"),
        ("50%", "50%"),
        ("%", "%"),
        ("%%", "%%"),
        ("%zz", "%zz"),
        ("%4", "%4"),
        ("a%2", "a%2"),
        ("%25", "%"),
        ("%2525", "%25"),
        ("a%252Fb", "a%2Fb"),
        ("a+b", "a+b"),
        ("a%20b", "a b"),
        ("%20", " "),
        ("%20a%20", " a "),
        ("user:123", "user:123"),
        ("user%3A123", "user:123"),
        ("*", "*"),
        ("user.%2A", "user.*"),
        (">", ">"),
        ("a.%3E", "a.>"),
        ("$KV.x", "$KV.x"),
        ("a=b", "a=b"),
        ("a=2Eb", "a=2Eb"),
        ("a=20b", "a=20b"),
        ("%3D2E", "=2E"),
        ("a&b", "a&b"),
        ("a;b", "a;b"),
        ("what%3F", "what?"),
        ("a%23b", "a#b"),
        ("a%5Cb", "a\\b"),
        ("%22", '"'),
        ("%F0%9F%94%91", "🔑"),
        ("caf%C3%A9", "café"),
        ("cafe%CC%81", "cafe\u0301"),
        ("%E2%80%AE", "\u202e"),
        ("%C2%80", "\x80"),
        ("%EF%BF%BF", "\uffff"),
    ],
)
def test_a_path_is_decoded_once_and_never_cleaned(bucket: Bucket, path: str, key: str) -> None:
    assert key_of(bucket, path) == key
    assert bucket.http.get(f"{bucket.path}/keys/{path}").json["key"] == key
    assert bucket.get(key).value == b"v", "the same key, percent-encoded in full"
    assert bucket.http.delete(f"{bucket.path}/keys/{path}").status == 204
    assert bucket.keys() == []


def test_a_slash_is_the_same_encoded_or_not(bucket: Bucket) -> None:
    bucket.http.put(f"{bucket.path}/keys/a/b", "one")
    assert bucket.http.get(f"{bucket.path}/keys/a%2Fb").value == b"one"
    bucket.http.put(f"{bucket.path}/keys/a%2Fb", "two")
    assert bucket.http.get(f"{bucket.path}/keys/a/b").value == b"two"


def test_keys_that_cleaning_would_join_stay_apart(bucket: Bucket) -> None:
    paths = ["a", "a/", "/a", "//a", "a//", "./a", "b/../a", "a/.", "a.", ".a"]
    for number, path in enumerate(paths):
        bucket.http.put(f"{bucket.path}/keys/{path}", str(number))
    assert len(bucket.keys()) == len(paths)
    for number, path in enumerate(paths):
        assert bucket.http.get(f"{bucket.path}/keys/{path}").value == str(number).encode()


@pytest.mark.parametrize(
    ("key", "status"),
    [
        pytest.param("k" * 512, 200, id="512 letters"),
        pytest.param("k" * 513, 400, id="513 letters"),
        pytest.param("é" * 256, 200, id="512 bytes in 256 characters"),
        pytest.param("é" * 256 + "k", 400, id="513 bytes in 257 characters"),
        pytest.param("🔑" * 128, 200, id="512 bytes in 128 characters"),
        pytest.param("." * 512, 200, id="512 dots"),
        pytest.param("=2E" * 170 + "==", 200, id="512 bytes that look escaped"),
    ],
)
def test_a_key_has_at_most_512_bytes(bucket: Bucket, key: str, status: int) -> None:
    answer = bucket.put(key, "v")
    assert answer.status == status
    if status == 200:
        assert bucket.get(key).json["key"] == key
        assert bucket.keys() == [key]
        assert bucket.keys(key) == [key] if "=" in key or "k" in key else True
    else:
        assert answer.error == "invalid key: 513 bytes, the limit is 512"
        assert answer.json["details"] == {"limit_bytes": 512}


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("", "invalid key: empty"),
        ("%00", "invalid key: control characters are not allowed"),
        ("a%00b", "invalid key: control characters are not allowed"),
        ("a%0Ab", "invalid key: control characters are not allowed"),
        ("%0D%0ASUB", "invalid key: control characters are not allowed"),
        ("a%1Fb", "invalid key: control characters are not allowed"),
        ("a%7Fb", "invalid key: control characters are not allowed"),
        ("%FF", "invalid key: not valid UTF-8"),
        ("%C3", "invalid key: not valid UTF-8"),
        ("%C0%AF", "invalid key: not valid UTF-8"),
        ("%ED%A0%80", "invalid key: not valid UTF-8"),
        ("%F4%90%80%80", "invalid key: not valid UTF-8"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_a_bad_key_is_400_naming_the_rule(
    bucket: Bucket, method: str, path: str, error: str
) -> None:
    answer = bucket.http.request(method, f"{bucket.path}/keys/{path}")
    assert (answer.status, answer.error) == (400, error)
    assert answer.json["code"] == "invalid_argument"
    assert bucket.info()["values"] == 0


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
@pytest.mark.parametrize(
    "tail", ["what?", "what?ever", "a?b=c", "a?=", "a?&", "a?purg=true", "a??"]
)
def test_an_unescaped_question_mark_in_a_key_is_400(bucket: Bucket, method: str, tail: str) -> None:
    key = tail.partition("?")[0]
    bucket.put(key, "v")
    answer = bucket.http.request(method, f"{bucket.path}/keys/{tail}", b"w")
    assert (answer.status, answer.json["code"]) == (400, "invalid_argument")
    assert bucket.get(key).value == b"v"


def test_an_unescaped_hash_in_a_key_is_400(bucket: Bucket) -> None:
    bucket.put("a", "v")
    answer = bucket.http.put(f"{bucket.path}/keys/a#b", "w")
    assert answer.status == 400
    assert answer.error == "invalid HTTP request: a # in a key must be sent as %23"
    assert bucket.get("a").value == b"v"


def test_bytes_beyond_ascii_in_a_path_are_400(bucket: Bucket) -> None:
    with Wire(bucket.http) as wire:
        wire.send(f"GET {bucket.path}/keys/é HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        answer = wire.answer()
    assert answer.status == 400
    assert answer.error.endswith("a path must be percent-encoded")


# --- what is no key


@pytest.mark.parametrize("tail", ["/", "//", "/.", "/..", "/keys", "/keys/../..", "/history/k"])
def test_a_delete_beside_a_key_deletes_neither_bucket_nor_keys(bucket: Bucket, tail: str) -> None:
    bucket.put("k", "v")
    bucket.http.delete(bucket.path + tail)
    assert bucket.get("k").value == b"v"


def test_a_delete_of_a_bucket_with_a_last_slash_is_404(bucket: Bucket) -> None:
    answer = bucket.http.delete(f"{bucket.path}/")
    assert (answer.status, answer.error) == (404, "route not found")


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_the_keys_of_a_bucket_with_a_last_slash_are_an_empty_key(
    bucket: Bucket, method: str
) -> None:
    bucket.put("k", "v")
    answer = bucket.http.request(method, f"{bucket.path}/keys/")
    assert (answer.status, answer.error) == (400, "invalid key: empty")
    assert bucket.keys() == ["k"]


def test_a_delete_of_keys_that_names_none_deletes_none(bucket: Bucket) -> None:
    bucket.put("k", "v")
    assert bucket.http.delete(f"{bucket.path}/keys").status == 400
    assert bucket.keys() == ["k"]


@pytest.mark.parametrize("name", ["a%2Fb", "a.b", "%2E%2E", "..", "a%20b", "%FF", "a*", "%C3%A9"])
@pytest.mark.parametrize("tail", ["", "/keys", "/keys/k", "/history/k"])
def test_a_bad_bucket_name_in_a_path_is_400(http: Http, name: str, tail: str) -> None:
    answer = http.get(f"{BUCKETS}/{name}{tail}")
    assert (answer.status, answer.error) == (400, "invalid bucket name")


def test_an_encoded_slash_in_a_bucket_name_reaches_no_other_route(bucket: Bucket) -> None:
    bucket.put("k", "v")
    for tail in ("%2Fkeys%2Fk", "%2Fkeys%2fk", "%2F"):
        answer = bucket.http.delete(bucket.path + tail)
        assert (answer.status, answer.error) == (400, "invalid bucket name")
    assert bucket.http.delete(f"{bucket.path}%2Fkeys/k").status == 404
    assert bucket.get("k").value == b"v"


@pytest.mark.parametrize(
    "path",
    ["/api/v1/kv/buckets//keys/k", "/api/v1//kv/buckets", "/api/v1/kv/%62uckets", "//health"],
)
def test_a_path_is_not_cleaned_on_its_way_to_a_route(http: Http, path: str) -> None:
    answer = http.get(path)
    assert (answer.status, answer.error) == (404, "route not found")


def test_a_percent_escape_in_a_bucket_name_is_decoded(bucket: Bucket) -> None:
    bucket.put("k", "v")
    name = "".join(f"%{byte:02X}" for byte in bucket.name.encode())
    assert bucket.http.get(f"{BUCKETS}/{name}").json["name"] == bucket.name
    assert bucket.http.get(f"{BUCKETS}/{name}/keys/k").value == b"v"


@pytest.mark.parametrize("name", ["keys", "buckets", "touch", "history", "watch"])
def test_a_bucket_that_is_called_like_a_part_of_a_path_has_its_own_keys(
    http: Http, name: str
) -> None:
    assert http.post(BUCKETS, {"name": name}).status == 201
    bucket = Bucket(http, name)
    try:
        for key in ("k", "keys/k", "k"):
            assert bucket.put(key, key).status == 200
            assert bucket.get(key).json["key"] == key
        assert bucket.keys() == ["k", "keys/k"]
        assert http.get(f"{BUCKETS}/{name}/k").status == 404
    finally:
        http.delete(bucket.path)


# --- too long


@pytest.mark.parametrize("length", [2_000, 30_000])
def test_a_key_of_many_kilobytes_is_400_and_the_connection_goes_on(
    bucket: Bucket, length: int
) -> None:
    with Wire(bucket.http) as wire:
        answer = wire.request("GET", f"{bucket.path}/keys/{'k' * length}")
        assert (answer.status, answer.error) == (
            400,
            f"invalid key: {length} bytes, the limit is 512",
        )
        assert wire.request("GET", bucket.path).status == 200


def test_a_key_of_ten_megabytes_gets_an_answer_and_the_gateway_stays_well(bucket: Bucket) -> None:
    with Wire(bucket.http) as wire:
        sender = Thread(target=wire.head, args=("PUT", f"{bucket.path}/keys/{'k' * 10_000_000}"))
        sender.start()
        answer = wire.answer()
        sender.join(10)
        assert not sender.is_alive()
        wire.end_of_sending()
        assert wire.is_closed()
    assert answer.status == 414
    assert answer.error == "a URL has at most 65536 bytes, less what else is in a head"
    assert bucket.http.get("/health").status == 200
    assert bucket.put("k", "v").status == 200
