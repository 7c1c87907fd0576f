"""Writing in the console: compare-and-set, lost races, and what must not be lost."""

from urllib.parse import quote

import pytest
from playwright.sync_api import Page, expect

from tests.browser.console.conftest import OpenConsole, Seen
from tests.support.http import Bucket


def place(bucket: Bucket, key: str) -> str:
    return f"#/b/{bucket.name}/k/{quote(key, safe='')}"


def edit(page: Page, value: str) -> None:
    page.get_by_role("button", name="Edit").click()
    page.get_by_role("textbox", name="Value").fill(value)


def raw(bucket: Bucket, key: str) -> bytes:
    return bucket.get(key, "?values=raw").body


def stored_type(bucket: Bucket, key: str) -> str | None:
    return bucket.get(key, "?values=raw").headers.get("content-type")


@pytest.fixture
def race(open_console: OpenConsole, bucket: Bucket, seen: Seen) -> Page:
    """A page on which somebody edits a key that another one has written meanwhile."""
    seen.expected.append("412")
    bucket.put("flag", '{"plan":"free"}', Content_Type="application/json")
    page = open_console(place(bucket, "flag"))
    edit(page, '{"plan":"mine"}')
    bucket.put("flag", '{"plan":"theirs"}', Content_Type="application/json")
    expect(page.get_by_role("status").filter(has_text="has a new value")).to_be_visible()
    page.get_by_role("button", name="Save").click()
    return page


def test_an_edit_is_stored_and_keeps_the_content_type(
    open_console: OpenConsole, bucket: Bucket
) -> None:
    bucket.put("flag", "old", Content_Type="text/x-own")
    page = open_console(place(bucket, "flag"))
    edit(page, "new")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("region", name="Value")).to_have_text("new")
    expect(page.get_by_role("status").filter(has_text="Saved as revision 2")).to_be_visible()
    assert (raw(bucket, "flag"), stored_type(bucket, "flag")) == (b"new", "text/x-own")


def test_an_edit_of_what_somebody_else_has_changed_shows_both_and_stores_nothing(
    race: Page, bucket: Bucket
) -> None:
    dialog = race.get_by_role("dialog", name="Somebody else has changed this key")
    expect(dialog.get_by_role("region", name="Theirs")).to_contain_text('"plan": "theirs"')
    expect(dialog.get_by_role("region", name="Yours")).to_contain_text('"plan": "mine"')
    expect(dialog.get_by_role("list", name="Changes by path")).to_contain_text(
        'plan "theirs" → "mine"'
    )
    assert raw(bucket, "flag") == b'{"plan":"theirs"}'


def test_mine_can_be_written_over_theirs_after_a_look(race: Page, bucket: Bucket) -> None:
    race.get_by_role("button", name="Write mine over theirs").click()
    expect(race.get_by_role("status").filter(has_text="Saved as revision 3")).to_be_visible()
    assert raw(bucket, "flag") == b'{"plan":"mine"}'


def test_theirs_can_be_taken(race: Page, bucket: Bucket) -> None:
    race.get_by_role("button", name="Take theirs").click()
    expect(race.get_by_role("region", name="Value")).to_contain_text("theirs")
    assert raw(bucket, "flag") == b'{"plan":"theirs"}'


def test_mine_can_be_edited_further_and_is_then_based_on_theirs(race: Page, bucket: Bucket) -> None:
    race.get_by_role("button", name="Go on editing mine").click()
    box = race.get_by_role("textbox", name="Value")
    expect(box).to_have_value('{"plan":"mine"}')
    box.fill('{"plan":"both"}')
    race.get_by_role("button", name="Save").click()
    expect(race.get_by_role("region", name="Value")).to_contain_text("both")
    assert raw(bucket, "flag") == b'{"plan":"both"}'


def test_escape_leaves_the_question_of_a_lost_race_open_and_the_text_as_it_is(
    race: Page, bucket: Bucket
) -> None:
    expect(race.get_by_role("dialog")).to_be_visible()
    race.keyboard.press("Escape")
    expect(race.get_by_role("dialog")).to_have_count(0)
    expect(race.get_by_role("textbox", name="Value")).to_have_value('{"plan":"mine"}')
    assert raw(bucket, "flag") == b'{"plan":"theirs"}'


def test_an_edit_of_what_somebody_else_has_deleted_says_so(
    open_console: OpenConsole, bucket: Bucket, seen: Seen
) -> None:
    seen.expected += ["412", "404"]
    bucket.put("flag", "old")
    page = open_console(place(bucket, "flag"))
    edit(page, "new")
    bucket.delete("flag")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("dialog", name="Somebody else has deleted this key")).to_be_visible()
    page.get_by_role("button", name="Write mine again").click()
    expect(page.get_by_role("region", name="Value")).to_have_text("new")


def test_a_key_is_created_with_a_content_type_that_fits(
    open_console: OpenConsole, bucket: Bucket, seen: Seen
) -> None:
    seen.expected.append("404")
    page = open_console(place(bucket, "new key"))
    page.get_by_role("button", name="Create it").click()
    page.get_by_role("textbox", name="Value").fill('{"a":1}')
    expect(page.get_by_label("Content type")).to_have_value("application/json")
    page.get_by_role("textbox", name="Value").fill("plain")
    expect(page.get_by_label("Content type")).to_have_value("text/plain; charset=utf-8")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("region", name="Value")).to_have_text("plain")
    assert stored_type(bucket, "new key") == "text/plain; charset=utf-8"


def test_a_new_key_is_made_without_the_mouse_and_as_fast_as_one_types(
    open_console: OpenConsole, bucket: Bucket, seen: Seen
) -> None:
    seen.expected.append("404")
    page = open_console(f"#/b/{bucket.name}")
    expect(page.get_by_role("button", name="New key…")).to_be_visible()
    page.keyboard.press("n")
    page.get_by_role("dialog").get_by_label("Key").press_sequentially("user:1")
    page.keyboard.press("Enter")
    expect(page.get_by_role("textbox", name="Value")).to_be_focused()
    page.keyboard.type('{"a":1}')
    page.keyboard.press("Control+s")
    expect(page.get_by_role("region", name="Value")).to_contain_text('"a": 1')
    assert stored_type(bucket, "user:1") == "application/json"
    assert "new=" not in page.url


def test_a_create_never_overwrites(open_console: OpenConsole, bucket: Bucket, seen: Seen) -> None:
    seen.expected += ["404", "412"]
    page = open_console(place(bucket, "k"))
    page.get_by_role("button", name="Create it").click()
    page.get_by_role("textbox", name="Value").fill("mine")
    bucket.put("k", "theirs")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("dialog", name="Somebody else has changed this key")).to_be_visible()
    assert raw(bucket, "k") == b"theirs"


def test_line_ends_survive_an_edit(open_console: OpenConsole, bucket: Bucket) -> None:
    bucket.put("ini", "a=1\r\nb=2\r\n")
    page = open_console(place(bucket, "ini"))
    edit(page, "a=1\nb=3\n")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("region", name="Value")).to_contain_text("b=3")
    assert raw(bucket, "ini") == b"a=1\r\nb=3\r\n"


@pytest.mark.parametrize("value", [b"\x00\xff", b"a\r\nb\nc", b"a\rb"], ids=range(3))
def test_what_a_text_field_would_change_is_edited_as_digits(
    open_console: OpenConsole, bucket: Bucket, value: bytes
) -> None:
    bucket.put("blob", value)
    page = open_console(place(bucket, "blob"))
    page.get_by_role("button", name="Edit").click()
    box = page.get_by_role("textbox", name="Value as hexadecimal digits")
    expect(box).to_have_value(value.hex(" "))
    box.fill(value.hex(" ") + " 0")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("alert").filter(has_text="pairs of hexadecimal")).to_be_visible()
    box.fill(value.hex() + "01")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("status").filter(has_text="Saved")).to_be_visible()
    assert raw(bucket, "blob") == value + b"\x01"


def test_a_file_can_become_the_value(open_console: OpenConsole, bucket: Bucket) -> None:
    bucket.put("blob", "old")
    page = open_console(place(bucket, "blob"))
    page.get_by_role("button", name="Edit").click()
    page.get_by_label("File with the value").set_input_files(
        {"name": "x.bin", "mimeType": "", "buffer": b"\x00\x01\x02"}
    )
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("status").filter(has_text="Saved")).to_be_visible()
    assert raw(bucket, "blob") == b"\x00\x01\x02"


def test_json_can_be_formatted_in_the_form_and_damage_is_named(
    open_console: OpenConsole, bucket: Bucket
) -> None:
    bucket.put("flag", '{"n":12345678901234567890}', Content_Type="application/json")
    page = open_console(place(bucket, "flag"))
    page.get_by_role("button", name="Edit").click()
    box = page.get_by_role("textbox", name="Value")
    page.get_by_role("button", name="Format JSON").click()
    expect(box).to_have_value('{\n  "n": 12345678901234567890\n}')
    page.get_by_role("button", name="On one line").click()
    expect(box).to_have_value('{"n":12345678901234567890}')
    box.fill('{"n":')
    expect(page.get_by_text("Not JSON:")).to_be_visible()


def test_what_was_typed_is_there_after_a_way_to_another_page(
    open_console: OpenConsole, bucket: Bucket
) -> None:
    bucket.put("flag", "old")
    page = open_console(place(bucket, "flag"))
    edit(page, "typed")
    page.get_by_role("link", name="Buckets", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Buckets")
    page.go_back()
    expect(page.get_by_role("textbox", name="Value")).to_have_value("typed")
    expect(page.get_by_text("unsaved changes are still here")).to_be_visible()


def test_the_browser_asks_before_it_closes_a_tab_with_something_that_is_not_stored(
    open_console: OpenConsole, bucket: Bucket
) -> None:
    bucket.put("flag", "old")
    page = open_console(place(bucket, "flag"))
    edit(page, "typed")
    with page.expect_event("dialog") as asked:
        page.close(run_before_unload=True)
    assert asked.value.type == "beforeunload"
    asked.value.dismiss()
    expect(page.get_by_role("textbox", name="Value")).to_have_value("typed")


def test_leaving_the_form_asks_before_it_drops_what_was_typed(
    open_console: OpenConsole, bucket: Bucket
) -> None:
    bucket.put("flag", "old")
    page = open_console(place(bucket, "flag"))
    edit(page, "typed")
    page.get_by_role("button", name="Cancel").click()
    dialog = page.get_by_role("dialog", name="Drop your changes?")
    dialog.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("textbox", name="Value")).to_have_value("typed")
    page.get_by_role("button", name="Cancel").click()
    dialog.get_by_role("button", name="Drop them").click()
    expect(page.get_by_role("region", name="Value")).to_have_text("old")


def test_an_edit_can_be_done_with_the_keyboard_alone(
    open_console: OpenConsole, bucket: Bucket
) -> None:
    bucket.put("flag", "old")
    page = open_console(place(bucket, "flag"))
    expect(page.get_by_role("region", name="Value")).to_have_text("old")
    page.keyboard.press("e")
    expect(page.get_by_role("textbox", name="Value")).to_be_focused()
    page.keyboard.press("Control+a")
    page.keyboard.type("new")
    page.keyboard.press("Control+Enter")
    expect(page.get_by_role("region", name="Value")).to_have_text("new")


def test_a_delete_asks_and_deletes_that_revision_only(
    open_console: OpenConsole, bucket: Bucket, seen: Seen
) -> None:
    seen.expected += ["404", "412"]
    bucket.put("flag", "old")
    page = open_console(place(bucket, "flag"))
    page.get_by_role("button", name="Delete…").click()
    dialog = page.get_by_role("dialog", name="Delete this key?")
    expect(dialog).to_contain_text("keeps no history")
    bucket.put("flag", "newer")
    dialog.get_by_role("button", name="Delete", exact=True).click()
    expect(page.get_by_role("alert").filter(has_text="somebody else")).to_be_visible()
    assert raw(bucket, "flag") == b"newer"
    expect(page.get_by_role("region", name="Value")).to_have_text("newer")
    page.get_by_role("button", name="Delete…").click()
    dialog.get_by_role("button", name="Delete", exact=True).click()
    expect(page.get_by_text("This key has no value")).to_be_visible()
    assert bucket.get("flag").status == 404
