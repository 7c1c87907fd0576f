"""What the SDK logs under `jetkv.sdk`, and that it prints nothing by itself (docs/sdk.md#logs)."""

import asyncio
import logging
import subprocess
import sys

import pytest

from jetkv import Retry, UnavailableError, WatchLostError
from jetkv._core import log
from tests.sdk.conftest import Restartable
from tests.support.clients import MakeClient
from tests.support.http import BUCKETS, Http
from tests.support.waiting import soon


@pytest.fixture(autouse=True)
def _heard(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hear the SDK alone: a gateway in this process resets every logger when it starts."""
    logger = logging.Logger(log._log.name, logging.INFO)
    logger.addHandler(caplog.handler)
    monkeypatch.setattr(log, "_log", logger)


async def test_each_retry_is_logged_with_its_reason(
    make: MakeClient, nobody: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with make(nobody, retry=Retry(attempts=3, first_delay=0.001)) as client:
        with pytest.raises(UnavailableError):
            await client.kv().bucket("b").get("k")
    lines = [(record.name, record.levelname, record.getMessage()) for record in caplog.records]
    assert [line[:2] for line in lines] == [("jetkv.sdk", "INFO")] * 2
    for number, (_, _, text) in enumerate(lines, 1):
        assert text.startswith(f"attempt {number} failed, the next one is in 0.00 s: ")
        assert "no connection to" in text


async def test_a_call_that_needs_no_retry_logs_nothing(
    make: MakeClient, http: Http, new_bucket: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with make(http.url) as client:
        await client.kv().create_bucket(new_bucket)
        bucket = client.kv().bucket(new_bucket)
        await bucket.put("k", "v")
        await bucket.get("k")
    assert caplog.records == []


async def test_a_watch_that_is_lost_and_open_again_says_both(
    make: MakeClient, gateway: Restartable, new_bucket: str, caplog: pytest.LogCaptureFixture
) -> None:
    def said(text: str) -> bool:
        return any(text in record.getMessage() for record in caplog.records)

    assert gateway.http.post(BUCKETS, {"name": new_bucket}).status == 201
    url = gateway.http.url
    async with make(url) as client, client.kv().bucket(new_bucket).watch() as watch:
        first = asyncio.ensure_future(anext(watch))
        await asyncio.to_thread(gateway.stop)
        await soon(lambda: said(f"watch of {new_bucket}: no connection"), "the loss is said")
        await asyncio.to_thread(gateway.start)
        await soon(lambda: said(f"watch of {new_bucket}: connected again"), "and the end of it")
        gateway.http.put(f"{BUCKETS}/{new_bucket}/keys/k", "v")
        await first
    assert {record.levelname for record in caplog.records} == {"INFO"}


async def test_a_watch_that_ends_for_good_is_a_warning(
    make: MakeClient, http: Http, new_bucket: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert http.post(BUCKETS, {"name": new_bucket}).status == 201
    async with make(http.url) as client, client.kv().bucket(new_bucket).watch() as watch:
        http.delete(f"{BUCKETS}/{new_bucket}")
        with pytest.raises(WatchLostError, match="deleted"):
            await anext(watch)
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert record.getMessage().startswith(f"watch of {new_bucket} has ended: ")


def test_a_program_that_sets_up_no_logging_sees_nothing() -> None:
    code = (
        "from jetkv._core.log import log_watch_end\n"
        "from jetkv import JetKVError\n"
        "log_watch_end(['b'], JetKVError('x'))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, timeout=60)
    assert (done.stdout, done.stderr) == (b"", b"")
