"""The settings of a bucket are written down once; what is made from them agrees with them."""

import inspect
from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jetkv import KV
from jetkv.models import BucketInfo as SdkBucketInfo
from jetkv.models import BucketSettings as SdkBucketSettings
from jetkv_gateway.http.bucket_schema import BucketCreate, BucketOut
from jetkv_gateway.jetstream.api import Naming
from jetkv_gateway.jetstream.configs import new_config
from jetkv_gateway.jetstream.streams import bucket_info
from jetkv_gateway.kv.bucket_values import Compression, Placement, Republish, Storage
from jetkv_gateway.kv.buckets import FIELDS, BucketSettings, BucketSpec, Loss
from jetkv_gateway.kv.errors import InvalidArgument
from jetkv_gateway.kv.plans import plan
from jetkv_gateway.settings import BucketSetting

SETTINGS = BucketSettings()

_WORDS = st.text("abc-", max_size=3)
_TAGS = st.lists(_WORDS.filter(bool), max_size=32)
_REPUBLISHED = [
    Republish(),
    Republish("copies.>"),
    Republish("copies.{{wildcard(1)}}", "$KV.b.*", headers_only=True),
]


@st.composite
def settings(draw: st.DrawFn) -> dict[str, Any]:
    """Any settings that a bucket can have."""
    chosen: dict[str, Any] = {
        "description": draw(st.text(st.characters(exclude_categories=["Cs"]), max_size=20)),
        "ttl_seconds": draw(st.integers(0, 10**6)),
        "history": draw(st.integers(1, 64)),
        "max_value_size": draw(st.sampled_from([0, 1, 1000])),
        "max_bytes": draw(st.sampled_from([0, 1, 10**9])),
        "storage": draw(st.sampled_from(list(Storage))),
        "replicas": draw(st.integers(1, 5)),
        "compression": draw(st.sampled_from(list(Compression))),
        "placement": Placement(draw(_WORDS), tuple(draw(_TAGS))),
        "metadata": draw(st.dictionaries(_WORDS, _WORDS)),
        "republish": draw(st.sampled_from(_REPUBLISHED)),
        "batches": draw(st.booleans()),
        "protected": draw(st.booleans()),
    }
    # Markers need TTLs of single values.
    chosen["key_ttl"] = draw(st.booleans())
    chosen["expiry_markers"] = chosen["key_ttl"] and draw(st.booleans())
    assert chosen.keys() == FIELDS.keys()
    return chosen


def metadata_after(stands: dict[str, str], asked: dict[str, str | None]) -> dict[str, str]:
    return {key: text for key, text in (stands | asked).items() if text is not None}


# --- one list


def test_every_setting_can_be_given_and_is_shown() -> None:
    assert BucketCreate.model_fields.keys() == FIELDS.keys() | {"name"}
    assert BucketSetting.model_fields.keys() == FIELDS.keys() | {"name"}
    assert FIELDS.keys() <= BucketOut.model_fields.keys()


def test_the_sdk_shows_and_takes_every_setting_under_its_name() -> None:
    """Times are times there."""
    named = {name.removesuffix("_seconds") for name in FIELDS}
    assert named <= {one.name for one in fields(SdkBucketInfo)}
    assert named == SdkBucketSettings.__annotations__.keys()
    assert named <= inspect.signature(KV.create_bucket).parameters.keys()


@given(settings())
def test_what_a_bucket_is_made_with_is_what_its_stream_says(chosen: dict[str, Any]) -> None:
    naming = Naming()
    spec = BucketSpec("b", **chosen)
    config = new_config(naming, "b", {name: getattr(spec, name) for name in FIELDS})
    assert {one.nats for one in FIELDS.values()} - config.keys() <= {
        "placement",
        "republish",
        "metadata",
        "subject_delete_marker_ttl",
    }
    state = {"messages": 0, "bytes": 0}
    info = bucket_info(
        naming, {"config": config, "state": state, "created": "2026-01-01T00:00:00Z"}
    )
    assert {name: getattr(info, name) for name in chosen} == chosen


@pytest.mark.parametrize("name", [name for name, one in FIELDS.items() if one.type is int])
def test_a_number_outside_its_range_is_refused_by_name(name: str) -> None:
    described = FIELDS[name]
    for value in (described.low - 1, described.high + 1):
        with pytest.raises(InvalidArgument) as refused:
            BucketSpec("b", **{name: value})
        assert refused.value.message == (
            f"invalid {name}: must be from {described.low} to {described.high}"
        )
    BucketSpec("b", **{name: described.high})


# --- the plan of a change


@given(settings(), settings())
def test_a_plan_names_what_differs_and_nothing_else(
    stands: dict[str, Any], asked: dict[str, Any]
) -> None:
    found = plan(BucketSettings(**stands), asked)
    wanted = asked | {"metadata": metadata_after(stands["metadata"], asked["metadata"])}
    assert {name: one.wanted for name, one in found.changes.items()} == {
        name: wanted[name] for name in wanted if wanted[name] != stands[name]
    }
    assert all(one.current == stands[name] for name, one in found.changes.items())
    assert found.losses.keys() | found.impossible.keys() <= found.changes.keys()
    assert not found.losses.keys() & found.impossible.keys()


@given(settings())
def test_what_is_not_named_stays_as_it_is(stands: dict[str, Any]) -> None:
    assert not plan(BucketSettings(**stands), {}).changes
    assert not plan(BucketSettings(**stands), dict.fromkeys(FIELDS)).changes
    assert not plan(BucketSettings(**stands), stands).changes


@pytest.mark.parametrize(
    ("name", "stands", "asked", "loses"),
    [
        ("history", 5, 4, True),
        ("history", 5, 6, False),
        ("ttl_seconds", 0, 60, True),
        ("ttl_seconds", 60, 59, True),
        ("ttl_seconds", 60, 61, False),
        ("ttl_seconds", 60, 0, False),
        ("max_bytes", 0, 10, False),
        ("description", "a", "b", False),
    ],
)
def test_less_history_and_a_shorter_life_may_lose_what_is_stored(
    name: str, stands: Any, asked: Any, loses: bool
) -> None:
    found = plan(BucketSettings(**{name: stands}), {name: asked})
    assert (name in found.losses) is loses


def test_what_nats_cannot_change_is_impossible() -> None:
    found = plan(SETTINGS, {"storage": Storage.MEMORY, "history": 2})
    assert list(found.impossible) == ["storage"]
    assert list(found.changes) == ["history", "storage"]


def test_only_numbers_lose_by_becoming_smaller() -> None:
    assert all(one.type is int for one in FIELDS.values() if one.loses is not Loss.NEVER)
