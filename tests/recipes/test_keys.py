"""Keys of calls: the same for the same arguments, others for others."""

from datetime import UTC, date, datetime
from decimal import Decimal
from enum import StrEnum
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jetkv import InvalidArgumentError
from jetkv.recipes._keys import key_of


def load(id, *rest, deep=False, **more):
    """The function that keys are made for."""


def key(*args, **named) -> str:
    return key_of(load, None)(args, named)


NAME = "tests.recipes.test_keys.load"


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        ((1,), f"{NAME}(1,(,),False,{{}})"),
        (("a",), f"{NAME}('a',(,),False,{{}})"),
        (("é\n",), f"{NAME}('\\xe9\\n',(,),False,{{}})"),
        ((None, b"x"), f"{NAME}(None,(b'x',),False,{{}})"),
        (({"b": 1, "a": [2.5]},), f"{NAME}({{'a':[2.5],'b':1}},(,),False,{{}})"),
    ],
)
def test_a_key_is_the_functions_name_and_its_arguments(args, expected) -> None:
    assert key(*args) == expected


def test_the_same_arguments_make_the_same_key_however_they_are_given() -> None:
    assert key(1) == key(id=1) == key(1, deep=False)
    assert key({"a": 1, "b": 2}) == key({"b": 2, "a": 1})


@pytest.mark.parametrize(
    "value",
    [date(2026, 1, 1), datetime(2026, 1, 1, tzinfo=UTC), Decimal("1.0"), UUID(int=7), -0.5],
)
def test_simple_values_have_a_key_of_their_own(value) -> None:
    assert key(value) == key(value) != key(str(value))


scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
values = st.recursive(
    scalars | st.binary(),
    lambda inner: (
        st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner, max_size=3)
    ),
    max_leaves=5,
)


def shown(value: object) -> str:
    """Equal for equal values of equal types: `1 == True == 1.0` in Python."""
    if isinstance(value, dict):
        return repr(sorted((name, shown(part)) for name, part in value.items()))
    if isinstance(value, list | tuple):
        return type(value).__name__ + repr([shown(part) for part in value])
    return type(value).__name__ + repr(value)


@settings(max_examples=60, deadline=None)
@given(values, values)
def test_keys_are_equal_exactly_where_the_arguments_are(one, other) -> None:
    assert (key(one) == key(other)) == (shown(one) == shown(other))


@settings(max_examples=60, deadline=None)
@given(values)
def test_every_key_is_one_that_a_gateway_takes(value) -> None:
    text = key(value)
    assert 1 <= len(text.encode()) <= 512
    assert text.isprintable()


class Colour(StrEnum):
    RED = "red"


@pytest.mark.parametrize("value", [object(), {1, 2}, Colour.RED, [object()], load])
def test_what_has_no_stable_text_is_refused_with_a_way_out(value) -> None:
    with pytest.raises(
        InvalidArgumentError, match=r"argument 'id' .* cannot be part of a key.*key="
    ) as caught:
        key(value)
    assert type(value).__name__ in str(caught.value) or isinstance(value, list)


def test_a_format_names_the_arguments() -> None:
    assert key_of(load, "user:{id}:{deep}")((7,), {}) == "user:7:False"


def test_a_function_makes_keys_of_whatever_it_likes() -> None:
    made = key_of(load, lambda id, **rest: f"{id.real}/{sorted(rest)}")
    assert made((7,), {"deep": True}) == "7/['deep']"


def test_arguments_that_the_function_does_not_take_are_a_type_error() -> None:
    with pytest.raises(TypeError):
        key()


def test_what_stands_between_two_names_of_a_format_is_encoded_in_their_values() -> None:
    def document(user: str, name: str) -> None: ...

    make = key_of(document, "doc:{user}:{name}")
    assert make(("a", "b:c"), {}) == "doc:a:b%3Ac"
    assert make(("a:b", "c"), {}) == "doc:a%3Ab:c"
    assert make(("a%3Ab", "c"), {}) == "doc:a%253Ab:c"


def test_a_format_of_one_name_has_its_value_as_it_is() -> None:
    def profile(id: str) -> None: ...

    assert key_of(profile, "user:{id}:profile")(("a:b",), {}) == "user:a:b:profile"


@given(
    st.tuples(st.text(max_size=5), st.text(max_size=5)),
    st.tuples(st.text(max_size=5), st.text(max_size=5)),
)
def test_two_calls_have_two_keys(one: tuple[str, str], other: tuple[str, str]) -> None:
    def document(user: str, name: str) -> None: ...

    make = key_of(document, "{user}/é:{name}")
    assert (make(one, {}) == make(other, {})) == (one == other)


@pytest.mark.parametrize(
    ("rule", "reason"),
    [("p:{nope}", "not an argument"), ("{user}{name}", "without a text between them")],
)
def test_a_format_that_cannot_work_is_refused_when_the_function_is_made(rule, reason) -> None:
    def document(user: str, name: str) -> None: ...

    with pytest.raises(InvalidArgumentError, match=reason):
        key_of(document, rule)


def test_a_method_is_refused_with_what_to_do() -> None:
    class Shop:
        def price(self, id: str) -> None: ...

    with pytest.raises(InvalidArgumentError, match="cache a function, and call it from the method"):
        key_of(Shop.price, None)(("7",), {})
