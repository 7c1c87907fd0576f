"""What a gateway says, in its log and on `/ready`, of a NATS that is not as it should be."""

import asyncio
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from jetkv.testing import LocalNats
from tests.cli.conftest import Process
from tests.support.http import BUCKETS, Bucket, Http
from tests.support.waiting import until

Start = Callable[..., Process]

ACCOUNTS = """
accounts {{
  A {{ jetstream: {a}, users: [{{ user: a, password: a }}] }}
  B {{ jetstream: enabled, users: [{{ user: b, password: b }}] }}
}}
"""
CANNOT = "ERROR jetkv: JetStream cannot be used: "
CAN = "INFO jetkv: JetStream can be used again"


def served(start: Start, url: str, *arguments: str, **environment: str) -> tuple[Process, Http]:
    process = start(
        "serve", "--auth", "off", "--port", "0", "--nats-url", url, *arguments, **environment
    )
    return process, process.http()


def test_a_nats_without_jetstream_is_said_at_once_and_once(start: Start, tmp_path: Path) -> None:
    with LocalNats(tmp_path / "nats", config="jetstream: disabled") as nats:
        process, http = served(start, nats.url)
        process.wait_for(f"{CANNOT}.*not enabled.*Start nats-server with -js.*jetkv check", 10)
        began = time.monotonic()
        until(lambda: time.monotonic() - began > 3, "three more looks have come to the same")
        assert process.output.count(CANNOT) == 1
        assert http.get("/ready").status == 503
        assert process.stop() == 0


def test_jetstream_that_goes_and_comes_back_is_said_each_time(start: Start, tmp_path: Path) -> None:
    folder = tmp_path / "nats"
    with LocalNats(folder, config=ACCOUNTS.format(a="enabled")) as nats:
        process, http = served(start, nats.url.replace("nats://", "nats://a:a@"))
        until(lambda: http.get("/ready").status == 200, "the gateway is ready")
        assert CANNOT not in process.output

        def reload(a: str) -> None:
            file = folder / "nats-server.conf"
            other = "disabled" if a == "enabled" else "enabled"
            file.write_text(
                file.read_text().replace(
                    f"jetstream: {other}, users: [{{ user: a", f"jetstream: {a}, users: [{{ user: a"
                )
            )
            os.kill(nats.pid or 0, signal.SIGHUP)

        def has_said(what: str, times: int) -> None:
            until(lambda: process.output.count(what) == times, f"{what}, {times} times", 15)

        for times in (1, 2):
            reload("disabled")
            has_said(CANNOT, times)
            reload("enabled")
            has_said(CAN, times)
        until(lambda: http.get("/ready").status == 200, "the gateway is ready")
        assert process.stop() == 0


async def test_a_connection_that_breaks_as_jetstream_is_asked_is_no_trouble_of_jetstream(
    start: Start, nats: LocalNats
) -> None:
    broken = asyncio.Event()

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", nats.port)
        back = asyncio.create_task(pass_on(server_reader, writer))
        try:
            while data := await reader.read(65536):
                if b"$JS.API.INFO" in data and not broken.is_set():
                    broken.set()
                    break
                server_writer.write(data)
        finally:
            back.cancel()
            server_writer.close()
            writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        url = f"nats://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        process, http = await asyncio.to_thread(served, start, url)
        await asyncio.to_thread(until, lambda: http.get("/ready").status == 200, "it is ready")
        assert broken.is_set()
        assert await asyncio.to_thread(process.stop) == 0
    assert "connection to NATS lost" in process.output
    assert CANNOT not in process.output


def test_a_bucket_that_differs_from_the_settings_is_named_with_its_fields(
    start: Start, nats: LocalNats, make_bucket: Callable[..., Bucket]
) -> None:
    bucket = make_bucket(ttl_seconds=300, history=2)
    asked = f"{bucket.name},ttl_seconds=5,history=2,description=mine"
    process, http = served(start, nats.url, "--bucket", asked)
    until(lambda: http.get("/ready").status == 200, "the gateway is ready")
    difference = (
        "description is empty, the settings say mine; ttl_seconds is 300, the settings say 5"
    )
    assert http.get("/ready").json["warnings"] == {f"bucket {bucket.name}": difference}
    assert f"WARNING jetkv: bucket {bucket.name} is left as it is: {difference}" in process.output
    assert bucket.info()["ttl_seconds"] == 300
    assert process.stop() == 0


def test_of_a_bucket_only_what_the_settings_name_is_compared(
    start: Start, nats: LocalNats, make_bucket: Callable[..., Bucket]
) -> None:
    bucket = make_bucket(ttl_seconds=300, history=2)
    process, http = served(start, nats.url, "--bucket", f"{bucket.name},history=2")
    until(lambda: http.get("/ready").status == 200, "the gateway is ready")
    assert http.get("/ready").json["warnings"] == {}
    assert "is left as it is" not in process.output
    assert process.stop() == 0


def test_a_bucket_that_cannot_be_made_is_said_once_and_holds_up_no_other(
    start: Start, own_nats: LocalNats
) -> None:
    own_nats.start()
    process, http = served(start, own_nats.url, "--bucket", "bad,replicas=3", "--bucket", "good")
    until(lambda: list(http.get("/ready").json["issues"]) == ["bucket bad"], "the other is there")
    assert http.put(f"{BUCKETS}/good/keys/k", "v").status == 200
    answer = http.get("/ready")
    assert (answer.status, answer.json["issues"]["bucket bad"]) == (
        503,
        "does not exist yet; see the log",
    )
    began = time.monotonic()
    until(lambda: time.monotonic() - began > 3, "it was tried again")
    said = "WARNING jetkv: cannot create bucket bad: "
    assert process.output.count(said) == 1
    assert process.stop() == 0


def test_serve_lets_nobody_in_before_the_buckets_are_there(
    start: Start, own_nats: LocalNats
) -> None:
    own_nats.start()
    names = [f"b{number}" for number in range(20)]
    process, http = served(start, own_nats.url, *(f"--bucket={name}" for name in names))
    assert http.put(f"{BUCKETS}/{names[-1]}/keys/k", "v").status == 200
    assert process.stop() == 0


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_misspelt_variable_is_named_at_start_and_refused_by_nobody(
    start: Start, nats: LocalNats, workers: str
) -> None:
    process, http = served(
        start,
        nats.url,
        "--workers",
        workers,
        JETKV_NAT_URL="nats://secret@nowhere",
        JETKV_SERVICE_HOST="10.96.0.12",
        JETKV_PORT="tcp://10.96.0.12:9123",
        JETKV_PORT_9123_TCP="tcp://10.96.0.12:9123",
    )
    assert http.get("/health").status == 200
    line = (
        "WARNING jetkv: JETKV_NAT_URL is no setting and does nothing; did you mean JETKV_NATS_URL?"
    )
    assert process.output.count("is no setting") == process.output.count(line) == 1
    assert "secret" not in process.output
    assert process.stop() == 0


def test_check_names_a_misspelt_variable_too(
    run: Callable[..., tuple[int, str]], nats: LocalNats
) -> None:
    code, output = run("check", "--nats-url", nats.url, JETKV_NATS_DOMIAN="hub")
    assert code == 0
    assert "JETKV_NATS_DOMIAN is no setting and does nothing; did you" in output
