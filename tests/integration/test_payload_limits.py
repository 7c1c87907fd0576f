"""How large a value NATS takes, by what it has said last."""

import threading
from pathlib import Path

import pytest

from jetkv_gateway.embedded import NatsServer
from tests.support.cluster import cluster_config
from tests.support.gateway import running_gateway
from tests.support.http import Answer, Bucket
from tests.support.ports import free_ports
from tests.support.reloading import reload
from tests.support.waiting import until

KIB = 1024
RESERVE = 1024
ACCOUNT = (
    "accounts { A { jetstream: enabled, users: [ { user: gateway, password: p } ], "
    "limits { max_payload: 64KB } } }"
)
AS_GATEWAY = {"nats_user": "gateway", "nats_password": "p", "request_timeout": 3}


def _refused_over(answer: Answer, max_payload: int) -> bool:
    return (
        answer.status == 413
        and answer.error == "value too large"
        and answer.json["details"] == {"limit_bytes": max_payload - RESERVE}
    )


def test_a_value_over_the_accounts_limit_is_413_and_disturbs_nobody(tmp_path: Path) -> None:
    with (
        NatsServer(tmp_path, config=ACCOUNT) as server,
        running_gateway(server.url, buckets="b", **AS_GATEWAY) as http,
    ):
        bucket = Bucket(http, "b")
        fits = bytes(64 * KIB - RESERVE)
        told: set[int] = set()
        over = threading.Event()

        def others() -> None:
            while not over.is_set():
                told.add(bucket.put("other", "v").status)

        thread = threading.Thread(target=others)
        thread.start()
        try:
            for size in (len(fits) + 1, 100 * KIB, 900 * KIB):
                assert _refused_over(bucket.put("k", bytes(size)), 64 * KIB)
        finally:
            over.set()
            thread.join()
        assert told == {200}
        assert bucket.put("k", fits).status == 200
        assert "maximum payload" not in (tmp_path / "nats-server.log").read_text().lower()


def test_the_very_first_value_is_measured_by_the_accounts_limit(tmp_path: Path) -> None:
    with NatsServer(tmp_path, config=ACCOUNT) as server:
        with running_gateway(server.url, buckets="b", **AS_GATEWAY):
            pass
        for _ in range(5):
            with running_gateway(server.url, ready=False, **AS_GATEWAY) as http:
                bucket = Bucket(http, "b")
                answers: list[Answer] = []

                def answered(bucket: Bucket = bucket, answers: list[Answer] = answers) -> bool:
                    answers.append(bucket.put("k", bytes(100 * KIB)))
                    return answers[-1].status != 503

                until(answered, "NATS is connected")
                assert _refused_over(answers[-1], 64 * KIB)
        assert "maximum payload" not in (tmp_path / "nats-server.log").read_text().lower()


@pytest.mark.parametrize(("wanted", "limit"), [("32KB", 32 * KIB), ("128KB", 128 * KIB)])
def test_a_later_info_changes_the_limit_on_the_connection_that_stands(
    tmp_path: Path, wanted: str, limit: int
) -> None:
    ours, theirs = free_ports(2)
    folder = tmp_path / "ours"
    member = cluster_config("ours", ours, [theirs])
    with (
        NatsServer(folder, config=f"{ACCOUNT}\n{member}", jetstream="") as server,
        running_gateway(server.url, ready=False, **AS_GATEWAY) as http,
    ):
        bucket = Bucket(http, "b")
        until(lambda: _refused_over(bucket.put("k", bytes(900 * KIB)), 64 * KIB), "it is connected")
        reload(server, folder, "max_payload: 64KB", f"max_payload: {wanted}")
        # A server says so when the next member of the cluster comes.
        other = cluster_config("theirs", theirs, [ours])
        with NatsServer(tmp_path / "theirs", config=f"{ACCOUNT}\n{other}"):
            until(
                lambda: _refused_over(bucket.put("k", bytes(900 * KIB)), limit), "the limit is new"
            )
        connects = (folder / "nats-server.log").read_text().count("maximum payload")
        assert connects == 0


def test_a_limit_that_was_lowered_without_a_word_is_413_from_the_second_value_on(
    tmp_path: Path,
) -> None:
    with (
        NatsServer(tmp_path, config="max_payload: 512KB") as server,
        running_gateway(server.url, buckets="b", request_timeout=3) as http,
    ):
        bucket = Bucket(http, "b")
        assert bucket.put("k", bytes(300 * KIB)).status == 200
        reload(server, tmp_path, "max_payload: 512KB", "max_payload: 64KB")
        assert bucket.put("k", bytes(200 * KIB)).status == 504
        until(lambda: _refused_over(bucket.put("k", bytes(200 * KIB)), 64 * KIB), "it is known")
        assert bucket.put("k", bytes(60 * KIB)).status == 200
