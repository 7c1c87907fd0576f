"""What a caller may not do has no button, and an expired token leads back to the same place."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from jetkv.testing import LocalNats
from tests.browser.console.conftest import OpenConsole, Seen
from tests.support.gateway import running_gateway
from tests.support.http import BUCKETS, Bucket, Http
from tests.support.tokens import new_token, token_line


class Guarded:
    """A gateway with tokens in a file, and a bucket on it."""

    def __init__(self, http: Http, file: Path, tokens: dict[str, str]) -> None:
        self.http = http
        self.file = file
        self.tokens = tokens
        self.admin = Http(http.host, http.port, Authorization=f"Bearer {tokens['admin']}")
        self.bucket = Bucket(self.admin, "shop")

    def bearer(self, name: str) -> str:
        """Return what the console keeps of a caller."""
        return f"Bearer {self.tokens[name]}"

    def without(self, name: str) -> None:
        """Take a token away."""
        lines = self.file.read_text().splitlines(keepends=True)
        self.file.write_text("".join(line for line in lines if not line.startswith(name)))


SCOPES = {
    "admin": "*:*",
    "reader": "read:shop",
    "writer": "read,write:shop",
    "cats": "read:shop/cat.*",
}


@pytest.fixture
def guarded(nats: LocalNats, tmp_path: Path) -> Iterator[Guarded]:
    tokens = {name: new_token() for name in SCOPES}
    file = tmp_path / "tokens"
    file.write_text(
        "\n".join(token_line(name, token, SCOPES[name]) for name, token in tokens.items())
    )
    with running_gateway(nats.url, auth="tokens", auth_tokens=file) as http:
        found = Guarded(http, file, tokens)
        found.admin.delete(f"{BUCKETS}/shop")
        assert found.admin.post(BUCKETS, {"name": "shop", "history": 3}).status == 201
        found.bucket.put("cat.1", "old")
        found.bucket.put("cat.1", "value")
        yield found
        found.admin.delete(f"{BUCKETS}/shop")


def test_a_caller_who_may_only_read_sees_no_button_that_changes_something(
    open_console: OpenConsole, guarded: Guarded
) -> None:
    page = open_console("#/b/shop/k/cat.1", at=guarded.http, token=guarded.bearer("reader"))
    expect(page.get_by_role("region", name="Value")).to_have_text("value")
    for name in ("Edit", "Renew…", "Expire…", "Delete…"):
        expect(page.get_by_role("button", name=name)).to_have_count(0)
    page.get_by_role("button", name="Copy as…").click()
    expect(page.get_by_role("button", name="Read", exact=True)).to_be_visible()
    expect(page.get_by_role("button", name="Write", exact=True)).to_have_count(0)
    page.get_by_role("button", name="Close", exact=True).click()
    page.get_by_role("link", name="History").click()
    expect(page.get_by_role("cell", name="2 current")).to_be_visible()
    expect(page.get_by_role("button", name="Restore…")).to_have_count(0)
    page.close()


def test_a_caller_who_may_only_read_sees_settings_and_no_form(
    open_console: OpenConsole, guarded: Guarded
) -> None:
    page = open_console("#/b/shop/settings", at=guarded.http, token=guarded.bearer("reader"))
    expect(page.get_by_text("You may look at these settings")).to_be_visible()
    expect(page.locator("main")).to_contain_text("Revisions kept of each key")
    expect(page.get_by_role("textbox")).to_have_count(0)
    for name in ("Delete bucket…", "Remove tombstones…", "See what would change…"):
        expect(page.get_by_role("button", name=name)).to_have_count(0)
    expect(page.get_by_role("button", name="Export…")).to_be_visible()
    page.close()


def test_a_caller_who_may_write_and_not_delete_has_a_form_and_no_delete(
    open_console: OpenConsole, guarded: Guarded
) -> None:
    page = open_console("#/b/shop/k/cat.1", at=guarded.http, token=guarded.bearer("writer"))
    expect(page.get_by_role("button", name="Edit")).to_be_visible()
    expect(page.get_by_role("button", name="Delete…")).to_have_count(0)
    page.close()


def test_a_key_outside_the_scopes_is_refused_in_words(
    open_console: OpenConsole, guarded: Guarded, seen: Seen
) -> None:
    seen.expected.append("403")
    page = open_console("#/b/shop/k/dog", at=guarded.http, token=guarded.bearer("cats"))
    expect(page.get_by_role("alert").filter(has_text="permission denied")).to_be_visible()
    page.close()


def test_a_token_that_ends_leads_back_to_the_same_place_with_what_was_typed(
    open_console: OpenConsole, guarded: Guarded, seen: Seen
) -> None:
    seen.expected += ["401", "403"]
    page = open_console("#/b/shop/k/cat.1", at=guarded.http, token=guarded.bearer("writer"))
    page.get_by_role("button", name="Edit").click()
    page.get_by_role("textbox", name="Value").fill("typed")
    guarded.without("writer")
    page.wait_for_timeout(2_500)
    if page.get_by_role("button", name="Save").count():
        page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")
    page.get_by_label("Token").fill(guarded.tokens["admin"])
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("textbox", name="Value")).to_have_value("typed")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("region", name="Value")).to_have_text("typed")
    assert guarded.bucket.get("cat.1").value == b"typed"
    page.close()


def test_an_export_of_a_part_says_that_it_is_one(
    open_console: OpenConsole, guarded: Guarded, tmp_path: Path
) -> None:
    guarded.bucket.put("dog", "x")
    page = open_console("#/b/shop/settings", at=guarded.http, token=guarded.bearer("cats"))
    page.get_by_role("button", name="Export…").click()
    page.get_by_label("Compressed").uncheck()
    with page.expect_download() as found:
        page.get_by_role("button", name="Download").click()
    expect(page.get_by_role("status").filter(has_text="you may not read")).to_be_visible()
    text = Path(found.value.path()).read_text()
    assert '"partial":true' in text
    assert '"key":"dog"' not in text
    page.close()
