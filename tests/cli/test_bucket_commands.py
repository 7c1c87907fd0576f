"""`jetkv bucket ls`, `info`, `create`, `set`, `rm` and `compact`."""

import pytest

from tests.cli.data import Cli
from tests.support.http import BUCKETS, Bucket, Http


@pytest.fixture
def name(bucket_name: str, http: Http):
    yield bucket_name
    http.delete(f"{BUCKETS}/{bucket_name}")


def test_create_takes_every_setting(cli: Cli, name: str) -> None:
    words = "--ttl 1h --history 3 --max-value-size 64K --max-bytes 10M --storage memory"
    metadata = ("--metadata", "team=web", "--metadata", "note=a=b")
    assert cli("bucket", "create", name, *words.split(), *metadata, "--protected").lines == [name]
    found = cli("bucket", "info", name).json
    wanted = {
        "ttl_seconds": 3_600,
        "history": 3,
        "max_value_size": 65_536,
        "max_bytes": 10 * 1024**2,
        "storage": "memory",
        "metadata": {"team": "web", "note": "a=b"},
        "protected": True,
    }
    assert {key: found[key] for key in wanted} == wanted
    code, line = cli.fails("bucket", "rm", name, "--yes")
    assert (code, "--no-protected" in line) == (15, True)
    assert cli("bucket", "set", name, "--no-protected").lines == ["protected"]


def test_create_of_a_bucket_that_exists_is_a_conflict(cli: Cli, make_bucket) -> None:
    bucket = make_bucket(history=3)
    assert cli.fails("bucket", "create", bucket.name)[0] == 11
    assert cli.fails("bucket", "create", bucket.name, "--exist-ok", "--history", 4)[0] == 11
    assert cli.fails("bucket", "create", bucket.name, "--exist-ok", "--storage", "memory")[0] == 11
    cli("bucket", "create", bucket.name, "--exist-ok", "--history", 3)
    assert bucket.info()["history"] == 3


def test_create_with_exist_ok_creates(cli: Cli, name: str) -> None:
    cli("bucket", "create", name, "--exist-ok", "--history", 2)
    assert cli("bucket", "info", name).json["history"] == 2


def test_ls_prints_names_and_info_describes(cli: Cli, bucket: Bucket) -> None:
    bucket.put("k", b"v")
    assert bucket.name in cli("bucket", "ls").lines
    (found,) = [one for one in cli("bucket", "ls", "--json").json if one["name"] == bucket.name]
    assert found["values"] == 1
    assert f"name={bucket.name}" in cli("bucket", "info", bucket.name, "-o", "value").lines
    assert (
        f"name                {bucket.name}"
        in cli("bucket", "info", bucket.name, "-o", "table").text
    )
    assert bucket.name in cli("bucket", "ls", "-o", "table").text


def test_set_changes_what_is_named(cli: Cli, make_bucket) -> None:
    bucket = make_bucket(history=2, metadata={"team": "web", "old": "1"})
    changed = cli("bucket", "set", bucket.name, "--ttl", "1d", "--remove-metadata", "old").lines
    assert sorted(changed) == ["metadata", "ttl_seconds"]
    info = bucket.info()
    assert (info["ttl_seconds"], info["history"], info["metadata"]) == (86_400, 2, {"team": "web"})
    assert cli("bucket", "set", bucket.name, "--history", 2).out == b""
    assert cli("bucket", "set", bucket.name, "--ttl", "never", "-o", "table").text == (
        f"{bucket.name}: changed ttl_seconds never\n"
    )


def test_set_never_creates(cli: Cli) -> None:
    assert cli.fails("bucket", "set", "t-nowhere", "--history", 2)[0] == 10
    assert cli.fails("bucket", "set", "t-nowhere")[0] == 2


def test_set_removes_stored_data_only_if_told_so(cli: Cli, make_bucket) -> None:
    bucket = make_bucket(history=5)
    for value in ("1", "2", "3"):
        bucket.put("k", value)
    less = ("bucket", "set", bucket.name, "--history", 1)
    code, line = cli.fails(*less)
    assert (code, "--allow-data-loss" in line) == (15, True)
    assert cli.fails(*less, "--allow-data-loss")[0] == 2  # there is nobody to ask
    assert cli(*less, "--allow-data-loss", "--dry-run").lines == ["history"]
    assert bucket.info()["history"] == 5
    cli(*less, "--allow-data-loss", "--yes")
    assert bucket.info()["history"] == 1


def test_rm_deletes_a_bucket_if_told_so(cli: Cli, bucket: Bucket) -> None:
    bucket.put("k", b"v")
    code, line = cli.fails("bucket", "rm", bucket.name)
    assert (code, "1 stored revision" in line) == (2, True)
    assert "would delete" in cli("bucket", "rm", bucket.name, "--dry-run", "-o", "table").text
    assert bucket.keys() == ["k"]
    cli("bucket", "rm", bucket.name, "--yes")
    assert cli.fails("bucket", "rm", bucket.name, "--yes")[0] == 10


def test_compact_removes_tombstones(cli: Cli, bucket: Bucket) -> None:
    bucket.put("k", b"v")
    bucket.delete("k")
    assert cli("bucket", "compact", bucket.name, "--older-than", "1h").text == "0\n"
    assert cli("bucket", "compact", bucket.name).text == "1\n"


@pytest.mark.parametrize(
    "words",
    [
        ("--max-bytes", "much"),
        ("--metadata", "team"),
        ("--placement", "eu"),
        ("--placement", "[]"),
        ("--ttl", "-5"),
        ("--history", "65"),
    ],
)
def test_a_setting_that_cannot_be_read_is_refused(
    cli: Cli, bucket_name: str, words: tuple[str, ...]
) -> None:
    assert cli.fails("bucket", "create", bucket_name, *words)[0] == 2
    assert cli.fails("bucket", "info", bucket_name)[0] == 10
