"""`jetkv kv get`, `ls` and `history`."""

import json

import pytest

from jetkv.cli import key_stream
from tests.cli.data import Cli
from tests.support.gateway import running_gateway
from tests.support.http import Bucket
from tests.support.scripted import http, scripted
from tests.support.tokens import new_token, token_line


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


def test_a_stream_has_every_key_in_the_order_of_revisions(cli: Cli, bucket: Bucket) -> None:
    for key in ("b.2", "b.1", "a"):
        bucket.put(key, key)
    assert cli("kv", "ls", bucket.name, "--stream").lines == ["b.2", "b.1", "a"]
    assert cli("kv", "ls", bucket.name, "b.*", "--stream").lines == ["b.2", "b.1"]
    found = cli("kv", "ls", bucket.name, "--prefix", "b.", "--stream", "--values", "--json").json
    assert [(one["key"], one["value"]) for one in found] == [("b.2", "b.2"), ("b.1", "b.1")]
    assert "size" in cli("kv", "ls", bucket.name, "--stream", "-o", "ndjson").objects[0]
    assert cli.fails("kv", "ls", "nowhere", "--stream")[0] == 10


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        ('{"key":"a"}\n', 13),
        ('{"key":"a"}\n{"type":"error","message":"NATS is away","code":"unavailable"}\n', 13),
        ('{"key":"a"}\n{"type":"error","message":"gone","code":"bucket_deleted"}\n', 17),
        ('{"key":"a"}\n<html>\n', 16),
    ],
)
def test_a_stream_that_is_cut_off_is_not_taken_for_the_whole(lines: str, code: int) -> None:
    with scripted(http(200, lines, kind="application/x-ndjson")) as server:
        ended = Cli(server.url).try_("kv", "ls", "b", "--stream")
    assert (ended.code, ended.lines) == (code, ["a"])
    assert len(ended.err.splitlines()) == 1


def test_a_token_that_sees_a_part_is_told_so(cli: Cli, bucket: Bucket, nats, tmp_path) -> None:
    for key in ("a.1", "b.1"):
        bucket.put(key, b"v")
    token, tokens = new_token(), tmp_path / "tokens"
    tokens.write_text(token_line("some", token, f"read:{bucket.name}/a.>"))
    with running_gateway(nats.url, auth="tokens", auth_tokens=tokens) as gateway:
        cli.environment |= {"JETKV_URL": gateway.url, "JETKV_TOKEN": token}
        for words in ((), ("--stream",), ("-o", "json"), ("-o", "json", "--stream")):
            ended = cli("kv", "ls", bucket.name, *words)
            assert "a.1" in ended.text
            assert "b.1" not in ended.text
            assert ended.err.count("may not read all of these keys") == 1
        assert cli("kv", "ls", bucket.name, "--quiet").err == ""


def test_a_list_that_is_too_long_to_sort_comes_by_revision(
    cli: Cli, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in ("c", "b", "a"):
        bucket.put(key, key)
    assert [one["key"] for one in cli("kv", "ls", bucket.name, "--json").json] == ["a", "b", "c"]
    monkeypatch.setattr(key_stream, "FEW", 2)
    ended = cli("kv", "ls", bucket.name, "--json")
    assert [one["key"] for one in ended.json] == ["c", "b", "a"]
    assert "order of revisions" in ended.err


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
