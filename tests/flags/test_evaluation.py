"""The evaluation of flags, by the table that the SDK and the gateway share."""

import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jetkv.flags import (
    ABSENT,
    NOBODY,
    EvaluationContext,
    EvaluationError,
    Flag,
    InvalidContextError,
    TargetingKeyMissingError,
    evaluate,
    flag_of,
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


def is_on_by_the_rule(name: str, value: Any, user: str | None) -> bool:
    """The rule of docs/recipes.md, by itself."""
    if not isinstance(value, dict):
        return value is True
    if value.get("enabled") is not True:
        return False
    if user is None:
        return value.get("rollout", 1) >= 1
    digest = hashlib.sha256(f"{name}:{user}".encode()).digest()
    return value.get("rollout", 1) >= 1 or (
        int.from_bytes(digest[:8], "big") / 2**64 < value["rollout"]
    )


ROLLOUTS = st.floats(0, 1) | st.sampled_from([0, 1, 0.1, 0.5])
NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)
USERS = st.text(st.characters(codec="utf-8"), max_size=20)
VALUES = st.sampled_from([True, False, None, 0, 1, "true", [True], {}]) | st.fixed_dictionaries(
    {"enabled": st.booleans()}, optional={"rollout": ROLLOUTS, "note": st.text(max_size=3)}
)


@given(name=NAMES, value=VALUES, user=st.none() | USERS)
def test_who_has_a_flag_is_a_simple_rule(name: str, value: Any, user: str | None) -> None:
    try:
        found = evaluate(parse_flag(name, json.dumps(value).encode()), EvaluationContext(user))
        on = found.value is True
    except TargetingKeyMissingError:
        assert user is None
        on = False
    assert on is is_on_by_the_rule(name, value, user)


@given(name=NAMES, users=st.lists(USERS), rollouts=st.lists(ROLLOUTS, min_size=2).map(sorted))
def test_who_is_in_is_in_at_every_larger_rollout(
    name: str, users: list[str], rollouts: list[float]
) -> None:
    flags = [flag_of(name, {"enabled": True, "rollout": rollout}) for rollout in rollouts]
    for user in users:
        answers = [evaluate(flag, EvaluationContext(user)).value for flag in flags]
        assert answers == sorted(answers)


def on_for(rollout: float) -> set[str]:
    flag = flag_of("new", {"enabled": True, "rollout": rollout})
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
