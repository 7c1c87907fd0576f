"""What `/ready` asks NATS, and what it says of buckets."""

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nkeys
import pytest

from jetkv.testing import LocalNats
from jetkv_gateway import readiness
from jetkv_gateway.embedded import NatsServer
from tests.support.cluster import running_cluster
from tests.support.figures import figures, value
from tests.support.gateway import running_gateway
from tests.support.http import BUCKETS, Http
from tests.support.waiting import until


def issues(http: Http) -> dict[str, str]:
    found: dict[str, str] = http.get("/ready").json["issues"]
    return found


def test_many_who_ask_become_few_requests_to_nats(own_nats: NatsServer) -> None:
    own_nats.start()

    def asked(http: Http) -> float:
        name = "jetkv_nats_request_duration_seconds_count"
        return value(figures(http), name, operation="account_info")

    with running_gateway(own_nats.url) as http:
        before, began = asked(http), time.monotonic()
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: http.get("/ready").status, range(200)))
        seconds = time.monotonic() - began
        assert set(answers) == {200}
        # The gateway itself asks every few seconds.
        assert asked(http) - before <= 6 * seconds + 8


def test_a_gateway_is_not_ready_without_a_bucket_that_it_is_told_to_need(
    own_nats: NatsServer,
) -> None:
    own_nats.start()
    with running_gateway(own_nats.url, ready=False, ready_buckets=["needed"]) as http:
        until(lambda: issues(http) == {"bucket needed": "bucket not found"}, "it is missed")
        assert http.get("/ready").status == 503
        assert http.post(BUCKETS, {"name": "needed"}).status == 201
        until(lambda: http.get("/ready").status == 200, "the bucket is seen")


def test_a_bucket_that_another_client_changes_later_is_warned_of(
    own_nats: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_nats.start()
    monkeypatch.setattr(readiness, "_COMPARE_SECONDS", 0.1)
    with running_gateway(own_nats.url, buckets="b,history=5") as http:
        assert http.get("/ready").json["warnings"] == {}
        with running_gateway(own_nats.url) as other:
            answer = other.request("PATCH", f"{BUCKETS}/b", '{"history":9}')
            assert answer.status == 200
        until(lambda: "bucket b" in http.get("/ready").json["warnings"], "it is warned of")


@pytest.mark.long
def test_a_bucket_without_a_leader_is_named(tmp_path_factory: pytest.TempPathFactory) -> None:
    with running_cluster(tmp_path_factory.mktemp("cluster")) as members:
        urls = ",".join(server.url for server in members)
        with running_gateway(urls, ready=False, ready_buckets=["needed"]) as http:
            until(
                lambda: http.post(BUCKETS, {"name": "needed"}).status in (201, 409),
                "the cluster makes a bucket",
                30,
            )
            until(lambda: http.get("/ready").status == 200, "the gateway is ready", 20)
            for server in members:
                server.stop()
                until(lambda: http.get("/ready").json["issues"].keys() != {"nats"}, "connected", 20)
                until(
                    lambda: issues(http).keys() <= {"bucket needed"}, "JetStream is there again", 30
                )
                if issues(http):
                    break
                server.start()
                until(lambda: http.get("/ready").status == 200, "the member is back", 30)
            else:
                pytest.fail("the bucket was on no member")
            assert http.get("/ready").status == 503
            server.start()
            until(lambda: http.get("/ready").status == 200, "the bucket is back", 30)


def test_a_login_file_that_breaks_is_warned_of_before_a_connection_needs_it(
    tmp_path: Path,
) -> None:
    seed = nkeys.encode_seed(os.urandom(32), nkeys.PREFIX_BYTE_USER)
    public = nkeys.from_seed(bytearray(seed)).public_key.decode()
    users = f"authorization {{ users = [{{ nkey: {public} }}] }}"
    file = tmp_path / "gateway.nk"
    file.write_bytes(seed)
    with (
        LocalNats(tmp_path / "nats", config=users) as server,
        running_gateway(server.url, nats_nkey=file) as http,
    ):
        assert http.get("/ready").json["warnings"] == {}
        file.write_text("nonsense")
        until(lambda: "nats" in http.get("/ready").json["warnings"], "it is warned of")
        answer = http.get("/ready")
        assert answer.status == 200
        assert answer.json["warnings"]["nats"] == (
            "cannot use the nkey file for NATS; the last valid content stays in use; see the log"
        )
        file.write_bytes(seed)
        until(lambda: http.get("/ready").json["warnings"] == {}, "it is well again")
