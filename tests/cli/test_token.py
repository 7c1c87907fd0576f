"""`jetkv token`: tokens over NATS and by a gateway, and the file's lines."""

import hashlib
import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from jetkv.testing import LocalNats
from jetkv_gateway.commands.token import app
from tests.support.http import BUCKETS
from tests.support.waiting import until


def run(*arguments: str, **environment: str) -> tuple[int, str]:
    """Run `jetkv token …` in this process; return the exit code and the output."""
    result = CliRunner().invoke(app, arguments, env=environment)
    return result.exit_code, result.output.strip()


@pytest.fixture
def over(own_nats: LocalNats):
    """The same, over NATS unless there is --url."""
    own_nats.start()

    def run_over(*arguments: str, **environment: str) -> tuple[int, str]:
        place = () if "--url" in arguments else ("--nats-url", own_nats.url)
        return run(*arguments, *place, **environment)

    return run_over


@pytest.mark.long
def test_the_first_token_is_made_over_nats_and_the_next_ones_by_the_gateway(
    over, serve, own_nats: LocalNats, tmp_path: Path
) -> None:
    code, root = over("create", "root", "--allow", "*:*")
    assert (code, re.fullmatch(r"jkv_[0-9A-Za-z]{38}", root) is not None) == (0, True)
    _, http = serve("--auth", "tokens", "--workers", "2", "--bucket", "b", on=own_nats)
    assert http.get(BUCKETS, Authorization=f"Bearer {root}").status == 200

    code, secret = over(
        "create", "app", "--allow", "read:b", "--allow", "write:b/x.*", "--expires", "90d",
        "--rate", "100", "--max-buckets", "3", "--max-stored-bytes", "1000",
        "--url", http.url, JETKV_TOKEN=root,
    )  # fmt: skip
    assert code == 0
    for _ in range(8):
        until(
            lambda: http.get(f"{BUCKETS}/b/keys", Authorization=f"Bearer {secret}").status == 200,
            "every worker knows it",
            2,
        )
    own = tmp_path / "own"
    own.write_text(root + "\n")
    for place in (("--url", http.url, "--token-file", str(own)), ()):
        code, output = over("show", "app", *place)
        assert code == 0
        shown = json.loads(output)
        assert shown["scopes"] == ["read:b", "write:b/x.*"]
        assert (shown["requests_per_second"], shown["expired"]) == (100, False)
        assert (shown["max_buckets"], shown["max_stored_bytes"]) == (3, 1000)
        code, output = over("list", *place)
        assert [line.split("\t")[0] for line in output.splitlines()] == ["app", "root"]
        assert secret not in output

    assert over("revoke", "app", "--url", http.url, "--token-file", str(own)) == (0, "")
    until(
        lambda: {
            http.get(BUCKETS, Authorization=f"Bearer {secret}").status for _ in range(8)
        } == {401},
        "no worker accepts it",
        2,
    )  # fmt: skip
    code, output = over("revoke", "root", "--url", http.url, "--token-file", str(own))
    assert code == 1
    assert "it is the last one with *:*" in output
    assert over("revoke", "root") == (0, "")
    until(lambda: http.get(BUCKETS, Authorization=f"Bearer {root}").status == 401, "it is gone", 3)


def test_can_tells_what_a_token_allows(over) -> None:
    over("create", "app", "--allow", "read:b/user.*", "--allow", "metrics:*")
    assert over("can", "app", "read", "b", "user.1") == (0, "yes: read:b/user.*")
    assert over("can", "app", "read", "b") == (1, "no: no scope allows it")
    assert over("can", "app", "write", "b", "user.1") == (1, "no: no scope allows it")
    assert over("can", "app", "metrics", "*") == (0, "yes: metrics:*")
    assert over("can", "nobody", "read", "b") == (1, "jetkv: no token has the name nobody")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["create", "a b", "--allow", "*:*"], 4, "a token's name is 1 to 64 characters"),
        (["create", "a", "--allow", "fly:b"], 4, "unknown verb 'fly'"),
        (["create", "a", "--allow", "*:*", "--expires", "soon"], 4, "is not a duration such as"),
        (["create", "a", "--allow", "*:*", "--rate", "0"], 4, "requests_per_second must be"),
        (["create", "a"], 2, "--allow"),
        (["revoke", "nobody"], 1, "no token has the name nobody"),
        (["show", "nobody"], 1, "no token has the name nobody"),
        (["list", "--url", "http://127.0.0.1:9"], 1, "no connection to"),
        (["list", "--url", "http://127.0.0.1:9", "--token-file", "/none"], 4, "no such file"),
    ],
)
def test_what_cannot_be_done_is_one_clear_line(
    over, arguments: list[str], code: int, words: str
) -> None:
    found, output = over(*arguments)
    assert (found, words in output) == (code, True), output


def test_without_nats_it_says_so() -> None:
    code, output = run("list", "--nats-url", "nats://127.0.0.1:9")
    assert code == 3
    assert "no connection to" in output


def test_a_new_token_and_its_line_belong_together() -> None:
    code, output = run("new", "app-1", "--allow", "read:b", "--allow", "write:b/x")
    assert code == 0
    token = re.search(r"^token  (\S+)$", output, re.MULTILINE)[1]
    digest = hashlib.sha256(token.encode()).hexdigest()
    assert f"line   app-1:{digest} read:b write:b/x" in output


def test_a_token_needs_a_plain_name() -> None:
    code, output = run("new", "a:b", "--allow", "*:*")
    assert (code, output.splitlines()[0].startswith("jetkv: a token's name is")) == (4, True)
