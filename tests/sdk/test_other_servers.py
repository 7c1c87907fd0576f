"""Both clients, where nobody answers, or somebody who is no gateway: never a bare exception."""

import socket
from pathlib import Path

import pytest

from jetkv import (
    DeadlineExceededError,
    OutcomeUnknownError,
    UnavailableError,
    UnexpectedAnswerError,
)
from tests.sdk.calls import (
    INFO,
    ONCE,
    READS,
    WRITES,
    Call,
    every_call,
    every_read,
    every_write,
    is_of_the_transport,
    refused,
    refused_by,
    root_of,
    some_calls,
)
from tests.support.scripted import Step, http, scripted

# --- nobody there


@every_call
async def test_nothing_that_listens_is_said_to_be_away(make, nobody: str, call: Call) -> None:
    error = await refused_by(make, nobody, call, UnavailableError, nobody, "nothing was sent")
    assert error.retryable
    assert error.status is None
    assert isinstance(root_of(error), ConnectionRefusedError)


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An address that cannot be resolved.

    Its alias is longer than a name may be: the system's resolver refuses it, and asks nobody.
    """
    aliases = tmp_path / "aliases"
    aliases.write_text(f"nowhere {'.'.join(['nowhere'] * 40)}\n")
    monkeypatch.setenv("HOSTALIASES", str(aliases))
    return "http://nowhere:9123"


@some_calls
async def test_a_name_that_cannot_be_resolved_is_said(make, nowhere: str, call: Call) -> None:
    error = await refused_by(make, nowhere, call, UnavailableError, nowhere, "nothing was sent")
    assert isinstance(root_of(error), socket.gaierror)


# --- a server that is not ours


PAGE = "<!doctype html><title>Welcome</title>"
STRANGERS: dict[str, tuple[bytes, str]] = {
    "a page": (http(200, PAGE, kind="text/html"), "200, text/html"),
    "a page of 404": (http(404, PAGE, kind="text/html"), "404, text/html"),
    "a page of 500": (http(500, PAGE, kind="text/html"), "500, text/html"),
    "a redirect": (
        http(301, "", "Location: http://127.0.0.1:9/elsewhere"),
        "a redirect to http://127.0.0.1:9/elsewhere",
    ),
    "another JSON": (http(200, '{"ok":true}'), "200, application/json"),
    "a list": (http(200, "[]"), "200, application/json"),
    "an error of another's": (http(404, '{"detail":"Not Found"}'), "404, application/json"),
    "nothing": (http(200, ""), "200, application/json"),
}


@pytest.mark.parametrize(("answer", "said"), STRANGERS.values(), ids=STRANGERS)
@some_calls
async def test_an_answer_of_another_server_is_said_to_be_one(
    make, call: Call, answer: bytes, said: str
) -> None:
    with scripted(answer) as server:
        error = await refused_by(make, server.url, call, UnexpectedAnswerError, said)
    assert error.status == int(answer.split()[1])
    assert not error.retryable


@every_call
async def test_a_page_instead_of_an_answer_ends_every_call(make, call: Call) -> None:
    with scripted(STRANGERS["a page of 404"][0]) as server:
        await refused_by(
            make, server.url, call, UnexpectedAnswerError, "does not come from a jetkv gateway"
        )
    assert len(server.asked) == 1


BAD_GATEWAY = http(502, PAGE, kind="text/html")


@every_read
async def test_a_proxy_that_cannot_reach_its_gateway_may_later(make, call: Call) -> None:
    with scripted(BAD_GATEWAY) as server:
        error = await refused_by(make, server.url, call, UnexpectedAnswerError, "502")
    assert error.retryable


@every_write
async def test_a_proxy_that_gives_up_on_a_write_leaves_it_unknown(make, call: Call) -> None:
    with scripted(BAD_GATEWAY) as server:
        error = await refused_by(make, server.url, call, OutcomeUnknownError, "502")
    assert error.status == 502
    assert error.hint
    assert not error.retryable


@pytest.mark.parametrize("name", ["a page", "a page of 404", "a redirect", "another JSON"])
async def test_a_watch_that_is_answered_by_another_server_ends(make, name: str) -> None:
    answer, said = STRANGERS[name]
    with scripted(INFO, answer) as server:
        await refused_by(
            make, server.url, READS["watch"], UnexpectedAnswerError, said, "watch of bucket 'b'"
        )


# --- answers of another program


def breaks_off(connection: socket.socket) -> None:
    connection.sendall(http(200, '{"key":"k","value":"MQ=="')[:-10])
    connection.shutdown(socket.SHUT_RDWR)


def never_answers(connection: socket.socket) -> None:
    connection.recv(1)


def stops_in_its_head(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: appl")
    connection.shutdown(socket.SHUT_RDWR)


BREAKS: dict[str, Step] = {
    "an answer that breaks off": breaks_off,
    "a head that breaks off": stops_in_its_head,
    "a connection that is closed": None,
    "garbage": b"\x00\x01garbage\r\n\r\n",
    "another protocol": b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
}


every_break = pytest.mark.parametrize("step", BREAKS.values(), ids=BREAKS)


@every_break
async def test_a_read_that_gets_no_whole_answer_may_be_read_again(make, step: Step) -> None:
    with scripted(step) as server:
        error = await refused_by(
            make, server.url, READS["get"], UnavailableError, "get of 'k' in bucket 'b'", "broke"
        )
    assert error.retryable
    assert error.__cause__ is not None


@every_break
async def test_a_write_that_gets_no_whole_answer_is_unknown(make, step: Step) -> None:
    with scripted(step) as server:
        error = await refused_by(
            make, server.url, WRITES["put"], OutcomeUnknownError, "put of 'k' in bucket 'b'"
        )
    assert "may or may not have been applied" in str(error)
    assert error.hint
    assert not error.retryable
    assert error.__cause__ is not None


@every_read
async def test_every_read_whose_connection_breaks_may_be_read_again(make, call: Call) -> None:
    with scripted(None) as server:
        error = await refused_by(make, server.url, call, UnavailableError, "broke")
    assert is_of_the_transport(root_of(error))


@every_write
async def test_every_write_whose_connection_breaks_is_unknown(make, call: Call) -> None:
    with scripted(None) as server:
        error = await refused_by(make, server.url, call, OutcomeUnknownError, "broke")
    assert is_of_the_transport(root_of(error))


@pytest.mark.parametrize("name", ["get", "keys", "watch"])
async def test_a_read_that_is_never_answered_ends_with_the_deadline(make, name: str) -> None:
    with scripted(never_answers) as server:
        async with make(server.url, retry=ONCE, timeout=0.2) as client:
            error = await refused(
                READS[name](client), DeadlineExceededError, "'b'", "no answer within"
            )
    assert error.retryable
    assert is_of_the_transport(root_of(error))


@pytest.mark.parametrize("name", ["put", "delete", "create_bucket"])
async def test_a_write_that_is_never_answered_is_unknown_after_the_deadline(
    make, name: str
) -> None:
    with scripted(never_answers) as server:
        async with make(server.url, retry=ONCE, timeout=0.2) as client:
            error = await refused(
                WRITES[name](client), OutcomeUnknownError, "'b'", "no answer within"
            )
    assert not error.retryable
    assert is_of_the_transport(root_of(error))


@pytest.mark.parametrize("step", [None, b"garbage\r\n\r\n"], ids=["closed", "garbage"])
async def test_a_watch_that_cannot_begin_says_what_the_transport_said(make, step: Step) -> None:
    with scripted(INFO, step) as server:
        error = await refused_by(
            make, server.url, READS["watch"], UnavailableError, "watch of bucket 'b'", "broke"
        )
    assert is_of_the_transport(root_of(error))
