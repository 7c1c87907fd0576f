"""The faults: each function strikes once, while writers write and watchers watch."""

import asyncio
from collections import Counter

from jetkv_gateway.embedded import NatsServer
from tests.support.native import Native, native_client
from tests.support.waiting import eventually
from tests.watch.promises import GOING_AWAY, Bookmark, Chain
from tests.watch.recorder import EVENT_STREAM, WEB_SOCKET
from tests.watch.scenario import DEADLINE, Fault, Life, Scenario

__all__ = ["FAULTS"]


async def nothing_happens(scenario: Scenario) -> None:
    await scenario.more_writes(40)


async def both_workers_serve(scenario: Scenario) -> None:
    """Open watchers until each worker has several of each bucket."""
    for number in range(100):
        served = Counter(
            (recorder.bucket, recorder.worker) for recorder in scenario.recorders if recorder.worker
        )
        if len(served) == 4 and min(served.values()) >= 3:
            break
        scenario.watch_meanwhile(f"number {number}")
        await scenario.all_opened()
    else:
        scenario.evidence.trouble.append(f"one worker has it all: {served}")
    await scenario.more_writes(40)


async def nats_is_killed(scenario: Scenario) -> None:
    """Kill it under load; while it is away for the gateway, others change keys."""
    scenario.nats.kill()
    await _change_unseen(scenario)
    scenario.nats.start()


async def _change_unseen(scenario: Scenario) -> None:
    """Write where only this test sees it: on another port, with the same data."""
    elsewhere = NatsServer(scenario.nats_folder)
    await asyncio.to_thread(elsewhere.start)
    try:
        async with native_client(elsewhere.url) as native:
            for bucket in scenario.buckets:
                for number in range(30):
                    value = None if number % 5 == 0 else f"unseen {number}"
                    key = f"old.{number + 50}" if number % 2 else f"unseen.{number}"
                    await scenario.write_natively(native, bucket, key, value)
    finally:
        await asyncio.to_thread(elsewhere.kill)


async def nats_freezes(scenario: Scenario) -> None:
    """Long enough for the feed to miss its heartbeats, short enough for connections to stand."""
    scenario.nats.pause()
    await asyncio.sleep(4)
    scenario.nats.resume()


async def consumers_are_deleted(scenario: Scenario) -> None:
    async with scenario.native() as native:
        for _ in range(3):
            for bucket in scenario.buckets:
                await _delete_consumers(native, bucket)
            await scenario.more_writes(20)


async def _delete_consumers(native: Native, bucket: str) -> None:
    names: list[str] = []

    async def there() -> bool:
        reply = await native.api(f"CONSUMER.NAMES.KV_{bucket}")
        names[:] = [name for name in reply["consumers"] or [] if name.startswith("jetkv-watch-")]
        return bool(names)

    await eventually(there, "the bucket is watched by a consumer", DEADLINE)
    for name in names:
        await native.api(f"CONSUMER.DELETE.KV_{bucket}.{name}")


LARGE = "v" * 64 * 1024
WHAT_NO_SOCKET_BUFFERS = 96
"""Large values: more than the 4 MiB that a socket may hold, as base64."""


async def readers_stop_reading(scenario: Scenario) -> None:
    async with asyncio.timeout(DEADLINE):
        for reader in scenario.stallers:
            await reader.stalled.wait()
    async with scenario.native() as native:
        for bucket in scenario.buckets:
            await asyncio.gather(
                *(
                    # Each its own key: a feed that is behind does not get what is overwritten.
                    scenario.write_natively(native, bucket, f"large.{number}", LARGE)
                    for number in range(WHAT_NO_SOCKET_BUFFERS)
                )
            )
    scenario.awake.set()
    async with asyncio.timeout(DEADLINE):
        for reader in scenario.stallers:
            await reader.has_ended_once()


async def buckets_are_recreated(scenario: Scenario) -> None:
    bookmarks = await scenario.bookmarks_before_the_end()
    for bucket in scenario.buckets:
        answer = await asyncio.to_thread(scenario.http.delete, f"/api/v1/kv/buckets/{bucket}")
        assert answer.status == 204, answer
        await scenario.make_bucket(bucket)
    await _go_on_with_the_new(scenario, bookmarks)


async def buckets_are_recreated_unseen(scenario: Scenario) -> None:
    """Others do it while nats-server is away for the gateway; the new ones get further."""
    bookmarks = await scenario.bookmarks_before_the_end()
    lasts = {bucket: stored.last for (bucket, _), stored in scenario.evidence.stored.items()}
    scenario.nats.kill()
    elsewhere = NatsServer(scenario.nats_folder)
    await asyncio.to_thread(elsewhere.start)
    try:
        async with native_client(elsewhere.url) as native:
            for bucket in scenario.buckets:
                config = (await native.api(f"STREAM.INFO.KV_{bucket}"))["config"]
                await native.api(f"STREAM.DELETE.KV_{bucket}")
                created = await native.api(f"STREAM.CREATE.KV_{bucket}", config)
                scenario.created_at[bucket] = created["created"]
                for number in range(lasts[bucket] + 10):
                    # A revision alone cannot tell the new bucket from the old one.
                    await scenario.write_natively(native, bucket, f"new.{number % 200}", "new")
    finally:
        await asyncio.to_thread(elsewhere.kill)
    scenario.nats.start()
    await _go_on_with_the_new(scenario, bookmarks)


async def _go_on_with_the_new(
    scenario: Scenario, bookmarks: dict[Life, list[tuple[Bookmark, Chain]]]
) -> None:
    scenario.writers.go_on()
    await scenario.more_writes(20)
    for life, known in bookmarks.items():
        await scenario.probe_the_dead(life, known[::2])


async def history_drops_what_was_missed(scenario: Scenario) -> None:
    """Keep readers away while every key is written over more often than the history is long."""
    away = [
        scenario.record(bucket, kind, "away for long", snapshot=True, away_after=60)
        for bucket in scenario.buckets
        for kind in (WEB_SOCKET, EVENT_STREAM)
    ]
    async with asyncio.timeout(DEADLINE):
        for reader in away:
            await reader.gone_away()
    async with scenario.native() as native:
        for bucket in scenario.buckets:
            for number in range(4 * 120):
                value = None if number % 9 == 0 else f"again {number}"
                await scenario.write_natively(native, bucket, f"old.{number % 120}", value)
    for reader in away:
        reader.come_back()


async def gateway_is_restarted(scenario: Scenario) -> None:
    await asyncio.to_thread(scenario.stop_gateway)
    async with scenario.native() as native:
        for bucket in scenario.buckets:
            for number in range(30):
                value = None if number % 5 == 0 else f"meanwhile {number}"
                await scenario.write_natively(native, bucket, f"old.{number + 50}", value)
    await asyncio.to_thread(scenario.start_gateway)


_QUICK = {"request_timeout": 2}
"""Writers wait for answers no longer than a fault lasts."""

_AWAY = frozenset({"503", "504"})
_NOBODY_THERE = frozenset(
    {"503", "ConnectionRefusedError", "ConnectionResetError", "IndexError", "InvalidMessage"}
)
"""Nobody listens, or who did was gone before it had read the request."""

FAULTS = [
    Fault("in a quiet run", nothing_happens),
    Fault(
        "nats-server killed and back",
        nats_is_killed,
        may_refuse=_AWAY,
        own_nats=True,
        settings=_QUICK,
    ),
    Fault(
        "nats-server frozen for 4 s", nats_freezes, may_refuse=_AWAY, own_nats=True, settings=_QUICK
    ),
    Fault("consumer deleted behind our back", consumers_are_deleted),
    Fault(
        "slow reader",
        readers_stop_reading,
        must_end=frozenset({"slow_consumer"}),
        settings={"watch_queue": 16, "watch_queue_bytes": 64 * 1024},
        stalls=True,
    ),
    Fault(
        "bucket re-created",
        buckets_are_recreated,
        must_end=frozenset({"bucket_deleted"}),
        may_end=frozenset({"resync"}),
    ),
    Fault(
        "bucket re-created while nats-server is down",
        buckets_are_recreated_unseen,
        must_end=frozenset({"bucket_deleted"}),
        may_end=frozenset({"resync"}),
        may_refuse=_AWAY,
        own_nats=True,
        settings=_QUICK,
    ),
    Fault("resume beyond the history", history_drops_what_was_missed, histories=(3, 1)),
    Fault("2 workers", both_workers_serve, workers=2),
    Fault(
        "gateway restarted",
        gateway_is_restarted,
        must_end=frozenset({GOING_AWAY}),
        may_refuse=_NOBODY_THERE,
        settings={},
    ),
]
