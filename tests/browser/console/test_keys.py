"""The keys of a bucket: tree and list, filters, pages, the keyboard, and changes as they come."""

import re
from collections.abc import Callable

from playwright.sync_api import Locator, Page, expect

from tests.browser.console.conftest import OpenConsole
from tests.support.http import Bucket

Fill = Callable[[Bucket, dict[str, str]], None]

VALUES = {
    "app/one": "1",
    "svc.api.limit": "x" * 2048,
    "svc.api.url": "y",
    "svc.web.host": "z",
    "user:1:name": "Ada",
    "user:1:mail": "ada@example.org",
}


def place(bucket: Bucket, query: str = "") -> str:
    return f"#/b/{bucket.name}{query}"


def rows(page: Page) -> Locator:
    return page.locator(".rows .row")


def names(page: Page) -> Locator:
    return page.locator(".rows .row .name bdi")


def group(page: Page, label: str) -> Locator:
    return rows(page).filter(has=page.locator("bdi", has_text=re.compile(f"^{re.escape(label)}$")))


def test_a_tree_groups_the_keys_by_dots_and_opens_group_by_group(
    open_console: OpenConsole, bucket: Bucket, fill_bucket: Fill
) -> None:
    fill_bucket(bucket, VALUES)
    page = open_console(place(bucket))
    expect(names(page)).to_have_text(["app/one", "svc.", "user:1:mail", "user:1:name"])
    expect(group(page, "svc.")).to_have_attribute("aria-expanded", "false")
    expect(group(page, "svc.")).to_contain_text("3")
    group(page, "svc.").click()
    expect(names(page)).to_have_text(
        ["app/one", "svc.", "api.", "web.", "user:1:mail", "user:1:name"]
    )
    group(page, "api.").click()
    expect(group(page, "limit")).to_have_attribute("aria-level", "3")
    expect(group(page, "limit")).to_contain_text("2.0 KiB")
    group(page, "svc.").click()
    expect(names(page)).to_have_count(4)


def test_a_tree_groups_by_slashes_or_colons_and_the_address_says_so(
    open_console: OpenConsole, bucket: Bucket, fill_bucket: Fill
) -> None:
    fill_bucket(bucket, VALUES)
    page = open_console(place(bucket))
    page.get_by_role("button", name="Groups by slash").click()
    expect(names(page).first).to_have_text("app/")
    page.get_by_role("button", name="Groups by colon").click()
    expect(names(page).last).to_have_text("user:")
    expect(page).to_have_url(re.compile(r"\?sep=%3A$"))
    page.reload()
    expect(names(page).last).to_have_text("user:")


def test_a_list_has_each_key_with_its_size_and_leads_to_it(
    open_console: OpenConsole, bucket: Bucket, fill_bucket: Fill
) -> None:
    fill_bucket(bucket, VALUES)
    page = open_console(place(bucket))
    page.get_by_role("button", name="List").click()
    expect(names(page)).to_have_text(sorted(VALUES))
    expect(page).to_have_url(re.compile(r"\?view=list$"))
    page.get_by_role("link", name="svc.api.url").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("svc.api.url")
    page.go_back()
    expect(names(page)).to_have_text(sorted(VALUES))


def test_keys_are_chosen_by_a_prefix_or_a_pattern(
    open_console: OpenConsole, bucket: Bucket, fill_bucket: Fill
) -> None:
    fill_bucket(bucket, VALUES)
    page = open_console(place(bucket, "?view=list"))
    which = page.get_by_role("searchbox", name="Which keys")
    which.fill("svc.a")
    expect(names(page)).to_have_text(["svc.api.limit", "svc.api.url"])
    page.get_by_label("How keys are chosen").select_option("filter")
    which.fill("svc.*.host")
    expect(names(page)).to_have_text(["svc.web.host"])
    expect(page).to_have_url(re.compile(r"filter=svc"))
    which.fill("none.*")
    expect(page.get_by_text("No key matches.")).to_be_visible()


def test_a_link_with_a_filter_shows_what_it_says(
    open_console: OpenConsole, bucket: Bucket, fill_bucket: Fill
) -> None:
    fill_bucket(bucket, VALUES)
    page = open_console(place(bucket, "?view=list&prefix=user:1:"))
    expect(names(page)).to_have_text(["user:1:mail", "user:1:name"])
    expect(page.get_by_role("searchbox", name="Which keys")).to_have_value("user:1:")


def test_a_bad_filter_is_refused_with_the_rule_and_a_good_one_works_then(
    open_console: OpenConsole, bucket: Bucket, fill_bucket: Fill, seen
) -> None:
    seen.expected.append("400")
    fill_bucket(bucket, VALUES)
    page = open_console(place(bucket, "?filter=%3E.x"))
    expect(page.get_by_role("alert").filter(has_text="invalid filter")).to_be_visible()
    page.get_by_role("searchbox", name="Which keys").fill("svc.>")
    expect(names(page)).to_have_text(["svc."])


def test_an_empty_bucket_says_so(open_console: OpenConsole, bucket: Bucket) -> None:
    page = open_console(place(bucket))
    expect(page.get_by_text("This bucket has no keys.")).to_be_visible()
    bucket.put("first", "1")
    expect(names(page)).to_have_text(["first"])


def test_new_changed_and_deleted_keys_appear_as_they_come(
    open_console: OpenConsole, bucket: Bucket, fill_bucket: Fill
) -> None:
    fill_bucket(bucket, VALUES)
    page = open_console(place(bucket, "?view=list&prefix=user"))
    expect(names(page)).to_have_count(2)
    bucket.put("user:2", "x" * 5000)
    bucket.put("other", "not chosen")
    expect(names(page)).to_have_text(["user:1:mail", "user:1:name", "user:2"])
    expect(rows(page).last).to_contain_text("4.9 KiB")
    bucket.put("user:2", "x")
    expect(rows(page).last).to_contain_text("1 B")
    bucket.delete("user:1:mail")
    expect(names(page)).to_have_text(["user:1:name", "user:2"])


def test_a_key_that_expires_counts_down_and_goes(open_console: OpenConsole, bucket: Bucket) -> None:
    bucket.put("lasting", "x")
    bucket.put("brief", "x", JetKV_TTL_Seconds="12")
    page = open_console(place(bucket, "?view=list"))
    expect(rows(page).first).to_contain_text(re.compile(r"\D1?[0-9]s$"))
    expect(names(page)).to_have_text(["lasting"])


def test_changes_wait_while_the_page_is_paused(
    open_console: OpenConsole, bucket: Bucket, fill_bucket: Fill
) -> None:
    fill_bucket(bucket, {"a": "1"})
    page = open_console(place(bucket, "?view=list"))
    live = page.get_by_role("button", name=re.compile("Pause live changes"))
    expect(live).to_contain_text("Live")
    live.click()
    bucket.put("b", "2")
    bucket.put("b", "3")
    expect(live).to_contain_text("Paused, 2 waiting")
    expect(live).to_have_attribute("aria-pressed", "true")
    expect(names(page)).to_have_text(["a"])
    page.keyboard.press("p")
    expect(names(page)).to_have_text(["a", "b"])
    expect(live).to_contain_text("Live")


def test_the_keyboard_alone_gets_from_a_tree_to_a_key(
    open_console: OpenConsole, bucket: Bucket, fill_bucket: Fill
) -> None:
    fill_bucket(bucket, VALUES)
    page = open_console(place(bucket))
    expect(names(page)).to_have_count(4)
    page.keyboard.press("l")
    tree = page.get_by_role("treegrid")
    expect(tree).to_be_focused()

    def expect_active(text: str) -> None:
        active = tree.get_attribute("aria-activedescendant")
        expect(page.locator(f"[id='{active}'] bdi")).to_have_text(text)

    expect_active("app/one")
    for key, text in [
        ("ArrowDown", "svc."),
        ("ArrowRight", "svc."),
        ("ArrowRight", "api."),
        ("ArrowRight", "api."),
        ("ArrowDown", "limit"),
        ("ArrowLeft", "api."),
        ("ArrowLeft", "api."),
        ("ArrowLeft", "svc."),
        ("End", "user:1:name"),
        ("Home", "app/one"),
    ]:
        page.keyboard.press(key)
        page.wait_for_timeout(50)
        expect_active(text)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("app/one")
    expect(page.get_by_role("heading", level=1)).to_be_focused()


def test_rows_in_sight_stay_there_while_keys_come_before_them(
    open_console: OpenConsole, bucket: Bucket, fill_bucket: Fill
) -> None:
    fill_bucket(bucket, {f"k{n:03}": "x" for n in range(200)})
    page = open_console(place(bucket, "?view=list"))
    expect(names(page).first).to_have_text("k000")
    page.locator(".list").evaluate("list => { list.scrollTop = 100 * 28 }")
    expect(page.locator(".range")).to_have_text(re.compile("^Rows 101–"))
    for n in range(10):
        bucket.put(f"a{n}", "x")
    expect(page.locator(".range")).to_have_text(re.compile("^Rows 111–.* of 210$"))


def test_pages_are_turned_by_buttons(
    open_console: OpenConsole, bucket: Bucket, fill_bucket: Fill
) -> None:
    fill_bucket(bucket, {f"k{n:03}": "x" for n in range(200)})
    page = open_console(place(bucket, "?view=list"))
    shown = page.locator(".range")
    expect(shown).to_have_text(re.compile("^Rows 1–([0-9]+) of 200$"))
    fit = int(re.findall("–([0-9]+)", shown.inner_text())[0])
    page.get_by_role("button", name="Next page").click()
    expect(shown).to_have_text(f"Rows {fit + 1}–{2 * fit} of 200")
    page.get_by_role("button", name="Last page").click()
    expect(shown).to_have_text(re.compile("–200 of 200$"))
    page.get_by_role("button", name="Page before").click()
    expect(shown).not_to_have_text(re.compile("–200 of 200$"))
    page.get_by_role("button", name="First page").click()
    expect(shown).to_have_text(re.compile("^Rows 1–"))


def test_keys_of_all_kinds_are_shown_in_the_order_of_their_bytes_and_can_be_opened(
    open_console: OpenConsole, bucket: Bucket
) -> None:
    keys = ["ключ", "a b?c#d%25", "<b>x</b>", "..x", "\ue000", "\U0001f600", 'q"uote', "a/b"]
    for key in keys:
        bucket.put(key, "here")
    page = open_console(place(bucket, "?view=list"))
    expect(names(page)).to_have_text(sorted(keys, key=str.encode))
    for key in ("a b?c#d%25", "ключ", "<b>x</b>", "..x", "a/b"):
        names(page).get_by_text(key, exact=True).click()
        expect(page.get_by_role("heading", level=1)).to_have_text(key)
        expect(page.locator("main")).to_contain_text("here")
        page.go_back()
        expect(names(page)).to_have_count(len(keys))


def test_the_details_of_a_bucket_are_above_its_keys(open_console: OpenConsole, make_bucket) -> None:
    bucket = make_bucket(ttl_seconds=3600, description="d")
    for n in range(3):
        bucket.put(f"k{n}", "x")
    page = open_console(place(bucket))
    chips = page.locator(".chips")
    expect(chips).to_contain_text("3 keys")
    expect(chips).to_contain_text("TTL 1h")
    bucket.put("k3", "x")
    expect(chips).to_contain_text("4 keys")


def test_a_bucket_that_is_deleted_while_it_is_shown_says_so(
    open_console: OpenConsole, make_bucket, seen
) -> None:
    seen.expected.append("404")
    bucket = make_bucket()
    bucket.put("k", "x")
    page = open_console(place(bucket))
    expect(names(page)).to_have_text(["k"])
    bucket.http.delete(bucket.path)
    expect(page.get_by_role("heading", level=1)).to_have_text("Not found")
    expect(page.get_by_role("alert").filter(has_text="bucket not found")).to_be_visible()


def test_a_link_leads_on_while_the_view_before_is_still_being_read(
    open_console: OpenConsole, bucket: Bucket, fill_bucket: Fill
) -> None:
    fill_bucket(bucket, VALUES)
    page = open_console()
    for wait in (0, 5, 10, 20, 40, 80, 160):
        page.evaluate(
            """async ([there, ms]) => {
                location.hash = "#/";
                await new Promise((resolve) => setTimeout(resolve, ms));
                location.hash = there;
            }""",
            [place(bucket), wait],
        )
        expect(names(page)).to_have_count(4)
    page.wait_for_timeout(1500)  # a view that was left waits this long for its watch
    expect(names(page)).to_have_count(4)
    expect(page.get_by_role("heading", level=1)).to_have_text(bucket.name)


SORTED_SLOWLY = """
async () => {
  const { KeyLoader } = await import(new URL("console/key_loader.js", location.origin));
  const { read, settle } = KeyLoader.prototype;
  const rest = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
  KeyLoader.prototype.read = async function (detailed) {
    await read.call(this, detailed);
    this.done = false;
    await rest(200);
    this.done = true;
  };
  KeyLoader.prototype.settle = async function () {
    await rest(400);
    return settle.call(this);
  };
}
"""


def test_the_number_of_keys_is_said_last_where_they_take_longer_to_sort_than_to_read(
    open_console: OpenConsole, bucket: Bucket, fill_bucket: Fill
) -> None:
    fill_bucket(bucket, VALUES)
    page = open_console()
    page.evaluate(SORTED_SLOWLY)
    page.evaluate("(place) => { location.hash = place }", place(bucket))
    state = page.get_by_role("status").filter(has_text="keys")
    expect(state).to_have_text("6 keys")
    expect(names(page)).to_have_count(4)
    page.wait_for_timeout(1000)  # nothing that is under way may say less
    expect(state).to_have_text("6 keys")
