"""Many keys at once: deleted after a count, and downloaded as a file that `jetkv import` reads."""

import gzip
import json
import subprocess
import sys
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.console.conftest import OpenConsole, Seen
from tests.support.http import Bucket


def open_dialog(page: Page, button: str, bucket: Bucket) -> None:
    """Open a dialog of the page of the keys."""
    page.get_by_role("button", name=button).click()
    expect(page.get_by_role("dialog")).to_contain_text(bucket.name)


def download(page: Page, tmp_path: Path) -> Path:
    with page.expect_download() as found:
        page.get_by_role("dialog").get_by_role("button", name="Download").click()
    file = tmp_path / found.value.suggested_filename
    found.value.save_as(file)
    return file


def imported(file: Path, bucket: Bucket, *options: str) -> None:
    program = Path(sys.executable).parent / "jetkv"
    command = [program, "import", "--url", bucket.http.url, bucket.name, file, "--verify", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def pets(make_bucket) -> Bucket:
    bucket = make_bucket(history=3)
    bucket.put("cat.1", '{"legs":4}', Content_Type="application/json")
    bucket.put("cat.2", b"\x00\xff")
    bucket.put("cat.1", "", Content_Type="text/plain")
    bucket.put("dög *>", "wuff")
    bucket.put("gone", "x")
    bucket.delete("gone")
    bucket.put("lease", "x", JetKV_TTL_Seconds="4000", If_None_Match="*")
    return bucket


@pytest.mark.parametrize("packed", [True, False], ids=["gzip", "plain"])
def test_an_export_is_imported_byte_for_byte(
    open_console: OpenConsole, pets: Bucket, make_bucket, tmp_path: Path, packed: bool
) -> None:
    page = open_console(f"#/b/{pets.name}/settings")
    open_dialog(page, "Export…", pets)
    page.get_by_label("Compressed").set_checked(packed)
    file = download(page, tmp_path)
    assert file.name == f"{pets.name}.ndjson{'.gz' if packed else ''}"
    other = make_bucket()
    imported(file, other)
    names = pets.keys()
    assert other.keys() == names == ["cat.1", "cat.2", "dög *>", "lease"]
    for key in names:
        mine, theirs = pets.get(key, "?values=raw"), other.get(key, "?values=raw")
        assert theirs.body == mine.body
        assert theirs.headers.get("content-type") == mine.headers.get("content-type")
    assert "expires_at" in other.get("lease").json


def test_an_export_of_a_prefix_with_histories_has_them(
    open_console: OpenConsole, pets: Bucket, make_bucket, tmp_path: Path
) -> None:
    page = open_console(f"#/b/{pets.name}/settings")
    open_dialog(page, "Export…", pets)
    page.get_by_label("Keys", exact=True).fill("cat.")
    page.get_by_label("All stored revisions").check()
    file = download(page, tmp_path)
    lines = [json.loads(line) for line in gzip.decompress(file.read_bytes()).splitlines()]
    assert (lines[0]["prefix"], lines[0]["history"]) == ("cat.", True)
    assert [line["key"] for line in lines[1:-1]] == ["cat.1", "cat.2", "cat.1"]
    other = make_bucket(history=3)
    imported(file, other)
    assert len(other.history("cat.1").json["entries"]) == 2


def test_an_export_of_many_keys_is_whole(
    open_console: OpenConsole, make_bucket, tmp_path: Path
) -> None:
    bucket = make_bucket()
    for start in range(0, 5_000, 1_000):
        ops = [
            {"op": "put", "key": f"k{n}", "text": "x" * (n % 300)}
            for n in range(start, start + 1_000)
        ]
        assert bucket.http.post(f"{bucket.path}/batch", {"ops": ops}).status == 200
    page = open_console(f"#/b/{bucket.name}/settings")
    open_dialog(page, "Export…", bucket)
    file = download(page, tmp_path)
    other = make_bucket()
    imported(file, other)
    assert other.keys() == bucket.keys()


def test_an_empty_bucket_has_an_export(
    open_console: OpenConsole, bucket: Bucket, make_bucket, tmp_path: Path
) -> None:
    page = open_console(f"#/b/{bucket.name}/settings")
    open_dialog(page, "Export…", bucket)
    imported(download(page, tmp_path), make_bucket())


def test_keys_are_counted_before_they_are_deleted(
    open_console: OpenConsole, bucket: Bucket
) -> None:
    for n in range(12):
        bucket.put(f"cat.{n}", "x")
    bucket.put("dog", "x")
    page = open_console(f"#/b/{bucket.name}")
    open_dialog(page, "Delete many…", bucket)
    page.get_by_label("Keys", exact=True).fill("cat.")
    page.get_by_role("button", name="Count them").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("12 keys match")
    expect(dialog.get_by_role("listitem")).to_have_count(10)
    assert len(bucket.keys()) == 13
    delete = dialog.get_by_role("button", name="Delete 12 keys")
    expect(delete).to_be_disabled()
    dialog.get_by_label("Type 12 to delete them").fill("11")
    expect(delete).to_be_disabled()
    dialog.get_by_label("Type 12 to delete them").fill("12")
    delete.click()
    expect(page.get_by_role("status").filter(has_text="Deleted 12 keys")).to_be_visible()
    assert bucket.keys() == ["dog"]


def test_another_selection_wants_another_count(open_console: OpenConsole, bucket: Bucket) -> None:
    bucket.put("cat", "x")
    page = open_console(f"#/b/{bucket.name}")
    open_dialog(page, "Delete many…", bucket)
    page.get_by_label("Keys", exact=True).fill("cat")
    page.get_by_role("button", name="Count them").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("button", name="Delete 1 key")).to_be_visible()
    page.get_by_label("Keys", exact=True).fill("")
    expect(dialog.get_by_role("button", name="Delete 1 key")).to_have_count(0)
    page.get_by_label("Keys", exact=True).fill("cow")
    page.get_by_role("button", name="Count them").click()
    expect(dialog).to_contain_text("No key matches")


def test_a_filter_that_is_wrong_is_refused_with_the_reason(
    open_console: OpenConsole, bucket: Bucket, seen: Seen
) -> None:
    seen.expected.append("400")
    page = open_console(f"#/b/{bucket.name}")
    open_dialog(page, "Delete many…", bucket)
    page.get_by_role("dialog").get_by_label("Which keys").select_option("filter")
    page.get_by_label("Keys", exact=True).fill("a.>.b")
    page.get_by_role("button", name="Count them").click()
    expect(page.get_by_role("dialog").get_by_role("alert")).to_contain_text("filter")
