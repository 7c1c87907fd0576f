"""The shell of the console: places, links and the header."""

from playwright.sync_api import Browser, expect

from tests.browser.console.conftest import OpenConsole
from tests.support.http import Bucket, Http


def test_the_buckets_are_listed_and_lead_to_their_keys(
    open_console: OpenConsole, bucket: Bucket
) -> None:
    bucket.put("user-1", "x")
    page = open_console()
    page.get_by_role("link", name=bucket.name).click()
    expect(page.get_by_role("heading", level=1)).to_have_text(bucket.name)
    expect(page.get_by_role("link", name="user-1")).to_be_visible()


def test_a_page_of_which_a_script_is_missing_says_so(
    open_console: OpenConsole, browser: Browser, http: Http
) -> None:
    page = browser.new_page()
    page.route("**/console/diff.js", lambda route: route.abort())
    page.goto(f"{http.url}/console")
    expect(page.get_by_text("The console does not load. Reload the page.")).to_be_visible()
    page.close()
    page = open_console()
    expect(page.get_by_role("heading", level=1)).to_have_text("Buckets")
    expect(page.get_by_text("The console does not load.")).to_have_count(0)
