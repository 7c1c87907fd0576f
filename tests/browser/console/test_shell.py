"""The shell of the console: places, links and the header."""

from playwright.sync_api import expect

from tests.browser.console.conftest import OpenConsole
from tests.support.http import Bucket


def test_the_buckets_are_listed_and_lead_to_their_keys(
    open_console: OpenConsole, bucket: Bucket
) -> None:
    bucket.put("user-1", "x")
    page = open_console()
    page.get_by_role("link", name=bucket.name).click()
    expect(page.get_by_role("heading", level=1)).to_have_text(bucket.name)
    expect(page.get_by_role("link", name="user-1")).to_be_visible()
