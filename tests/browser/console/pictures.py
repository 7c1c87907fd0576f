"""Make the pictures of docs/console.md: `python -m tests.browser.console.pictures`.

A gateway and a browser of this machine show the same few buckets, in both themes.
"""

import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, expect, sync_playwright

from jetkv.testing import LocalNats
from tests.browser.console.conftest import ARGUMENTS
from tests.support.gateway import running_gateway
from tests.support.http import BUCKETS, Bucket, Http

FOLDER = Path(__file__).parents[3] / "docs" / "pictures"
THEMES = ("light", "dark")
MOST_BYTES = 150 * 1024
_SIZE = {"width": 1100, "height": 700}


def _fill(http: Http) -> None:
    """Make the buckets that the pictures show."""
    for bucket in (
        {"name": "feature-flags", "history": 10, "description": "Who sees what"},
        {"name": "sessions", "ttl_seconds": 43_200},
        {"name": "config", "history": 5, "protected": True},
    ):
        assert http.post(BUCKETS, bucket).status == 201
    flags, sessions, config = (
        Bucket(http, name) for name in ("feature-flags", "sessions", "config")
    )
    for rollout, owner in ((0, "ada"), (0.1, "ada"), (0.5, "grace")):
        value = {"enabled": True, "rollout": rollout, "owner": owner, "regions": ["eu", "us"]}
        flags.put("checkout.new-basket", json.dumps(value), Content_Type="application/json")
    for name in ("checkout.one-click", "search.vectors", "search.synonyms", "dark-mode"):
        flags.put(name, '{"enabled":false}', Content_Type="application/json")
    for number in range(120):
        value = json.dumps({"user": number, "role": "member"})
        sessions.put(f"user:{number}", value, Content_Type="application/json")
    config.put("gateway/limits.json", '{"requests":128}', Content_Type="application/json")


def _value(page: Page, _: Http) -> None:
    expect(page.get_by_role("region", name="Value")).to_contain_text("rollout")


def _history(page: Page, _: Http) -> None:
    expect(page.get_by_role("table", name="Differences")).to_be_visible()


def _lost_race(page: Page, http: Http) -> None:
    flag = Bucket(http, "feature-flags")
    stored = flag.get("checkout.one-click", "?values=raw").body
    page.get_by_role("button", name="Edit").click()
    page.get_by_role("textbox", name="Value").fill('{"enabled":true,"rollout":0.25}')
    flag.put(
        "checkout.one-click", '{"enabled":true,"rollout":0.1}', Content_Type="application/json"
    )
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    flag.put("checkout.one-click", stored, Content_Type="application/json")


def _plan(page: Page, _: Http) -> None:
    page.get_by_label("Revisions kept of each key").fill("2")
    page.get_by_label("Values expire after").fill("90d")
    page.get_by_role("button", name="See what would change…").click()
    expect(page.get_by_role("dialog")).to_be_visible()


def _list(page: Page, _: Http) -> None:
    page.get_by_role("row", name="checkout.").click()
    expect(page.get_by_text("one-click")).to_be_visible()


PICTURES: dict[str, tuple[str, Callable[[Page, Http], None]]] = {
    "keys": ("#/b/feature-flags", _list),
    "value": ("#/b/feature-flags/k/checkout.new-basket", _value),
    "history": ("#/b/feature-flags/k/checkout.new-basket?tab=history&diff=1..3", _history),
    "lost-race": ("#/b/feature-flags/k/checkout.one-click", _lost_race),
    "plan": ("#/b/feature-flags/settings", _plan),
}


@contextmanager
def _gateway() -> Iterator[Http]:
    with (
        tempfile.TemporaryDirectory() as folder,
        LocalNats(Path(folder)) as nats,
        running_gateway(nats.url) as http,
    ):
        _fill(http)
        yield http


def make(folder: Path, browser: Browser) -> list[Path]:
    """Make all pictures, and return their files."""
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    with _gateway() as http:
        for theme in THEMES:
            context = browser.new_context(viewport=_SIZE, color_scheme=theme)
            for name, (place, prepare) in PICTURES.items():
                page = context.new_page()
                page.goto(f"{http.url}/console{place}")
                prepare(page, http)
                file = folder / f"console-{name}-{theme}.png"
                page.screenshot(path=file, animations="disabled", caret="hide")
                made.append(file)
                page.close()
            context.close()
    return made


if __name__ == "__main__":
    chromium = sys.argv[1] if len(sys.argv) > 1 else "/usr/bin/chromium"
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        for picture in make(FOLDER, opened):
            print(picture, picture.stat().st_size)
