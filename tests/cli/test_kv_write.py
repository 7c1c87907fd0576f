"""`jetkv kv put`, `create`, `update`, `touch`, `rm` and `purge`."""

from pathlib import Path

import pytest

from tests.cli.data import Cli
from tests.support.http import Bucket


def content_type(bucket: Bucket, key: str) -> str:
    return bucket.get(key, "?values=raw").headers["content-type"]


def test_put_takes_an_argument_a_file_or_the_standard_input(
    cli: Cli, bucket: Bucket, tmp_path: Path
) -> None:
    file = tmp_path / "value"
    file.write_bytes(b"of a file\n")
    cli("kv", "put", bucket.name, "argument", "of an argument")
    cli("kv", "put", bucket.name, "file", "--file", file)
    cli("kv", "put", bucket.name, "pipe", stdin=b"of a pipe\n")
    cli("kv", "put", bucket.name, "dash", "-", stdin=b"of a dash\n")
    assert bucket.get("argument").value == b"of an argument"
    assert bucket.get("file").value == b"of a file\n"
    assert bucket.get("pipe").value == b"of a pipe\n"
    assert bucket.get("dash").value == b"of a dash\n"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b'{"a":1}', "application/json"),
        (b"42", "application/json"),
        (b"hello", "text/plain; charset=utf-8"),
        (b"NaN", "text/plain; charset=utf-8"),
        (b"", "text/plain; charset=utf-8"),
        (b"\xff\xfe", "application/octet-stream"),
    ],
)
def test_the_content_type_is_what_the_bytes_are(
    cli: Cli, bucket: Bucket, value: bytes, expected: str
) -> None:
    cli("kv", "put", bucket.name, "k", "-", stdin=value)
    assert content_type(bucket, "k") == expected


def test_the_name_of_a_file_and_a_flag_decide_the_content_type(
    cli: Cli, bucket: Bucket, tmp_path: Path
) -> None:
    page = tmp_path / "page.html"
    page.write_text("42")
    cli("kv", "put", bucket.name, "named", "--file", page)
    cli("kv", "put", bucket.name, "flag", "42", "--content-type", "application/x-count")
    assert content_type(bucket, "named") == "text/html; charset=utf-8"
    assert content_type(bucket, "flag") == "application/x-count"


def test_a_write_prints_its_revision_and_nothing_when_quiet(cli: Cli, bucket: Bucket) -> None:
    assert cli("kv", "put", bucket.name, "k", "v").text == "1\n"
    assert cli("kv", "put", bucket.name, "k", "v", "-o", "json").json == {
        "bucket": bucket.name,
        "key": "k",
        "revision": 2,
    }
    assert cli("kv", "put", bucket.name, "k", "v", "-o", "table").text == (
        f"{bucket.name} k: revision 3\n"
    )
    assert cli("kv", "put", bucket.name, "k", "v", "--quiet").out == b""


def test_an_empty_standard_input_is_stored_only_if_asked_for(cli: Cli, bucket: Bucket) -> None:
    code, line = cli.fails("kv", "put", bucket.name, "k")
    assert (code, "pass '' or -" in line) == (2, True)
    assert bucket.get("k").status == 404
    cli("kv", "put", bucket.name, "k", "")
    assert bucket.get("k").value == b""


def test_create_and_update_keep_what_others_wrote(cli: Cli, bucket: Bucket) -> None:
    cli("kv", "create", bucket.name, "k", "one")
    assert cli.fails("kv", "create", bucket.name, "k", "two")[0] == 11
    cli("kv", "update", bucket.name, "k", "two", "--revision", 1)
    code, line = cli.fails("kv", "update", bucket.name, "k", "three", "--revision", 1)
    assert (code, "at revision 2" in line) == (11, True)
    assert bucket.get("k").value == b"two"


def test_a_ttl_is_kept_and_touched(cli: Cli, bucket: Bucket) -> None:
    cli("kv", "put", bucket.name, "k", "v", "--ttl", "1h30m")
    entry = cli("kv", "get", bucket.name, "k", "--json").json
    assert entry["expires_at"]
    touched = cli("kv", "touch", bucket.name, "k", "--ttl", "2h", "--json").json
    assert touched["expires_at"] > entry["expires_at"]
    assert cli("kv", "touch", bucket.name, "k", "--ttl", "never", "-o", "table").text.endswith(
        "does not expire\n"
    )
    assert cli.fails("kv", "put", bucket.name, "k", "v", "--ttl", "0")[0] == 2
    cli("kv", "put", bucket.name, "plain", "v")
    code, line = cli.fails("kv", "touch", bucket.name, "plain")
    assert (code, line.endswith("name one with --ttl")) == (15, True)
    code, line = cli.fails("kv", "put", bucket.name, "k", "v", "--ttl", "soon")
    assert (code, "1h30m or 7d, or never" in line) == (2, True)


def test_rm_asks_and_without_anybody_to_ask_does_nothing(cli: Cli, bucket: Bucket) -> None:
    bucket.put("k", b"v")
    code, line = cli.fails("kv", "rm", bucket.name, "k")
    assert (code, "--yes" in line) == (2, True)
    assert bucket.get("k").status == 200
    assert cli("kv", "rm", bucket.name, "k", "none", "--dry-run").text == "1\n"
    assert bucket.get("k").status == 200
    cli("kv", "rm", bucket.name, "k", "--yes")
    assert bucket.get("k").status == 404


def test_rm_with_a_revision_keeps_a_newer_value(cli: Cli, bucket: Bucket) -> None:
    bucket.put("k", b"one")
    bucket.put("k", b"two")
    assert cli.fails("kv", "rm", bucket.name, "k", "--revision", 1, "--yes")[0] == 11
    cli("kv", "rm", bucket.name, "k", "--revision", 2, "--yes")
    assert bucket.get("k").status == 404


def test_rm_of_many_counts_first(cli: Cli, bucket: Bucket) -> None:
    for key in ("a.1", "a.2", "b"):
        bucket.put(key, b"v")
    assert cli("kv", "rm", bucket.name, "--prefix", "a.", "--dry-run").text == "2\n"
    assert bucket.keys() == ["a.1", "a.2", "b"]
    assert cli("kv", "rm", bucket.name, "--filter", "a.*", "--yes").text == "2\n"
    assert bucket.keys() == ["b"]
    assert cli("kv", "rm", bucket.name, "--filter", ">", "--yes", "--json").json["deleted"] == 1


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--prefix", ""),
        ("k", "--prefix", "a"),
        ("--prefix", "a", "--filter", "b"),
        ("a", "b", "--revision", "1"),
    ],
)
def test_rm_refuses_what_it_could_misunderstand(
    cli: Cli, bucket: Bucket, words: tuple[str, ...]
) -> None:
    assert cli.fails("kv", "rm", bucket.name, *words, "--yes")[0] == 2


def test_purge_drops_the_history_and_rm_keeps_it(cli: Cli, make_bucket) -> None:
    bucket = make_bucket(history=5)
    for key in ("kept", "gone"):
        bucket.put(key, b"v")
    cli("kv", "rm", bucket.name, "kept", "--yes")
    cli("kv", "purge", bucket.name, "gone", "--yes")
    operations = {
        key: [one["operation"] for one in bucket.history(key).json["entries"]]
        for key in ("kept", "gone")
    }
    assert operations == {"kept": ["put", "delete"], "gone": ["purge"]}


def test_a_value_that_is_too_large_is_refused(cli: Cli, bucket: Bucket, tmp_path: Path) -> None:
    file = tmp_path / "large"
    file.write_bytes(bytes(2 * 1024 * 1024))
    code, line = cli.fails("kv", "put", bucket.name, "k", "--file", file)
    assert (code, "value too large" in line) == (15, True)


def test_a_file_that_is_not_there_is_named(cli: Cli, bucket: Bucket) -> None:
    code, line = cli.fails("kv", "put", bucket.name, "k", "--file", "/nowhere/at/all")
    assert (code, line) == (19, "jetkv: No such file or directory: /nowhere/at/all")
