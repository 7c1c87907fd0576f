"""The history of a key: any two revisions compared, and restored."""

import json

import pytest
from playwright.sync_api import expect

from tests.browser.console.conftest import OpenConsole, Seen
from tests.support.http import Bucket


@pytest.fixture
def plans(make_bucket) -> Bucket:
    """A bucket with four revisions of a key, of which the third is text."""
    bucket = make_bucket(history=10)
    for plan in ("free", "pro"):
        value = json.dumps({"plan": plan, "name": "Ada"})
        bucket.put("user", value, Content_Type="application/json")
    bucket.put("user", "damaged", Content_Type="text/x-own")
    bucket.put("user", json.dumps({"name": "Ada", "plan": "team"}), Content_Type="application/json")
    return bucket


def history(bucket: Bucket, query: str = "") -> str:
    return f"#/b/{bucket.name}/k/user?tab=history{query}"


def test_revisions_are_listed_with_the_newest_first(
    open_console: OpenConsole, plans: Bucket
) -> None:
    page = open_console(history(plans))
    rows = page.get_by_role("table").first.get_by_role("row")
    expect(rows).to_have_count(5)
    expect(rows.nth(1)).to_contain_text("4 current")
    expect(rows.nth(4).get_by_role("link")).to_have_text("1")


def test_the_newest_two_are_compared_at_first_and_any_two_can_be(
    open_console: OpenConsole, plans: Bucket
) -> None:
    page = open_console(history(plans))
    expect(page.get_by_role("heading", name="Revision 3 compared with 4")).to_be_visible()
    page.get_by_label("Compare revision 1").check()
    expect(page.get_by_role("heading", name="Revision 1 compared with 4")).to_be_visible()
    expect(page.get_by_role("list", name="Changes by path")).to_have_text('plan "free" → "team"')
    differences = page.get_by_role("table", name="Differences")
    expect(differences.locator(".removed")).to_have_text('3-  "plan": "free"')
    expect(differences.locator(".added")).to_have_text('3+  "plan": "team"')
    assert "diff=1..4" in page.url


def test_a_comparison_has_an_address(open_console: OpenConsole, plans: Bucket) -> None:
    page = open_console(history(plans, "&diff=1..2"))
    expect(page.get_by_role("heading", name="Revision 1 compared with 2")).to_be_visible()
    expect(page.get_by_label("Compare revision 1")).to_be_checked()
    expect(page.get_by_label("with revision 2", exact=True)).to_be_checked()


def test_an_older_revision_can_be_looked_at(open_console: OpenConsole, plans: Bucket) -> None:
    page = open_console(history(plans))
    page.get_by_role("link", name="2", exact=True).click()
    expect(page.get_by_role("region", name="Value")).to_contain_text('"plan": "pro"')
    expect(page.get_by_text("This is revision 2")).to_be_visible()
    expect(page.get_by_role("button", name="Edit")).to_have_count(0)
    page.get_by_role("link", name="Show the newest").click()
    expect(page.get_by_role("region", name="Value")).to_contain_text('"plan": "team"')


def test_a_restore_shows_what_it_changes_and_keeps_the_content_type(
    open_console: OpenConsole, plans: Bucket
) -> None:
    page = open_console(history(plans))
    row = page.get_by_role("row").filter(has=page.get_by_role("link", name="3", exact=True))
    row.get_by_role("button", name="Restore…").click()
    dialog = page.get_by_role("dialog", name="Restore revision 3?")
    expect(dialog.get_by_role("table")).to_contain_text("damaged")
    assert plans.get("user").json["revision"] == 4
    dialog.get_by_role("button", name="Restore", exact=True).click()
    expect(page.get_by_role("cell", name="5 current")).to_be_visible()
    restored = plans.get("user", "?values=raw")
    assert (restored.body, restored.headers["content-type"]) == (b"damaged", "text/x-own")


def test_a_restore_that_somebody_else_has_overtaken_writes_nothing(
    open_console: OpenConsole, plans: Bucket, seen: Seen
) -> None:
    seen.expected.append("412")
    page = open_console(history(plans))
    row = page.get_by_role("row").filter(has=page.get_by_role("link", name="1", exact=True))
    row.get_by_role("button", name="Restore…").click()
    plans.put("user", "newer")
    page.get_by_role("dialog").get_by_role("button", name="Restore", exact=True).click()
    expect(page.get_by_role("dialog").get_by_role("alert")).to_contain_text("revision mismatch")
    assert plans.get("user").value == b"newer"


def test_a_deleted_key_can_be_brought_back(
    open_console: OpenConsole, plans: Bucket, seen: Seen
) -> None:
    seen.expected.append("404")
    plans.delete("user")
    page = open_console(f"#/b/{plans.name}/k/user")
    expect(page.get_by_text("This key has no value")).to_be_visible()
    page.get_by_role("link", name="History").click()
    expect(page.get_by_text("deleted", exact=False).first).to_be_visible()
    row = page.get_by_role("row").filter(has=page.get_by_role("link", name="4", exact=True))
    row.get_by_role("button", name="Restore…").click()
    page.get_by_role("dialog").get_by_role("button", name="Restore", exact=True).click()
    expect(page.get_by_role("cell", name="6 current")).to_be_visible()
    assert plans.get("user").json["revision"] == 6


def test_a_new_revision_comes_into_the_history_by_itself(
    open_console: OpenConsole, plans: Bucket
) -> None:
    page = open_console(history(plans))
    expect(page.get_by_role("cell", name="4 current")).to_be_visible()
    plans.put("user", "again")
    expect(page.get_by_role("cell", name="5 current")).to_be_visible()


def test_json_in_another_order_is_the_same_json(open_console: OpenConsole, make_bucket) -> None:
    bucket = make_bucket(history=2)
    bucket.put("user", '{"a":1,"b":2}')
    bucket.put("user", '{ "b": 2, "a": 1 }')
    page = open_console(history(bucket))
    expect(page.get_by_text("The JSON is the same.")).to_be_visible()


def test_bytes_are_compared_as_a_dump(open_console: OpenConsole, make_bucket) -> None:
    bucket = make_bucket(history=2)
    bucket.put("user", bytes(64))
    bucket.put("user", bytes(63) + b"\xff")
    page = open_console(history(bucket))
    expect(page.get_by_role("table", name="Differences").locator(".added")).to_contain_text("ff")


def test_a_bucket_without_a_history_says_what_would_help(
    open_console: OpenConsole, bucket: Bucket
) -> None:
    bucket.put("user", "x")
    page = open_console(history(bucket))
    expect(page.get_by_text("keeps one revision of each key")).to_be_visible()
    expect(page.get_by_role("button", name="Restore…")).to_have_count(0)
