"""Definitions of flagd: what the table cannot say, above all about rules that mean harm."""

import contextlib
import json
import subprocess
import sys
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openfeature.contrib.tools.flagd.core import FlagdCore
from openfeature.evaluation_context import EvaluationContext as ContextOfFlagd
from openfeature.exception import OpenFeatureError

from jetkv.flags import (
    ABSENT,
    ErrorCode,
    EvaluationContext,
    EvaluationError,
    FlagParseError,
    evaluate,
    flag_of,
    parse_flag,
)
from tests.support.flag_cases import same_json

MANY = list(range(1000))
DOUBLING = [{"var": "accumulator"}, {"var": "accumulator"}]


def definition(targeting: Any, **members: Any) -> dict[str, Any]:
    variants = {"a": 1, "b": 2, "true": 3, "false": 4, "1": 5}
    return {
        "state": "ENABLED",
        "variants": variants,
        "defaultVariant": "a",
        "targeting": targeting,
        **members,
    }


def result_of(rule: Any, context: dict[str, Any], **members: Any) -> object:
    """The variant, or the code of the error."""
    try:
        flag = parse_flag("flag", json.dumps(definition(rule, **members)).encode())
        return evaluate(flag, EvaluationContext.of(context)).variant
    except EvaluationError as error:
        return error.error_code


def nested(levels: int, operator: str) -> Any:
    rule: Any = True
    for _ in range(levels):
        rule = {operator: [rule]}
    return rule


ENDLESS = {
    "loops within loops": {"map": [MANY, {"map": [MANY, {"map": [MANY, 1]}]}]},
    "filters within filters": {"filter": [MANY, {"filter": [MANY, {"filter": [MANY, True]}]}]},
    "all of all": {"all": [MANY, {"all": [MANY, {"all": [MANY, True]}]}]},
    "none of none": {"none": [MANY, {"none": [MANY, {"some": [MANY, False]}]}]},
    "a long chain of ifs in a loop": {"map": [MANY, {"if": [False, 1] * 2000}]},
    "a long chain of ands in a loop": {"map": [MANY, {"and": [1] * 2000}]},
    "long lists in a loop": {"reduce": [MANY, {"map": [MANY, {"var": ""}]}, 0]},
    "long lists of the context": {"map": [{"var": "list"}, {"map": [{"var": "list"}, 1]}]},
    "a list that doubles": {"reduce": [MANY, {"merge": DOUBLING}, [1]]},
    "a text that doubles": {"reduce": [MANY, {"cat": DOUBLING}, "x"]},
    "a list that contains itself twice, as text": {
        "cat": [{"reduce": [MANY[:60], DOUBLING, 1]}],
    },
    "two lists that contain themselves twice, compared": {
        "===": [{"reduce": [MANY[:60], DOUBLING, 1]}, {"reduce": [MANY[:60], DOUBLING, 1]}],
    },
    "a list that contains itself twice, as a bucket": {
        "fractional": [["a", {"reduce": [MANY[:60], DOUBLING, 1]}]],
    },
    "a long text in a loop": {"map": [MANY, {"in": ["z", {"var": "text"}]}]},
}


@pytest.mark.parametrize("rule", ENDLESS.values(), ids=ENDLESS)
def test_a_rule_that_asks_for_too_much_work_is_an_error(rule: Any) -> None:
    result_of(True, {})  # imports the package, which takes its time
    begun = time.process_time()
    context = {"targetingKey": "ada", "list": list(range(50_000)), "text": "x" * 500_000}
    assert result_of(rule, context) == ErrorCode.GENERAL
    assert time.process_time() - begun < 1


def test_numbers_that_square_themselves_stay_small() -> None:
    squaring = {"reduce": [MANY[:200], {"*": DOUBLING}, 10**18]}
    assert result_of({"if": [{">": [squaring, 1]}, "b"]}, {}) == "b"


def test_a_long_product_takes_no_time() -> None:
    begun = time.process_time()
    assert result_of({"if": [{">": [{"*": [2**60] * 15_000}, 1]}, "b"]}, {}) == "b"
    assert time.process_time() - begun < 1


def test_a_long_list_to_compare_with_is_no_problem() -> None:
    users = [f"user{number}@example.com" for number in range(15_000)]
    rule = {"if": [{"in": [{"var": "email"}, users]}, "b"]}
    assert result_of(rule, {"email": users[-1]}) == "b"


@pytest.mark.parametrize("operator", ["!", "if", "and", "cat", "merge", "map"])
def test_a_rule_may_be_nested_up_to_a_limit(operator: str) -> None:
    assert result_of(nested(60, operator), {}) != ErrorCode.PARSE_ERROR
    assert result_of(nested(70, operator), {}) == ErrorCode.PARSE_ERROR


def test_references_that_go_round_are_an_error() -> None:
    evaluators = {"a": {"!": [{"$ref": "b"}]}, "b": {"!": [{"$ref": "a"}]}}
    assert result_of({"$ref": "a"}, {}, **{"$evaluators": evaluators}) == ErrorCode.PARSE_ERROR


def test_references_that_multiply_are_an_error() -> None:
    evaluators: dict[str, Any] = {
        f"e{number}": {"cat": [{"$ref": f"e{number + 1}"}] * 10} for number in range(20)
    }
    evaluators["e20"] = 1
    begun = time.process_time()
    assert result_of({"$ref": "e0"}, {}, **{"$evaluators": evaluators}) == ErrorCode.PARSE_ERROR
    assert time.process_time() - begun < 1


def test_a_context_that_is_nested_deeply_is_no_crash() -> None:
    deep: Any = 1
    for _ in range(5000):
        deep = [deep]
    for rule in ({"cat": [{"var": "deep"}]}, {"fractional": [{"var": "deep"}, ["b"]]}):
        assert result_of(rule, {"deep": deep}) in {"a", "b", ErrorCode.GENERAL}


def test_nothing_is_printed_or_logged(capfd, caplog) -> None:
    for rule in (
        {"log": "b"},
        {"fractional": [["b", 1]]},
        {"sem_ver": [{"var": "secret"}, "=", "1.0.0"]},
        {"starts_with": [{"var": "secret"}]},
    ):
        result_of(rule, {"secret": "hunter2"})
    assert capfd.readouterr() == ("", "")
    assert caplog.records == []


def test_metadata_of_a_definition_is_in_its_evaluations() -> None:
    for rule in (None, {"if": [True, "b"]}):
        flag = flag_of("flag", definition(rule, metadata={"team": "web", "version": 2}))
        assert evaluate(flag).metadata == {"team": "web", "version": 2}


def test_parsing_leaves_the_definition_as_it_is() -> None:
    value = definition({"if": [True, "b"]})
    before = json.dumps(value)
    assert json.dumps(flag_of("flag", value).value) == before == json.dumps(value)


def test_without_the_package_a_definition_is_an_error_that_names_the_extra() -> None:
    code = """
import sys
sys.modules["openfeature"] = None
from jetkv.flags import FlagParseError, evaluate, parse_flag
print(evaluate(parse_flag("flag", b'{"enabled": true}')).value)
try:
    evaluate(parse_flag("flag", b'{"state": "ENABLED", "variants": {"on": true}}'))
except FlagParseError as error:
    print(error.error_code, error)
"""
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True
    )
    assert found.stdout.splitlines() == [
        "True",
        "PARSE_ERROR the flag is a definition of flagd, and a package for it is missing"
        ' (pip install "jetkv[flags]")',
    ]


def test_the_package_is_imported_for_a_definition_only() -> None:
    code = """
import sys
from jetkv.flags import parse_flag
parse_flag("flag", b'{"enabled": true, "rollout": 0.5}')
assert "openfeature" not in sys.modules
parse_flag("flag", b'{"state": "ENABLED", "variants": {"on": true}}')
assert "openfeature" in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], timeout=30, check=True)


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.floats(-2, 2).map(lambda number: round(number, 1))
    | st.sampled_from(["", "a", "b", "1", "1.2.3", "v2", "ada"])
)
VARIABLES = st.sampled_from(["", "name", "age", "list", "list.0", "user.plan", "targetingKey", "x"])


OPERATORS = [
    *("if", "and", "or", "!", "!!", "==", "!=", "===", "!==", "<", "<=", ">", ">=", "in"),
    *("+", "-", "*", "/", "%", "min", "max", "cat", "substr", "merge", "missing", "missing_some"),
    *("map", "filter", "reduce", "all", "some", "none"),
    *("fractional", "sem_ver", "starts_with", "ends_with", "unknown"),
]


def rules() -> st.SearchStrategy[Any]:
    def wider(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        arguments = st.lists(inner, max_size=4)
        operators = st.sampled_from(OPERATORS)
        semver = st.tuples(inner, st.sampled_from(["=", "<", "^", "~", "?"]), inner)
        buckets = st.lists(
            st.tuples(st.sampled_from(["a", "b"]), st.integers(-1, 60)).map(list), max_size=4
        )
        return (
            st.builds(lambda operator, values: {operator: values}, operators, arguments)
            | st.builds(lambda values: {"sem_ver": list(values)}, semver)
            | st.builds(lambda values: {"fractional": values}, buckets)
            | arguments
        )

    leaves = SCALARS | VARIABLES.map(lambda name: {"var": [name]})
    return st.recursive(leaves, wider, max_leaves=15)


CONTEXTS = st.fixed_dictionaries(
    {},
    optional={
        "targetingKey": st.sampled_from(["ada", "bob", "", "Zoë"]),
        "name": SCALARS,
        "age": SCALARS,
        "list": st.lists(SCALARS, max_size=3),
        "user": st.fixed_dictionaries({"plan": SCALARS}),
    },
)


@settings(max_examples=400, deadline=None)
@given(rule=rules(), context=CONTEXTS)
def test_every_rule_gives_what_flagd_gives(rule: Any, context: dict[str, Any]) -> None:
    value = definition({"if": [True, rule]})
    core = FlagdCore()
    core.set_flags(json.dumps({"flags": {"flag": value}}))
    attributes = {name: item for name, item in context.items() if name != "targetingKey"}
    try:
        details = core.resolve_integer_value(
            "flag", 0, ContextOfFlagd(context.get("targetingKey"), attributes)
        )
    except Exception as error:  # noqa: BLE001  # whatever its operators raise
        failed = ErrorCode.PARSE_ERROR if _is_parse_error(error) else ErrorCode.GENERAL
        assert result_of({"if": [True, rule]}, context) == failed
        return
    flag = parse_flag("flag", json.dumps(value).encode())
    found = evaluate(flag, EvaluationContext.of(context))
    assert same_json(found.value, details.value)
    assert (found.variant, found.reason) == (details.variant, details.reason)


def _is_parse_error(error: Exception) -> bool:
    return isinstance(error, OpenFeatureError) and error.error_code.value == "PARSE_ERROR"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=10,
)
MEMBERS = {
    "enabled": st.booleans() | JSON,
    "rollout": st.floats(0, 1) | JSON,
    "state": st.sampled_from(["ENABLED", "DISABLED"]) | JSON,
    "variants": st.dictionaries(st.sampled_from(["a", "b"]), JSON) | JSON,
    "defaultVariant": st.sampled_from(["a", "b", None]) | JSON,
    "targeting": rules().map(lambda rule: {"if": [rule, "a", "b"]}) | JSON,
    "metadata": JSON,
    "$evaluators": JSON,
}


@settings(max_examples=400, deadline=None)
@given(
    value=JSON | st.fixed_dictionaries({}, optional=MEMBERS),
    context=JSON | st.dictionaries(st.text(max_size=5), JSON) | CONTEXTS,
)
def test_any_json_is_evaluated_or_one_of_our_errors(value: Any, context: Any) -> None:
    for parse, stored in ((flag_of, value), (parse_flag, json.dumps(value).encode())):
        try:
            flag = parse("flag", stored)
            found = evaluate(flag, EvaluationContext.of(context))
        except EvaluationError as error:
            ErrorCode(error.error_code)
            continue
        assert (found.value is ABSENT) == (found.variant == "")


@given(raw=st.binary(max_size=50))
def test_any_bytes_are_a_flag_or_a_parse_error(raw: bytes) -> None:
    with contextlib.suppress(FlagParseError):
        parse_flag("flag", raw)
