"""A value in the console: as JSON, as text, as bytes, found in, and never run."""

import json
import time
from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.sync_api import Page, expect

from jetkv.testing import LocalNats
from tests.browser.console.conftest import OpenConsole, Seen
from tests.support.gateway import running_bucket
from tests.support.http import Bucket


def place(bucket: Bucket, key: str, query: str = "") -> str:
    return f"#/b/{bucket.name}/k/{quote(key, safe='')}{query}"


def shown(page: Page) -> str:
    return page.get_by_role("region", name="Value").inner_text()


def test_json_is_formatted_and_no_number_loses_a_digit(
    open_console: OpenConsole, bucket: Bucket
) -> None:
    bucket.put("flag", '{"on":true,"id":12345678901234567890}', Content_Type="application/json")
    page = open_console(place(bucket, "flag"))
    expect(page.get_by_role("button", name="JSON")).to_have_attribute("aria-pressed", "true")
    expect(page.get_by_role("region", name="Value")).to_have_text(
        '{\n  "on": true,\n  "id": 12345678901234567890\n}', use_inner_text=True
    )


def test_the_facts_of_an_entry_are_shown(open_console: OpenConsole, bucket: Bucket) -> None:
    bucket.put("flag", "{}", Content_Type="application/json")
    page = open_console(place(bucket, "flag"))
    facts = page.locator(".facts")
    for text in ("Revision", "1", "2 B", "application/json", "ago"):
        expect(facts).to_contain_text(text)


def test_a_value_can_be_shown_as_it_is_stored(open_console: OpenConsole, bucket: Bucket) -> None:
    bucket.put("flag", '{"on":true}')
    page = open_console(place(bucket, "flag"))
    page.get_by_role("button", name="Text").click()
    expect(page.get_by_role("region", name="Value")).to_have_text('{"on":true}')
    page.get_by_role("button", name="Bytes").click()
    expect(page.get_by_role("region", name="Value")).to_contain_text("00000000  7b 22 6f 6e")


def test_what_is_not_text_is_shown_as_bytes(open_console: OpenConsole, bucket: Bucket) -> None:
    bucket.put("blob", bytes(range(256)))
    page = open_console(place(bucket, "blob"))
    expect(page.get_by_role("button", name="Bytes")).to_have_attribute("aria-pressed", "true")
    expect(page.get_by_role("button", name="JSON")).to_have_count(0)
    assert shown(page).count("\n") == 15


def test_text_is_found_whatever_its_case_and_steps_go_round(
    open_console: OpenConsole, bucket: Bucket
) -> None:
    lines = [f"line {n}" for n in range(3_000)]
    lines[1] = lines[2_500] = "the Needle"
    bucket.put("log", "\n".join(lines))
    page = open_console(place(bucket, "log"))
    find = page.get_by_role("searchbox", name="Find in the value")
    find.fill("needle")
    count = page.locator(".find output")
    expect(count).to_have_text("1 of 2")
    find.press("Enter")
    expect(count).to_have_text("2 of 2")
    view = page.get_by_role("region", name="Value")
    page.wait_for_function("view => view.scrollTop > 10000", arg=view.element_handle())
    find.press("Enter")
    expect(count).to_have_text("1 of 2")
    find.fill("(no [regular] expression")
    expect(count).to_have_text("not found")


@pytest.mark.parametrize("content_type", ["text/html", "image/svg+xml", "application/json"])
def test_a_stored_value_never_runs(
    open_console: OpenConsole, bucket: Bucket, content_type: str
) -> None:
    evil = (
        "<script>window.ran=1</script><img src=x onerror='window.ran=1'>"
        "<svg onload='window.ran=1'></svg><a href='javascript:window.ran=1'>x</a>"
    )
    value = json.dumps({evil: evil}) if "json" in content_type else evil
    key = f'"><img src=x onerror=window.ran=1>{"<b>" * 3}'
    for body in (value, value + " "):
        assert (
            bucket.http.put(
                f"{bucket.path}/keys/{quote(key, safe='')}", body, Content_Type=content_type
            ).status
            == 200
        )
    page = open_console(place(bucket, key))
    expect(page.get_by_role("heading", level=1)).to_have_text(key)
    expect(page.get_by_role("region", name="Value")).to_contain_text("window.ran=1")
    page.get_by_role("link", name="History").click()
    expect(page.get_by_role("table")).to_be_visible()
    main = page.locator("main")
    assert main.locator("img, script, iframe, svg [onload], a[href^=javascript]").count() == 0
    assert page.evaluate("window.ran") is None


def test_no_key_looks_like_another_one(open_console: OpenConsole, bucket: Bucket) -> None:
    bucket.put("user\u202egnp.exe", "x")
    page = open_console(place(bucket, "user\u202egnp.exe"))
    expect(page.get_by_role("heading", level=1)).to_have_text("user⟨U+202E⟩gnp.exe")


def test_a_value_of_a_mebibyte_does_not_freeze_the_page(
    open_console: OpenConsole, make_bucket
) -> None:
    bucket = make_bucket(history=2)
    for last in (1, 2):
        numbers = list(range(130_000))
        numbers[-1] = last
        value = json.dumps(numbers, separators=(",", ":"))[:1_040_000].rpartition(",")[0] + "]"
        bucket.put("big", value)
    page = open_console("#/me")
    page.evaluate(
        "() => { window.blocked = 0; new PerformanceObserver((list) => {"
        " for (const one of list.getEntries()) blocked = Math.max(blocked, one.duration); })"
        ".observe({type: 'longtask'}); }"
    )
    begun = time.monotonic()
    page.evaluate("place => { location.hash = place; }", place(bucket, "big"))
    expect(page.get_by_role("region", name="Value")).to_contain_text("[\n  0,\n  1,")
    for shape in ("Bytes", "Text", "JSON"):
        page.get_by_role("button", name=shape).click()
    page.get_by_role("searchbox").fill("99")
    expect(page.locator(".find output")).to_contain_text("1 of")
    page.get_by_role("link", name="History").click()
    expect(page.get_by_role("heading", name="compared")).to_be_visible()
    page.get_by_role("link", name="Value", exact=True).click()
    page.get_by_role("button", name="Edit").click()
    page.get_by_role("textbox", name="Value").press("End")
    assert page.evaluate("blocked") < 2_500
    assert time.monotonic() - begun < 30


def test_a_very_large_value_is_read_only_when_asked_for(
    open_console: OpenConsole, tmp_path: Path
) -> None:
    server = LocalNats(tmp_path / "nats", config="max_payload: 8MB")
    with server, running_bucket(server) as bucket:
        bucket.put("huge", b"x" * (5 * 1024 * 1024))
        page = open_console(place(bucket, "huge"), at=bucket.http)
        expect(page.get_by_text("5.0 MiB").first).to_be_visible()
        expect(page.get_by_role("region", name="Value")).to_have_count(0)
        page.get_by_role("button", name="Read it").click()
        expect(page.get_by_role("region", name="Value")).to_contain_text("xxxx")
        page.close()


def test_a_change_is_shown_as_it_comes(open_console: OpenConsole, bucket: Bucket) -> None:
    bucket.put("flag", "old")
    page = open_console(place(bucket, "flag"))
    expect(page.get_by_role("region", name="Value")).to_have_text("old")
    bucket.put("flag", "new")
    expect(page.get_by_role("region", name="Value")).to_have_text("new")


def test_a_key_that_is_deleted_elsewhere_says_so(
    open_console: OpenConsole, bucket: Bucket, seen: Seen
) -> None:
    seen.expected.append("404")
    bucket.put("flag", "old")
    page = open_console(place(bucket, "flag"))
    expect(page.get_by_role("region", name="Value")).to_have_text("old")
    bucket.delete("flag")
    expect(page.get_by_text("This key has no value")).to_be_visible()
    expect(page.get_by_role("status").filter(has_text="was deleted")).to_be_visible()


@pytest.mark.parametrize("key", ["a/b", "..", ".", "50%", "a?b#c", " ", "é😀", "*", "a.>", "user:"])
def test_any_key_can_be_read_and_written(
    open_console: OpenConsole, bucket: Bucket, key: str
) -> None:
    ops = {"ops": [{"op": "put", "key": key, "text": "before"}]}
    assert bucket.http.post(f"{bucket.path}/batch", ops).status == 200
    page = open_console(place(bucket, key))
    expect(page.get_by_role("region", name="Value")).to_have_text("before")
    page.get_by_role("button", name="Edit").click()
    page.get_by_role("textbox", name="Value").fill("after")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("region", name="Value")).to_have_text("after")
    page.get_by_role("link", name="History").click()
    expect(page.get_by_role("cell", name="2 current")).to_be_visible()
