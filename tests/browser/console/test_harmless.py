"""What is stored can never run, no other host is asked, and the policy is in force."""

import re

import pytest
from playwright.sync_api import expect

from tests.browser.console.conftest import OpenConsole, Seen
from tests.support.http import BUCKETS, Bucket, Http

HOSTILE = [
    "<img src=x onerror=hurt()>",
    "<script>hurt()</script>",
    '"><svg onload=hurt()>',
    "javascript:hurt()",
    "{{constructor.constructor('hurt()')()}}",
]
COUNT_HARM = "() => { window.harm = 0; window.hurt = () => { window.harm += 1 }; }"


@pytest.mark.parametrize("view", ["tree", "list"])
def test_a_hostile_key_is_text_in_the_list(
    open_console: OpenConsole, bucket: Bucket, view: str
) -> None:
    for key in HOSTILE:
        bucket.put(key, key)
    page = open_console(f"#/b/{bucket.name}?view={view}")
    page.evaluate(COUNT_HARM)
    shown = page.locator(".rows .name")
    expect(shown).to_have_count(len(HOSTILE) if view == "list" else 5)
    if view == "list":
        for key in HOSTILE:
            expect(shown.get_by_text(key, exact=True)).to_be_visible()
    assert page.evaluate("document.querySelectorAll('main script, main img').length") == 0
    assert page.evaluate("window.harm") == 0


@pytest.mark.parametrize(
    ("text", "media"),
    [
        (HOSTILE[0], "text/html"),
        (HOSTILE[1], "application/json"),
        (HOSTILE[2], "image/svg+xml"),
        (HOSTILE[3], "text/uri-list"),
    ],
)
def test_a_hostile_value_is_text_on_every_tab(
    open_console: OpenConsole, bucket: Bucket, text: str, media: str
) -> None:
    bucket.put(text, text, Content_Type=media)
    page = open_console(f"#/b/{bucket.name}?view=list")
    page.evaluate(COUNT_HARM)
    page.locator(".rows .name").get_by_text(text, exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_have_text(text)
    expect(page.locator("main")).to_contain_text(text)
    for tab in ("JSON", "Bytes", "Text"):
        button = page.get_by_role("button", name=tab, exact=True)
        if button.count() and button.is_enabled():
            button.click()
    page.get_by_role("link", name=re.compile("History")).click()
    assert (
        page.evaluate(
            "document.querySelectorAll('main script, main img, main a[href^=java]').length"
        )
        == 0
    )
    assert page.evaluate("window.harm") == 0


def test_a_hostile_description_and_address_are_text(
    open_console: OpenConsole, http: Http, make_bucket
) -> None:
    bucket = make_bucket(description=HOSTILE[0])
    page = open_console(f"#/?find={HOSTILE[1]}")
    page.evaluate(COUNT_HARM)
    expect(page.get_by_role("searchbox", name="Find a bucket")).to_have_value(HOSTILE[1])
    page.get_by_role("searchbox", name="Find a bucket").fill("")
    expect(page.locator(f"tr[data-bucket='{bucket.name}']")).to_contain_text(HOSTILE[0])
    assert page.evaluate("window.harm") == 0


def test_the_policy_keeps_the_page_itself_from_making_html_of_text(
    open_console: OpenConsole, seen: Seen
) -> None:
    seen.expected += ["TrustedHTML", "Trusted Type", "Content Security Policy"]
    page = open_console()
    refused = page.evaluate(
        """() => {
          try { document.body.innerHTML = "<b>x</b>"; } catch (error) { return error.name; }
          return "";
        }"""
    )
    assert refused == "TypeError"
    assert page.evaluate(
        """() => new Promise((resolve) => {
          addEventListener("securitypolicyviolation", (event) => resolve(event.effectiveDirective));
          fetch("https://example.org/").catch(() => {});
        })"""
    ) in ("connect-src", "require-trusted-types-for")


def test_every_place_asks_its_own_gateway_only(
    open_console: OpenConsole, http: Http, bucket: Bucket, seen: Seen
) -> None:
    bucket.put("a.b", "https://example.org/x.png")
    page = open_console()
    for place in (
        f"#/b/{bucket.name}",
        f"#/b/{bucket.name}?view=list",
        f"#/b/{bucket.name}/k/a.b",
        f"#/b/{bucket.name}/k/a.b?tab=history",
        f"#/b/{bucket.name}/settings",
        "#/me",
        "#/",
    ):
        page.goto(f"{http.url}/console{place}")
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        page.wait_for_load_state("load")
    assert any(BUCKETS in url for url in seen.requests)
    assert {url.split("/")[2] for url in seen.requests} == {f"{http.host}:{http.port}"}
