"""Values as bytes and back."""

import dataclasses
from typing import Annotated, Literal

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jetkv.codec import JSON, codec_for
from jetkv.errors import InvalidArgumentError

JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(blacklist_categories=["Cs"])),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(st.text(st.characters(blacklist_categories=["Cs"])), inner)
    ),
    max_leaves=12,
)


class Session(pydantic.BaseModel):
    user: str
    age: int = pydantic.Field(ge=0)
    role: str = pydantic.Field(default="guest", alias="theRole")

    @pydantic.computed_field
    def shown(self) -> str:
        return f"{self.user} ({self.role})"


@dataclasses.dataclass
class Point:
    x: int
    y: int


@given(JSON_VALUES)
def test_json_comes_back_as_it_went(value) -> None:
    assert JSON.decode(JSON.encode(value)) == value


@given(st.binary())
def test_bytes_come_back_as_they_went(value: bytes) -> None:
    codec = codec_for(bytes)
    assert codec.decode(codec.encode(value)) == value


@given(st.text(st.characters(blacklist_categories=["Cs"])))
def test_text_comes_back_as_it_went(value: str) -> None:
    codec = codec_for(str)
    assert codec.decode(codec.encode(value)) == value


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Session, Session(user="ada", age=36, theRole="admin")),
        (Point, Point(1, 2)),
        (list[int], [1, 2]),
        (int | None, None),
        (dict[str, Point], {"a": Point(1, 2)}),
        (Literal["on", "off"], "on"),
        (Annotated[int, pydantic.Field(gt=1)], 2),
    ],
)
def test_any_type_that_pydantic_validates_comes_back_as_it_went(kind, value) -> None:
    codec = codec_for(kind)
    assert codec.decode(codec.encode(value)) == value


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        (None, float("nan")),
        (None, object()),
        (None, {1, 2}),
        (None, "\ud800"),
        (None, b"bytes"),
        (bytes, "text"),
        (str, b"bytes"),
        (str, 7),
        (str, "\ud800"),
        (int, "seven"),
        (Session, {"user": "ada"}),
        (Session, Session.model_construct(user="ada", age=-1)),
        (list[int], [1, "two"]),
        (Annotated[int, pydantic.Field(gt=1)], 0),
    ],
)
def test_a_value_that_does_not_fit_is_refused_before_it_goes_out(kind, wrong) -> None:
    with pytest.raises((ValueError, TypeError)):
        codec_for(kind).encode(wrong)


def test_a_list_in_itself_is_refused() -> None:
    endless: list = []
    endless.append(endless)
    with pytest.raises(ValueError):
        JSON.encode(endless)


@pytest.mark.parametrize(
    ("kind", "stored"),
    [
        (None, b"NaN"),
        (None, b"{"),
        (None, b"\xff\xfe"),
        (None, b""),
        (None, b"[" * 100_000),
        (str, b"\xff"),
        (int, b'"seven"'),
        (Session, b'{"user":"ada","age":-1}'),
    ],
)
def test_stored_bytes_that_do_not_fit_are_a_value_error(kind, stored: bytes) -> None:
    with pytest.raises(ValueError):
        codec_for(kind).decode(stored)


def test_each_kind_says_what_other_clients_are_told() -> None:
    assert codec_for(None).content_type == "application/json"
    assert codec_for(Session).content_type == "application/json"
    assert codec_for(bytes).content_type == "application/octet-stream"
    assert codec_for(str).content_type == "text/plain; charset=utf-8"


def test_a_type_is_looked_at_once() -> None:
    assert codec_for(Session) is codec_for(Session)


def test_a_codec_of_ones_own_is_its_own() -> None:
    class Reversed:
        content_type = "text/plain"

        def encode(self, value: str) -> bytes:
            return value[::-1].encode()

        def decode(self, raw: bytes) -> str:
            return raw.decode()[::-1]

    codec = Reversed()
    assert codec_for(codec) is codec


@pytest.mark.parametrize("kind", [object(), "Session", 7])
def test_a_codec_for_something_that_is_no_type_is_refused(kind) -> None:
    with pytest.raises(InvalidArgumentError):
        codec_for(kind)


def test_a_value_that_does_not_fit_is_named_by_its_place_and_not_shown() -> None:
    with pytest.raises(
        ValueError, match="age: Input should be greater than or equal to 0"
    ) as caught:
        codec_for(Session).decode(b'{"user":"a-secret","age":-41}')
    assert "-41" not in str(caught.value)
    assert "a-secret" not in str(caught.value)


def test_a_value_of_another_type_is_refused_without_being_shown() -> None:
    with pytest.raises((ValueError, TypeError)) as caught:
        codec_for(Session).encode({"user": "a-secret"})
    assert "a-secret" not in str(caught.value)


class Hidden(pydantic.BaseModel):
    secret: pydantic.SecretStr


class Renamed(pydantic.BaseModel):
    name: str = pydantic.Field("nobody", serialization_alias="n")


class Admin(Session):
    rights: list[str] = []


class Halved(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(ser_json_bytes="base64")
    data: bytes


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Hidden, Hidden(secret="s")),
        (Renamed, Renamed(name="ada")),
        (Session, Admin(user="ada", age=36, rights=["all"])),
        (Halved, Halved(data=b"bytes")),
    ],
)
def test_a_value_that_would_read_back_as_another_one_is_refused(kind, value) -> None:
    with pytest.raises(ValueError, match="read back"):
        codec_for(kind).encode(value)


class Unfinished(pydantic.BaseModel):
    part: "NotYet"  # noqa: F821 - the point of it


def test_a_type_with_a_name_that_is_nowhere_is_refused_at_once_and_not_remembered() -> None:
    for _ in range(2):
        with pytest.raises(InvalidArgumentError, match="NotYet"):
            codec_for(Unfinished)
    Unfinished.model_rebuild(_types_namespace={"NotYet": int})
    assert codec_for(Unfinished).decode(b'{"part":7}').part == 7
