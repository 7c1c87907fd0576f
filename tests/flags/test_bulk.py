"""Evaluations of all flags over HTTP, and their ETag (docs/flags.md)."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from jetkv.testing import LocalNats
from tests.support.flags import FLAGS, FlagGateways, flag_gateways, until_seen
from tests.support.gateway import running_gateway
from tests.support.waiting import until

ADA = {"targetingKey": "ada"}


@pytest.fixture
def flags(nats: LocalNats) -> Iterator[FlagGateways]:
    with flag_gateways(nats.url, 2) as started:
        started.create_bucket()
        yield started


def test_every_flag_is_evaluated_and_one_that_fails_disturbs_no_other(flags: FlagGateways) -> None:
    stored = {
        "on": '{"enabled":true}',
        "size": "10.0",
        "broken": "{",
        "web/new": '"dark"',
        "none": "null",
        "half": '{"enabled":true,"rollout":0.5}',
    }
    for name, value in stored.items():
        flags.bucket.put(name, value)
    found = {flag["key"]: flag for flag in flags.all({}).json["flags"]}
    assert list(found) == sorted(stored)
    assert found["on"] == {"key": "on", "reason": "STATIC", "variant": "on", "value": True}
    assert found["none"] == {"key": "none", "reason": "DEFAULT", "variant": ""}
    assert found["web/new"]["value"] == "dark"
    assert found["broken"].keys() == {"key", "errorCode", "errorDetails"}
    assert found["broken"]["errorCode"] == "PARSE_ERROR"
    assert found["half"]["errorCode"] == "TARGETING_KEY_MISSING"
    assert b'"value":10.0}' in flags.all({}).body
    known = {flag["key"]: flag for flag in flags.all(ADA).json["flags"]}
    assert known["half"]["reason"] == "SPLIT"


def test_without_a_bucket_there_are_no_flags(nats: LocalNats) -> None:
    with flag_gateways(nats.url) as flags:
        answer = flags.all(ADA)
        assert (answer.status, answer.json["flags"]) == (200, [])
        assert flags.one("new").json["errorCode"] == "FLAG_NOT_FOUND"


def test_an_answer_that_has_not_changed_is_304(flags: FlagGateways) -> None:
    flags.bucket.put("on", "true")
    etag = flags.all(ADA).headers["etag"]
    assert etag.startswith('"')
    for sent in (etag, f"W/{etag}", etag.strip('"'), f'"other", {etag}'):
        answer = flags.all(ADA, If_None_Match=sent)
        assert (answer.status, answer.body, answer.headers["etag"]) == (304, b"", etag)
    for sent in ('"other"', "*", etag[:-2] + '"'):
        assert flags.all(ADA, If_None_Match=sent).status == 200
    flags.bucket.put("on", "false")
    answer = flags.all(ADA, If_None_Match=etag)
    assert (answer.status, answer.json["flags"][0]["value"]) == (200, False)


def test_the_etag_is_of_flags_and_context_alone(nats: LocalNats, flags: FlagGateways) -> None:
    flags.bucket.put("on", "true")
    flags.bucket.put("half", '{"enabled":true,"rollout":0.5}')
    until_seen(flags.gateways[1], "on", True)
    until(lambda: len(flags.values(at=1)) == 1, "both gateways have both", 1)
    context = {"targetingKey": "ada", "plan": "free"}
    etag = flags.all(context).headers["etag"]
    assert flags.all(dict(reversed(context.items())), at=1).headers["etag"] == etag
    assert flags.all({**context, "plan": "pro"}).headers["etag"] != etag
    # A write that changes nothing changes no answer.
    flags.bucket.put("on", "true")
    assert flags.all(context).headers["etag"] == etag
    with running_gateway(nats.url, flags_bucket=flags.bucket.name) as later:
        assert later.post(FLAGS, {"context": context}).headers["etag"] == etag
    flags.bucket.delete("on")
    assert flags.all(context).headers["etag"] != etag


def test_what_an_event_told_is_waited_for_and_never_answered_by_something_older(
    flags: FlagGateways,
) -> None:
    flags.bucket.put("on", "true")
    bucket, _, revision = (
        flags.all(ADA)
        .json["eventStreams"][0]["endpoint"]["requestUri"]
        .partition("after=")[2]
        .partition("-")
    )
    for number in range(20):
        told = flags.bucket.put("on", str(number)).json["revision"]
        query = f"?flagConfigEtag={bucket}-{told}&flagConfigLastModified=1771622898"
        (flag,) = flags.all(ADA, query, at=1).json["flags"]
        assert flag["value"] == number
    future = flags.all(ADA, f"?flagConfigEtag={bucket}-{int(revision) + 1000}")
    assert (future.status, future.headers["retry-after"]) == (503, "1")
    assert future.json["errorCode"] == "GENERAL"


@pytest.mark.parametrize("told", ["", "abc123", "%22x%22", "-", "1-", "-1", "1-x", "1-2-3", "é-1"])
def test_what_another_server_told_is_ignored(flags: FlagGateways, told: str) -> None:
    flags.bucket.put("on", "true")
    answer = flags.all(ADA, f"?flagConfigEtag={told}".replace("é", "%C3%A9"))
    assert answer.status == 200


def test_a_page_may_read_the_etag(nats: LocalNats) -> None:
    page = {"Origin": "https://app.example"}
    with flag_gateways(nats.url, cors_origins=["https://app.example"]) as flags:
        exposed = flags.all(ADA, **page).headers["access-control-expose-headers"].split(", ")
        assert {"ETag", "Retry-After", "JetKV-Stale"} <= set(exposed)
        preflight = flags.gateways[0].request(
            "OPTIONS",
            FLAGS,
            **page,
            Access_Control_Request_Method="POST",
            Access_Control_Request_Headers="authorization,content-type,if-none-match",
        )
        assert preflight.status == 204
        allowed = preflight.headers["access-control-allow-headers"].lower()
        assert all(name in allowed for name in ("authorization", "content-type", "if-none-match"))


def test_more_flags_than_a_table_may_have_are_refused_and_not_cut(flags: FlagGateways) -> None:
    flags.bucket.put("on", "true")
    assert flags.one("on").status == 200
    large = json.dumps("x" * 250_000)
    for number in range(40):
        flags.bucket.put(f"large.{number}", large)
    until(lambda: flags.all(ADA).status == 409, "there are too many bytes", 5)
    answer = flags.one("on")
    assert (answer.status, answer.json["errorCode"]) == (409, "GENERAL")
    flags.bucket.http.delete(f"{flags.bucket.path}/keys?prefix=large.&purge=true")
    until(lambda: flags.one("on").status == 200, "they are gone", 10)


def test_flags_are_answered_while_nats_is_away_and_say_so(
    own_nats: LocalNats, tmp_path: Path
) -> None:
    own_nats.start()
    with flag_gateways(own_nats.url) as flags:
        flags.create_bucket()
        flags.bucket.put("on", "true")
        etag = flags.all(ADA).headers["etag"]
        own_nats.stop()
        until(lambda: "jetkv-stale" in flags.one("on").headers, "it is known that NATS is away")
        answer = flags.all(ADA)
        assert (answer.status, answer.headers["jetkv-stale"]) == (200, "true")
        assert answer.headers["etag"] == etag
        own_nats.start()
        until(lambda: "jetkv-stale" not in flags.one("on").headers, "it is followed again", 20)
        flags.bucket.put("on", "false")
        until_seen(flags.gateways[0], "on", False)
        own_nats.stop()


def test_without_nats_flags_that_were_never_read_are_503(own_nats: LocalNats) -> None:
    with flag_gateways(own_nats.url, ready=False) as flags:
        answer = flags.one("on")
        assert (answer.status, answer.json["errorCode"]) == (503, "GENERAL")
        assert int(answer.headers["retry-after"]) >= 1
        own_nats.start()
        until(lambda: flags.one("on").status == 404, "NATS is there", 20)
        own_nats.stop()


def test_a_bucket_comes_goes_and_comes_again(nats: LocalNats) -> None:
    with flag_gateways(nats.url, 2) as flags:
        second = flags.gateways[1]
        for http in flags.gateways:
            assert http.post(f"{FLAGS}/on", {}).status == 404
        for settings in ({}, {"history": 5}, {"ttl_seconds": 3600}):
            flags.create_bucket(**settings)
            flags.bucket.put("on", "true")
            assert flags.one("on").json["value"] is True
            until_seen(second, "on", True)
            flags.delete_bucket()
            for at in (0, 1):
                until(lambda at=at: flags.one("on", at=at).status == 404, "it is gone")
