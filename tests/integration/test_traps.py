"""The traps of NATS KV that decided the design, one by one: none of them is left for a user.

Those of listings are in `test_traps_of_listings`; traps 6 and 7 are about watches, 9 about
idempotent retries: they stand with those.
"""

import os
import signal
from pathlib import Path

import pytest

from jetkv_gateway.embedded import NatsServer
from tests.support.gateway import running_bucket, running_gateway
from tests.support.http import Bucket
from tests.support.native import SECOND, Native, native_client
from tests.support.waiting import eventually, until

MIB = 1024 * 1024
RESERVE = 1024  # of max_payload, for headers

LONGEST_ESCAPED = ("日" * 170) + "::"
assert len(LONGEST_ESCAPED.encode()) == 512


# 1. One bad request kills nats-py's connection for good.


def test_trap_1_an_oversized_value_does_not_kill_the_connection(bucket: Bucket) -> None:
    answer = bucket.put("k", bytes(MIB))
    assert (answer.status, answer.error) == (413, "value too large")
    assert answer.json["details"] == {"limit_bytes": MIB - RESERVE}
    assert bucket.put("k", "v").status == 200


def test_trap_1_a_value_of_the_limit_fits_with_the_longest_headers(long_bucket: Bucket) -> None:
    value = os.urandom(MIB - RESERVE)
    longest = {"Content_Type": "x" * 255, "Content_Encoding": "x" * 64, "Idempotency_Key": "1"}
    answer = long_bucket.put("k", value, If_None_Match="*", **longest)
    assert answer.status == 200
    assert long_bucket.get("k").value == value


def test_trap_1_a_small_max_payload_of_the_server_is_the_limit(tmp_path: Path) -> None:
    limit = 64 * 1024 - RESERVE
    with (
        NatsServer(tmp_path, config="max_payload: 64KB") as server,
        running_gateway(server.url, buckets="b") as http,
    ):
        bucket = Bucket(http, "b")
        assert bucket.put("k", bytes(limit + 1)).json["details"] == {"limit_bytes": limit}
        assert bucket.put("k", bytes(limit)).status == 200
        assert bucket.get("k").value == bytes(limit)


def test_trap_1_the_longest_key_of_escapes_in_the_longest_bucket_works(long_bucket: Bucket) -> None:
    assert long_bucket.put(LONGEST_ESCAPED, "v1").status == 200
    assert long_bucket.put(LONGEST_ESCAPED, "v2", If_Match="1").status == 200
    assert long_bucket.get(LONGEST_ESCAPED).value == b"v2"
    assert long_bucket.get(LONGEST_ESCAPED, "?consistency=eventual").value == b"v2"
    assert long_bucket.keys() == [LONGEST_ESCAPED]
    assert long_bucket.keys(LONGEST_ESCAPED) == [LONGEST_ESCAPED]
    assert len(long_bucket.history(LONGEST_ESCAPED).json["entries"]) == 1
    assert long_bucket.delete(LONGEST_ESCAPED, "?purge=true").status == 204
    assert long_bucket.get(LONGEST_ESCAPED).status == 404


def test_trap_1_a_changed_password_is_waited_out_until_it_is_right_again(tmp_path: Path) -> None:
    def with_password(password: str, port: int = 0) -> NatsServer:
        return NatsServer(tmp_path, port=port, config=_password(password))

    server = with_password("right")
    with server, running_gateway(server.url, buckets="b", **_LOGIN) as http:
        bucket = Bucket(http, "b")
        assert bucket.put("k", "v").status == 200
        server.stop()
        with with_password("other", server.port):
            until(lambda: "authorization" in _nats_issue(http).lower(), "NATS refuses the password")
            assert bucket.put("k", "refused").status == 503
        with with_password("right", server.port):
            until(lambda: bucket.get("k").status == 200, "the gateway is back")
            assert bucket.get("k").value == b"v"


def test_trap_1_a_password_changed_under_a_live_connection_is_survived(tmp_path: Path) -> None:
    config = tmp_path / "nats-server.conf"

    def change_password(before: str, after: str) -> None:
        config.write_text(config.read_text().replace(_password(before), _password(after)))
        assert server.pid is not None
        os.kill(server.pid, signal.SIGHUP)

    server = NatsServer(tmp_path, config=_password("right"))
    with server, running_gateway(server.url, buckets="b", **_LOGIN) as http:
        bucket = Bucket(http, "b")
        change_password("right", "other")
        until(lambda: bucket.put("k", "v").status == 503, "the server has closed the connection")
        change_password("other", "right")
        until(lambda: bucket.put("k", "v").status == 200, "the gateway is back")


_LOGIN = {"nats_user": "gateway", "nats_password": "right"}


def _password(password: str) -> str:
    return f"authorization {{ user: gateway, password: {password} }}"


def _nats_issue(http) -> str:
    issue: str = http.get("/ready").json["issues"].get("nats", "")
    return issue


# 2. An expired key reads as a live, empty value.


@pytest.fixture
async def expired(native: Native, http, bucket_name: str) -> Bucket:
    """A bucket whose key `k` has expired; since 2.11 the server has left a marker for it."""
    await native.make_bucket(
        bucket_name,
        max_age=SECOND,
        allow_msg_ttl=True,
        subject_delete_marker_ttl=60 * SECOND,
        duplicate_window=SECOND,
    )
    bucket = Bucket(http, bucket_name)
    assert bucket.put("k", "v").status == 200
    until(lambda: bucket.get("k").status == 404, "the key has expired", 3)

    async def removed() -> bool:
        last = await native.last(bucket_name, "k")
        return last is None or "Nats-Marker-Reason" in last[1]

    # The gateway hides it before that.
    await eventually(removed, "the server has removed it, too", 5)
    return bucket


async def test_trap_2_an_expired_key_is_no_key(expired: Bucket, native: Native) -> None:
    marker = await native.last(expired.name, "k")
    if native.version < (2, 11):
        assert marker is None, "markers came with 2.11; before, the value just goes"
    else:
        assert marker is not None
        assert marker[1]["Nats-Marker-Reason"] == "MaxAge"
    assert expired.get("k").error == "key not found"
    assert expired.get("k", "?consistency=eventual").status == 404
    assert expired.keys() == []
    assert expired.keys("k") == []


def test_trap_2_a_create_over_an_expired_key_succeeds(expired: Bucket) -> None:
    assert expired.put("k", "new", If_None_Match="*").status == 200
    assert expired.put("k", "newer", If_None_Match="*").error == "key already exists"


async def test_trap_2_deleting_an_expired_key_writes_nothing(
    expired: Bucket, native: Native
) -> None:
    before = (await native.state(expired.name))["last_seq"]
    assert expired.delete("k").status == 204
    assert expired.delete("k", If_Match="1").error == "revision mismatch"
    assert (await native.state(expired.name))["last_seq"] == before


# 8. A timed-out PUT is usually applied.


def test_trap_8_a_put_that_a_frozen_server_does_not_answer_has_an_unknown_outcome(
    own_nats: NatsServer,
) -> None:
    with running_bucket(own_nats, request_timeout=0.4) as bucket:
        assert bucket.put("k", "before").status == 200
        own_nats.pause()
        answer = bucket.put("k", "late")
        own_nats.resume()
        assert (answer.status, answer.json["code"]) == (504, "deadline_exceeded")
        assert answer.json["details"]["outcome"] == "unknown"
        assert answer.json["retryable"] is False
        assert "GET the key" in answer.json["hint"]
        until(lambda: bucket.get("k").value == b"late", "the late write is applied after all")


def test_trap_8_a_delete_that_a_frozen_server_was_not_even_asked_is_no_unknown_outcome(
    own_nats: NatsServer,
) -> None:
    with running_bucket(own_nats, request_timeout=0.4) as bucket:
        assert bucket.put("k", "v").status == 200
        own_nats.pause()
        answer = bucket.delete("k")  # its first step, reading the key, is where it ends
        own_nats.resume()
        assert (answer.status, answer.json["retryable"]) == (503, True)
        assert "nothing was applied" in answer.error
        until(lambda: bucket.get("k").status == 200, "the gateway is back")


def test_trap_8_a_put_while_nats_is_down_is_never_applied(own_nats: NatsServer) -> None:
    with running_bucket(own_nats, buckets="b,history=5") as bucket:
        assert bucket.put("k", "kept").status == 200
        own_nats.stop()
        until(lambda: bucket.http.get("/ready").status == 503, "the gateway has seen it")
        answer = bucket.put("k", "refused")
        assert (answer.status, answer.json["retryable"]) == (503, True)
        assert int(answer.headers["retry-after"]) >= 1
        own_nats.start()
        until(lambda: bucket.http.get("/ready").status == 200, "the gateway is back")
        assert [entry["revision"] for entry in bucket.history("k").json["entries"]] == [1]
        assert bucket.put("k", "next").json == {"revision": 2}


# 10. Direct reads are stale under load.


def test_trap_10_a_get_is_answered_by_the_leader_unless_asked_otherwise(bucket: Bucket) -> None:
    bucket.put("k", "v")
    assert bucket.get("k").headers["jetkv-consistency"] == "strong"
    eventual = bucket.get("k", "?consistency=eventual")
    assert eventual.headers["jetkv-consistency"] == "eventual"
    assert eventual.value == b"v"


def test_trap_10_a_get_after_an_acked_put_sees_it_on_three_replicas(replicated: Bucket) -> None:
    for number in range(200):
        revision = replicated.put("trap-10", str(number)).json["revision"]
        read = replicated.get("trap-10")
        assert (read.json["revision"], read.value) == (revision, str(number).encode())


# 11. A put to a deleted bucket can be acked by another stream that captures its subjects.


async def test_trap_11_a_put_to_a_deleted_bucket_lands_in_no_other_stream(
    own_nats: NatsServer,
) -> None:
    with running_bucket(own_nats) as bucket:
        assert bucket.put("k", "v").status == 200
        async with native_client(own_nats.url) as native:
            await native.api("STREAM.DELETE.KV_b")
            await native.make_stream({"name": "EVERYTHING", "subjects": ["$KV.>"]})
            answers = [bucket.put("k", "v"), bucket.put("k", "v", If_None_Match="*")]
            assert [answer.error for answer in answers] == ["bucket not found"] * 2
            assert bucket.delete("k").error == "bucket not found"
            everything = await native.api("STREAM.INFO.EVERYTHING")
            assert everything["state"]["messages"] == 0
