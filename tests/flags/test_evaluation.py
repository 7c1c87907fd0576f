"""The evaluation of flags, by the table that the SDK and the gateway share."""

import json

import pytest

from jetkv.flags import (
    ABSENT,
    NOBODY,
    EvaluationContext,
    EvaluationError,
    Flag,
    InvalidContextError,
    evaluate,
    parse_flag,
)
from tests.support.flag_cases import FlagCase, flag_cases, same_json


@pytest.mark.parametrize("case", flag_cases(), ids=str)
def test_every_case_of_the_table(case: FlagCase) -> None:
    context = NOBODY if case.context is None else EvaluationContext.of(case.context)
    if case.error:
        with pytest.raises(EvaluationError) as raised:
            evaluate(parse_flag(case.flag, case.raw), context)
        assert raised.value.error_code == case.error
        assert str(raised.value)
        return
    found = evaluate(parse_flag(case.flag, case.raw), context)
    assert (found.variant, found.reason) == (case.variant, case.reason)
    if case.value is ABSENT:
        assert found.value is ABSENT
    else:
        assert same_json(found.value, case.value)


def test_the_cases_have_names_of_their_own() -> None:
    names = [case.name for case in flag_cases()]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    "context",
    [None, [], "ada", 7, {"targetingKey": 7}, {"targetingKey": None}, {"targetingKey": "\ud800"}],
)
def test_what_is_no_context_is_refused(context: object) -> None:
    with pytest.raises(InvalidContextError) as raised:
        EvaluationContext.of(context)
    assert raised.value.error_code == "INVALID_CONTEXT"


def test_a_context_has_its_key_apart_from_its_attributes() -> None:
    context = EvaluationContext.of({"targetingKey": "ada", "country": "NZ"})
    assert context == EvaluationContext("ada", {"country": "NZ"})


def on_for(rollout: float) -> set[str]:
    flag = parse_flag("new", {"enabled": True, "rollout": rollout})
    users = map(str, range(1000))
    return {user for user in users if evaluate(flag, EvaluationContext(user)).value}


def test_who_is_in_stays_in_when_the_rollout_grows() -> None:
    assert on_for(0.01) < on_for(0.1) < on_for(0.5) < on_for(0.9)
    assert 450 < len(on_for(0.5)) < 550


def test_an_object_nested_too_deeply_is_an_error_and_no_crash() -> None:
    with pytest.raises(EvaluationError) as raised:
        parse_flag("new", b'{"a":' * 200_000 + b"1" + b"}" * 200_000)
    assert raised.value.error_code == "PARSE_ERROR"


def test_a_flag_whose_result_is_known_says_so() -> None:
    def parsed(value: object) -> Flag:
        return parse_flag("new", json.dumps(value).encode())

    assert parsed(True).constant is not None
    assert parsed({"enabled": True, "rollout": 0.5}).constant is None
