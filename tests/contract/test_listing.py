"""The list of a bucket's keys, and its filters (docs/http-api.md#filters)."""

from urllib.parse import quote

import pytest

from tests.support.http import BUCKETS, Bucket, Http


def fill(bucket: Bucket, *keys: str) -> None:
    for key in keys:
        assert bucket.put(key, "v").status == 200


# --- the list


def test_the_keys_of_an_empty_bucket_are_an_empty_list(bucket: Bucket) -> None:
    answer = bucket.http.get(f"{bucket.path}/keys")
    assert (answer.status, answer.body) == (200, b'{"keys":[],"count":0}')
    assert answer.headers["content-type"] == "application/json"


def test_a_filter_that_nothing_passes_gives_an_empty_list(bucket: Bucket) -> None:
    fill(bucket, "a")
    answer = bucket.http.get(f"{bucket.path}/keys?filter=zzz.%3E")
    assert (answer.status, answer.body) == (200, b'{"keys":[],"count":0}')


def test_count_is_the_number_of_keys_listed(bucket: Bucket) -> None:
    fill(bucket, "a", "b", "c.d")
    assert bucket.http.get(f"{bucket.path}/keys").json == {"keys": ["a", "b", "c.d"], "count": 3}
    answer = bucket.http.get(f"{bucket.path}/keys?filter=c.*")
    assert answer.json == {"keys": ["c.d"], "count": 1}


def test_keys_are_sorted_by_their_utf8_bytes(bucket: Bucket) -> None:
    in_order = [" ", "-", ".", "/", "0", "10", "9", ":", "=", "A", "Z", "_", "a", "a b", "a-b"]
    in_order += ["a.b", "a/b", "aa", "z", "~", "\x80", "é", "\uffff", "🔑"]
    fill(bucket, *reversed(in_order))
    assert bucket.keys() == in_order


def test_a_key_written_many_times_is_listed_once(make_bucket) -> None:
    bucket = make_bucket(history=5)
    fill(bucket, *["k"] * 7)
    assert bucket.keys() == ["k"]


@pytest.mark.parametrize("filter", [None, ">", "*", "dead", "live-*"])
@pytest.mark.parametrize("query", ["", "?purge=true"])
def test_a_deleted_key_is_not_listed(make_bucket, query: str, filter: str | None) -> None:
    bucket = make_bucket(history=5)
    fill(bucket, "dead", "live-1")
    bucket.delete("dead", query)
    assert bucket.keys(filter) == ([] if filter == "dead" else ["live-1"])


def test_a_bucket_of_tombstones_alone_lists_nothing(bucket: Bucket) -> None:
    fill(bucket, "a", "b")
    bucket.delete("a")
    bucket.delete("b", "?purge=true")
    assert bucket.keys() == []


def test_a_key_created_again_is_listed_again(bucket: Bucket) -> None:
    fill(bucket, "k")
    bucket.delete("k")
    fill(bucket, "k")
    assert bucket.keys() == ["k"]


def test_a_key_with_an_empty_value_is_listed(bucket: Bucket) -> None:
    bucket.put("k", b"")
    assert bucket.keys() == ["k"]


def test_keys_come_back_as_they_were_given(bucket: Bucket) -> None:
    keys = sorted(
        [
            "user:123:profile",
            "a/b c",
            "50%",
            "%2F",
            "a=b",
            "a=2Eb",
            "=20",
            ".hidden",
            "end.",
            "a..b",
            "*",
            "user.*",
            ">",
            "a.>",
            "c:\\dir",
            'say "hi"',
            "tab\u00a0space",
            "café",
            "🔑",
        ],
        key=str.encode,
    )
    fill(bucket, *keys)
    assert bucket.keys() == keys


def test_thousands_of_keys_are_listed_whole(make_bucket) -> None:
    bucket = make_bucket(storage="memory")
    keys = [f"k{number:04}" for number in range(1100)]
    fill(bucket, *keys)
    assert bucket.keys() == keys


def test_the_keys_of_an_unknown_bucket_are_404(http: Http, bucket_name: str) -> None:
    answer = http.get(f"{BUCKETS}/{bucket_name}/keys")
    assert (answer.status, answer.error) == (404, "bucket not found")


# --- filters

KEYS = [
    "*",
    "session.a",
    "session.a.b",
    "session.b.b.c",
    "team/ann/1",
    "team/bob",
    "user",
    "user-1",
    "user-2.x",
    "user.",
    "user.1",
    "user.2",
    "user.2.name",
    "user.22",
    "user:1",
    "user:1:name",
    "user:2.x",
]


@pytest.mark.parametrize(
    ("filter", "kept"),
    [
        # all
        ("", KEYS),
        (">", KEYS),
        # one key, literally
        ("user", ["user"]),
        ("user.2", ["user.2"]),
        ("user:1", ["user:1"]),
        ("team/bob", ["team/bob"]),
        ("User", []),
        ("session", []),
        # * is one dot token
        ("*", ["*", "team/ann/1", "team/bob", "user", "user-1", "user:1", "user:1:name"]),
        ("user.*", ["user.1", "user.2", "user.22"]),
        ("*.a", ["session.a"]),
        ("*.*", ["session.a", "user-2.x", "user.1", "user.2", "user.22", "user:2.x"]),
        ("session.*.b", ["session.a.b"]),
        ("*.*.*", ["session.a.b", "user.2.name"]),
        # a final > is one token or more
        ("session.>", ["session.a", "session.a.b", "session.b.b.c"]),
        ("session.a.>", ["session.a.b"]),
        ("user.>", ["user.1", "user.2", "user.2.name", "user.22"]),
        ("session.b.>", ["session.b.b.c"]),
        ("*.2.>", ["user.2.name"]),
        # * inside a token is a glob that stops at a dot
        ("user-*", ["user-1"]),
        ("user:*", ["user:1", "user:1:name"]),
        ("user:*.x", ["user:2.x"]),
        ("user*", ["user", "user-1", "user:1", "user:1:name"]),
        ("user.2*", ["user.2", "user.22"]),
        ("*:1", ["user:1"]),
        ("*1", ["team/ann/1", "user-1", "user:1"]),
        ("u*r*1", ["user-1", "user:1"]),
        ("**", ["*", "team/ann/1", "team/bob", "user", "user-1", "user:1", "user:1:name"]),
        ("team/*", ["team/ann/1", "team/bob"]),
        ("u*.", ["user."]),
        ("*.", ["user."]),
        ("session.*b*.>", ["session.b.b.c"]),
        ("user*.>", ["user-2.x", "user.1", "user.2", "user.2.name", "user.22", "user:2.x"]),
        # a last . : / or - makes it a prefix
        ("user.", ["user.", "user.1", "user.2", "user.2.name", "user.22"]),
        ("user:", ["user:1", "user:1:name", "user:2.x"]),
        ("user-", ["user-1", "user-2.x"]),
        ("user:1:", ["user:1:name"]),
        ("team/", ["team/ann/1", "team/bob"]),
        ("team/ann/", ["team/ann/1"]),
        ("session.a.", ["session.a.b"]),
        ("session.b.b.", ["session.b.b.c"]),
        ("use-", []),
        # signs that a pattern language could take for something else
        ("user?1", []),
        ("user[.]1", []),
        (".*", []),
        ("user.1$", []),
    ],
)
def test_a_filter_keeps_just_these_keys(bucket: Bucket, filter: str, kept: list[str]) -> None:
    fill(bucket, *KEYS)
    assert bucket.keys(filter) == kept


@pytest.mark.parametrize(
    ("filter", "kept"),
    [
        ("a b", ["a b"]),
        ("a*", ["a b"]),
        ("a *", ["a b"]),
        ("..", ["..", "..x"]),
        (".", [".", "..", "..x", ".hidden"]),
        ("c..", ["c..d"]),
        ("c..d", ["c..d"]),
        ("c..*", ["c..d"]),
        ("c.>", ["c..d"]),
        ("50%", ["50%"]),
        ("%2F", ["%2F"]),
        ("=20", ["=20"]),
        ("=*", ["=20"]),
        ("é:", ["é:1.x"]),
        ("é:*.x", ["é:1.x"]),
        ("🔑", ["🔑"]),
    ],
)
def test_a_filter_sees_keys_unescaped(bucket: Bucket, filter: str, kept: list[str]) -> None:
    fill(bucket, "a b", ".", "..", "..x", ".hidden", "c..d", "50%", "%2F", "=20", "é:1.x", "🔑")
    assert bucket.keys(filter) == kept


def test_a_plus_in_a_filter_is_a_space_as_the_python_client_writes_it(bucket: Bucket) -> None:
    fill(bucket, "a b", "a+b")
    assert bucket.http.get(f"{bucket.path}/keys?filter=a+b").json["keys"] == ["a b"]
    assert bucket.http.get(f"{bucket.path}/keys?filter=a%2Bb").json["keys"] == ["a+b"]


def test_a_raw_star_in_a_filter_is_a_star(bucket: Bucket) -> None:
    fill(bucket, "user.1", "other")
    assert bucket.http.get(f"{bucket.path}/keys?filter=user.*").json["keys"] == ["user.1"]


@pytest.mark.parametrize(
    ("filter", "error"),
    [
        ("a>", "invalid filter: > is allowed only as the last token"),
        (">.a", "invalid filter: > is allowed only as the last token"),
        ("a.>.b", "invalid filter: > is allowed only as the last token"),
        (">>", "invalid filter: > is allowed only as the last token"),
        ("a.>>", "invalid filter: > is allowed only as the last token"),
        ("a>.>", "invalid filter: > is allowed only as the last token"),
        ("a%00", "invalid filter: control characters are not allowed"),
        ("a%0Ab", "invalid filter: control characters are not allowed"),
        ("%7F", "invalid filter: control characters are not allowed"),
        ("k" * 513, "invalid filter: 513 bytes, the limit is 512"),
        ("%C3%A9" * 257, "invalid filter: 514 bytes, the limit is 512"),
        ("%FF", "invalid query: not valid UTF-8"),
    ],
)
def test_a_bad_filter_is_400_naming_the_rule(bucket: Bucket, filter: str, error: str) -> None:
    answer = bucket.http.get(f"{bucket.path}/keys?filter={filter}")
    assert (answer.status, answer.error) == (400, error)
    assert answer.json["code"] == "invalid_argument"


@pytest.mark.parametrize("filter", ["*" * 512, "*." * 255 + "*", "a*" * 256])
def test_a_long_filter_of_wildcards_is_answered_at_once(bucket: Bucket, filter: str) -> None:
    fill(bucket, "a" * 512, "a." * 255 + "a")
    assert bucket.http.get(f"{bucket.path}/keys?filter={filter}").status == 200


@pytest.mark.parametrize("query", ["filters=a", "filter=a&filter=b", "filter=a&x=1", "prefixes"])
def test_a_query_that_the_list_does_not_know_is_400(bucket: Bucket, query: str) -> None:
    assert bucket.http.get(f"{bucket.path}/keys?{query}").status == 400


# --- a literal prefix


def test_a_filter_beside_a_prefix_is_400(bucket: Bucket) -> None:
    answer = bucket.http.get(f"{bucket.path}/keys?filter=a&prefix=a")
    assert (answer.status, answer.error) == (
        400,
        "either query parameter 'filter' or 'prefix', not both",
    )


@pytest.mark.parametrize(
    ("prefix", "kept"),
    [
        ("", KEYS),
        ("user", [key for key in KEYS if key.startswith("user")]),
        ("user.", ["user.", "user.1", "user.2", "user.2.name", "user.22"]),
        ("user.2", ["user.2", "user.2.name", "user.22"]),
        ("user:1", ["user:1", "user:1:name"]),
        ("*", ["*"]),
        ("user.*", []),
        (">", []),
        ("team/", ["team/ann/1", "team/bob"]),
    ],
)
def test_a_prefix_lists_the_keys_that_start_with_it(
    bucket: Bucket, prefix: str, kept: list[str]
) -> None:
    fill(bucket, *KEYS)
    answer = bucket.http.get(f"{bucket.path}/keys?prefix={quote(prefix, safe='')}")
    assert answer.json == {"keys": kept, "count": len(kept)}
