"""Promises of docs/guarantees.md that no other test shows."""

import threading
import time
from datetime import UTC, datetime
from http.client import HTTPException

from jetkv.testing import LocalGateway, LocalNats
from tests.support.gateway import running_bucket, running_gateway
from tests.support.http import Bucket, Http
from tests.support.waiting import until


def test_what_was_acked_outlives_a_kill_of_the_only_server(own_nats: LocalNats) -> None:
    with running_bucket(own_nats) as bucket:
        acked = {}
        for number in range(500):
            acked[f"k{number}"] = bucket.put(f"k{number}", "v").json["revision"]
        own_nats.kill()
        own_nats.start()
        until(lambda: bucket.get("k0").status == 200, "the gateway is back", 20)
        assert {key: bucket.get(key).json["revision"] for key in acked} == acked


def test_what_a_killed_gateway_has_acked_is_read_through_another(
    nats: LocalNats, http: Http, bucket: Bucket
) -> None:
    acked: dict[str, int] = {}

    def write(gateway: Bucket, writer: int) -> None:
        for number in range(100_000):
            try:
                answer = gateway.put(f"{writer}.{number}", "v")
            except (OSError, HTTPException):
                return
            assert answer.status == 200
            acked[f"{writer}.{number}"] = answer.json["revision"]

    with LocalGateway(nats.url) as gateway:
        port = int(gateway.url.rpartition(":")[2])
        writers = [
            threading.Thread(target=write, args=(Bucket(Http("127.0.0.1", port), bucket.name), n))
            for n in range(4)
        ]
        for writer in writers:
            writer.start()
        until(lambda: len(acked) >= 400, "writers are at it")
        gateway.kill()
        for writer in writers:
            writer.join()
    assert {key: bucket.get(key).json["revision"] for key in acked} == acked


def test_a_read_through_one_gateway_shows_what_another_has_acked(
    nats: LocalNats, bucket: Bucket
) -> None:
    with running_gateway(nats.url) as other:
        elsewhere = Bucket(other, bucket.name)
        for number in range(100):
            writer, reader = (bucket, elsewhere) if number % 2 else (elsewhere, bucket)
            revision = writer.put("k", str(number)).json["revision"]
            assert reader.get("k").json["revision"] == revision


def test_a_key_is_there_until_its_time_is_up_and_gone_soon_after(make_bucket) -> None:
    bucket = make_bucket(ttl_seconds=2)
    bucket.put("k", "v")
    written = datetime.fromisoformat(bucket.get("k").json["created_at"])

    def age() -> float:
        return (datetime.now(UTC) - written).total_seconds()

    # What is read was there before its answer came, what is not was gone after it was asked for.
    while age() < 10:
        asked = age()
        if bucket.get("k").status == 404:
            break
        time.sleep(0.01)
    assert age() >= 2
    assert asked < 5
