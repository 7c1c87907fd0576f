"""Rules that mean harm, over HTTP: an error of their own flag alone (docs/flags.md#errors)."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from jetkv.testing import LocalNats
from tests.flags.test_flagd import ENDLESS, definition, nested
from tests.support.flags import FlagGateways, flag_gateways

CONTEXT = {"targetingKey": "ada", "list": list(range(5000)), "text": "x" * 20_000}
HARMFUL: dict[str, Any] = {
    **{f"endless-{number}": definition(rule) for number, rule in enumerate(ENDLESS.values())},
    "nested": definition(nested(200, "!")),
    "circle": definition({"$ref": "a"}, **{"$evaluators": {"a": {"!": [{"$ref": "a"}]}}}),
    "unknown": definition({"sum": [1, 2]}),
    "no-variant": definition({"if": [True, "none"]}),
    "no-state": {"variants": {"a": 1}, "defaultVariant": "a"},
}


@pytest.fixture(scope="module")
def flags(nats: LocalNats) -> Iterator[FlagGateways]:
    with flag_gateways(nats.url) as started:
        started.create_bucket()
        for name, value in HARMFUL.items():
            assert started.bucket.put(name, json.dumps(value)).status == 200
        started.bucket.put("first", "1")
        started.bucket.put("zero", "0")
        yield started


@pytest.mark.parametrize("name", HARMFUL)
def test_each_is_an_error_of_its_own_flag(flags: FlagGateways, name: str) -> None:
    answer = flags.one(name, CONTEXT)
    assert answer.status == 400, answer
    assert answer.json["key"] == name
    assert answer.json["errorCode"] in {"GENERAL", "PARSE_ERROR"}
    assert answer.json["errorDetails"]


def test_all_together_disturb_no_other_flag(flags: FlagGateways) -> None:
    answer = flags.all(CONTEXT)
    assert answer.status == 200
    found = {flag["key"]: flag for flag in answer.json["flags"]}
    assert found.keys() == HARMFUL.keys() | {"first", "zero"}
    assert [found["first"]["value"], found["zero"]["value"]] == [1, 0]
    assert all(found[name]["errorCode"] in {"GENERAL", "PARSE_ERROR"} for name in HARMFUL)
