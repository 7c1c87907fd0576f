"""The SDK tries again what is known to do no harm, and nothing else."""

import json

import pytest

from jetkv import errors
from jetkv._core.messages import Answer, Broken, Kind, NoAnswer, NotSent, Request
from jetkv._core.retry import Resend, Retry, judge

READ = Request("GET", "/k", Kind.READ, "get of 'k'")
KEYED = Request("PUT", "/k", Kind.KEYED, "put of 'k'", how_to_check="get the key")
WRITE = Request("POST", "/b", Kind.WRITE, "creation of 'b'", how_to_check="ask for it")


def answer(status: int, error: str = "trouble", **headers: str) -> Answer:
    body = {"error": error, "code": "unavailable", "retryable": True, "request_id": "r"}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, named, json.dumps(body).encode())


def foreign(status: int) -> Answer:
    return Answer(status, {"Content-Type": "text/html"}, b"<html>bad gateway</html>")


EVERYTHING = [
    # outcome, read, keyed, write
    (NotSent("refused"), Resend.YES, Resend.YES, Resend.YES),
    (NotSent("bad certificate", permanent=True), Resend.NO, Resend.NO, Resend.NO),
    (Broken("reset"), Resend.YES, Resend.IF_HONOURED, Resend.NO),
    (NoAnswer("too late"), Resend.YES, Resend.IF_HONOURED, Resend.NO),
    (answer(429), Resend.YES, Resend.YES, Resend.YES),
    (answer(503), Resend.YES, Resend.YES, Resend.YES),
    (answer(504), Resend.YES, Resend.IF_HONOURED, Resend.NO),
    (foreign(502), Resend.YES, Resend.IF_HONOURED, Resend.NO),
    (foreign(503), Resend.YES, Resend.IF_HONOURED, Resend.NO),
    (foreign(504), Resend.YES, Resend.IF_HONOURED, Resend.NO),
]


@pytest.mark.parametrize(("outcome", "read", "keyed", "write"), EVERYTHING)
def test_a_request_is_repeated_by_what_is_known(outcome, read, keyed, write) -> None:
    found = [judge(request, outcome, "here").resend for request in (READ, KEYED, WRITE)]
    assert found == [read, keyed, write]


@pytest.mark.parametrize("status", [200, 204, 304, 400, 401, 403, 404, 409, 412, 413, 500, 507])
def test_any_other_answer_stands(status: int) -> None:
    for request in (READ, KEYED, WRITE):
        verdict = judge(request, answer(status), "here")
        assert (verdict.resend, verdict.error) == (Resend.NO, None)


@pytest.mark.parametrize(
    "outcome", [Broken("reset"), NoAnswer("too late"), answer(504), foreign(502), foreign(503)]
)
@pytest.mark.parametrize("request_", [KEYED, WRITE])
def test_a_write_without_an_answer_is_an_unknown_outcome_that_says_what_to_check(
    outcome, request_
) -> None:
    error = judge(request_, outcome, "here").error
    assert type(error) is errors.OutcomeUnknownError
    assert error.hint == request_.how_to_check
    assert request_.description in error.message


@pytest.mark.parametrize(
    ("outcome", "kind"),
    [
        (Broken("reset"), errors.UnavailableError),
        (NoAnswer("too late"), errors.DeadlineExceededError),
        (answer(504), errors.DeadlineExceededError),
        (answer(503), errors.UnavailableError),
        (answer(429), errors.TooManyRequestsError),
        (NotSent("refused"), errors.UnavailableError),
        (foreign(502), errors.UnexpectedAnswerError),
    ],
)
def test_a_read_without_an_answer_is_an_error_that_may_be_retried(outcome, kind) -> None:
    error = judge(READ, outcome, "here").error
    assert type(error) is kind
    assert error.retryable


def test_a_request_that_was_not_sent_names_the_address_and_the_reason() -> None:
    error = judge(KEYED, NotSent("Connection refused"), "http://here:9123").error
    assert "no connection to http://here:9123: Connection refused" in str(error)
    assert "nothing was sent" in str(error)


@pytest.mark.parametrize(
    ("header", "seconds"), [("3", 3.0), ("", 0.0), ("soon", 0.0), ("-1", 0.0), ("9" * 9, 0.0)]
)
def test_the_wait_is_at_least_what_the_gateway_asks_for(header: str, seconds: float) -> None:
    assert judge(READ, answer(503, retry_after=header), "here").min_delay == seconds


def test_delays_double_up_to_the_longest_and_half_of_each_is_random() -> None:
    retry = Retry(first_delay=0.1, longest_delay=0.5)
    assert [retry.delay(tried, 0.0, 1.0) for tried in (1, 2, 3, 4)] == [0.1, 0.2, 0.4, 0.5]
    assert retry.delay(4, 0.0, 0.0) == 0.25
    assert retry.delay(1, 2.0, 1.0) == 2.1
    assert retry.delay(5000, 0.0, 1.0) == 0.5


def test_json_of_a_proxy_is_no_word_of_the_gateway() -> None:
    body = b'{"timestamp":"now","path":"/","status":503,"error":"Service Unavailable"}'
    verdict = judge(KEYED, Answer(503, {}, body), "here")
    assert verdict.resend is Resend.IF_HONOURED
    assert type(verdict.error) is errors.OutcomeUnknownError


@pytest.mark.parametrize(
    "wrong", [{"attempts": 0}, {"first_delay": -1}, {"longest_delay": -1}, {"patience": -1}]
)
def test_a_rule_of_retries_that_makes_no_sense_is_refused(wrong) -> None:
    with pytest.raises(errors.InvalidArgumentError):
        Retry(**wrong)
