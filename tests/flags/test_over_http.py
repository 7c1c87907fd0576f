"""Single evaluations over HTTP, by OFREP (docs/flags.md)."""

import json
from collections.abc import Iterator
from urllib.parse import quote

import pytest

from jetkv.flags import ABSENT
from jetkv.testing import LocalNats
from tests.support.flag_cases import FlagCase, flag_cases, same_json
from tests.support.flags import FLAGS, FlagGateways, flag_gateways, until_seen
from tests.support.http import Answer, Http
from tests.support.waiting import until


@pytest.fixture(scope="module")
def flags(nats: LocalNats) -> Iterator[FlagGateways]:
    with flag_gateways(nats.url, 2) as started:
        started.create_bucket()
        yield started


@pytest.mark.parametrize("case", flag_cases(), ids=str)
def test_every_case_of_the_table(flags: FlagGateways, case: FlagCase) -> None:
    flags.bucket.put(case.flag, case.raw)
    answer = flags.one(quote(case.flag, safe=""), case.context)
    found = answer.json
    assert found["key"] == case.flag
    if case.error is not None:
        assert (answer.status, found["errorCode"]) == (400, case.error)
        assert found["errorDetails"]
        return
    assert answer.status == 200, answer
    assert (found["variant"], found["reason"]) == (case.variant, case.reason)
    assert ("value" in found) == (case.value is not ABSENT)
    if case.value is not ABSENT:
        assert same_json(found["value"], case.value)
    flags.bucket.delete(case.flag)


def test_slashes_belong_to_the_name_of_a_flag(flags: FlagGateways) -> None:
    flags.bucket.put("web/new/search", '"on"')
    for path in ("web/new/search", "web%2Fnew%2Fsearch"):
        assert flags.one(path).json["key"] == "web/new/search"
    assert flags.one("web/new").status == 404


def test_an_answer_is_json_of_the_type_that_providers_check(flags: FlagGateways) -> None:
    flags.bucket.put("plain", "true")
    answer = flags.one("plain", {"targetingKey": "ada"})
    assert answer.headers["content-type"] == "application/json"
    assert answer.json == {"key": "plain", "reason": "STATIC", "variant": "on", "value": True}
    assert "jetkv-stale" not in answer.headers


def test_a_float_keeps_its_type_in_the_bytes_of_the_answer(flags: FlagGateways) -> None:
    flags.bucket.put("ten", "10.0")
    assert b'"value":10.0}' in flags.one("ten").body
    flags.bucket.put("ten", "10")
    assert b'"value":10}' in flags.one("ten").body


def test_an_integer_of_any_size_is_shown(flags: FlagGateways) -> None:
    flags.bucket.put("big", str(2**70))
    assert flags.one("big").json["value"] == 2**70


def test_a_write_is_seen_by_the_next_evaluation_of_the_same_gateway(flags: FlagGateways) -> None:
    flags.one("counter")
    for number in range(50):
        flags.bucket.put("counter", str(number))
        assert flags.one("counter").json["value"] == number
    flags.bucket.delete("counter")
    assert flags.one("counter").status == 404


def test_a_batch_and_a_delete_of_many_are_seen_at_once(
    flags: FlagGateways, version: tuple[int, int]
) -> None:
    http, path = flags.bucket.http, flags.bucket.path
    flags.one("many.1")
    for atomic in (True, False) if version >= (2, 12) else (False,):
        ops = [{"op": "put", "key": f"many.{n}", "json": atomic} for n in range(3)]
        assert http.post(f"{path}/batch", {"ops": ops, "atomic": atomic}).status == 200
        assert flags.one("many.2").json["value"] is atomic
    assert http.delete(f"{path}/keys?prefix=many.").status == 200
    assert flags.one("many.2").status == 404


def test_a_change_is_seen_in_another_gateway_within_a_second(flags: FlagGateways) -> None:
    other = flags.gateways[1]
    for value in (True, False, "dark"):
        flags.bucket.put("elsewhere", json.dumps(value))
        until_seen(other, "elsewhere", value)


def failed(answer: Answer, status: int, code: str, key: str | None = "plain") -> None:
    found = answer.json
    assert (answer.status, found["errorCode"]) == (status, code), answer
    assert found["errorDetails"]
    assert found.get("key") == key
    assert {"error", "code", "retryable", "request_id"} <= found.keys(), "as every error"


NO_CONTEXTS = [
    "",
    "[]",
    "null",
    '"ada"',
    "7",
    "{",
    "{'context':{}}",
    '{"context":null}',
    '{"context":[]}',
    '{"context":"ada"}',
    '{"context":{"targetingKey":null}}',
    '{"context":{"targetingKey":7}}',
    '{"context":{"targetingKey":{}}}',
    '{"context":{"n":NaN}}',
    b'{"context":{"targetingKey":"\xff"}}',
    '{"context":' + '{"a":' * 100 + "1" + "}" * 101,
    "[" * 30_000 + "]" * 30_000,
    '{"context":{"a":' + "[" * 30_000 + "]" * 30_000 + "}}",
]


@pytest.mark.parametrize("body", NO_CONTEXTS, ids=range(len(NO_CONTEXTS)))
@pytest.mark.parametrize("path", ["/plain", ""])
def test_what_is_no_context_is_400(flags: FlagGateways, body: str | bytes, path: str) -> None:
    flags.bucket.put("plain", "true")
    answer = flags.bucket.http.request("POST", FLAGS + path, body)
    failed(answer, 400, "INVALID_CONTEXT", "plain" if path else None)


@pytest.mark.parametrize("body", ["{}", '{"context":{}}', '{"other":1}', '{"context":{"a":[[]]}}'])
def test_nobody_in_the_context_is_fine(flags: FlagGateways, body: str) -> None:
    flags.bucket.put("plain", "true")
    assert flags.bucket.http.request("POST", f"{FLAGS}/plain", body).json["value"] is True


@pytest.mark.parametrize("name", ["missing", "", "a%00b", "x" * 600, "..", "plain/"])
def test_a_flag_that_nobody_has_stored_is_404(flags: FlagGateways, name: str) -> None:
    answer = flags.one(name)
    assert (answer.status, answer.json["errorCode"]) == (404, "FLAG_NOT_FOUND")


def test_a_body_over_the_limit_is_413(flags: FlagGateways) -> None:
    context = {"targetingKey": "x" * 70_000}
    failed(flags.one("plain", context), 413, "GENERAL")
    failed(flags.all(context), 413, "GENERAL", None)


def test_an_unescaped_question_mark_is_no_other_flag(flags: FlagGateways) -> None:
    flags.bucket.put("plain", "true")
    failed(flags.one("plain?new"), 400, "GENERAL")


def test_another_method_is_405_with_the_fields_of_a_provider(flags: FlagGateways) -> None:
    answer = flags.bucket.http.get(f"{FLAGS}/plain")
    assert answer.headers["allow"] == "POST, OPTIONS"
    failed(answer, 405, "GENERAL")


def test_a_flag_that_is_too_large_is_a_parse_error_of_its_own(flags: FlagGateways) -> None:
    flags.bucket.put("large", json.dumps("x" * 300_000))
    flags.bucket.put("plain", "true")
    failed(flags.one("large"), 400, "PARSE_ERROR", "large")
    assert flags.one("plain").status == 200
    flags.bucket.delete("large")


def test_the_same_is_there_under_the_base_url_for_json(flags: FlagGateways) -> None:
    flags.bucket.put("plain", "true")
    gateway = flags.gateways[0]
    under = Http(gateway.host, gateway.port, base="/json")
    assert under.post(f"{FLAGS}/plain", {}).json["value"] is True


def test_a_flag_that_has_expired_is_gone_at_that_moment(
    flags: FlagGateways, version: tuple[int, int]
) -> None:
    if version < (2, 11):
        pytest.skip("TTLs of single values came with 2.11")
    flags.bucket.put("brief", "true", JetKV_TTL_Seconds="1")
    assert flags.one("brief").json["value"] is True
    until(lambda: flags.one("brief").status == 404, "it has expired", 3)
    assert "brief" not in flags.values()
