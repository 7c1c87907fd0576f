"""The console in headless Chromium: Debian's browser, driven by Playwright's Python package.

Each page records what it asks for and what goes wrong in it. After each test, it has asked its own
gateway only, and nothing went wrong.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.support.http import Bucket, Http

ARGUMENTS = [
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-proxy-server",
    "--disable-background-networking",
    "--disable-component-update",
    # Whatever else it would like to ask somebody: nothing leaves this machine.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]
MILLISECONDS = 15_000

expect.set_options(timeout=MILLISECONDS)


@dataclass
class Seen:
    """What a page did.

    Attributes:
        requests: the URLs that it asked for.
        problems: errors of its scripts, and what its policy has blocked.
        expected: parts of problems that the test causes on purpose.
    """

    requests: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    expected: list[str] = field(default_factory=list)

    def unexpected(self) -> list[str]:
        return [
            problem
            for problem in self.problems
            if not any(part in problem for part in self.expected)
        ]


OpenConsole = Callable[..., Page]


@pytest.fixture(scope="session")
def browser(chromium: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def seen() -> Seen:
    """What the pages of this test did."""
    return Seen()


@pytest.fixture
def contexts() -> Iterator[list[BrowserContext]]:
    """The windows of this test, to be closed at its end."""
    opened: list[BrowserContext] = []
    yield opened
    while opened:
        opened.pop().close()


@pytest.fixture
def make_bucket(make_bucket: Any, contexts: list[BrowserContext]) -> Iterator[Any]:
    """As everywhere, but no page sees how the buckets go at the end."""
    yield make_bucket
    while contexts:
        contexts.pop().close()


@pytest.fixture
def open_console(
    browser: Browser, http: Http, seen: Seen, contexts: list[BrowserContext]
) -> Iterator[OpenConsole]:
    """Open the console at a place, such as `#/b/demo`.

    `at` is another gateway than the shared one, `theme` is `light` or `dark`, `size` is the width
    and the height, and `token` signs in.
    """
    allowed = {http.url}

    def start(
        place: str = "#/",
        *,
        at: Http | None = None,
        theme: str = "light",
        size: tuple[int, int] = (1280, 800),
        token: str | None = None,
        path: str = "/console",
    ) -> Page:
        gateway = at or http
        allowed.add(gateway.url)
        context = browser.new_context(
            viewport={"width": size[0], "height": size[1]},
            color_scheme=theme,
            permissions=["clipboard-read", "clipboard-write"],
        )
        contexts.append(context)
        context.set_default_timeout(MILLISECONDS)
        page = context.new_page()
        page.on("request", lambda request: seen.requests.append(request.url))
        page.on("pageerror", lambda error: seen.problems.append(str(error)))
        page.on(
            "console",
            lambda line: (
                seen.problems.append(f"{line.text} {line.location['url']}")
                if line.type == "error"
                else None
            ),
        )
        page.goto(f"{gateway.url}{path}{place}")
        if token is not None:
            page.evaluate("token => sessionStorage.setItem('jetkv.credential', token)", token)
            page.reload()
        return page

    yield start
    while contexts:
        contexts.pop().close()
    foreign = [
        url
        for url in seen.requests
        if not url.startswith(tuple(f"{one}/" for one in allowed)) and not url.startswith("blob:")
    ]
    assert foreign == []
    assert seen.unexpected() == []


@pytest.fixture
def fill_bucket() -> Callable[[Bucket, dict[str, str]], None]:
    def put(bucket: Bucket, values: dict[str, str]) -> None:
        for key, value in values.items():
            answer = bucket.put(key, value)
            assert answer.status == 200, answer

    return put
