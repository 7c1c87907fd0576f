"""Each kind of error has its exit code and one line that says what to do."""

import json
import re
from pathlib import Path

import pytest

from jetkv import errors
from jetkv.cli.exits import Exit, exit_of, line_of
from jetkv_gateway import check
from tests.cli.data import Cli
from tests.support.gateway import running_gateway
from tests.support.http import Bucket
from tests.support.ports import free_port
from tests.support.scripted import Step, http, scripted, silent
from tests.support.tokens import new_token, token_line
from tests.support.waiting import until

ROOT = Path(__file__).parents[2]
PAGE = "<!doctype html><title>Welcome</title>"


def failed(status: int, error: str, code: str, retryable: bool = False) -> bytes:
    body = {"error": error, "code": code, "retryable": retryable, "request_id": "r-1"}
    return http(status, json.dumps(body), "X-Request-Id: r-1")


@pytest.mark.parametrize(
    ("step", "code", "says"),
    [
        (http(200, PAGE, kind="text/html"), 16, "must be the address of a gateway"),
        (http(404, PAGE, kind="text/html"), 16, "must be the address of a gateway"),
        (http(302, "", "Location: /login"), 16, "must be the address of a gateway"),
        (http(200, '{"keys": 1}'), 16, "must be the address of a gateway"),
        (http(404, '{"detail": "Not Found"}'), 16, "must be the address of a gateway"),
        (failed(401, "authentication required", "unauthenticated"), 12, "JETKV_TOKEN"),
        (failed(403, "permission denied: read of b", "permission_denied"), 12, "read of b"),
        (failed(404, "route not found", "not_found"), 10, "check the path"),
        (failed(410, "cursor expired", "failed_precondition"), 17, "start again"),
        (failed(500, "internal error", "internal"), 1, "[request r-1]"),
    ],
)
def test_what_a_server_says_becomes_a_code_and_a_line(step: Step, code: int, says: str) -> None:
    with scripted(step) as server:
        found, line = Cli(server.url).fails("kv", "ls", "b", "--json")
    assert (found, says in line) == (code, True), line


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("kv", "get", "b"), "missing argument 'key'; see `jetkv kv get --help`"),
        (("kv", "gett", "b", "k"), "no such command 'gett'"),
        (("bucket", "ls", "--all"), "no such option: --all"),
        (("--verbose",), "no such option: --verbose"),
        (("kv", "get", "b", "k", "-o", "xml"), "'xml' is not one of"),
        (("bucket", "ls", "--timeout", "long"), "'--timeout'"),
    ],
)
def test_a_wrong_command_line_is_one_line(cli: Cli, arguments: tuple[str, ...], says: str) -> None:
    code, line = cli.fails(*arguments)
    assert (code, says in line) == (Exit.USAGE, True), line


def test_nobody_at_the_address_is_unavailable(cli: Cli) -> None:
    cli.environment["JETKV_URL"] = f"http://127.0.0.1:{free_port()}"
    code, line = cli.fails("kv", "get", "b", "k")
    assert (code, "whether the gateway runs" in line) == (13, True)


@pytest.mark.parametrize("url", ["", "localhost:9123", "redis://localhost:6379", "http://"])
def test_an_address_that_is_none_is_wrong_usage(cli: Cli, url: str) -> None:
    assert cli.fails("kv", "get", "b", "k", "--url", url)[0] == 2


def test_a_write_without_an_answer_has_an_unknown_outcome() -> None:
    with scripted(None, http(200, '{"features": []}')) as server:
        code, line = Cli(server.url).fails("kv", "put", "b", "k", "v")
    assert (code, "may have been applied" in line) == (14, True)


def test_ctrl_c_in_a_write_says_that_it_may_have_been_applied(cli: Cli) -> None:
    with scripted(silent) as server:
        cli.environment["JETKV_URL"] = server.url
        with cli.running("kv", "put", "b", "k", "v") as put:
            until(lambda: server.asked, "the put has come")
            code, said = put.interrupted()
    assert (code, said) == (130, "jetkv: interrupted; the put of 'k' may have been applied\n")


def test_what_a_server_says_cannot_steer_a_terminal() -> None:
    with scripted(failed(403, "permission denied\n\x1b[2J\x9b31m", "permission_denied")) as server:
        _, line = Cli(server.url).fails("kv", "ls", "b", "--json")
    assert not set(line) & {"\x1b", "\x9b"}


def test_a_token_that_may_not_is_denied(cli: Cli, nats, tmp_path: Path) -> None:
    token, tokens = new_token(), tmp_path / "tokens"
    tokens.write_text(token_line("reader", token, "read:*"))
    with running_gateway(nats.url, auth="tokens", auth_tokens=tokens) as http:
        cli.environment |= {"JETKV_URL": http.url, "JETKV_TOKEN": None}
        assert cli.fails("bucket", "ls")[0] == 12
        cli.environment["JETKV_TOKEN"] = token
        cli("bucket", "ls")
        code, line = cli.fails("kv", "put", "t-b", "k", "v")
        assert (code, token in line) == (12, False)


def test_the_codes_are_not_those_of_the_gateways_commands() -> None:
    own = set(Exit) - {Exit.DONE, Exit.DEFECT, Exit.USAGE}
    others = {value for name, value in vars(check).items() if name.startswith("EXIT_")}
    assert len(others) > 3
    assert not own & others


def test_every_error_of_the_sdk_has_a_code_and_a_line() -> None:
    kinds = [
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type)
        and issubclass(kind, errors.JetKVError)
        and not issubclass(kind, errors.LockError | errors.EvaluationError)  # no command has them
    ]
    unplanned = {errors.JetKVError, errors.GatewayError, errors.ValueDecodeError}
    unplanned |= {errors.ClientClosedError}
    for kind in kinds:
        error = kind("it failed\nindeed")
        assert (exit_of(error) is Exit.DEFECT) == (kind in unplanned), kind
        assert line_of(error).startswith("it failed indeed")


def test_the_page_lists_the_codes() -> None:
    page = (ROOT / "docs" / "cli.md").read_text()
    listed = {int(code) for code in re.findall(r"^\| (\d+) \|", page, re.MULTILINE)}
    assert listed == set(Exit)


def test_a_bucket_that_is_full_is_refused(cli: Cli, make_bucket) -> None:
    bucket: Bucket = make_bucket(max_bytes=1_024)
    code, line = cli.fails("kv", "put", bucket.name, "k", "v" * 2_000)
    assert (code, "bucket is full" in line) == (15, True)
