"""Values that expire: counting down, renewed, kept through an edit, and gone."""

import re

from playwright.sync_api import expect

from tests.browser.console.conftest import OpenConsole, Seen
from tests.support.http import Bucket


def seconds_left(text: str) -> int:
    units = {"h": 3600, "m": 60, "s": 1}
    return sum(int(n) * units[unit] for n, unit in re.findall(r"(\d+)([hms])", text))


def test_the_time_that_is_left_counts_down(open_console: OpenConsole, bucket: Bucket) -> None:
    bucket.put("lease", "x", JetKV_TTL_Seconds="4000")
    page = open_console(f"#/b/{bucket.name}/k/lease")
    left = page.locator(".facts time[data-kind=left]")
    first = left.inner_text()
    expect(left).not_to_have_text(first)
    assert 3_900 < seconds_left(left.inner_text()) < seconds_left(first) <= 4_000


def test_a_value_that_expires_goes_from_the_page(
    open_console: OpenConsole, bucket: Bucket, seen: Seen
) -> None:
    seen.expected.append("404")
    bucket.put("lease", "first")
    page = open_console(f"#/b/{bucket.name}/k/lease")
    expect(page.get_by_role("region", name="Value")).to_have_text("first")
    bucket.put("lease", "last", JetKV_TTL_Seconds="4")
    expect(page.get_by_role("region", name="Value")).to_have_text("last")
    expect(page.get_by_text("This key has no value")).to_be_visible()


def test_a_value_can_be_renewed(open_console: OpenConsole, bucket: Bucket) -> None:
    bucket.put("lease", "x", JetKV_TTL_Seconds="60", Content_Type="text/x-own")
    page = open_console(f"#/b/{bucket.name}/k/lease")
    page.get_by_role("button", name="Renew…").click()
    field = page.get_by_label("The value expires after")
    expect(field).to_have_value("1m")
    field.fill("soon")
    page.get_by_role("button", name="Renew", exact=True).click()
    expect(page.get_by_role("alert").filter(has_text="Write a time")).to_be_visible()
    field.fill("2h")
    page.get_by_role("button", name="Renew", exact=True).click()
    expect(page.locator(".facts time[data-kind=left]")).to_contain_text("1h 59m")
    answer = bucket.get("lease", "?values=raw")
    assert (answer.body, answer.headers["content-type"]) == (b"x", "text/x-own")


def test_an_edit_keeps_the_time_that_is_left(open_console: OpenConsole, bucket: Bucket) -> None:
    bucket.put("lease", "x", JetKV_TTL_Seconds="4000")
    page = open_console(f"#/b/{bucket.name}/k/lease")
    page.get_by_role("button", name="Edit").click()
    expect(page.get_by_label("Expires", exact=True)).to_have_value("keep")
    page.get_by_role("textbox", name="Value").fill("y")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("region", name="Value")).to_have_text("y")
    assert 3_800 < seconds_left(page.locator(".facts time[data-kind=left]").inner_text()) <= 4_000


def test_a_new_key_can_expire(open_console: OpenConsole, bucket: Bucket, seen: Seen) -> None:
    seen.expected.append("404")
    page = open_console(f"#/b/{bucket.name}/k/lease")
    page.get_by_role("button", name="Create it").click()
    page.get_by_role("textbox", name="Value").fill("x")
    page.get_by_label("Expires", exact=True).select_option("after")
    page.get_by_label("Time to live").fill("90s")
    page.get_by_role("button", name="Save").click()
    expect(page.locator(".facts time[data-kind=left]")).to_contain_text("1m")
    assert "expires_at" in bucket.get("lease").json


def test_in_a_bucket_with_a_history_the_form_says_what_an_edit_does_to_a_ttl(
    open_console: OpenConsole, make_bucket
) -> None:
    bucket = make_bucket(history=5)
    bucket.put("lease", "x", JetKV_TTL_Seconds="4000", If_None_Match="*")
    page = open_console(f"#/b/{bucket.name}/k/lease")
    page.get_by_role("button", name="Edit").click()
    expect(page.get_by_text("has the time to live of the bucket")).to_be_visible()
    expect(page.get_by_label("Expires", exact=True)).to_have_count(0)
