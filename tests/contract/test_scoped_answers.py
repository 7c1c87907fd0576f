"""A caller whose scopes cover a part of a bucket sees that part, and is told so.

The answer says so (`JetKV-Filtered`) by scope and request alone.
"""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from jetkv_gateway.embedded import NatsServer
from tests.support.gateway import running_gateway
from tests.support.http import BUCKETS, Answer, Bucket, Http
from tests.support.scopes import ScopesAreTokens, may

KEYS = ["admin.1", "other", "user-1", "user.1", "user.2", "user.a.b", "user:3"]


@pytest.fixture(scope="module")
def scoped(nats: NatsServer) -> Iterator[Http]:
    with running_gateway(nats.url, authenticator=ScopesAreTokens()) as http:
        yield http


@pytest.fixture
def filled(bucket: Bucket) -> Bucket:
    for key in KEYS:
        bucket.put(key, f"value of {key}", Content_Type="text/plain")
    return bucket


def is_filtered(answer: Answer) -> bool:
    given = answer.headers.get("jetkv-filtered")
    assert given in (None, "true")
    return given is not None


def keys_of(scoped: Http, bucket: Bucket, query: str, *scopes: str) -> tuple[list[str], bool]:
    answer = scoped.get(f"{bucket.path}/keys{query}", **may(*scopes))
    assert answer.status == 200, answer
    assert answer.json["count"] == len(answer.json["keys"])
    return answer.json["keys"], is_filtered(answer)


# --- lists


@pytest.mark.parametrize(
    ("query", "scopes", "expected", "filtered"),
    [
        ("", ["read:B"], KEYS, False),
        ("", ["read:*"], KEYS, False),
        ("", ["read:B/user.*"], ["user.1", "user.2"], True),
        ("", ["read:B/user.>"], ["user.1", "user.2", "user.a.b"], True),
        ("", ["read:B/user.*", "read:B/other"], ["other", "user.1", "user.2"], True),
        ("", ["read:B/user.*", "write:B"], ["user.1", "user.2"], True),
        ("?filter=user.1", ["read:B/user.*"], ["user.1"], False),
        ("?filter=user.>", ["read:B/user.*"], ["user.1", "user.2"], True),
        ("?filter=user.>", ["read:B/user.>", "read:B/x"], ["user.1", "user.2", "user.a.b"], False),
        ("?filter=*.1", ["read:B/user.*"], ["user.1"], True),
        ("?filter=u*", ["read:B/user:", "read:B/user-"], ["user-1", "user:3"], True),
        ("?prefix=user", ["read:B/user.*"], ["user.1", "user.2"], True),
        ("?prefix=user.", ["read:B/user."], ["user.1", "user.2", "user.a.b"], False),
        ("?filter=admin.*", ["read:B/user.*"], [], True),
        ("?filter=admin.1", ["read:B/user.*"], [], True),
        ("?filter=absent", ["read:B/user.*"], [], True),
        ("?filter=user.9", ["read:B/user.*"], [], False),
    ],
)
def test_a_list_has_the_keys_that_are_wanted_and_covered(
    scoped: Http,
    filled: Bucket,
    query: str,
    scopes: list[str],
    expected: list[str],
    filtered: bool,
) -> None:
    named = [scope.replace("B", filled.name) for scope in scopes]
    assert keys_of(scoped, filled, query, *named) == (expected, filtered)
    limited = f"{query}{'&' if query else '?'}limit=100"
    assert keys_of(scoped, filled, limited, *named) == (expected, filtered)


@pytest.mark.parametrize("include", ["keys", "meta", "values", "history"])
def test_json_lines_have_the_keys_that_are_covered(
    scoped: Http, filled: Bucket, include: str
) -> None:
    answer = scoped.get(
        f"{filled.path}/keys?include={include}",
        Accept="application/x-ndjson",
        **may(f"read:{filled.name}/user.*"),
    )
    *entries, end = [json.loads(line) for line in answer.body.splitlines()]
    assert [entry["key"] for entry in entries] == ["user.1", "user.2"]
    assert (end["type"], end["count"]) == ("end", 2)
    assert is_filtered(answer)


def test_a_filter_wholly_outside_gives_json_lines_without_entries(
    scoped: Http, filled: Bucket
) -> None:
    answer = scoped.get(
        f"{filled.path}/keys?filter=admin.>",
        Accept="application/x-ndjson",
        **may(f"read:{filled.name}/user.*"),
    )
    assert json.loads(answer.body)["count"] == 0
    assert is_filtered(answer)


def test_pages_of_a_scope_have_each_of_its_keys_once(scoped: Http, bucket: Bucket) -> None:
    for number in range(40):
        bucket.put(f"user.{number:02}", "v")
        bucket.put(f"admin.{number:02}", "v")
    mine, found, cursor = may(f"read:{bucket.name}/user.*"), [], ""
    while True:
        query = f"?limit=7{cursor}"
        page = scoped.get(f"{bucket.path}/keys{query}", **mine)
        assert is_filtered(page)
        found += page.json["keys"]
        if "next_cursor" not in page.json:
            break
        cursor = f"&cursor={page.json['next_cursor']}"
    assert found == [f"user.{number:02}" for number in range(40)]


def test_a_cursor_of_one_caller_is_no_cursor_of_another(scoped: Http, filled: Bucket) -> None:
    def page(cursor: str | None, *scopes: str) -> Answer:
        query = "?limit=1" + (f"&cursor={cursor}" if cursor else "")
        return scoped.get(f"{filled.path}/keys{query}", **may(*scopes))

    everything = page(None, "read:*").json["next_cursor"]
    users = page(None, f"read:{filled.name}/user.*").json["next_cursor"]
    for cursor, scopes in (
        (everything, [f"read:{filled.name}/user.*"]),
        (users, ["read:*"]),
        (users, [f"read:{filled.name}/user.*", f"read:{filled.name}/other"]),
    ):
        refused = page(cursor, *scopes)
        assert refused.status == 400
        assert "user." not in refused.body.decode()
    # Callers with the same scopes see the same list, whatever the order of the scopes is.
    both = [f"read:{filled.name}/user.*", f"read:{filled.name}/other"]
    cursor = page(None, *both).json["next_cursor"]
    assert page(cursor, *reversed(both)).json["keys"] == ["user.1"]


def test_lists_of_two_callers_at_once_are_not_mixed(scoped: Http, bucket: Bucket) -> None:
    """Callers that want the same list at once share one reading of the bucket."""
    for number in range(30):
        bucket.put(f"a.{number:02}", "v")
        bucket.put(f"b.{number:02}", "v")

    def ask(letter: str, limit: str) -> tuple[str, list[str]]:
        answer = scoped.get(f"{bucket.path}/keys{limit}", **may(f"read:{bucket.name}/{letter}.*"))
        return letter, answer.json["keys"]

    with ThreadPoolExecutor(16) as pool:
        asked = [("ab"[number % 2], ("", "?limit=30")[number // 2 % 2]) for number in range(64)]
        for letter, keys in pool.map(lambda one: ask(*one), asked):
            assert keys == [f"{letter}.{number:02}" for number in range(30)]


# --- buckets


def test_the_list_of_buckets_has_those_of_which_anything_may_be_read(
    scoped: Http, make_bucket
) -> None:
    mine, partly, theirs = make_bucket(), make_bucket(), make_bucket()
    partly.put("x", "v")
    scopes = [f"read:{mine.name}", f"read:{partly.name}/user.*", f"write:{theirs.name}"]
    answer = scoped.get(BUCKETS, **may(*scopes))
    shown = {one["name"]: one for one in answer.json["buckets"]}
    assert shown.keys() == {mine.name, partly.name}
    assert answer.json["count"] == 2
    assert shown[mine.name]["values"] == 0
    assert not {"values", "bytes"} & shown[partly.name].keys()
    assert is_filtered(answer)


def test_the_list_of_all_buckets_is_not_filtered_and_of_none_is_empty(
    scoped: Http, bucket: Bucket
) -> None:
    answer = scoped.get(BUCKETS, **may("read:*"))
    assert bucket.name in [one["name"] for one in answer.json["buckets"]]
    assert not is_filtered(answer)
    none = scoped.get(BUCKETS, **may(f"write:{bucket.name}"))
    assert none.json == {"buckets": [], "count": 0}
    assert is_filtered(none)
    partly = scoped.get(BUCKETS, **may("read:*/user.*"))
    assert bucket.name in [one["name"] for one in partly.json["buckets"]]
    assert is_filtered(partly)


def test_the_size_of_a_bucket_is_told_to_those_that_may_read_all_of_it(
    scoped: Http, filled: Bucket
) -> None:
    whole = scoped.get(filled.path, **may(f"read:{filled.name}"))
    assert whole.json["values"] == len(KEYS)
    assert not is_filtered(whole)
    part = scoped.get(filled.path, **may(f"read:{filled.name}/user.*"))
    assert part.json == {
        name: value for name, value in whole.json.items() if name not in ("values", "bytes")
    }
    assert is_filtered(part)


def test_the_size_of_a_bucket_is_not_told_to_its_administrator_alone(
    scoped: Http, filled: Bucket
) -> None:
    admin = may(f"admin:{filled.name}")
    for method in ("PUT", "PATCH"):
        answer = scoped.request(method, filled.path, '{"description":"d"}', **admin)
        assert answer.status == 200
        assert not {"values", "bytes"} & answer.json.keys()
    assert scoped.get(filled.path, **admin).status == 403


# --- deletes of many keys, compaction


def test_a_deletion_of_many_keys_is_cut_to_what_delete_covers(scoped: Http, filled: Bucket) -> None:
    mine = may(f"delete:{filled.name}/user.*", f"read:{filled.name}")
    dry = scoped.delete(f"{filled.path}/keys?filter=>&dry_run=true", **mine)
    assert (dry.json["matched"], dry.json["deleted"]) == (2, 0)
    answer = scoped.delete(f"{filled.path}/keys?filter=>", **mine)
    assert (answer.json["matched"], answer.json["deleted"]) == (2, 2)
    assert is_filtered(answer)
    assert filled.keys() == [key for key in KEYS if key not in ("user.1", "user.2")]
    outside = scoped.delete(f"{filled.path}/keys?prefix=admin", **mine)
    assert (outside.json["matched"], outside.json["deleted"]) == (0, 0)


def test_the_right_to_read_is_not_the_right_to_delete_many(scoped: Http, filled: Bucket) -> None:
    reader = may(f"read:{filled.name}", f"write:{filled.name}")
    answer = scoped.delete(f"{filled.path}/keys?filter=>", **reader)
    assert answer.error == f"permission denied: delete in bucket {filled.name}"
    assert filled.keys() == KEYS


def test_a_compaction_needs_delete_on_all_keys(scoped: Http, filled: Bucket) -> None:
    path = f"{filled.path}/compact"
    assert scoped.post(path, {}, **may(f"delete:{filled.name}/user.*")).status == 403
    assert scoped.post(path, {}, **may(f"delete:{filled.name}")).status == 200


# --- batches


def test_a_batch_get_has_null_for_keys_that_are_not_covered(scoped: Http, filled: Bucket) -> None:
    def read(*keys: str) -> Answer:
        mine = may(f"read:{filled.name}/user.*")
        return scoped.post(f"{filled.path}/batch?values=json", {"get": keys}, **mine)

    some = read("admin.1", "user.1", "absent", "user.9", "user.1")
    values = [one and one["value"] for one in some.json["entries"]]
    assert values == [None, "value of user.1", None, None, "value of user.1"]
    assert is_filtered(some)
    inside = read("user.1", "user.9")
    assert not is_filtered(inside)
    outside = read("admin.1", "absent")
    assert outside.json == {"entries": [None, None], "revision": len(KEYS)}
    assert is_filtered(outside)


def test_a_batch_get_of_a_bucket_without_any_read_is_403(scoped: Http, filled: Bucket) -> None:
    writer = may(f"write:{filled.name}")
    answer = scoped.post(f"{filled.path}/batch", {"get": ["user.1"]}, **writer)
    assert answer.error == f"permission denied: read in bucket {filled.name}"


def test_an_atomic_batch_needs_every_item_allowed(
    scoped: Http, filled: Bucket, version: tuple[int, int]
) -> None:
    if version < (2, 12):
        pytest.skip("nats-server has atomic batches from 2.12 on")
    mine = [f"write:{filled.name}/user.*", f"read:{filled.name}/user.1"]
    fine = [
        {"op": "put", "key": "user.1", "text": "new"},
        {"op": "put", "key": "user.2", "text": "new"},
    ]
    for wrong in (
        {"op": "put", "key": "admin.1", "text": "new"},
        {"op": "delete", "key": "user.3"},
        {"op": "purge", "key": "user.3"},
        {"op": "check", "key": "user.3", "revision": 0},
    ):
        answer = scoped.post(f"{filled.path}/batch", {"ops": [*fine, wrong]}, **may(*mine))
        assert answer.status == 403
        assert "admin.1" not in answer.body.decode()
    assert filled.get("user.1").value == b"value of user.1"
    assert scoped.post(f"{filled.path}/batch", {"ops": fine}, **may(*mine)).status == 200
    assert filled.get("user.1").value == b"new"


def test_a_batch_that_is_not_allowed_is_refused_whether_or_not_the_bucket_exists(
    scoped: Http, bucket: Bucket
) -> None:
    ops = {"ops": [{"op": "put", "key": "theirs", "text": ""}]}
    found = []
    for name in (bucket.name, f"{bucket.name}-absent"):
        answer = scoped.post(f"{BUCKETS}/{name}/batch", ops, **may(f"write:{name}/mine"))
        found.append((answer.status, answer.error.replace(name, "NAME")))
    assert found[0] == found[1] == (403, "permission denied: write in bucket NAME")


def test_the_revision_of_a_key_is_told_to_those_that_may_read_it(
    scoped: Http, filled: Bucket, version: tuple[int, int]
) -> None:
    if version < (2, 12):
        pytest.skip("nats-server has atomic batches from 2.12 on")
    writer = f"*:{filled.name}/none", f"write:{filled.name}", f"delete:{filled.name}"
    reader = *writer, f"read:{filled.name}/user.*"
    ops = [
        {"op": "update", "key": "user.1", "text": "", "revision": 999},
        {"op": "create", "key": "admin.1", "text": ""},
    ]
    for scopes, seen in ((writer, ()), (reader, ("user.1",))):
        headers = may(*scopes)
        failed = scoped.post(f"{filled.path}/batch", {"ops": ops}, **headers).json
        told = {one["key"]: "current_revision" in one for one in failed["details"]["failed"]}
        assert told == {"user.1": "user.1" in seen, "admin.1": False}
        each = scoped.post(f"{filled.path}/batch", {"ops": ops, "atomic": False}, **headers).json
        assert ["details" in one for one in each["results"]] == ["user.1" in seen, False]
        for key in ("user.1", "admin.1"):
            for answer in (
                scoped.put(filled.key(key), "w", If_Match="999", **headers),
                scoped.delete(filled.key(key), If_Match="999", **headers),
                scoped.put(filled.key(key), "w", If_None_Match="*", **headers),
            ):
                assert answer.status == 412
                assert ("details" in answer.json) == (key in seen)


# --- idempotency keys


def test_an_idempotency_key_belongs_to_its_caller(scoped: Http, make_bucket) -> None:
    bucket = make_bucket(history=5)

    def put(value: str, *scopes: str) -> Answer:
        headers = {**may(*scopes), "Idempotency-Key": "once"}
        return scoped.put(bucket.key("k"), value, **headers)

    ann, bob = f"write:{bucket.name}", f"write:{bucket.name}/k"
    first = put("ann", ann)
    assert put("ann", ann).json == first.json
    other = put("bob", bob)
    assert other.status == 200
    assert other.json["revision"] > first.json["revision"]
    # Each key is used up for its own caller alone.
    assert put("other", ann).status == 409
    assert bucket.get("k").value == b"bob"


def test_the_idempotency_key_of_a_batch_belongs_to_its_caller(
    scoped: Http, bucket: Bucket, version: tuple[int, int]
) -> None:
    if version < (2, 12):
        pytest.skip("nats-server has atomic batches from 2.12 on")

    def apply(text: str, *scopes: str) -> Answer:
        ops = {"ops": [{"op": "put", "key": "k", "text": text}]}
        return scoped.post(f"{bucket.path}/batch", ops, **may(*scopes), Idempotency_Key="once")

    ann, bob = f"write:{bucket.name}", f"write:{bucket.name}/k"
    first = apply("ann", ann)
    assert first.status == 200
    assert apply("ann", ann).json == first.json
    assert apply("bob", bob).json["revision"] > first.json["revision"]
