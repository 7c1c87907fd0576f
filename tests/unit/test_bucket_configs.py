"""A change of a bucket as a change of its stream: what is wanted is so, all else is as it was."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jetkv_gateway.jetstream.api import Naming
from jetkv_gateway.jetstream.configs import (
    changed_config,
    marked,
    new_config,
    read_settings,
    shortest_ttl,
    unmarked,
)
from jetkv_gateway.jetstream.silent_loss import KEPT_SINCE, kept_since, silent_loss_of
from jetkv_gateway.kv.bucket_values import Republish
from jetkv_gateway.kv.buckets import FIELDS, BucketSettings
from jetkv_gateway.kv.model import SilentLoss
from jetkv_gateway.kv.plans import plan
from tests.unit.test_bucket_settings import settings

SECOND = 1_000_000_000
NOW = 1_800_000_000.5

OTHERS: dict[str, Any] = {
    "sources": [{"name": "S"}],
    "subject_transform": {"src": "a.>", "dest": "b.>"},
    "consumer_limits": {"max_ack_pending": 5},
    "max_msgs": 7,
    "deny_purge": True,
    "a_field_of_a_newer_server": {"x": [1]},
}
THEIRS = {"owner": "nack", "_nats.req.level": "1", "jetkv.of_a_newer_gateway": "x"}


def config_of(chosen: dict[str, Any]) -> dict[str, Any]:
    config = new_config(Naming(), "b", chosen) | OTHERS
    return config | {"metadata": {**config.get("metadata", {}), **THEIRS}}


@given(settings(), settings())
def test_what_is_wanted_is_so_afterwards(stands: dict[str, Any], asked: dict[str, Any]) -> None:
    config = config_of(stands)
    current = BucketSettings(**read_settings(config))
    if asked["key_ttl"] is False and stands["expiry_markers"]:
        asked["expiry_markers"] = False
    found = plan(current, asked)
    changed = changed_config(config, found.changes, NOW)
    after = read_settings(changed)
    wanted = asked | {"metadata": stands["metadata"] | {"owner": "nack"} | asked["metadata"]}
    assert after == wanted
    assert not plan(BucketSettings(**after), asked).changes


@given(settings(), settings())
def test_what_others_have_set_is_as_it_was(stands: dict[str, Any], asked: dict[str, Any]) -> None:
    config = config_of(stands)
    asked["expiry_markers"] = asked["key_ttl"] = True
    changes = plan(BucketSettings(**read_settings(config)), asked).changes
    changed = changed_config(config, changes, NOW)
    assert {name: changed[name] for name in OTHERS} == OTHERS
    theirs = {key: text for key, text in THEIRS.items() if key not in asked["metadata"]}
    assert changed["metadata"].items() >= theirs.items()


@given(settings())
def test_a_change_of_nothing_is_the_same_configuration(stands: dict[str, Any]) -> None:
    config = config_of(stands)
    assert changed_config(config, {}, NOW) == config


@given(settings())
def test_the_mark_of_a_creation_differs_each_time_and_goes_again(chosen: dict[str, Any]) -> None:
    config = new_config(Naming(), "b", chosen)
    assert marked(config) != marked(config)
    of_server = {"_nats.ver": "2.15.1", "_nats.level": "5"}
    described = marked(config)
    described["metadata"] |= of_server
    assert unmarked(described) == config


# --- TTLs of single values


@pytest.mark.parametrize(
    ("config", "shortest"),
    [
        ({"max_msgs_per_subject": 1}, None),
        ({"max_msgs_per_subject": 1, "allow_msg_ttl": True}, 1),
        (
            {
                "max_msgs_per_subject": 1,
                "allow_msg_ttl": True,
                "subject_delete_marker_ttl": 3600 * SECOND,
            },
            1,
        ),
        ({"max_msgs_per_subject": 5, "allow_msg_ttl": True}, 1),
        (
            {
                "max_msgs_per_subject": 5,
                "allow_msg_ttl": True,
                "subject_delete_marker_ttl": 30 * SECOND,
            },
            30,
        ),
        (
            {
                "max_msgs_per_subject": 5,
                "allow_msg_ttl": True,
                "subject_delete_marker_ttl": 30 * SECOND + 1,
            },
            31,
        ),
    ],
)
def test_the_shortest_ttl_of_a_value_is_that_of_the_markers_where_there_is_a_history(
    config: dict[str, Any], shortest: int | None
) -> None:
    assert shortest_ttl(config) == shortest


@given(settings())
def test_a_bucket_with_markers_takes_ttls_of_half_a_minute(chosen: dict[str, Any]) -> None:
    chosen["expiry_markers"] = chosen["key_ttl"] = True
    shortest = shortest_ttl(new_config(Naming(), "b", chosen))
    assert shortest is not None
    assert shortest <= 30


# --- what a configuration speaks for

RULES: dict[str, dict[str, Any]] = {
    "nothing goes": {},
    "a minute": {"max_age": 60 * SECOND},
    "an hour": {"max_age": 3600 * SECOND},
    "no markers": {"allow_msg_ttl": True},
    "markers for a minute": {"allow_msg_ttl": True, "subject_delete_marker_ttl": 60 * SECOND},
    "markers for an hour": {"allow_msg_ttl": True, "subject_delete_marker_ttl": 3600 * SECOND},
    "evicts": {"discard": "old", "max_bytes": 1000},
}


@pytest.mark.parametrize(
    ("before", "after", "noted"),
    [
        ("a minute", "an hour", True),
        ("an hour", "a minute", False),
        ("a minute", "nothing goes", True),
        ("nothing goes", "a minute", False),
        ("no markers", "markers for an hour", True),
        ("markers for an hour", "no markers", False),
        ("nothing goes", "no markers", False),
        ("nothing goes", "markers for a minute", False),
        ("evicts", "nothing goes", True),
        ("a minute", "a minute", False),
    ],
)
def test_a_change_that_keeps_for_longer_is_noted(before: str, after: str, noted: bool) -> None:
    assert (kept_since(RULES[before], RULES[after], NOW) is not None) is noted


rules = st.sampled_from(sorted(RULES))


@given(st.lists(st.tuples(rules, st.floats(0, 10_000)), min_size=2, max_size=6))
def test_no_change_vouches_for_what_an_earlier_rule_did_not_keep(
    steps: list[tuple[str, float]],
) -> None:
    """Of a revision that was written under some rule, none after it may promise more than that."""
    now = NOW
    config: dict[str, Any] = dict(RULES[steps[0][0]])
    written = now
    kept = silent_loss_of(config, now)
    for rule, pause in steps[1:]:
        now += pause
        after = dict(RULES[rule])
        text = kept_since(config, after, now)
        config = after | ({"metadata": {KEPT_SINCE: text}} if text else {})
        loss = silent_loss_of(config, now)
        age = now - written
        if kept is not None and age >= kept.after:
            # It may have gone without a trace by now.
            assert loss is not None
            assert age >= loss.after
        if kept is None or (loss is not None and loss.after < kept.after):
            kept = SilentLoss(loss.after, loss.oldest_first) if loss else None


def test_a_note_goes_once_the_rule_reaches_no_further_back() -> None:
    hour = RULES["markers for an hour"]
    since = kept_since(RULES["no markers"], hour, NOW)
    noted = {**hour, "metadata": {KEPT_SINCE: since}}
    assert kept_since(noted, noted, NOW + 1800) == since
    assert kept_since(noted, noted, NOW + 3700) is None
    assert silent_loss_of(noted, NOW) == SilentLoss(0.0, oldest_first=False)
    later = silent_loss_of(noted, NOW + 1800)
    assert later is not None
    assert 1780 < later.after < 1800
    assert silent_loss_of(noted, NOW + 10_000) == SilentLoss(3600.0, oldest_first=False)


@pytest.mark.parametrize("text", ["", "x", "-1", "1.5", "²", "9" * 400])
def test_a_note_that_is_no_time_is_no_note(text: str) -> None:
    config = {**RULES["an hour"], "metadata": {KEPT_SINCE: text}}
    assert silent_loss_of(config, NOW) == silent_loss_of(RULES["an hour"], NOW)


# --- where a bucket may publish again


@pytest.mark.parametrize(
    ("destination", "reaches"),
    [
        ("copies.>", "copies.>"),
        ("copies.*.x", "copies.*.x"),
        ("copies.{{wildcard(1)}}.x", "copies.>"),
        ("copies.a.{{split(1,-)}}", "copies.a.>"),
        ("copies.$1.x", "copies.>"),
        ("copies.x", "copies.x"),
    ],
)
def test_a_destination_reaches_what_it_can_become(destination: str, reaches: str) -> None:
    assert Republish(destination).reaches == reaches
    assert Republish(destination).forbidden is None


def test_every_setting_can_be_written_and_read() -> None:
    config = new_config(Naming(), "b", {name: one.default for name, one in FIELDS.items()})
    assert read_settings(config).keys() == FIELDS.keys()
