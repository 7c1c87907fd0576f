"""Everybody can use the console: axe-core finds nothing, in both themes and at all widths."""

import json
from collections.abc import Callable

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.browser.console.conftest import OpenConsole
from tests.support.http import Bucket
from tests.support.waiting import until

PLACES: dict[str, Callable[[str], str]] = {
    "buckets": lambda bucket: "#/",
    "tree": lambda bucket: f"#/b/{bucket}",
    "list": lambda bucket: f"#/b/{bucket}?view=list",
    "entry": lambda bucket: f"#/b/{bucket}/k/a.b",
    "history": lambda bucket: f"#/b/{bucket}/k/a.b?tab=history",
    "settings": lambda bucket: f"#/b/{bucket}/settings",
    "me": lambda bucket: "#/me",
    "unknown": lambda bucket: "#/none",
}
THEMES = ["light", "dark"]
NARROW = (320, 640)
WIDE = (1280, 800)
OVERFLOW = """() => {
  const CUT = /auto|scroll|hidden|clip/;
  const wide = document.documentElement.clientWidth;
  const inScroller = (element) => {
    for (let one = element.parentElement; one; one = one.parentElement) {
      if (one.tagName !== "MAIN" && CUT.test(getComputedStyle(one).overflowX)) {
        return true;
      }
    }
    return false;
  };
  return [...document.querySelectorAll("body *")]
    .filter((one) => one.getBoundingClientRect().right > wide + 1 && !inScroller(one))
    .map((one) => one.outerHTML.slice(0, 120));
}"""


@pytest.fixture
def filled(make_bucket) -> Bucket:
    bucket: Bucket = make_bucket(history=5, ttl_seconds=3600, expiry_markers=False)
    for n in range(3):
        bucket.put("a.b", json.dumps({"n": n}))
    for key in ("a.c", "d/e", "a-rather-long-key-that-has-no-place-to-break-it-anywhere-" * 3):
        bucket.put(key, "x")
    return bucket


def settle(page: Page) -> None:
    """Wait until the view is there, and nothing moves any more."""
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    until(lambda: page.evaluate("document.getAnimations().length === 0"), "nothing moves")


def violations(page: Page) -> list[str]:
    found = Axe().run(page).response["violations"]
    return [
        f"{one['id']}: {node['html'][:160]} {node['failureSummary'][:200]}"
        for one in found
        for node in one["nodes"]
    ]


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("place", PLACES)
def test_axe_finds_nothing(
    open_console: OpenConsole, filled: Bucket, place: str, theme: str
) -> None:
    page = open_console(PLACES[place](filled.name), theme=theme)
    settle(page)
    if place == "tree":
        page.locator(".row.group").first.click()
        page.get_by_role("treegrid").focus()
    assert violations(page) == []


@pytest.mark.parametrize("theme", THEMES)
def test_axe_finds_nothing_in_the_help(open_console: OpenConsole, theme: str) -> None:
    page = open_console(theme=theme)
    settle(page)
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()
    assert violations(page) == []


@pytest.mark.parametrize("place", PLACES)
def test_nothing_is_wider_than_a_narrow_screen(
    open_console: OpenConsole, filled: Bucket, place: str
) -> None:
    page = open_console(PLACES[place](filled.name), size=NARROW)
    settle(page)
    assert page.evaluate(OVERFLOW) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= NARROW[0]
    assert violations(page) == []


@pytest.mark.parametrize("place", PLACES)
def test_a_very_wide_screen_is_used_without_harm(
    open_console: OpenConsole, filled: Bucket, place: str
) -> None:
    page = open_console(PLACES[place](filled.name), size=(2560, 1200))
    settle(page)
    assert page.evaluate(OVERFLOW) == []


def test_the_theme_is_the_systems_until_it_is_chosen(open_console: OpenConsole) -> None:
    page = open_console(theme="dark")
    settle(page)
    ground = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(ground)
    button = page.get_by_role("button", name="Theme: system")
    button.click()
    expect(page.get_by_role("button", name="Theme: light")).to_be_visible()
    light = page.evaluate(ground)
    assert light != dark
    page.reload()
    expect(page.get_by_role("button", name="Theme: light")).to_be_visible()
    assert page.evaluate(ground) == light
    page.keyboard.press("t")
    assert page.evaluate(ground) == dark


def test_the_page_has_landmarks_and_one_heading(open_console: OpenConsole, filled: Bucket) -> None:
    page = open_console(f"#/b/{filled.name}")
    settle(page)
    for role in ("banner", "navigation", "main", "search"):
        expect(page.get_by_role(role)).to_have_count(1)
    expect(page.get_by_role("heading", level=1)).to_have_count(1)
    expect(page.locator("[aria-current=page]")).to_have_text(filled.name)
    expect(page).to_have_title(f"{filled.name} · jetkv")


def test_the_first_tab_leads_past_the_header(open_console: OpenConsole, filled: Bucket) -> None:
    page = open_console(f"#/b/{filled.name}")
    settle(page)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("main")).to_be_focused()
