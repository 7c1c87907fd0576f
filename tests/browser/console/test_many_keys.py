"""A bucket of many keys: the page answers while it reads them, and shows a few rows of them."""

import asyncio
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from playwright.sync_api import Page, expect

from jetkv.testing import LocalNats
from tests.browser.console.conftest import OpenConsole
from tests.support.gateway import running_gateway
from tests.support.http import BUCKETS, Bucket, Http
from tests.support.native import native_client

KEYS = 200_000
GROUPS = 1000
AT_ONCE = 2000
LONGEST_MS = 200
TRIES = 4
SECONDS = 180

WATCH_TASKS = """
window.longTasks = [];
new PerformanceObserver((list) => {
  for (const task of list.getEntries()) window.longTasks.push(Math.round(task.duration));
}).observe({ type: "longtask", buffered: true });
"""


async def write_many(nats_url: str, bucket: str, keys: int) -> None:
    """Write keys as fast as the server takes them: messages without an answer for each."""
    async with native_client(nats_url) as native:
        for start in range(0, keys, AT_ONCE):
            for n in range(start, min(keys, start + AT_ONCE)):
                key = f"user.{n * 7919 % GROUPS}.{n}"
                await native.client.publish(f"$KV.{bucket}.{key}", b"%d" % n)
            await native.settled()


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Http]:
    """A gateway with a bucket `many`."""
    with LocalNats(tmp_path_factory.mktemp("many")) as nats, running_gateway(nats.url) as http:
        assert http.post(BUCKETS, {"name": "many"}).status == 201
        with ThreadPoolExecutor(1) as thread:  # a loop of Playwright's runs in this one
            thread.submit(asyncio.run, write_many(nats.url, "many", KEYS)).result()
        deadline = time.monotonic() + 60
        while Bucket(http, "many").info()["values"] < KEYS:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield http


def read_all(page: Page) -> None:
    """Wait until the keys are read."""
    state = page.get_by_role("status").filter(has_text="keys")
    expect(state).to_have_text(re.compile(r"^200,000 keys"), timeout=SECONDS * 1000)


def without_a_pause(page: Page, act: Callable[[], None]) -> None:
    """Do something on the page, opened again; no task of it may be long.

    Other programs on this machine make tasks longer, too. So one try without a long task will do.
    """
    page.add_init_script(WATCH_TASKS)
    longest = []
    for _ in range(TRIES):
        page.reload()
        act()
        longest.append(page.evaluate("Math.max(0, ...window.longTasks)"))
        if longest[-1] < LONGEST_MS:
            return
    pytest.fail(f"the longest tasks took {longest} ms")


def test_many_keys_are_read_without_a_pause_of_the_page(
    open_console: OpenConsole, many: Http
) -> None:
    page = open_console("#/b/many", at=many)

    def read() -> None:
        # The tree can be used while keys are read.
        group = page.locator(".row.group").first
        expect(group).to_contain_text("user.")
        group.click()
        expect(page.locator(".row.group").nth(1)).to_be_visible()
        read_all(page)
        expect(page.locator(".row.group").first).to_contain_text("200,000 keys")

    without_a_pause(page, read)
    assert page.evaluate("document.querySelectorAll('*').length") < 3000


def test_a_list_of_many_keys_is_scrolled_and_paged_without_a_pause(
    open_console: OpenConsole, many: Http
) -> None:
    page = open_console("#/b/many?view=list", at=many)
    keys = sorted(f"user.{n * 7919 % GROUPS}.{n}" for n in range(KEYS))

    def scroll() -> None:
        read_all(page)
        page.keyboard.press("l")
        page.keyboard.press("End")
        expect(page.locator(".rows .row").last).to_contain_text(keys[-1])
        page.keyboard.press("Home")
        expect(page.locator(".rows .row").first).to_contain_text(keys[0])
        for part in (0.25, 0.5, 0.75):
            page.locator(".list").evaluate(
                "(list, part) => { list.scrollTop = list.scrollHeight * part }", part
            )
            range_text = page.locator(".range")
            expect(range_text).to_have_text(re.compile(f"^Rows {round(part * 200)},"))
        # The sizes of the rows in sight come when the scrolling stops.
        expect(
            page.locator(".rows .size").filter(has_text=re.compile("^[1-6] B$")).first
        ).to_be_visible()
        # A change is shown in place.
        Bucket(many, "many").put("user.0.!", "x")
        page.keyboard.press("Home")
        expect(page.locator(".range")).to_have_text(re.compile("of 200,001$"))
        Bucket(many, "many").delete("user.0.!")
        expect(page.locator(".range")).to_have_text(re.compile("of 200,000$"))

    without_a_pause(page, scroll)


def test_a_prefix_narrows_many_keys(open_console: OpenConsole, many: Http) -> None:
    page = open_console("#/b/many?prefix=user.12.", at=many)
    state = page.get_by_role("status").filter(has_text="key")
    expect(state).to_have_text(re.compile(r"^200 keys"), timeout=60_000)
