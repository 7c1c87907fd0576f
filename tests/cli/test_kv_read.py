"""`jetkv kv get`, `ls` and `history`."""

import json

import pytest

from tests.cli.data import Cli
from tests.support.http import Bucket


@pytest.mark.parametrize("value", [b"", b"a", b"a\n", bytes(range(256)), b'{"a": 1}\r\n\n'])
def test_get_writes_the_bytes_and_nothing_else(cli: Cli, bucket: Bucket, value: bytes) -> None:
    bucket.put("k", value)
    assert cli("kv", "get", bucket.name, "k").out == value


def test_get_as_json_prints_the_entry(cli: Cli, bucket: Bucket) -> None:
    revision = bucket.put("k", b'{"a":1}', **{"Content-Type": "application/json"}).json["revision"]
    entry = cli("kv", "get", bucket.name, "k", "-o", "json").json
    assert (entry["key"], entry["revision"], entry["value"]) == ("k", revision, {"a": 1})
    assert cli("kv", "get", bucket.name, "k", "--json").json == entry
    assert cli("kv", "get", bucket.name, "k", "-o", "ndjson").objects == [entry]


def test_get_of_bytes_as_json_is_base64(cli: Cli, bucket: Bucket) -> None:
    bucket.put("k", b"\xff\x00")
    entry = cli("kv", "get", bucket.name, "k", "--json").json
    assert (entry["value"], entry["encoding"]) == ("/wA=", "base64")


def test_get_reads_an_older_revision(cli: Cli, make_bucket) -> None:
    bucket = make_bucket(history=5)
    first = bucket.put("k", b"one").json["revision"]
    bucket.put("k", b"two")
    assert cli("kv", "get", bucket.name, "k", "--revision", first).out == b"one"
    assert cli("kv", "get", bucket.name, "k", "--eventual").out in (b"one", b"two")


def test_a_key_may_be_any_text(cli: Cli, bucket: Bucket) -> None:
    for key in ("user:1", "a/b", "..", "café *", "%3F?"):
        cli("kv", "put", bucket.name, key, key)
        assert cli("kv", "get", bucket.name, key).text == key
    assert cli("kv", "ls", bucket.name).lines == sorted(("user:1", "a/b", "..", "café *", "%3F?"))


def test_ls_prints_a_key_in_each_line(cli: Cli, bucket: Bucket) -> None:
    for key in ("b", "a.2", "a.1"):
        bucket.put(key, b"v")
    assert cli("kv", "ls", bucket.name).lines == ["a.1", "a.2", "b"]
    assert cli("kv", "ls", bucket.name, "a.*").lines == ["a.1", "a.2"]
    assert cli("kv", "ls", bucket.name, "--prefix", "a.2").lines == ["a.2"]


def test_ls_of_an_empty_bucket_is_empty_in_every_format(cli: Cli, bucket: Bucket) -> None:
    assert cli("kv", "ls", bucket.name).out == b""
    assert cli("kv", "ls", bucket.name, "-o", "json").json == []
    assert cli("kv", "ls", bucket.name, "-o", "ndjson").out == b""


def test_ls_goes_on_over_many_pages(cli: Cli, bucket: Bucket) -> None:
    keys = [f"k{number:04}" for number in range(1_203)]
    for start in range(0, len(keys), 500):
        ops = [{"op": "put", "key": key, "text": key} for key in keys[start : start + 500]]
        assert bucket.http.post(f"{bucket.path}/batch", {"atomic": False, "ops": ops}).status == 200
    assert cli("kv", "ls", bucket.name).lines == keys
    assert [one["key"] for one in cli("kv", "ls", bucket.name, "-o", "ndjson").objects] == keys
    found = cli("kv", "ls", bucket.name, "--values", "--json").json
    assert [(one["key"], one["value"]) for one in found] == [(key, key) for key in keys]


def test_a_table_has_all_of_a_long_key_when_it_is_piped(cli: Cli, bucket: Bucket) -> None:
    key = "k" * 300
    bucket.put(key, b"v")
    header, row = cli("kv", "ls", bucket.name, "-o", "table").lines
    assert header.split() == ["KEY", "REVISION", "SIZE", "TYPE", "WRITTEN", "EXPIRES"]
    assert row.split()[:2] == [key, "1"]


def test_a_table_has_no_control_characters_of_a_key_or_value(cli: Cli, bucket: Bucket) -> None:
    cli("kv", "put", bucket.name, "a\x9b31m", "\x1b[2J")
    text = cli("kv", "ls", bucket.name, "--values", "-o", "table").text
    assert "\x9b" not in text
    assert "\x1b" not in text
    assert r"a\x9b31m" in text


def test_history_lists_every_revision_with_deletes(cli: Cli, make_bucket) -> None:
    bucket = make_bucket(history=5)
    bucket.put("k", b"one", **{"Content-Type": "text/plain"})
    bucket.delete("k")
    bucket.put("k", b"2")
    found = cli("kv", "history", bucket.name, "k").objects
    assert [one["operation"] for one in found] == ["put", "delete", "put"]
    assert cli("kv", "history", bucket.name, "k", "-o", "json").json == found
    assert cli("kv", "history", bucket.name, "k", "-o", "value").lines == ["one", "", "2"]
    assert "delete" in cli("kv", "history", bucket.name, "k", "-o", "table").text


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("get", "BUCKET", "none"), 10, "`jetkv kv ls BUCKET` lists the keys"),
        (("get", "nowhere", "k"), 10, "`jetkv bucket ls` lists the buckets"),
        (("ls", "nowhere"), 10, "bucket not found"),
        (("ls", "BUCKET", "a.*", "--prefix", "a"), 2, "not both"),
        (("ls", "BUCKET", ">.a"), 2, "only as the last token"),
        (("get", "BUCKET", "\x01"), 2, "control characters"),
        (("get", "no/bucket", "k"), 2, "invalid bucket name"),
        (("history", "BUCKET", "none"), 10, "key not found"),
        (("get", "BUCKET", "k", "--json", "-o", "table"), 2, "not both"),
    ],
)
def test_an_error_is_one_line_that_says_what_to_do(
    cli: Cli, bucket: Bucket, words: tuple[str, ...], code: int, says: str
) -> None:
    named = [bucket.name if word == "BUCKET" else word for word in words]
    found, line = cli.fails("kv", *named)
    assert found == code
    assert line.startswith("jetkv: ")
    assert says in line


def test_json_of_a_list_that_broke_off_is_no_json(cli: Cli) -> None:
    ended = cli.try_("kv", "ls", "nowhere", "--json")
    with pytest.raises(json.JSONDecodeError):
        json.loads(ended.out)
