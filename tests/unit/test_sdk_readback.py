"""What a typed bucket stores reads back as the same value, or is refused before it goes out."""

import dataclasses
import enum
import functools
import math
import threading
from collections import deque
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import PurePosixPath
from typing import Annotated, Any, NamedTuple
from uuid import UUID

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jetkv.codec import codec_for

ZONES = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


class Secretive(pydantic.BaseModel):
    name: str
    password: str = pydantic.Field("", exclude=True)
    _reads: int = pydantic.PrivateAttr(0)

    def read(self, times: int) -> "Secretive":
        self._reads = times
        return self


class Team(pydantic.BaseModel):
    members: list[Secretive] = []


class Rounded(pydantic.BaseModel):
    price: float

    @pydantic.field_serializer("price")
    def two_digits(self, price: float) -> float:
        return round(price, 2)


class Upper(pydantic.BaseModel):
    name: str

    @pydantic.field_validator("name")
    @classmethod
    def louder(cls, name: str) -> str:
        return name + "!"


class Constants(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(ser_json_inf_nan="constants")
    value: float


class Strings(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(ser_json_inf_nan="strings")
    value: float


class Cat(pydantic.BaseModel):
    name: str


class Dog(pydantic.BaseModel):
    name: str


class Open(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow")
    name: str


@dataclasses.dataclass
class Counted:
    name: str
    hits: int = dataclasses.field(default=0, init=False)


@dataclasses.dataclass
class Tagged:
    name: str
    tag: str = dataclasses.field(default="", compare=False)


@dataclasses.dataclass(eq=False)
class Alone:
    name: str
    _seen: int = dataclasses.field(default=0, init=False, repr=False)


@dataclasses.dataclass
class Base:
    pass


@dataclasses.dataclass(slots=True)
class Slotted(Base):
    name: str
    hits: int = dataclasses.field(default=0, init=False)


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


class Pair(NamedTuple):
    left: int
    right: str


class Everything(pydantic.BaseModel):
    number: int | float | None
    exact: Decimal
    at: datetime
    day: date
    clock: time
    span: timedelta
    id: UUID
    colour: Colour
    pair: Pair
    names: set[str]
    fixed: frozenset[int]
    row: tuple[int, str]
    queue: deque[int]
    by_number: dict[int, str]
    by_day: dict[date, bool]
    raw: bytes
    path: PurePosixPath
    text: Annotated[str, pydantic.Field(alias="Text")]
    cat_or_dog: Cat | Dog
    anything: Any
    password: str = pydantic.Field("", exclude=True)
    _private: int | None = None


json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner)
        | st.dictionaries(st.text() | st.integers(), inner, max_size=3)
        | st.sets(st.integers(), max_size=3)
        | st.builds(Cat, name=st.text())
    ),
    max_leaves=5,
)


def everything(private: int | None, **fields: Any) -> Everything:
    value = Everything(**fields)
    value._private = private
    return value


values = st.builds(
    everything,
    private=st.none() | st.integers(),
    number=st.none() | st.integers() | st.floats(),
    exact=st.decimals(allow_nan=False, allow_infinity=False),
    at=st.datetimes() | st.datetimes(timezones=ZONES) | st.datetimes(timezones=st.just(UTC)),
    day=st.dates(),
    clock=st.times(),
    span=st.timedeltas(timedelta(days=-10_000), timedelta(days=10_000)),
    id=st.uuids(),
    colour=st.sampled_from(Colour),
    pair=st.builds(Pair, st.integers(), st.text()),
    names=st.sets(st.text(), max_size=3),
    fixed=st.frozensets(st.integers(), max_size=3),
    row=st.tuples(st.integers(), st.text()),
    queue=st.builds(deque, st.lists(st.integers(), max_size=3)),
    by_number=st.dictionaries(st.integers(), st.text(), max_size=3),
    by_day=st.dictionaries(st.dates(), st.booleans(), max_size=3),
    raw=st.binary(max_size=8),
    path=st.just(PurePosixPath("/a/b")),
    Text=st.text(),
    cat_or_dog=st.builds(Cat, name=st.text()) | st.builds(Dog, name=st.text()),
    anything=json_like,
    password=st.sampled_from(["", "", "secret"]),
)


@given(values)
def test_whatever_is_stored_reads_back_as_the_same_value(value: Everything) -> None:
    codec = codec_for(Everything)
    try:
        raw = codec.encode(value)
    except ValueError:
        return
    read = codec.decode(raw)
    # pydantic compares types, all fields, the excluded ones too, and what is private.
    assert read == value
    assert repr(read.anything) == repr(value.anything) or read.anything == value.anything


def test_most_of_what_has_nothing_to_lose_is_stored() -> None:
    value = everything(
        None,
        number=1.5,
        exact=Decimal("1.10"),
        at=datetime(2026, 11, 28, 12, 0, 0, 5, timezone(timedelta(hours=1))),
        day=date(2026, 11, 28),
        clock=time(12, 0, 0, 7),
        span=timedelta(microseconds=1),
        id=UUID(int=7),
        colour=Colour.BLUE,
        pair=Pair(1, "a"),
        names={"a", "b"},
        fixed=frozenset({1}),
        row=(1, "a"),
        queue=deque([1, 2]),
        by_number={1: "a"},
        by_day={date(2026, 11, 28): True},
        raw=b"text",
        path=PurePosixPath("/a"),
        Text="t",
        cat_or_dog=Cat(name="a"),
        anything={"a": [1, None, "x"]},
    )
    codec = codec_for(Everything)
    assert codec.decode(codec.encode(value)) == value


REFUSED = {
    "an excluded field": (Secretive, Secretive(name="a", password="p"), "password is excluded"),
    "one further in": (
        Team,
        Team(members=[Secretive(name="a"), Secretive(name="b", password="p")]),
        "members.1.password is excluded",
    ),
    "a private attribute": (Secretive, Secretive(name="a").read(3), "_reads is private"),
    "a field out of init": (Counted, Counted("a"), "hits"),
    "a field out of comparison": (Alone, Alone("a"), "_seen"),
    "a field in a slot": (Slotted, Slotted("a"), "hits"),
    "a serializer that rounds": (Rounded, Rounded(price=1.239), "price reads back as another"),
    "a validator that adds": (Upper, Upper(name="a"), "name reads back as another"),
    "not a number": (Constants, Constants(value=math.nan), "not JSON"),
    "one without an end": (Constants, Constants(value=math.inf), "not JSON"),
    "no number for a number": (list[float], [math.nan], "not read back"),
    "no number where none may be": (list[float | None], [math.nan], "another value"),
    "the other of two models": (Cat | Dog, Dog(name="a"), "is a Dog, and reads back as a Cat"),
    "a model as anything": (
        list[Any],
        [Cat(name="a")],
        "0 is a Cat, and reads back as a dict",
    ),
    "a tuple as anything": (list[Any], [(1, 2)], "0 is a tuple"),
    "a set as anything": (list[Any], [{1}], "another value"),
    "numbers for names": (dict[str, Any], {"a": {1: 2}}, "a.1 reads back"),
    "bytes as anything": (list[Any], [b"a"], "another value"),
}


@pytest.fixture(autouse=True)
def _hits() -> None:
    for case in ("a field out of init", "a field in a slot"):
        REFUSED[case][1].hits = 7
    REFUSED["a field out of comparison"][1]._seen = 7


@pytest.mark.parametrize("case", REFUSED)
def test_what_would_come_back_as_another_value_is_refused_by_name(case: str) -> None:
    kind, value, words = REFUSED[case]
    with pytest.raises(ValueError, match=r"read back|not JSON") as caught:
        codec_for(kind).encode(value)
    assert words in str(caught.value)


class Working(pydantic.BaseModel):
    """A model with what many have: a lock, something computed, a private default."""

    name: str
    password: str = pydantic.Field("", exclude=True)
    _guard: Any = pydantic.PrivateAttr(default_factory=threading.Lock)
    _calls: list[str] = pydantic.PrivateAttr(default_factory=list)

    @functools.cached_property
    def loud(self) -> str:
        return self.name.upper()

    @pydantic.computed_field
    def length(self) -> int:
        return len(self.name)


def test_private_parts_at_their_default_and_computed_parts_are_no_difference() -> None:
    value = Working(name="ada")
    assert value.loud == "ADA"
    codec = codec_for(Working)
    assert codec.decode(codec.encode(value)).name == "ada"


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Strings, Strings(value=math.inf)),
        (Open, Open(name="a", more=[1, {"b": 2}])),
        (Tagged, Tagged("a", tag="t")),
        (Slotted, Slotted("a")),
        (Alone, Alone("a")),
        (list[Pair], [Pair(1, "a")]),
        (dict[int, list[Cat]], {1: [Cat(name="a")]}),
        (list[float], [1, 2]),
    ],
)
def test_what_has_nothing_to_lose_is_stored(kind: Any, value: Any) -> None:
    codec = codec_for(kind)
    codec.decode(codec.encode(value))


def test_a_refusal_shows_no_value() -> None:
    with pytest.raises(ValueError, match="excluded") as caught:
        codec_for(Secretive).encode(Secretive(name="a", password="very-secret"))
    assert "very-secret" not in str(caught.value)


class Node(pydantic.BaseModel):
    name: str
    _itself: Any = None

    def model_post_init(self, _context: Any) -> None:
        self._itself = self


def test_a_value_that_refers_to_itself_is_refused_in_words() -> None:
    with pytest.raises(ValueError, match="refers to itself"):
        codec_for(Node).encode(Node(name="a"))
