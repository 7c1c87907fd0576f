"""`jetkv kv edit`, with an editor that is a shell script."""

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from jetkv.models import parse_time
from tests.cli.data import Cli
from tests.cli.terminal import terminal
from tests.support.http import Bucket


@pytest.fixture
def editor(cli: Cli, tmp_path: Path):
    """Make the editor do what a line of shell says; `$1` is the file."""

    def does(line: str) -> None:
        script = tmp_path / "editor"
        script.write_text(f"#!/bin/sh\n{line}\n")
        script.chmod(0o700)
        cli.environment["VISUAL"] = str(script)

    return does


def test_what_is_saved_is_stored_with_its_content_type(cli: Cli, bucket: Bucket, editor) -> None:
    bucket.put("k", b'{"a":1}', **{"Content-Type": "application/vnd.shop+json"})
    editor("""printf '{"a":2}' >"$1" """)
    assert cli("kv", "edit", bucket.name, "k").text == "2\n"
    answer = bucket.get("k", "?values=raw")
    assert (answer.body, answer.headers["content-type"]) == (
        b'{"a":2}',
        "application/vnd.shop+json",
    )


def test_a_value_of_another_client_gets_the_type_of_its_bytes(
    cli: Cli, bucket: Bucket, editor
) -> None:
    bucket.put("k", b"41")  # as other NATS clients store it: without a content type
    editor("printf 42 >$1")
    cli("kv", "edit", bucket.name, "k")
    assert bucket.get("k", "?values=json").json["value"] == 42


def test_a_file_that_is_left_as_it_is_stores_nothing(cli: Cli, bucket: Bucket, editor) -> None:
    bucket.put("k", b"v")
    editor("true")
    assert "nothing was changed" in cli("kv", "edit", bucket.name, "k").err
    assert bucket.get("k").json["revision"] == 1


def test_a_key_without_a_value_is_created(cli: Cli, bucket: Bucket, editor) -> None:
    editor("printf new >$1")
    cli("kv", "edit", bucket.name, "k")
    assert bucket.get("k").value == b"new"


def test_a_lost_race_stores_nothing_shows_both_and_keeps_yours(
    cli: Cli, bucket: Bucket, editor, tmp_path: Path
) -> None:
    cli.environment["TMPDIR"] = str(tmp_path)
    bucket.put("k", b"old\n")
    editor(f'{rival(cli, bucket)}; echo yours >"$1"')
    ended = cli.try_("kv", "edit", bucket.name, "k")
    assert ended.code == 11
    assert "-theirs" in ended.err
    assert "+yours" in ended.err
    assert bucket.get("k").value == b"theirs\n"
    kept = Path(ended.err.split("your version is kept in ")[1].split()[0])
    assert kept.read_bytes() == b"yours\n"
    assert kept.stat().st_mode & 0o077 == 0
    kept.unlink()


def test_a_lost_race_can_be_won_by_choice(cli: Cli, bucket: Bucket, editor) -> None:
    bucket.put("k", b"old\n")
    editor(f'{rival(cli, bucket)}; echo yours >"$1"')
    with terminal(cli, "kv", "edit", bucket.name, "k") as shown:
        shown.wait_for("[o]verwrite theirs")
        assert "-theirs" in shown.plain
        shown.type("o\n")
        assert shown.ended() == 0
    assert bucket.get("k").value == b"yours\n"


def test_json_that_is_broken_is_asked_about(cli: Cli, bucket: Bucket, editor) -> None:
    bucket.put("k", b"{}", **{"Content-Type": "application/json"})
    editor("echo '{' >$1")
    ended = cli.try_("kv", "edit", bucket.name, "k")
    assert (ended.code, "no valid JSON" in ended.err) == (2, True)
    assert bucket.get("k").value == b"{}"


def test_the_new_value_expires_when_the_old_one_would_have(
    cli: Cli, bucket: Bucket, editor
) -> None:
    cli("kv", "put", bucket.name, "k", "v", "--ttl", "1h")
    cli("kv", "touch", bucket.name, "k", "--ttl", "1d")
    before = expiry(cli, bucket)
    editor("printf w >$1")
    cli("kv", "edit", bucket.name, "k")
    # TTLs are whole seconds.
    assert abs(expiry(cli, bucket) - before) <= timedelta(seconds=2)
    editor("printf x >$1")
    cli("kv", "edit", bucket.name, "k", "--drop-ttl")
    assert "expires_at" not in cli("kv", "get", bucket.name, "k", "--json").json


@pytest.mark.parametrize(
    ("value", "headers"), [(b"\xff", {}), (b"text", {"Content-Encoding": "br"})]
)
def test_bytes_are_not_opened_in_an_editor(
    cli: Cli, bucket: Bucket, editor, value: bytes, headers: dict[str, str]
) -> None:
    bucket.put("k", value, **headers)
    editor("echo broken >$1")
    code, line = cli.fails("kv", "edit", bucket.name, "k")
    assert (code, "kv update --file FILE --revision 1" in line) == (2, True)
    assert bucket.get("k").value == value


def test_an_editor_that_fails_stores_nothing(cli: Cli, bucket: Bucket, editor) -> None:
    bucket.put("k", b"v")
    editor("echo w >$1; exit 3")
    ended = cli.try_("kv", "edit", bucket.name, "k")
    assert (ended.code, "ended with 3; nothing was stored" in ended.err) == (19, True)
    cli.environment["VISUAL"] = "/nowhere/editor"
    assert cli.fails("kv", "edit", bucket.name, "k")[0] == 19
    assert bucket.get("k").value == b"v"


def expiry(cli: Cli, bucket: Bucket) -> datetime:
    return parse_time(cli("kv", "get", bucket.name, "k", "--json").json["expires_at"])


def rival(cli: Cli, bucket: Bucket) -> str:
    """Return a line of shell with which somebody else writes the key once."""
    url = f"{cli.environment['JETKV_URL']}{bucket.key('k')}"
    program = (
        f"import urllib.request as u; u.urlopen(u.Request('{url}', b'theirs\\n', method='PUT'))"
    )
    return f'python3 -c "{program}"'
