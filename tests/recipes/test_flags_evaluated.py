"""Flags evaluated in memory: by the table that the gateway uses, too, and with defaults."""

import json

import pytest

from jetkv import AsyncClient
from jetkv.flags import ABSENT, ErrorCode, Evaluation, Reason
from jetkv.recipes import AsyncFlags, Flags
from tests.recipes.test_flags import put, shows
from tests.support.flag_cases import FlagCase, flag_cases, same_json
from tests.support.waiting import soon, until

HALF = {"enabled": True, "rollout": 0.5}
TARGETED = {
    "state": "ENABLED",
    "variants": {"red": "#b91c1c", "grey": "#6b7280"},
    "defaultVariant": "grey",
    "targeting": {"if": [{"==": [{"var": "plan"}, "pro"]}, "red"]},
}
DISABLED = {**TARGETED, "state": "DISABLED"}
OF_THE_CALL = "default of the call"


def memory(defaults: dict[str, object]) -> AsyncFlags:
    """Flags that were never loaded."""
    return AsyncFlags(AsyncClient().kv().bucket("b"), defaults)


def store(case: FlagCase, number: int, bucket) -> None:
    # Without a value first, so that no earlier one stays in place of an unreadable one.
    bucket.delete(case.flag)
    assert bucket.put(case.flag, case.raw).status == 200
    put(bucket, "number", number)


def check(case: FlagCase, flags: Flags | AsyncFlags) -> None:
    context = dict(case.context or {})
    user = context.pop("targetingKey", None)
    found = flags.evaluate(case.flag, OF_THE_CALL, user=user, attributes=context)
    expected = OF_THE_CALL if case.value is ABSENT else case.value
    assert same_json(found.value, expected), case.name
    assert found.error_code == case.error, case.name
    assert found.variant == case.variant, case.name
    assert found.reason == (Reason.ERROR if case.error else case.reason), case.name
    assert flags.enabled(case.flag, user, context) is (case.value is True), case.name


async def test_every_case_of_the_table(kv, bucket) -> None:
    async with AsyncFlags(kv.bucket(bucket.name)) as flags:
        for number, case in enumerate(flag_cases()):
            store(case, number, bucket)
            await soon(lambda: flags.get("number") == number, case.name)  # noqa: B023
            check(case, flags)


def test_every_case_of_the_table_without_async(sync_kv, bucket) -> None:
    with Flags(sync_kv.bucket(bucket.name)) as flags:
        for number, case in enumerate(flag_cases()):
            store(case, number, bucket)
            until(lambda: flags.get("number") == number, case.name)  # noqa: B023
            check(case, flags)


async def test_a_value_that_is_no_flag_leaves_the_evaluation_of_the_last_one(kv, bucket) -> None:
    put(bucket, "color", TARGETED)
    async with AsyncFlags(kv.bucket(bucket.name)) as flags:
        put(bucket, "color", {**TARGETED, "defaultVariant": "none"})
        put(bucket, "later", True)
        await shows(flags, "later", True)
        found = flags.evaluate("color", attributes={"plan": "pro"})
        assert (found.value, found.variant) == ("#b91c1c", "red")


async def test_a_value_that_is_no_flag_from_the_start_is_said(kv, bucket) -> None:
    bucket.put("color", b"{")
    async with AsyncFlags(kv.bucket(bucket.name), {"color": "grey"}) as flags:
        found = flags.evaluate("color", OF_THE_CALL)
        assert (found.value, found.error_code) == ("grey", ErrorCode.PARSE_ERROR)
        assert "not JSON" in found.error_details
        assert flags.get("color") == "grey"


def test_a_flag_that_is_nowhere_gives_the_default_of_the_call() -> None:
    found = memory({}).evaluate("new", OF_THE_CALL)
    assert found.value == OF_THE_CALL
    assert (found.reason, found.error_code) == (Reason.ERROR, ErrorCode.FLAG_NOT_FOUND)
    assert "'new'" in found.error_details


def test_a_default_is_evaluated_as_a_stored_flag() -> None:
    flags = memory({"color": TARGETED, "new": {"enabled": True, "rollout": 0.01}})
    assert flags.evaluate("color", attributes={"plan": "pro"}) == Evaluation(
        "#b91c1c", "red", Reason.TARGETING_MATCH
    )
    assert flags.evaluate("new", user="16") == Evaluation(True, "on", Reason.SPLIT)
    assert not flags.enabled("new", user="17")


async def test_a_disabled_definition_gives_the_default(kv, bucket) -> None:
    for name in ("one", "two", "three"):
        put(bucket, name, DISABLED)
    defaults = {"one": "white", "two": DISABLED}
    async with AsyncFlags(kv.bucket(bucket.name), defaults) as flags:
        for name, value in (("one", "white"), ("two", OF_THE_CALL), ("three", OF_THE_CALL)):
            found = flags.evaluate(name, OF_THE_CALL)
            assert (found.value, found.variant, found.reason) == (value, "", Reason.DISABLED)
            assert found.error_code is None


async def test_a_disabled_definition_is_on_if_its_default_is(kv, bucket) -> None:
    for name in ("one", "two"):
        put(bucket, name, DISABLED)
    async with AsyncFlags(kv.bucket(bucket.name), {"one": True}) as flags:
        assert flags.enabled("one")
        assert not flags.enabled("two")


async def test_a_rollout_without_a_user_gives_the_default(kv, bucket) -> None:
    put(bucket, "new", HALF)
    async with AsyncFlags(kv.bucket(bucket.name)) as flags:
        found = flags.evaluate("new", OF_THE_CALL)
        assert found.value == OF_THE_CALL
        assert found.error_code == ErrorCode.TARGETING_KEY_MISSING
        assert "targetingKey" in found.error_details


async def test_a_rollout_without_a_user_is_off_whatever_its_default(kv, bucket) -> None:
    put(bucket, "new", HALF)
    async with AsyncFlags(kv.bucket(bucket.name), {"new": True}) as flags:
        assert not flags.enabled("new")


def test_a_user_may_have_a_number() -> None:
    flags = memory({"new": {"enabled": True, "rollout": 0.01}})
    assert flags.enabled("new", user=16)  # type: ignore[arg-type]  # as callers do it
    assert flags.evaluate("new", user=16).value is True  # type: ignore[arg-type]


def test_a_user_that_is_no_text_of_unicode_has_the_default() -> None:
    flags = memory({"new": HALF})
    assert not flags.enabled("new", user="\ud800")
    found = flags.evaluate("new", OF_THE_CALL, user="\ud800")
    assert (found.value, found.error_code) == (OF_THE_CALL, ErrorCode.INVALID_CONTEXT)


@pytest.mark.parametrize("value", [{"users": ["ada"]}, {**TARGETED, "targeting": {}}])
def test_what_a_reader_does_to_a_value_changes_no_flag(value) -> None:
    flags = memory({"one": {"list": []}, "two": value})
    flags.evaluate("one").value["list"].append(1)
    assert flags.evaluate("one").value == {"list": []}
    before = json.dumps(flags.get("two"))
    flags.evaluate("two")
    assert json.dumps(flags.get("two")) == before


async def test_get_has_a_definition_as_it_is_stored(kv, bucket) -> None:
    put(bucket, "color", TARGETED)
    async with AsyncFlags(kv.bucket(bucket.name)) as flags:
        assert flags.get("color") == TARGETED
