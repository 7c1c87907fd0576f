"""Once per period: of all hosts that start a job, one runs it, and the others know."""

import asyncio
import subprocess
import sys
import threading

import pytest

from jetkv import (
    AsyncClient,
    InvalidArgumentError,
    JetKVError,
    KeyNotFoundError,
    Retry,
    RevisionMismatchError,
    ValueTooLargeError,
)
from jetkv.recipes import AsyncCommandDedup, CommandDedup
from tests.support.waiting import eventually, soon, until

TODAY = "report:2026-11-28"


@pytest.fixture
def name(make_bucket) -> str:
    return make_bucket(ttl_seconds=60).name


@pytest.fixture
def jobs(kv, name) -> AsyncCommandDedup:
    return AsyncCommandDedup(kv.bucket(name), holder="host-1")


@pytest.fixture
def others(kv, name) -> AsyncCommandDedup:
    return AsyncCommandDedup(kv.bucket(name), holder="host-2")


def never() -> None:
    raise AssertionError("it ran twice")


async def test_the_first_host_runs_a_job_and_the_second_gets_its_result(jobs, others) -> None:
    async def report() -> dict[str, int]:
        return {"pages": 12}

    first = await jobs.run_once(TODAY, report)
    assert (first.ran, first.done, first.result) == (True, True, {"pages": 12})
    second = await others.run_once(TODAY, never)
    assert (second.ran, second.done, second.result) == (False, True, {"pages": 12})
    assert second.holder == "host-1"


async def test_the_next_period_is_another_job(jobs) -> None:
    assert (await jobs.run_once(TODAY, lambda: 1)).ran
    assert (await jobs.run_once("report:2026-11-29", lambda: 2)).ran


async def test_a_host_that_calls_meanwhile_learns_who_runs_it(kv, name, jobs, others) -> None:
    go = asyncio.Event()
    running = asyncio.create_task(jobs.run_once(TODAY, go.wait))
    await eventually(lambda: kv.bucket(name).exists(TODAY), "it is claimed")
    told = await others.run_once(TODAY, never)
    assert (told.ran, told.done, told.holder) == (False, False, "host-1")
    go.set()
    assert (await running).result is True


def test_of_eight_hosts_at_once_one_runs_a_job(race, name) -> None:
    ran: list[int] = []

    def run(kv, number: int) -> bool:
        def job() -> int:
            ran.append(number)
            return number

        return CommandDedup(kv.bucket(name)).run_once(TODAY, job).ran

    assert sum(race(run)) == 1
    assert len(ran) == 1


async def test_a_job_that_fails_is_given_back_and_runs_on_another_host(jobs, others) -> None:
    def failing() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await jobs.run_once(TODAY, failing)
    assert (await others.run_once(TODAY, lambda: "done")).ran


async def test_a_job_that_is_cancelled_is_given_back(jobs, others) -> None:
    begun = asyncio.Event()

    async def endless() -> None:
        begun.set()
        await asyncio.Event().wait()

    running = asyncio.create_task(jobs.run_once(TODAY, endless))
    await begun.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert (await others.run_once(TODAY, lambda: "done")).ran


CRASH = """
import os, sys
from jetkv import Client
from jetkv.recipes import CommandDedup

bucket = Client(sys.argv[1]).kv().bucket(sys.argv[2])
CommandDedup(bucket, holder="crashed").run_once(sys.argv[3], lambda: os._exit(7))
"""


def test_after_a_crash_no_host_runs_a_job_before_the_ttl_ends(http, sync_kv, make_bucket) -> None:
    short = make_bucket(ttl_seconds=2).name
    jobs = CommandDedup(sync_kv.bucket(short))
    crashed = subprocess.run([sys.executable, "-c", CRASH, http.url, short, TODAY], timeout=30)
    assert crashed.returncode == 7
    told = jobs.run_once(TODAY, never)
    assert (told.ran, told.done, told.holder) == (False, False, "crashed")
    until(lambda: jobs.run_once(TODAY, lambda: "done").ran, "another runs it")


async def test_a_result_is_stored_once_the_gateway_is_back(relay, name, jobs) -> None:
    async with AsyncClient(relay.url, timeout=1, retry=Retry(attempts=1)) as client:
        cut = AsyncCommandDedup(client.kv().bucket(name))

        async def report() -> str:
            relay.cut()
            return "done"

        running = asyncio.create_task(cut.run_once(TODAY, report))
        await soon(lambda: relay.refused, "it tried")
        assert not running.done()
        relay.mend()
        assert (await running).ran
    assert (await jobs.run_once(TODAY, never)).result == "done"


async def test_a_result_that_cannot_be_stored_in_time_leaves_the_job_claimed(
    relay, name, jobs, monkeypatch
) -> None:
    monkeypatch.setattr("jetkv.recipes._async.dedup._RECORD_SECONDS", 0.2)
    async with AsyncClient(relay.url, timeout=1, retry=Retry(attempts=1)) as client:
        cut = AsyncCommandDedup(client.kv().bucket(name), holder="cut off")

        async def report() -> str:
            relay.cut()
            return "done"

        with pytest.raises(JetKVError, match="update of") as caught:
            await cut.run_once(TODAY, report)
    assert caught.value.__notes__ == [f"the function under the id {TODAY!r} has run"]
    told = await jobs.run_once(TODAY, never)
    assert (told.ran, told.done, told.holder) == (False, False, "cut off")


async def test_a_result_that_is_no_json_is_said_and_the_job_does_not_run_again(jobs) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        await jobs.run_once(TODAY, object)
    assert "has run" in caught.value.__notes__[0]
    again = await jobs.run_once(TODAY, never)
    assert (again.ran, again.done, again.result) == (False, True, None)


async def test_a_result_that_is_too_large_is_said_and_the_job_does_not_run_again(
    kv, make_bucket
) -> None:
    small = make_bucket(ttl_seconds=60, max_value_size=200).name
    jobs = AsyncCommandDedup(kv.bucket(small), holder="h")
    with pytest.raises(ValueTooLargeError):
        await jobs.run_once(TODAY, lambda: "x" * 1000)
    assert (await jobs.run_once(TODAY, never)).done


def test_a_job_slower_than_the_ttl_is_said(sync_kv, make_bucket) -> None:
    short = make_bucket(ttl_seconds=1).name
    jobs = CommandDedup(sync_kv.bucket(short))
    gone = threading.Event()

    def slow() -> None:
        def is_gone() -> bool:
            # Reads hide an expired value before the server removes it. The marker of the expiry
            # shows that it is removed.
            try:
                removed = sync_kv.bucket(short).history(TODAY)[-1].operation != "put"
            except KeyNotFoundError:
                # nats-server 2.10 leaves no marker.
                removed = sync_kv.bucket_info(short).values == 0
            if removed:
                gone.set()
            return removed

        until(is_gone, "the claim has expired")

    with pytest.raises(RevisionMismatchError):
        jobs.run_once(TODAY, slow)
    assert gone.is_set()


async def test_a_bucket_without_a_ttl_is_refused(kv, bucket) -> None:
    with pytest.raises(InvalidArgumentError, match="expire"):
        await AsyncCommandDedup(kv.bucket(bucket.name)).run_once(TODAY, never)
