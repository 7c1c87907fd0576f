"""Who uses the console: signing in, what a token may not do is not there, and a token that ends."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from jetkv.testing import LocalNats
from tests.browser.console.conftest import OpenConsole, Seen
from tests.support.gateway import running_gateway
from tests.support.http import Bucket, Http
from tests.support.tokens import new_token, token_line
from tests.support.waiting import until


class Tokens:
    """A gateway whose tokens a test makes and takes away."""

    def __init__(self, http: Http, path: Path) -> None:
        self.http = http
        self.path = path
        self.lines: dict[str, str] = {}

    def make(self, name: str, *scopes: str, expires: str | None = None) -> str:
        token = new_token()
        self.lines[name] = token_line(name, token, *scopes, expires=expires)
        self._write()
        return token

    def withdraw(self, name: str) -> None:
        del self.lines[name]
        self._write()

    def _write(self) -> None:
        self.path.write_text("\n".join(self.lines.values()) + "\n")


@pytest.fixture
def tokens(nats: LocalNats, tmp_path: Path) -> Iterator[Tokens]:
    path = tmp_path / "tokens"
    path.write_text(token_line("root", new_token()) + "\n")
    with running_gateway(nats.url, auth="tokens", auth_tokens=path) as http:
        made = Tokens(http, path)
        made.lines["root"] = path.read_text().strip()
        yield made


def bearer(token: str) -> str:
    return f"Bearer {token}"


def until_valid(http: Http, token: str) -> None:
    """Wait until the gateway has read the file again."""
    until(
        lambda: http.get("/api/v1/auth/whoami", Authorization=bearer(token)).status == 200,
        "the token is known",
    )


def test_a_token_is_asked_for_and_the_place_is_kept(
    open_console: OpenConsole, tokens: Tokens, bucket: Bucket, seen: Seen
) -> None:
    seen.expected.append("401")
    bucket.put("a", "1")
    token = tokens.make("alice", f"read:{bucket.name}")
    until_valid(tokens.http, token)
    page = open_console(f"#/b/{bucket.name}", at=tokens.http)
    field = page.get_by_label("Token")
    expect(field).to_be_focused()
    field.fill("jkv_wrong")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert").filter(has_text="not valid")).to_be_visible()
    field.fill(token)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text(bucket.name)
    expect(page.get_by_role("link", name="alice")).to_be_visible()
    # It is kept for this tab alone.
    page.reload()
    expect(page.get_by_role("heading", level=1)).to_have_text(bucket.name)
    assert page.evaluate("Object.values(localStorage).join()").find(token) == -1
    assert token not in page.content()


def test_a_token_that_may_only_read_sees_no_button_that_cannot_work(
    open_console: OpenConsole, tokens: Tokens, bucket: Bucket
) -> None:
    bucket.put("a", "1")
    reader = tokens.make("reader", f"read:{bucket.name}")
    until_valid(tokens.http, reader)
    page = open_console(f"#/b/{bucket.name}?view=list", at=tokens.http, token=bearer(reader))
    expect(page.get_by_text("Read only")).to_be_visible()
    expect(page.get_by_role("button", name=re.compile("New key|Delete"))).to_have_count(0)
    page.keyboard.press("n")
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.keyboard.press("b")
    expect(page.get_by_role("heading", level=1)).to_have_text("Buckets")
    expect(page.get_by_role("link", name=bucket.name)).to_be_visible()
    expect(page.get_by_role("button", name="New bucket")).to_have_count(0)
    page.goto(f"{tokens.http.url}/console#/b/{bucket.name}/k/a")
    expect(page.get_by_role("heading", level=1)).to_have_text("a")
    for name in ("Edit", "Delete", "Save", "Restore", "Touch", "Renew"):
        expect(page.get_by_role("button", name=name)).to_have_count(0)


def test_a_token_that_may_write_has_the_buttons(
    open_console: OpenConsole, tokens: Tokens, bucket: Bucket
) -> None:
    bucket.put("a", "1")
    writer = tokens.make("writer", f"read,write,delete:{bucket.name}")
    until_valid(tokens.http, writer)
    page = open_console(f"#/b/{bucket.name}", at=tokens.http, token=bearer(writer))
    expect(page.get_by_role("button", name="New key")).to_be_visible()
    expect(page.get_by_role("button", name="Delete many")).to_be_visible()
    expect(page.get_by_text("Read only")).to_have_count(0)


def test_a_token_of_some_keys_sees_these_and_is_told_so(
    open_console: OpenConsole, tokens: Tokens, bucket: Bucket
) -> None:
    for key in ("mine.1", "mine.2", "theirs.1"):
        bucket.put(key, "x")
    part = tokens.make("part", f"read:{bucket.name}/mine.>")
    until_valid(tokens.http, part)
    page = open_console(f"#/b/{bucket.name}?view=list", at=tokens.http, token=bearer(part))
    expect(page.locator(".name bdi")).to_have_text(["mine.1", "mine.2"])
    expect(page.get_by_text("Some keys only")).to_be_visible()
    bucket.put("theirs.2", "x")
    bucket.put("mine.3", "x")
    expect(page.locator(".name bdi")).to_have_text(["mine.1", "mine.2", "mine.3"])


def test_a_bucket_out_of_scope_is_not_shown(
    open_console: OpenConsole, tokens: Tokens, bucket: Bucket, seen: Seen
) -> None:
    seen.expected.append("403")
    other = tokens.make("other", "read:other-bucket")
    until_valid(tokens.http, other)
    page = open_console(f"#/b/{bucket.name}", at=tokens.http, token=bearer(other))
    expect(page.get_by_role("heading", level=1)).to_have_text("You may not see this")


def test_a_token_that_is_withdrawn_leads_to_signing_in_and_back_to_the_place(
    open_console: OpenConsole, tokens: Tokens, bucket: Bucket, seen: Seen
) -> None:
    seen.expected += ["401", "403"]
    bucket.put("a", "1")
    first = tokens.make("first", f"read:{bucket.name}")
    second = tokens.make("second", f"read:{bucket.name}")
    until_valid(tokens.http, second)
    page = open_console(f"#/b/{bucket.name}?view=list", at=tokens.http, token=bearer(first))
    expect(page.locator(".name bdi")).to_have_text(["a"])
    tokens.withdraw("first")
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")
    page.get_by_label("Token").fill(second)
    page.keyboard.press("Enter")
    expect(page.locator(".name bdi")).to_have_text(["a"])


def test_your_access_says_who_you_are_and_what_you_may(
    open_console: OpenConsole, tokens: Tokens, bucket: Bucket
) -> None:
    token = tokens.make("alice", f"read,write:{bucket.name}/user.*", "metrics:*")
    until_valid(tokens.http, token)
    page = open_console("#/me", at=tokens.http, token=bearer(token))
    main = page.locator("main")
    expect(main).to_contain_text("alice")
    expect(main).to_contain_text(f"read,write:{bucket.name}/user.*")
    expect(main).to_contain_text("on keys that match user.*")
    expect(main).to_contain_text("read the metrics")


def test_your_access_answers_a_question(
    open_console: OpenConsole, tokens: Tokens, bucket: Bucket
) -> None:
    token = tokens.make("alice", f"read:{bucket.name}/user.*")
    until_valid(tokens.http, token)
    page = open_console("#/me", at=tokens.http, token=bearer(token))
    page.get_by_label("in bucket").fill(bucket.name)
    page.get_by_label("the key").fill("user.1")
    page.get_by_role("button", name="Ask").click()
    answer = page.locator(".answer")
    expect(answer).to_have_text(f"Yes, by read:{bucket.name}/user.*")
    page.get_by_label("May I").select_option("write")
    page.get_by_role("button", name="Ask").click()
    expect(answer).to_contain_text("No: no scope of yours allows write on this key")


def test_signing_out_forgets_the_token(
    open_console: OpenConsole, tokens: Tokens, bucket: Bucket
) -> None:
    token = tokens.make("alice", "*:*")
    until_valid(tokens.http, token)
    page = open_console("#/me", at=tokens.http, token=bearer(token))
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")
    assert page.evaluate("sessionStorage.length") == 0
