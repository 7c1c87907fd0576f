"""The list of buckets: what it says of each, and how it follows what happens."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Locator, Page, expect

from jetkv.testing import LocalNats
from tests.browser.console.conftest import OpenConsole
from tests.support.gateway import running_gateway
from tests.support.http import BUCKETS, Bucket, Http


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Http]:
    """A gateway whose buckets are only those of these tests."""
    with (
        LocalNats(tmp_path_factory.mktemp("buckets")) as nats,
        running_gateway(nats.url) as http,
    ):
        yield http


@pytest.fixture
def three(own: Http) -> Iterator[Http]:
    """Three buckets: a large one, one with a TTL, and one with a description and a limit."""
    settings: list[dict[str, object]] = [
        {"name": "large"},
        {"name": "brief", "ttl_seconds": 90},
        {"name": "flags", "description": "What is on", "max_bytes": 1024 * 1024, "history": 5},
    ]
    for one in settings:
        assert own.post(BUCKETS, one).status == 201
    for n in range(3):
        Bucket(own, "large").put(f"k{n}", "x" * 4000)
    Bucket(own, "flags").put("a", "1")
    Bucket(own, "flags").put("a", "2")
    yield own
    for info in own.get(BUCKETS).json["buckets"]:
        own.delete(f"{BUCKETS}/{info['name']}")


def row(page: Page, bucket: str) -> Locator:
    return page.locator(f"tr[data-bucket='{bucket}']")


def names(page: Page) -> Locator:
    return page.locator("tbody th a")


def cell(page: Page, bucket: str, label: str) -> Locator:
    return row(page, bucket).locator(f"td[data-label='{label}']")


def test_each_bucket_has_its_keys_size_ttl_and_history(
    open_console: OpenConsole, three: Http
) -> None:
    page = open_console(at=three)
    expect(names(page)).to_have_text(["brief", "flags", "large"])
    expect(cell(page, "large", "Keys")).to_have_text("3")
    # Two messages are stored, of one key.
    expect(cell(page, "flags", "Keys")).to_have_text("1")
    expect(cell(page, "large", "Size")).to_have_text(re.compile("^1[12][.0-9]* KiB$"))
    expect(cell(page, "flags", "Size")).to_contain_text("of 1.0 MiB")
    expect(cell(page, "brief", "TTL")).to_have_text("1m 30s")
    expect(cell(page, "large", "TTL")).to_have_text("none")
    expect(cell(page, "flags", "History")).to_have_text("5")
    expect(row(page, "flags")).to_contain_text("What is on")


def test_a_bucket_with_a_warning_tells_what_to_do(open_console: OpenConsole, three: Http) -> None:
    body = {"name": "silent", "ttl_seconds": 60, "expiry_markers": False}
    assert three.post(BUCKETS, body).status == 201
    page = open_console(at=three)
    warnings = cell(page, "silent", "Warnings")
    warnings.get_by_text("1 warning").click()
    expect(warnings.get_by_text(re.compile("expiry_markers"))).to_be_visible()


def test_a_bucket_is_found_by_a_part_of_its_name(open_console: OpenConsole, three: Http) -> None:
    page = open_console(at=three)
    expect(names(page)).to_have_count(3)
    page.keyboard.press("/")
    page.keyboard.type("AG")
    expect(names(page)).to_have_text(["flags"])
    page.keyboard.type("zz")
    expect(page.get_by_text("No bucket matches.")).to_be_visible()


def test_a_write_anywhere_shows_in_the_list(open_console: OpenConsole, three: Http) -> None:
    page = open_console(at=three)
    expect(cell(page, "brief", "Keys")).to_have_text("0")
    Bucket(three, "brief").put("k", "x" * 2048)
    expect(cell(page, "brief", "Keys")).to_have_text("1")
    expect(cell(page, "brief", "Size")).to_have_text(re.compile("KiB$"))


def test_a_bucket_that_is_deleted_goes_and_the_others_stay_live(
    open_console: OpenConsole, three: Http
) -> None:
    page = open_console(at=three)
    expect(names(page)).to_have_count(3)
    assert three.delete(f"{BUCKETS}/large").status == 204
    expect(names(page)).to_have_text(["brief", "flags"])
    Bucket(three, "brief").put("k", "x")
    expect(cell(page, "brief", "Keys")).to_have_text("1")


def test_a_gateway_without_buckets_says_so(open_console: OpenConsole, own: Http) -> None:
    page = open_console(at=own)
    expect(page.get_by_text("There is no bucket that you may read.")).to_be_visible()
