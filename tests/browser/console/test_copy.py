"""Commands that the console gives to copy: each runs, whatever key and value have in them."""

import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.sync_api import Page, expect

from jetkv_gateway.kv.keys import encode
from tests.browser.console.conftest import OpenConsole
from tests.support.http import Bucket, Http

KEYS = ["user:1", 'it\'s a $HOME `key` \\ "x" é😀', "-n", "a/../b", "%41?#&=3D"]
VALUES = {
    "json": (b'{"on":true,"list":[null,1.5,"it\'s $HOME"],"e":{}}', "application/json"),
    "text": ("-x 'quoted' \"$HOME\" `id` \\ ü\nline two!".encode(), "text/plain; charset=utf-8"),
    "bytes": (b"\x00\xff\x1b'\"\\\r\n", "application/octet-stream"),
    "at": (b"@/etc/hostname", ""),
    "empty": (b"", ""),
}


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    """An environment in which the commands of this project are found, and no settings of others."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {"PATH": path, "HOME": str(tmp_path), "LANG": "C.UTF-8"}


def copied(page: Page, language: str, action: str) -> str:
    """Copy a command by the dialog, and return what the clipboard has."""
    page.get_by_role("button", name="Copy as…").click()
    dialog = page.get_by_role("dialog", name="Copy as")
    dialog.get_by_role("button", name=language, exact=True).click()
    dialog.get_by_role("button", name=action, exact=True).click()
    dialog.get_by_role("button", name="Copy", exact=True).click()
    expect(dialog).to_have_count(0)
    return page.evaluate("navigator.clipboard.readText()")


def run(language: str, command: str, http: Http, home: dict[str, str]) -> bytes:
    argv = [sys.executable, "-c", command] if language == "Python" else ["sh", "-c", command]
    env = home | {"JETKV_URL": http.url}
    done = subprocess.run(argv, env=env, capture_output=True, timeout=60)
    assert done.returncode == 0, (command, done.stderr)
    return done.stdout


def place(bucket: Bucket, key: str) -> str:
    return f"#/b/{bucket.name}/k/{quote(key, safe='')}"


@pytest.mark.parametrize("kind", VALUES)
@pytest.mark.parametrize("language", ["curl", "Python", "jetkv kv"])
def test_a_write_stores_the_same_value_with_its_type(
    open_console: OpenConsole, bucket: Bucket, home: dict[str, str], language: str, kind: str
) -> None:
    value, content_type = VALUES[kind]
    key = KEYS[1]
    headers = {"Content_Type": content_type} if content_type else {}
    bucket.put(key, value, **headers)
    page = open_console(place(bucket, key))
    command = copied(page, language, "Write")
    page.close()
    bucket.delete(key)
    run(language, command, bucket.http, home)
    answer = bucket.get(key, "?values=raw")
    assert answer.body == value
    if content_type and language != "Python":
        assert answer.headers["content-type"] == content_type


@pytest.mark.parametrize("key", KEYS, ids=range(len(KEYS)))
@pytest.mark.parametrize("language", ["curl", "Python", "jetkv kv"])
def test_a_read_gives_the_value_of_the_key(
    open_console: OpenConsole, bucket: Bucket, home: dict[str, str], language: str, key: str
) -> None:
    bucket.put(key, "the value", Content_Type="text/plain")
    page = open_console(place(bucket, key))
    command = copied(page, language, "Read")
    assert run(language, command, bucket.http, home).strip() == b"the value"


@pytest.mark.parametrize("language", ["curl", "Python"])
def test_a_delete_deletes_the_key(
    open_console: OpenConsole, bucket: Bucket, home: dict[str, str], language: str
) -> None:
    bucket.put(KEYS[1], "x")
    page = open_console(place(bucket, KEYS[1]))
    command = copied(page, language, "Delete")
    page.close()
    run(language, command, bucket.http, home)
    assert bucket.get(KEYS[1]).status == 404


@pytest.mark.parametrize("kind", VALUES)
def test_nats_kv_gets_the_name_that_nats_has_for_the_key_and_the_value_as_it_is(
    open_console: OpenConsole, bucket: Bucket, home: dict[str, str], tmp_path: Path, kind: str
) -> None:
    value, _ = VALUES[kind]
    bucket.put(KEYS[1], value)
    # The program `nats` is not here, so one that writes down how it was called stands for it.
    program = tmp_path / "nats"
    program.write_text(
        '#!/bin/sh\nprintf "%s\\0" "$@" > called\nif [ $# -lt 6 ]; then cat > stdin; fi\n'
    )
    program.chmod(0o755)
    page = open_console(place(bucket, KEYS[1]))
    command = copied(page, "nats kv", "Write")
    env = home | {"PATH": f"{tmp_path}:{home['PATH']}"}
    subprocess.run(["sh", "-c", command], env=env, cwd=tmp_path, timeout=60, check=True)
    arguments = (tmp_path / "called").read_bytes().split(b"\0")[:-1]
    words = [b"kv", b"put", bucket.name.encode()]
    name = encode(KEYS[1]).encode()
    if len(arguments) == 6:
        assert arguments == [*words, b"--", name, value]
    else:
        assert arguments == [*words, name]
        assert (tmp_path / "stdin").read_bytes() == value


def test_a_large_value_is_read_from_a_file_by_the_command(
    open_console: OpenConsole, bucket: Bucket, home: dict[str, str]
) -> None:
    bucket.put("big", b"x" * 20_000)
    page = open_console(place(bucket, "big"))
    assert copied(page, "curl", "Write").endswith("--data-binary @FILE")


def test_the_value_itself_is_copied(open_console: OpenConsole, bucket: Bucket) -> None:
    bucket.put("flag", '{"on": true}\n')
    page = open_console(place(bucket, "flag"))
    page.get_by_role("button", name="Copy value").click()
    expect(page.get_by_role("status").filter(has_text="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == '{"on": true}\n'


def test_a_value_can_be_downloaded_byte_for_byte_under_a_harmless_name(
    open_console: OpenConsole, bucket: Bucket
) -> None:
    bucket.put("../x/evil.html", b"<script>\xff")
    page = open_console(place(bucket, "../x/evil.html"))
    with page.expect_download() as download:
        page.get_by_role("button", name="Download").click()
    assert Path(download.value.path()).read_bytes() == b"<script>\xff"
    assert "/" not in download.value.suggested_filename
    assert not download.value.suggested_filename.startswith(".")
