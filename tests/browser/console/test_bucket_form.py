"""The settings of a bucket: nothing changes before the user has seen the plan."""

from playwright.sync_api import Page, expect

from tests.browser.console.conftest import OpenConsole, Seen
from tests.support.http import BUCKETS, Bucket, Http


def see_plan(page: Page) -> None:
    page.get_by_role("button", name="See what would change…").click()


def test_a_change_shows_its_plan_and_is_made_only_then(
    open_console: OpenConsole, bucket: Bucket
) -> None:
    page = open_console(f"#/b/{bucket.name}/settings")
    page.get_by_label("Values expire after").fill("12h")
    page.get_by_label("Description").fill("for tests")
    page.get_by_text("More settings").click()
    page.get_by_label("Metadata").fill("team=docs\nstage=a=b")
    see_plan(page)
    plan = page.get_by_role("dialog").get_by_role("table")
    expect(plan.get_by_role("row", name="Values expire after")).to_contain_text("never")
    expect(plan.get_by_role("row", name="Values expire after")).to_contain_text("12h")
    expect(plan.get_by_role("row")).to_have_count(4)
    assert "ttl_seconds" not in bucket.info()
    page.get_by_role("button", name="Change it").click()
    expect(page.get_by_role("status").filter(has_text="Changed")).to_be_visible()
    info = bucket.info()
    assert (info["ttl_seconds"], info["description"]) == (43_200, "for tests")
    assert info["metadata"] == {"team": "docs", "stage": "a=b"}
    expect(page.get_by_label("Values expire after")).to_have_value("12h")


def test_metadata_that_is_taken_out_of_the_text_is_removed(
    open_console: OpenConsole, make_bucket
) -> None:
    bucket = make_bucket(metadata={"team": "docs", "old": "x"})
    page = open_console(f"#/b/{bucket.name}/settings")
    page.get_by_text("More settings").click()
    page.get_by_label("Metadata").fill("team=docs")
    see_plan(page)
    page.get_by_role("button", name="Change it").click()
    expect(page.get_by_role("status").filter(has_text="Changed")).to_be_visible()
    assert bucket.info()["metadata"] == {"team": "docs"}


def test_a_change_that_removes_stored_data_says_so_and_wants_a_word(
    open_console: OpenConsole, make_bucket, seen: Seen
) -> None:
    seen.expected.append("409")
    bucket = make_bucket(history=5)
    for value in ("a", "b", "c"):
        bucket.put("k", value)
    page = open_console(f"#/b/{bucket.name}/settings")
    page.get_by_label("Revisions kept of each key").fill("1")
    see_plan(page)
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("row", name="Revisions kept")).to_contain_text("removes stored data")
    change = dialog.get_by_role("button", name="Change it")
    expect(change).to_be_disabled()
    assert len(bucket.history("k").json["entries"]) == 3
    dialog.get_by_label("Remove the stored data that does not fit").check()
    change.click()
    expect(page.get_by_role("status").filter(has_text="Changed")).to_be_visible()
    assert bucket.info()["history"] == 1


def test_what_cannot_be_changed_says_so_before_anything_is_done(
    open_console: OpenConsole, bucket: Bucket, seen: Seen
) -> None:
    seen.expected.append("409")
    page = open_console(f"#/b/{bucket.name}/settings")
    page.get_by_text("More settings").click()
    page.get_by_label("TTLs of single values").select_option("off")
    page.get_by_label("Expiry markers").select_option("off")
    see_plan(page)
    expect(page.get_by_role("alert").filter(has_text="cannot be changed")).to_be_visible()
    assert bucket.info()["expiry_markers"] is True


def test_text_that_is_no_setting_is_named(open_console: OpenConsole, bucket: Bucket) -> None:
    page = open_console(f"#/b/{bucket.name}/settings")
    page.get_by_label("Largest value").fill("many")
    see_plan(page)
    expect(page.get_by_role("alert").filter(has_text="“many” cannot be read")).to_be_visible()
    expect(page.get_by_label("Largest value")).to_be_focused()


def test_a_form_without_a_change_changes_nothing(open_console: OpenConsole, make_bucket) -> None:
    bucket = make_bucket(
        ttl_seconds=90, max_value_size=1_000, max_bytes=65_536, metadata={"a": "b"}, history=3
    )
    before = bucket.info()
    page = open_console(f"#/b/{bucket.name}/settings")
    see_plan(page)
    expect(page.get_by_role("alert").filter(has_text="changed nothing")).to_be_visible()
    assert bucket.info() == before


def test_a_bucket_is_deleted_after_its_name_was_typed(
    open_console: OpenConsole, bucket: Bucket
) -> None:
    bucket.put("k", "x")
    page = open_console(f"#/b/{bucket.name}/settings")
    page.get_by_role("button", name="Delete bucket…").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("1 stored message")
    delete = dialog.get_by_role("button", name="Delete bucket")
    expect(delete).to_be_disabled()
    dialog.get_by_label(f"Type {bucket.name} to go on").fill(bucket.name)
    delete.click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Buckets")
    assert bucket.http.get(bucket.path).status == 404


def test_a_protected_bucket_has_no_button_that_deletes_it(
    open_console: OpenConsole, make_bucket
) -> None:
    bucket = make_bucket(protected=True)
    page = open_console(f"#/b/{bucket.name}/settings")
    expect(page.get_by_label("Protected from deletion")).to_have_value("on")
    expect(page.get_by_role("button", name="Delete bucket…")).to_have_count(0)
    page.close()
    bucket.http.request("PATCH", bucket.path, '{"protected":false}')


def test_tombstones_are_removed_and_counted(open_console: OpenConsole, bucket: Bucket) -> None:
    bucket.put("k", "x")
    bucket.delete("k")
    page = open_console(f"#/b/{bucket.name}/settings")
    page.get_by_role("button", name="Remove tombstones…").click()
    page.get_by_role("dialog").get_by_role("button", name="Remove them").click()
    expect(page.get_by_role("status").filter(has_text="Removed 1 tombstone")).to_be_visible()


def test_a_bucket_is_created_after_a_look_at_what_it_would_be(
    open_console: OpenConsole, http: Http, bucket_name: str
) -> None:
    page = open_console()
    page.get_by_role("button", name="New bucket").click()
    dialog = page.get_by_role("dialog", name="New bucket")
    dialog.get_by_label("Name").fill(bucket_name)
    dialog.get_by_label("Revisions kept of each key").fill("5")
    dialog.get_by_label("Largest value").fill("64 KiB")
    dialog.get_by_role("button", name="See what would be created…").click()
    plan = page.get_by_role("dialog", name=f"Create {bucket_name}?")
    expect(plan.get_by_role("row", name="Largest value")).to_contain_text("64.0 KiB")
    expect(plan.get_by_role("row", name="Expiry markers")).to_contain_text("on")
    assert http.get(f"{BUCKETS}/{bucket_name}").status == 404
    plan.get_by_role("button", name="Create it").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text(bucket_name)
    info = http.get(f"{BUCKETS}/{bucket_name}").json
    assert (info["history"], info["max_value_size"]) == (5, 65_536)
    page.close()
    http.delete(f"{BUCKETS}/{bucket_name}")


def test_a_new_bucket_never_takes_the_place_of_another_one(
    open_console: OpenConsole, bucket: Bucket
) -> None:
    page = open_console()
    page.get_by_role("button", name="New bucket").click()
    page.get_by_label("Name").fill(bucket.name)
    page.get_by_label("Revisions kept of each key").fill("9")
    page.get_by_role("button", name="See what would be created…").click()
    expect(page.get_by_role("alert").filter(has_text="exists already")).to_be_visible()
    assert bucket.info()["history"] == 1
