"""`jetkv export`, `import` and `copy`."""

import gzip
import io
import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jetkv import Client
from jetkv.cli.meter import Meter
from tests.cli.data import Cli
from tests.support.http import Bucket

Make = Callable[..., Bucket]

JSON = "application/json"


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def contents(bucket: Bucket) -> dict[str, tuple[bytes, str | None, str | None]]:
    """Return value, content type and content encoding of each key."""
    found = {}
    live = bucket.keys()
    for key in live:
        answer = bucket.get(key, "?values=raw")
        headers = answer.headers
        found[key] = (answer.body, headers.get("content-type"), headers.get("content-encoding"))
    return found


def filled(bucket: Bucket) -> Bucket:
    """Put values of all kinds into a bucket."""
    chance = random.Random(1)
    bucket.put("text", "hello", Content_Type="text/plain")
    bucket.put("json", '{"a":[1,2]}', Content_Type=JSON)
    bucket.put("empty", b"")
    bucket.put("bytes", bytes(range(256)), Content_Type="application/octet-stream")
    bucket.put("packed", gzip.compress(b"x"), Content_Type=JSON, Content_Encoding="gzip")
    bucket.put('odd "key" / ü *', chance.randbytes(1000))
    bucket.put("large", chance.randbytes(700_000))
    for number in range(50):
        bucket.put(f"user.{number}", str(number), Content_Type=JSON)
    bucket.put("gone", "x")
    bucket.delete("gone")
    return bucket


@pytest.mark.parametrize("name", ["all.ndjson", "all.ndjson.gz", "all.ndjson.zst"])
def test_a_bucket_comes_back_byte_for_byte_with_its_content_types(
    cli: Cli, make_bucket: Make, tmp_path: Path, name: str
) -> None:
    source, target = filled(make_bucket()), make_bucket()
    file = tmp_path / name
    assert cli("export", source.name, file).text == "57\n"
    assert cli("import", target.name, file, "--verify").text == "57\n"
    assert contents(target) == contents(source)
    assert sorted(one.name for one in tmp_path.iterdir() if one.is_file()) == [name]


def test_an_export_says_what_it_is_and_when_it_began_and_ended(
    cli: Cli, make_bucket: Make, tmp_path: Path
) -> None:
    source = make_bucket(history=3)
    source.put("a", "1")
    source.put("b", "22", JetKV_TTL_Seconds="600", If_None_Match="*")
    cli("export", source.name, tmp_path / "f")
    header, first, second, end = lines(tmp_path / "f")
    assert header["type"] == "jetkv-export"
    assert (header["bucket"], header["history"], header["revision"]) == (source.name, False, 2)
    assert header["settings"] == {"history": 3}
    assert (first["key"], first["value"], first["revision"]) == ("a", "MQ==", 1)
    assert "expires_at" in second
    assert (end["count"], end["expiring"], end["largest"]) == (2, 1, 2)
    assert (end["from_revision"], end["to_revision"]) == (2, 2)


def test_an_export_can_have_some_keys_and_go_to_a_pipe(cli: Cli, make_bucket: Make) -> None:
    source = filled(make_bucket())
    header, *entries, end = cli("export", source.name, "--filter", "user.*").objects
    assert (len(entries), end["count"], header["filter"]) == (50, 50, "user.*")
    header, *entries, _ = cli("export", source.name, "-", "--prefix", "user.1").objects
    assert (len(entries), header["prefix"]) == (11, "user.1")


def test_a_history_comes_back_with_its_deletes(cli: Cli, make_bucket: Make, tmp_path: Path) -> None:
    source, target = make_bucket(history=5), make_bucket(history=5)
    for number in range(4):
        source.put("often", str(number))
    source.delete("often")
    source.put("once", "x")
    source.put("purged", "x")
    source.delete("purged", "?purge=true")
    source.put("again", "1")
    source.delete("again", "?purge=true")
    source.put("again", "2")
    cli("export", source.name, tmp_path / "f", "--history")
    cli("import", target.name, tmp_path / "f", "--verify")
    assert steps(target, "often") == steps(source, "often")
    assert steps(target, "again")[-1] == ("put", "Mg==")
    assert target.keys() == source.keys() == ["again", "once"]


def test_a_history_of_a_key_with_another_value_is_left_out_or_replaces_it(
    cli: Cli, make_bucket: Make, tmp_path: Path
) -> None:
    source = make_bucket(history=3)
    for value in "123":
        source.put("taken", value)
        source.put("free", value)
    source.put("gone", "x")
    source.delete("gone")
    cli("export", source.name, tmp_path / "f", "--history")
    for policy, first in (("skip", []), ("overwrite", ["MQ==", "Mg==", "Mw=="])):
        target = make_bucket(history=3)
        target.put("taken", "other")
        target.put("gone", "other")
        cli("import", target.name, tmp_path / "f", "--on-conflict", policy)
        assert steps(target, "free") == steps(source, "free")
        values = [value for _, value in steps(target, "taken")]
        assert values == (first or ["b3RoZXI="])
        assert (target.get("gone").status == 404) == (policy == "overwrite")
    refused = make_bucket(history=3)
    refused.put("gone", "other")
    assert cli.fails("import", refused.name, tmp_path / "f")[0] == 11


def steps(bucket: Bucket, key: str) -> list[tuple[str, str]]:
    return [(one["operation"], one["value"]) for one in bucket.history(key).json["entries"]]


def damaged(file: Path, change: Callable[[list[bytes]], list[bytes]]) -> Path:
    changed = file.with_name("damaged")
    changed.write_bytes(b"".join(change(file.read_bytes().splitlines(keepends=True))))
    return changed


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda lines: lines[:-1], "cut off"),
        (lambda lines: [*lines[:-1], lines[-1][:-20]], "cut off"),
        (lambda lines: [lines[0], lines[2], lines[1], *lines[3:]], "edited"),
        (lambda lines: [lines[0], *lines[2:]], "edited"),
        (lambda lines: [line.replace(b'"user.7"', b'"user.x"') for line in lines], "edited"),
        (lambda lines: [*lines, lines[1]], "cut off"),
        (lambda lines: lines[1:], "no export"),
        (lambda lines: [], "empty"),
        (lambda lines: [lines[0].replace(b'"version":1', b'"version":2'), *lines[1:]], "version"),
    ],
    ids=[
        "no-end",
        "half-an-end",
        "order",
        "a-line-less",
        "a-key",
        "more",
        "no-header",
        "empty",
        "newer",
    ],
)
def test_a_file_that_was_cut_or_edited_is_refused_before_the_first_write(
    cli: Cli, make_bucket: Make, tmp_path: Path, change: Any, says: str
) -> None:
    source, target = filled(make_bucket()), make_bucket()
    cli("export", source.name, tmp_path / "f")
    code, line = cli.fails("import", target.name, damaged(tmp_path / "f", change))
    assert code == 19
    assert says in line
    assert target.keys() == []


@pytest.mark.parametrize("ending", ["gz", "zst"])
@pytest.mark.parametrize("change", [lambda whole: whole[:-500], lambda whole: b"x" + whole[1:]])
def test_a_packed_file_that_was_cut_or_damaged_is_refused(
    cli: Cli, make_bucket: Make, tmp_path: Path, ending: str, change: Callable[[bytes], bytes]
) -> None:
    source, target = filled(make_bucket()), make_bucket()
    whole = tmp_path / f"f.{ending}"
    cli("export", source.name, whole)
    cut = tmp_path / f"cut.{ending}"
    cut.write_bytes(change(whole.read_bytes()))
    assert cli.fails("import", target.name, cut)[0] == 19
    assert target.keys() == []


def test_zstd_that_is_not_installed_is_one_line(
    cli: Cli, make_bucket: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jetkv.transfer.files._ZSTD_MODULES", ("no_such_module",))
    code, line = cli.fails("export", make_bucket().name, tmp_path / "f.zst")
    assert code == 2
    assert 'pip install "jetkv[zstd]"' in line


@pytest.fixture
def two(cli: Cli, make_bucket: Make, tmp_path: Path) -> tuple[Path, Bucket]:
    """An export of a, b and c, and a bucket where a is the same and b has another value."""
    source, target = make_bucket(), make_bucket()
    target.put("b", "old")
    for key in "abc":
        source.put(key, key)
    target.put("a", "a")
    cli("export", source.name, tmp_path / "f")
    return tmp_path / "f", target


def values(bucket: Bucket) -> dict[str, bytes]:
    live = bucket.keys()
    return {key: bucket.get(key).value for key in live}


def test_by_default_a_key_with_another_value_is_a_conflict_and_nothing_is_written(
    cli: Cli, two: tuple[Path, Bucket]
) -> None:
    file, target = two
    code, line = cli.fails("import", target.name, file)
    assert code == 11
    assert "such as 'b'; nothing was written" in line
    assert values(target) == {"a": b"a", "b": b"old"}


@pytest.mark.parametrize(
    ("policy", "b", "counts"),
    [
        ("skip", b"old", {"written": 1, "unchanged": 1, "kept": 1}),
        ("overwrite", b"b", {"written": 3, "unchanged": 0, "kept": 0}),
        ("if-newer", b"b", {"written": 2, "unchanged": 1, "kept": 0}),
    ],
)
def test_the_policy_decides_about_a_key_with_another_value(
    cli: Cli, two: tuple[Path, Bucket], policy: str, b: bytes, counts: dict[str, int]
) -> None:
    file, target = two
    found = cli("import", target.name, file, "--on-conflict", policy, "-o", "json").json
    assert {name: found[name] for name in counts} == counts
    assert values(target) == {"a": b"a", "b": b, "c": b"c"}


def test_if_newer_keeps_a_value_that_was_written_after_the_exported_one(
    cli: Cli, two: tuple[Path, Bucket]
) -> None:
    file, target = two
    target.put("b", "newer")
    cli("import", target.name, file, "--on-conflict", "if-newer")
    assert values(target)["b"] == b"newer"


def test_a_dry_run_counts_and_writes_nothing(cli: Cli, two: tuple[Path, Bucket]) -> None:
    file, target = two
    found = cli("import", target.name, file, "--dry-run", "-o", "json").json
    assert (found["same"], found["missing"], found["differ"]) == (1, 1, 1)
    assert values(target) == {"a": b"a", "b": b"old"}


def test_verify_finds_what_the_policy_left_different(cli: Cli, two: tuple[Path, Bucket]) -> None:
    file, target = two
    ended = cli.try_("import", target.name, file, "--on-conflict", "skip", "--verify")
    assert ended.code == 11
    assert "1 different, such as 'b'" in ended.err


def test_ttls_are_shortened_by_what_has_passed_and_the_expired_are_left_out(
    cli: Cli, make_bucket: Make, tmp_path: Path
) -> None:
    source, target = make_bucket(), make_bucket()
    source.put("hour", "x", JetKV_TTL_Seconds="3600")
    source.put("never", "x")
    source.put("brief", "x", JetKV_TTL_Seconds="3600")
    file = tmp_path / "f"
    cli("export", source.name, file)
    aged(file, {"hour": 1800, "brief": 3601})
    found = cli("import", target.name, file, "-o", "json").json
    assert (found["written"], found["expired"]) == (2, 1)
    assert target.keys() == ["hour", "never"]
    assert 1700 < life(target, "hour") <= 1801
    assert "expires_at" not in target.get("never").json


def test_ttls_can_begin_again_or_be_dropped(cli: Cli, make_bucket: Make, tmp_path: Path) -> None:
    source, full, drop = make_bucket(), make_bucket(), make_bucket()
    source.put("hour", "x", JetKV_TTL_Seconds="3600")
    file = tmp_path / "f"
    cli("export", source.name, file)
    aged(file, {"hour": 1800})
    cli("import", full.name, file, "--ttl", "full")
    cli("import", drop.name, file, "--ttl", "drop")
    assert 3500 < life(full, "hour") <= 3601
    assert "expires_at" not in drop.get("hour").json


def test_a_value_that_lives_outlives_the_ttl_of_its_new_bucket(
    cli: Cli, make_bucket: Make, tmp_path: Path
) -> None:
    source, target = make_bucket(), make_bucket(ttl_seconds=3600)
    source.put("k", "x")
    cli("export", source.name, tmp_path / "f")
    cli("import", target.name, tmp_path / "f")
    assert "expires_at" not in target.get("k").json


def life(bucket: Bucket, key: str) -> float:
    """Return how many seconds a value lives in all."""
    entry = bucket.get(key).json
    return seconds(entry["expires_at"]) - seconds(entry["created_at"])


def seconds(time: str) -> float:
    from jetkv.models import parse_time

    return parse_time(time).timestamp()


def aged(file: Path, passed: dict[str, int]) -> None:
    """Make the entries of a file older by some seconds."""
    import hashlib
    from datetime import UTC, datetime

    from jetkv.models import format_time

    found = lines(file)
    for entry in found[1:-1]:
        for name in ("created_at", "expires_at"):
            if name in entry and entry["key"] in passed:
                then = seconds(entry[name]) - passed[entry["key"]]
                entry[name] = format_time(datetime.fromtimestamp(then, UTC))
    text = [json.dumps(one).encode() + b"\n" for one in found[:-1]]
    found[-1]["sha256"] = hashlib.sha256(b"".join(text)).hexdigest()
    file.write_bytes(b"".join([*text, json.dumps(found[-1]).encode() + b"\n"]))


def test_a_bucket_that_cannot_take_the_file_is_refused_before_the_first_write(
    cli: Cli, make_bucket: Make, tmp_path: Path
) -> None:
    source = make_bucket(history=3)
    source.put("a", "x" * 100, JetKV_TTL_Seconds="600", If_None_Match="*")
    plain, histories = tmp_path / "plain", tmp_path / "histories"
    cli("export", source.name, plain)
    cli("export", source.name, histories, "--history")
    refusals = [
        (histories, make_bucket(), "--history 3"),
        (plain, make_bucket(max_value_size=50), "--max-value-size 100"),
        (plain, make_bucket(key_ttl=False, expiry_markers=False), "--ttl drop"),
        (plain, make_bucket(history=2), "--ttl drop"),
    ]
    for file, target, hint in refusals:
        code, line = cli.fails("import", target.name, file)
        assert (code, hint in line) == (15, True), line
        assert target.keys() == []


def test_an_export_replaces_a_file_only_if_told_to(
    cli: Cli, make_bucket: Make, tmp_path: Path
) -> None:
    source = make_bucket()
    file = tmp_path / "f"
    file.write_text("precious")
    assert cli.fails("export", source.name, file)[0] == 2
    assert file.read_text() == "precious"
    cli("export", source.name, file, "--yes")
    assert lines(file)[-1]["count"] == 0


def test_an_export_that_fails_leaves_no_file(cli: Cli, tmp_path: Path) -> None:
    assert cli.fails("export", "no-such-bucket", tmp_path / "f")[0] == 10
    assert not list(tmp_path.glob("*f*"))


def test_a_copy_has_what_its_source_has(cli: Cli, make_bucket: Make) -> None:
    source, target = filled(make_bucket()), make_bucket()
    assert cli("copy", source.name, target.name).text == "57\n"
    assert contents(target) == contents(source)
    again = cli("copy", source.name, target.name, "-o", "json").json
    assert (again["written"], again["unchanged"]) == (0, 57)


def test_a_copy_may_go_to_another_gateway(cli: Cli, make_bucket: Make) -> None:
    source, target = make_bucket(), make_bucket()
    source.put("k", "v")
    cli("copy", source.name, target.name, "--to-url", cli.environment["JETKV_URL"])
    assert values(target) == {"k": b"v"}
    assert cli.fails("copy", source.name, source.name)[0] == 2
    assert cli.fails("copy", source.name, target.name, "--to-token-file", "t")[0] == 2
    assert cli.fails("copy", source.name, "no-such-bucket")[0] == 10


def test_a_key_that_was_written_during_the_export_ends_with_its_newest_value(
    cli: Cli, make_bucket: Make, tmp_path: Path
) -> None:
    source = make_bucket(history=2)
    source.put("k", "first")
    source.put("k", "second")
    file = tmp_path / "f"
    cli("export", source.name, file, "--history")
    again = lines(file)
    again[0] |= {"history": False, "revision": 1}
    again[-1]["from_revision"] = 1
    file.write_text("".join(json.dumps(one) + "\n" for one in again))
    aged(file, {})
    for policy in ("fail", "skip", "if-newer", "overwrite"):
        target = make_bucket()
        cli("import", target.name, file, "--on-conflict", policy, "--verify")
        assert values(target) == {"k": b"second"}


def test_what_cannot_be_read_twice_is_not_imported(
    cli: Cli, make_bucket: Make, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "pipe")
    code, line = cli.fails("import", make_bucket().name, tmp_path / "pipe")
    assert (code, "is no file" in line) == (2, True)
    assert cli.fails("import", make_bucket().name, tmp_path / "nowhere")[0] == 19


def test_the_token_of_the_source_does_not_go_to_another_gateway(
    cli: Cli, make_bucket: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = make_bucket(), make_bucket()
    tokens = []

    def connect(url: str, **options: Any) -> Client:
        tokens.append(options["token"])
        return Client(url, **options)

    monkeypatch.setattr("jetkv.cli.session.Client", connect)
    monkeypatch.setenv("JETKV_TOKEN", "secret")
    cli("copy", source.name, target.name, "--to-url", cli.environment["JETKV_URL"])
    assert sorted(map(str, tokens)) == ["None", "secret"]


def test_a_terminal_shows_how_far_a_transfer_is(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = io.StringIO()
    monkeypatch.setattr(shown, "isatty", lambda: True)
    monkeypatch.setattr("sys.stderr", shown)
    monkeypatch.setattr("jetkv.cli.meter._SECONDS", 0)
    with Meter("entries", 400, quiet=False) as meter:
        meter(100)
        meter(200)
    assert " 50%  200 entries, " in shown.getvalue()
    assert " a second, " in shown.getvalue()
    assert shown.getvalue().endswith("\r\x1b[K")
