"""What people at a terminal see of the commands that work with data."""

import pytest

from tests.cli.data import Cli
from tests.cli.terminal import terminal
from tests.support.http import Bucket


def test_a_list_is_a_table_with_colours(cli: Cli, bucket: Bucket) -> None:
    bucket.put("user:1", b"ada", **{"Content-Type": "text/plain"})
    with terminal(cli, "kv", "ls", bucket.name) as shown:
        assert shown.ended() == 0
    assert "\x1b[1m" in shown.shown
    header, row = shown.plain.splitlines()
    assert header.split() == ["KEY", "REVISION", "SIZE", "TYPE", "WRITTEN", "EXPIRES"]
    assert row.split()[:5] == ["user:1", "1", "3", "B", "text/plain"]


def test_no_color_means_none(cli: Cli, bucket: Bucket) -> None:
    bucket.put("user:1", b"ada")
    with terminal(cli, "kv", "ls", bucket.name, NO_COLOR="1", TERM="dumb") as shown:
        assert shown.ended() == 0
    assert "\x1b" not in shown.shown


def test_get_ends_the_line_of_a_text(cli: Cli, bucket: Bucket) -> None:
    bucket.put("k", b"ada")
    with terminal(cli, "kv", "get", bucket.name, "k") as shown:
        assert shown.ended() == 0
    assert shown.plain == "ada\n"


@pytest.mark.parametrize("value", [b"\xff", b"\x1b[2J"])
def test_get_keeps_bytes_from_the_terminal(cli: Cli, bucket: Bucket, value: bytes) -> None:
    bucket.put("k", value)
    with terminal(cli, "kv", "get", bucket.name, "k") as shown:
        assert shown.ended() == 2
    assert "> FILE" in shown.plain
    assert "-o json" in shown.plain
    assert "\x1b" not in shown.shown


def test_rm_does_what_the_answer_says(cli: Cli, bucket: Bucket) -> None:
    for key in ("a.1", "a.2"):
        bucket.put(key, b"v")
    with terminal(cli, "kv", "rm", bucket.name, "--prefix", "a.") as shown:
        shown.wait_for(f"Delete 2 keys of {bucket.name}? [y/N] ")
        shown.type("\n")
        assert shown.ended() == 18
    assert bucket.keys() == ["a.1", "a.2"]
    with terminal(cli, "kv", "rm", bucket.name, "a.1") as shown:
        shown.wait_for(f"Delete 'a.1' in bucket {bucket.name}? [y/N] ")
        shown.type("y\n")
        assert shown.ended() == 0
    assert bucket.keys() == ["a.2"]


def test_put_without_a_value_says_where_one_can_come_from(cli: Cli, bucket: Bucket) -> None:
    with terminal(cli, "kv", "put", bucket.name, "k") as shown:
        assert shown.ended() == 2
    assert "--file" in shown.plain


def test_ctrl_c_at_a_question_changes_nothing(cli: Cli, bucket: Bucket) -> None:
    bucket.put("k", b"v")
    with terminal(cli, "kv", "rm", bucket.name, "k") as shown:
        shown.wait_for("[y/N] ")
        shown.type("\x03")
        assert shown.ended() == 130
    assert "Traceback" not in shown.plain
    assert bucket.keys() == ["k"]
