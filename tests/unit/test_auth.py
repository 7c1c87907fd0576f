"""Bearer tokens of a file: which callers are let in, and what an edit of the file does."""

import hashlib
import logging
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from jetkv_gateway.auth.authenticator import Chain, NoAuth
from jetkv_gateway.auth.token_file import TokenFile, TokenFileError
from jetkv_gateway.auth.token_logins import TokenLogins
from jetkv_gateway.auth.tokens import check_name
from jetkv_gateway.kv.access import ANONYMOUS
from jetkv_gateway.kv.errors import InvalidArgument, Unauthenticated
from tests.support.tokens import new_token, token_line


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A token file that lets ann and bob in."""
    path = tmp_path / "tokens"
    path.write_text(token_line("ann", "secret-a") + "\n" + token_line("bob", "secret-b") + "\n")
    return path


def tokens_of(path: Path) -> Chain:
    return Chain([TokenLogins(TokenFile(path))])


def bearer(token: str) -> bytes:
    return f"Bearer {token}".encode()


def is_let_in(tokens: Chain, token: str) -> bool:
    tokens.refresh()
    try:
        tokens.authenticate(bearer(token))
    except Unauthenticated:
        return False
    return True


# --- who is let in


def test_a_token_is_its_owner(file: Path) -> None:
    tokens = tokens_of(file)
    assert tokens.authenticate(b"Bearer secret-a").name == "ann"
    assert tokens.authenticate(b"Bearer secret-b").name == "bob"


@pytest.mark.parametrize("scheme", [b"bearer ", b"BEARER ", b"Bearer  "])
def test_the_word_bearer_is_read_in_any_case(file: Path, scheme: bytes) -> None:
    assert tokens_of(file).authenticate(scheme + b"secret-a").name == "ann"


@pytest.mark.parametrize(
    "authorization",
    [None, b"", b"Bearer", b"Bearer ", b"Basic secret-a", b"secret-a", b"Bearersecret-a", b" "],
)
def test_a_request_without_a_bearer_token_is_told_to_send_one(
    file: Path, authorization: bytes | None
) -> None:
    with pytest.raises(Unauthenticated) as refused:
        tokens_of(file).authenticate(authorization)
    assert refused.value.message == "authentication required"
    assert refused.value.hint == "send Authorization: Bearer <token>"


@pytest.mark.parametrize(
    "token",
    [
        b"secret-c",
        b"secret-",
        b"secret-aa",
        b"SECRET-A",
        b"secret-a, Bearer secret-b",
        b"\xff\xfe",
        hashlib.sha256(b"secret-a").hexdigest().encode(),
    ],
)
def test_a_token_that_is_not_in_the_file_is_refused(file: Path, token: bytes) -> None:
    with pytest.raises(Unauthenticated) as refused:
        tokens_of(file).authenticate(b"Bearer " + token)
    assert refused.value.message == "authentication required"
    assert refused.value.hint == "this token is unknown"


def test_a_refusal_does_not_repeat_the_token(file: Path) -> None:
    with pytest.raises(Unauthenticated) as refused:
        tokens_of(file).authenticate(b"Bearer top-secret")
    error = refused.value
    assert "top-secret" not in f"{error.message} {error.hint} {error.details}"


def test_a_token_beyond_ascii_is_compared_by_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    path.write_text(token_line("ann", "schlüssel"))
    assert is_let_in(tokens_of(path), "schlüssel")


def test_one_name_may_have_two_tokens_while_they_are_changed(file: Path) -> None:
    with file.open("a") as lines:
        lines.write(token_line("ann", "new-secret"))
    tokens = tokens_of(file)
    assert tokens.authenticate(b"Bearer secret-a").name == "ann"
    assert tokens.authenticate(b"Bearer new-secret").name == "ann"


def test_with_auth_off_everybody_comes_in_and_a_credential_is_ignored() -> None:
    assert NoAuth().authenticate(None) is ANONYMOUS
    assert NoAuth().authenticate(b"Bearer whatever") is ANONYMOUS
    assert (NoAuth().required, NoAuth().problem) == (False, None)


def test_with_a_token_file_a_credential_is_required(file: Path) -> None:
    assert tokens_of(file).required is True
    assert tokens_of(file).problem is None


# --- the form of the file


def test_comments_blank_lines_and_windows_line_ends_are_nothing(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    lines = ["# who may come in", "", "   ", token_line("ann", "a"), "  # bob left", "\t"]
    path.write_bytes("\r\n".join([*lines, f"  {token_line('eve', 'e')}  "]).encode())
    tokens = tokens_of(path)
    assert is_let_in(tokens, "a")
    assert is_let_in(tokens, "e")


def test_a_file_without_tokens_lets_nobody_in(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    path.write_text("# nobody yet\n")
    assert not is_let_in(tokens_of(path), "")
    assert not is_let_in(tokens_of(path), "a")


@pytest.mark.parametrize(
    "line",
    [
        "secret",
        "ann",
        "ann:",
        "ann:secret",
        ":" + "0" * 64,
        "ann:" + "0" * 63,
        "ann:" + "0" * 65,
        "ann:" + "A" * 64,
        "ann:" + "g" * 64,
        "ann : " + "0" * 64,
        "an n:" + "0" * 64,
        "ann:sha256:" + "0" * 64,
        "a" * 65 + ":" + "0" * 64,
        "ännchen:" + "0" * 64,
    ],
)
def test_a_line_that_is_no_token_is_refused_by_its_number(tmp_path: Path, line: str) -> None:
    path = tmp_path / "tokens"
    path.write_text(f"# first\n{line}\n", encoding="utf-8")
    with pytest.raises(TokenFileError) as refused:
        tokens_of(path)
    assert str(refused.value) == (
        f"{path}, line 2: must be name:sha256 SCOPE…, as `jetkv token new NAME` prints it"
    )


def test_a_refused_line_is_not_repeated_since_it_could_be_a_token(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    path.write_text("ann:my-plain-secret\n")
    with pytest.raises(TokenFileError) as refused:
        tokens_of(path)
    assert "my-plain-secret" not in str(refused.value)


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
def test_a_file_that_cannot_be_read_is_refused_at_the_start(
    tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "tokens"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(TokenFileError) as refused:
        tokens_of(path)
    assert str(refused.value).startswith(f"cannot read the token file {path}: ")


def test_a_folder_is_no_token_file(tmp_path: Path) -> None:
    with pytest.raises(TokenFileError, match="cannot read the token file"):
        tokens_of(tmp_path)


# --- the file changes


def test_a_token_that_is_added_is_let_in(file: Path) -> None:
    tokens = tokens_of(file)
    assert not is_let_in(tokens, "secret-c")
    with file.open("a") as lines:
        lines.write(token_line("eve", "secret-c"))
    assert is_let_in(tokens, "secret-c")
    assert is_let_in(tokens, "secret-a")


def test_a_token_that_is_taken_out_is_refused(file: Path) -> None:
    tokens = tokens_of(file)
    assert is_let_in(tokens, "secret-a")
    file.write_text(token_line("bob", "secret-b"))
    assert not is_let_in(tokens, "secret-a")
    assert is_let_in(tokens, "secret-b")


def test_a_file_that_is_put_in_the_place_of_the_old_one_is_read(file: Path) -> None:
    tokens = tokens_of(file)
    other = file.with_name("new")
    other.write_text(file.read_text().replace("ann", "eve"))
    before = file.stat()
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.rename(file)
    tokens.refresh()
    assert tokens.authenticate(b"Bearer secret-a").name == "eve"


@pytest.mark.parametrize("content", ["ann:oops\n", None])
def test_a_file_that_breaks_leaves_the_last_good_one_in_force_and_says_so(
    file: Path, content: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    tokens = tokens_of(file)
    file.unlink()
    if content is not None:
        file.write_text(content)
    assert is_let_in(tokens, "secret-a")
    assert not is_let_in(tokens, "oops")
    assert is_let_in(tokens, "secret-a"), "and again"
    (told,) = [record.getMessage() for record in caplog.records]
    assert str(file) in told, "once, in full"
    assert told.endswith("; the tokens read before stay in force")


def test_what_everybody_may_see_of_a_broken_file_is_neither_its_path_nor_its_line(
    file: Path,
) -> None:
    tokens = tokens_of(file)
    file.write_text("ann:oops\n")
    tokens.refresh()
    assert tokens.problem == (
        "the token file cannot be used; the tokens read before stay in force; see the log"
    )


def test_a_broken_file_that_is_mended_is_read_and_no_problem_any_more(file: Path) -> None:
    tokens = tokens_of(file)
    good = file.read_text()
    file.write_text("broken")
    assert is_let_in(tokens, "secret-a")
    file.write_text(good + token_line("eve", "secret-c"))
    assert is_let_in(tokens, "secret-c")
    assert tokens.problem is None


def test_a_file_that_goes_and_comes_back_as_it_was_is_no_problem_any_more(file: Path) -> None:
    tokens = tokens_of(file)
    away = file.rename(file.with_name("away"))
    assert is_let_in(tokens, "secret-a")
    assert tokens.problem is not None
    away.rename(file)
    assert is_let_in(tokens, "secret-a")
    assert tokens.problem is None


def test_a_caller_does_not_wait_for_the_file(file: Path) -> None:
    tokens = tokens_of(file)
    file.unlink()
    assert tokens.authenticate(bearer("secret-a")).name == "ann"
    assert tokens.problem is None, "it was not looked at"


def test_a_file_that_may_not_be_read_any_more_is_noticed(file: Path) -> None:
    tokens = tokens_of(file)
    before = file.stat()
    file.chmod(0o000)
    assert file.stat().st_mtime_ns == before.st_mtime_ns, "the content is what it was"
    reads: list[bool] = []
    opened = os.open

    def open_as_somebody_else(path: object, flags: int) -> int:
        reads.append(True)
        if file.stat().st_mode & 0o400 == 0:  # which root may read all the same
            raise PermissionError(13, "Permission denied")
        return opened(file, flags)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "open", open_as_somebody_else)
        assert is_let_in(tokens, "secret-a")
        assert tokens.problem is not None
        assert reads


def test_a_file_that_could_not_be_read_for_a_moment_is_read_without_a_change_of_it(
    file: Path,
) -> None:
    tokens = tokens_of(file)
    with file.open("a") as lines:
        lines.write(token_line("eve", "secret-c"))

    def fail(_path: object, _flags: int) -> int:
        raise OSError(24, "Too many open files")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "open", fail)
        assert not is_let_in(tokens, "secret-c")
        assert tokens.problem is not None
    assert is_let_in(tokens, "secret-c")
    assert tokens.problem is None


def test_a_file_that_did_not_change_is_read_when_it_is_asked_for_and_the_log_says_so(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "jetkv.auth")
    tokens = tokens_of(file)
    tokens.refresh()
    assert caplog.messages == []
    tokens.refresh(force=True)
    assert caplog.messages == [f"read 2 tokens from {file}"]


# --- what is no file


@contextmanager
def soon() -> Iterator[None]:
    """Fail what waits for a file for ever."""

    def give_up(_number: int, _frame: object) -> None:
        raise AssertionError("it waits")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(5)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("kind", ["a pipe", "a device", "a folder", "a huge file"])
def test_what_is_no_file_of_a_bearable_size_is_refused_and_never_waited_for(
    tmp_path: Path, kind: str
) -> None:
    path = tmp_path / "tokens"
    rule = "it is not a regular file"
    match kind:
        case "a pipe":
            os.mkfifo(path)
        case "a device":
            path.symlink_to("/dev/zero")
        case "a folder":
            path.mkdir()
        case _:
            with path.open("wb") as file:
                file.truncate(2**40)
            rule = "it has over 16777216 bytes"
    with pytest.raises(TokenFileError) as refused, soon():
        tokens_of(path)
    assert str(refused.value) == f"cannot read the token file {path}: {rule}"


def test_a_file_that_becomes_a_pipe_leaves_the_last_good_one_in_force(file: Path) -> None:
    tokens = tokens_of(file)
    file.unlink()
    os.mkfifo(file)
    with soon():
        assert is_let_in(tokens, "secret-a")
    assert tokens.problem is not None


# --- what a token may do, and for how long


def test_a_line_without_scopes_is_refused_with_the_line_to_write(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    line = "ann:" + "0" * 64
    path.write_text(line)
    with pytest.raises(TokenFileError) as refused:
        tokens_of(path)
    assert str(refused.value) == (
        f"{path}, line 1: ann has no scopes; to let it do everything, as before, write: {line} *:*"
    )


def test_the_line_to_write_keeps_the_expiry(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    path.write_text("ann:" + "0" * 64 + " expires=2030-01-01T00:00:00Z")
    with pytest.raises(TokenFileError, match=r" \*:\* expires=2030-01-01T00:00:00Z$"):
        tokens_of(path)


def test_a_token_of_an_older_format_works_once_its_line_has_scopes(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    path.write_text(token_line("ann", "jetkv_" + "x" * 43, "*:*"))
    assert is_let_in(tokens_of(path), "jetkv_" + "x" * 43)


@pytest.mark.parametrize("expires", ["2020-01-01T00:00:00Z", "2026-01-01T00:00:00.5+02:00"])
def test_a_token_that_has_expired_is_refused_and_told_so(tmp_path: Path, expires: str) -> None:
    path = tmp_path / "tokens"
    path.write_text(token_line("ann", "secret", expires=expires))
    with pytest.raises(Unauthenticated) as refused:
        tokens_of(path).authenticate(bearer("secret"))
    assert refused.value.hint == "this token has expired"


def test_a_token_that_expires_later_is_let_in(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    path.write_text(token_line("ann", "secret", expires="2999-01-01T00:00:00Z"))
    assert is_let_in(tokens_of(path), "secret")


@pytest.mark.parametrize(
    ("words", "rule"),
    [
        ("*:* expires=tomorrow", "'tomorrow' is not a time such as"),
        ("*:* expires=2030-01-01", "'2030-01-01' is not a time such as"),
        ("*:* expires=2030-01-01T00:00:00", "is not a time such as"),
        ("*:* expires=2030-13-01T00:00:00Z", "month must be in 1..12"),
        (
            "*:* expires=2030-01-01T00:00:00Z expires=2031-01-01T00:00:00Z",
            "expires= is given twice",
        ),
    ],
)
def test_a_bad_expiry_is_refused_by_its_rule(tmp_path: Path, words: str, rule: str) -> None:
    path = tmp_path / "tokens"
    path.write_text("ann:" + "0" * 64 + " " + words)
    with pytest.raises(TokenFileError) as refused:
        tokens_of(path)
    assert rule in str(refused.value)


# --- new tokens


def test_a_new_token_is_long_and_never_the_same() -> None:
    tokens = {new_token() for _ in range(100)}
    assert len(tokens) == 100
    assert all(token.startswith("jkv_") and len(token) == 42 for token in tokens)


def test_the_line_of_a_token_holds_its_hash_and_not_the_token() -> None:
    assert token_line("ann", "secret") == (
        "ann:2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b *:*"
    )


@pytest.mark.parametrize("name", ["a", "ann.b_c-1", "A" * 64])
def test_a_line_is_read_as_it_was_made(tmp_path: Path, name: str) -> None:
    token = new_token()
    path = tmp_path / "tokens"
    path.write_text(token_line(name, token))
    assert tokens_of(path).authenticate(bearer(token)).name == name


@pytest.mark.parametrize("name", ["", "a" * 65, "a b", "a:b", "a#b", "é", "a\n", "../x"])
def test_a_token_with_a_bad_name_is_not_made(name: str) -> None:
    with pytest.raises(InvalidArgument, match=r"^a token's name is 1 to 64 characters"):
        check_name(name)


def test_a_misspelt_token_is_told_from_a_wrong_one(file: Path) -> None:
    token = new_token()
    other = "B" if token[10] == "A" else "A"
    for text, hint in (
        (token, "this token is unknown"),
        (token[:10] + other + token[11:], "this token is misspelt: its checksum is wrong"),
        (token[:-1], "this token is misspelt: its checksum is wrong"),
        (token + "A", "this token is misspelt: its checksum is wrong"),
        ("jkv_", "this token is misspelt: its checksum is wrong"),
    ):
        with pytest.raises(Unauthenticated) as refused:
            tokens_of(file).authenticate(bearer(text))
        assert refused.value.hint == hint
