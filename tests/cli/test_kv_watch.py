"""`jetkv kv watch`."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.cli.data import Cli
from tests.support.http import BUCKETS, Bucket
from tests.support.waiting import until


def test_changes_come_as_json_lines_after_the_snapshot(cli: Cli, bucket: Bucket) -> None:
    bucket.put("old", b"1")
    with cli.running("kv", "watch", bucket.name, "--snapshot") as watch:
        assert watch.object() == {
            "bucket": bucket.name,
            "key": "old",
            "revision": 1,
            "operation": "put",
            "value": 1,
            "encoding": "json",
        }
        bucket.put("new", b"\xff")
        found = watch.object()
        assert (found["key"], found["value"], found["encoding"]) == ("new", "/w==", "base64")
        bucket.delete("old", "?purge=true")
        found = watch.object()
        assert (found["operation"], found["reason"], "value" in found) == ("delete", "purge", False)
        assert watch.interrupted() == (130, "jetkv: interrupted\n")


def test_a_watch_has_filters_and_formats(cli: Cli, bucket: Bucket) -> None:
    for key in ("a.1", "b.1", "c.1"):
        bucket.put(key, key)
    words = ("kv", "watch", bucket.name, "a.*", "c.1", "--snapshot")
    with cli.running(*words, "-o", "table") as watch:
        assert [watch.line().split()[1:] for _ in range(2)] == [
            ["put", "1", "a.1", "a.1"],
            ["put", "3", "c.1", "c.1"],
        ]


def run_until(cli: Cli, bucket: Bucket, place: Path, *words: object) -> list[str]:
    """Watch with a command that notes each change, and fails at the key `stop`."""
    noted = place.with_name("noted")
    command = (
        f'echo "$JETKV_KEY=$JETKV_VALUE $JETKV_OPERATION" >>{noted}; test "$JETKV_KEY" != stop'
    )
    code, line = cli.fails("kv", "watch", bucket.name, "--exec", command, "--resume", place, *words)
    assert (code, "'stop'" in line) == (19, True)
    lines = noted.read_text().splitlines()
    noted.unlink()
    return lines


def test_exec_gets_the_change_and_resume_goes_on_after_the_last_one_that_was_handled(
    cli: Cli, bucket: Bucket, tmp_path: Path
) -> None:
    place = tmp_path / "place"
    bucket.put("a", b"x y")
    bucket.put("stop", b"1")
    assert run_until(cli, bucket, place, "--snapshot") == ["a=x y put", "stop=1 put"]
    assert json.loads(place.read_text())["revision"] == 1
    bucket.delete("a")
    bucket.put("stop", b"2")
    # The change that failed comes again; here, a newer one of its key has replaced it.
    assert run_until(cli, bucket, place, "--snapshot") == ["a= delete", "stop=2 put"]
    assert run_until(cli, bucket, place) == ["stop=2 put"]


def test_exec_gets_the_value_on_its_standard_input(
    cli: Cli, bucket: Bucket, tmp_path: Path
) -> None:
    value, copy = bytes(range(256)) * 600, tmp_path / "copy"
    bucket.put("k", value)
    cli.fails("kv", "watch", bucket.name, "--snapshot", "--exec", f"cat >{copy}; exit 1")
    assert copy.read_bytes() == value


def test_keep_going_goes_on_after_a_command_that_fails(cli: Cli, bucket: Bucket) -> None:
    bucket.put("a", b"1")
    bucket.put("b", b"1")
    command = 'echo "$JETKV_KEY"; exit 1'
    words = ("kv", "watch", bucket.name, "--snapshot", "--exec", command, "--keep-going")
    with cli.running(*words) as watch:
        assert [watch.line(), watch.line()] == ["a", "b"]
        bucket.put("c", b"1")
        assert watch.line() == "c"
        code, said = watch.interrupted()
    assert code == 130
    for key in ("a", "b"):
        assert f"warning: the command failed (1) for {key!r}" in said


def test_a_watch_that_is_stopped_before_any_change_resumes_from_there(
    cli: Cli, bucket: Bucket, tmp_path: Path
) -> None:
    place = tmp_path / "place"
    bucket.put("before", b"1")
    with cli.running("kv", "watch", bucket.name, "--resume", place) as watch:
        until(place.exists, "the place is stored")
        watch.interrupted()
    bucket.put("between", b"1")
    with cli.running("kv", "watch", bucket.name, "--resume", place) as watch:
        assert watch.object()["key"] == "between"


def test_a_place_of_another_bucket_is_refused(cli: Cli, make_bucket, tmp_path: Path) -> None:
    place = tmp_path / "place"
    bucket, other = make_bucket(), make_bucket()
    bucket.put("a", b"1")
    bucket.put("stop", b"1")
    run_until(cli, bucket, place, "--snapshot")
    code, line = cli.fails("kv", "watch", other.name, "--resume", place)
    assert (code, "belongs to a watch" in line) == (2, True)
    place.write_text('{"bucket": 1}')
    code, line = cli.fails("kv", "watch", bucket.name, "--resume", place)
    assert (code, "no file of `kv watch --resume`" in line) == (2, True)


def test_a_bucket_that_was_created_again_is_no_place_to_resume(
    cli: Cli, bucket: Bucket, tmp_path: Path
) -> None:
    place = tmp_path / "place"
    bucket.put("stop", b"1")
    bucket.put("stop", b"2")
    with cli.running("kv", "watch", bucket.name, "--resume", place):
        until(place.exists, "the place is stored")
    bucket.http.delete(bucket.path)
    bucket.http.post(BUCKETS, {"name": bucket.name})
    code, line = cli.fails("kv", "watch", bucket.name, "--resume", place)
    assert (code, f"remove {place}" in line) == (17, True)


def test_a_watch_of_an_unknown_bucket_ends(cli: Cli) -> None:
    assert cli.fails("kv", "watch", "nowhere")[0] == 10


def test_nobody_reads_on(cli: Cli, bucket: Bucket) -> None:
    for number in range(300):
        bucket.put(f"k{number}", bytes(1_000))
    with cli.running("kv", "watch", bucket.name, "--snapshot") as watch:
        head = subprocess.run(["head", "-n", "1"], stdin=watch.process.stdout, capture_output=True)
        assert watch.process.stdout is not None
        watch.process.stdout.close()
        assert json.loads(head.stdout)["key"] == "k0"
        assert watch.process.wait(30) == 141
        assert watch.process.stderr is not None
        assert watch.process.stderr.read() == b""


@pytest.mark.parametrize("format", ["value", "table"])
def test_nobody_reads_a_list_on(cli: Cli, bucket: Bucket, format: str) -> None:
    ops = [{"op": "put", "key": f"{number:>0200}", "text": ""} for number in range(900)]
    bucket.http.post(f"{bucket.path}/batch", {"atomic": False, "ops": ops})
    with cli.running("kv", "ls", bucket.name, "-o", format) as listing:
        assert listing.process.stdout is not None
        listing.process.stdout.read(1)
        listing.process.stdout.close()
        assert listing.process.wait(30) == 141
        assert listing.process.stderr is not None
        assert listing.process.stderr.read() == b""
