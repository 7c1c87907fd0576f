"""The warnings on a bucket, word by word."""

import inspect
from typing import Any

import pytest

from jetkv import AsyncClient, Client
from jetkv_gateway.jetstream.bucket_warnings import cluster_of, warnings_of
from jetkv_gateway.kv.model import RETRY_HORIZON

SECOND = 1_000_000_000

ALONE = {"leader": "NDJBAQKTPF66HJ4EXHRHKN6FCQYZ7BGHDNRZ6RG6OJDV5U4PMQDRDHVP"}
"""What a server that stands alone says of a stream's cluster: its own id as the leader."""

CLUSTER = {"name": "test", "leader": "n0"}


def info(cluster: dict[str, Any] | None = None, **config: Any) -> dict[str, Any]:
    """A stream's info as a server has it for a bucket of any NATS client; `config` is added."""
    return {
        "config": {
            "name": "KV_b",
            "subjects": ["$KV.b.>"],
            "retention": "limits",
            "max_msgs": -1,
            "max_bytes": -1,
            "max_age": 0,
            "max_msgs_per_subject": 1,
            "discard": "new",
            "storage": "file",
            "num_replicas": 1,
            "duplicate_window": 120 * SECOND,
            **config,
        },
        **({} if cluster is None else {"cluster": cluster}),
    }


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (
            info(CLUSTER),
            {
                "single_replica": "one copy only in the cluster test: while the server that has "
                "it is down, the bucket cannot be used, and if its disk is lost, so is the "
                "bucket; nats stream edit KV_b --replicas 3"
            },
        ),
        (
            info(storage="memory"),
            {
                "memory_storage": "kept in memory only: a restart of its server loses all that it "
                "holds; this cannot be changed, make another bucket with storage file"
            },
        ),
        (
            info(CLUSTER, storage="memory", num_replicas=3),
            {
                "memory_storage": "kept in memory only: a restart of its servers at the same time "
                "loses all that it holds; this cannot be changed, make another bucket with "
                "storage file"
            },
        ),
        (
            info(persist_mode="async"),
            {
                "async_persistence": "persist_mode async: a write is acknowledged before it is in "
                "the file, so a crash of the server can lose it; this cannot be changed, make "
                "another bucket"
            },
        ),
        (
            info(duplicate_window=59 * SECOND),
            {
                "short_duplicate_window": "an Idempotency-Key is known for 59 s only: a client may "
                "send a write again for 60 s, and after 59 s that is a second write; "
                "nats stream edit KV_b --dupe-window 2m, where the server allows as much"
            },
        ),
        (
            info(
                duplicate_window=SECOND // 2,
                max_age=3600 * SECOND,
                allow_msg_ttl=True,
                subject_delete_marker_ttl=3600 * SECOND,
            ),
            {
                "short_duplicate_window": "an Idempotency-Key is known for 0.5 s only: a client "
                "may send a write again for 60 s, and after 0.5 s that is a second write; "
                "nats stream edit KV_b --dupe-window 2m, where the server allows as much"
            },
        ),
        (
            info(
                duplicate_window=30 * SECOND,
                max_age=30 * SECOND,
                allow_msg_ttl=True,
                subject_delete_marker_ttl=30 * SECOND,
            ),
            {
                "short_duplicate_window": "an Idempotency-Key is known for 30 s only: a client may "
                "send a write again for 60 s, and after 30 s that is a second write; "
                "NATS allows no more than the bucket's ttl_seconds, 30"
            },
        ),
        (
            info(duplicate_window=0),
            {
                "short_duplicate_window": "no Idempotency-Key is known: a client may send a write "
                "again for 60 s, and that is a second write; "
                "nats stream edit KV_b --dupe-window 2m, where the server allows as much"
            },
        ),
        (
            info(discard="old", max_bytes=1000),
            {
                "evicts_oldest": "discard old: above 1000 bytes the oldest values are removed, and "
                "nobody is told; nats stream edit KV_b --discard new"
            },
        ),
        (
            info(discard="old", max_bytes=1000, max_msgs=5),
            {
                "evicts_oldest": "discard old: above 1000 bytes or 5 messages the oldest values "
                "are removed, and nobody is told; nats stream edit KV_b --discard new"
            },
        ),
        (
            info(allow_msg_ttl=True),
            {
                "silent_expiry": "values can have a TTL of their own, and nothing marks an expired "
                "one: watchers are not told, and a watch that was away may have to start again "
                "(resync); "
                'PATCH the bucket with {"expiry_markers":true}'
            },
        ),
        (
            info(allow_msg_ttl=True, max_msgs_per_subject=5, max_age=3600 * SECOND),
            {
                "silent_expiry": "values can have a TTL of their own, and nothing marks an expired "
                "one: watchers are not told, and a watch that was away may have to start again "
                "(resync); "
                'PATCH the bucket with {"expiry_markers":true}'
            },
        ),
        (
            info(max_age=90 * SECOND + 1),
            {
                "silent_expiry": "values have a TTL, and nothing marks an expired one: watchers "
                "are not told, and a watch that was away may have to start again (resync); "
                'PATCH the bucket with {"expiry_markers":true} '
                "(nats-server 2.11 or newer; an older one has no remedy)"
            },
        ),
        (
            info(max_consumers=2),
            {
                "limited_consumers": "max_consumers 2: watches of the bucket take one for each "
                "worker, and each listing and each watch that catches up takes another; more are "
                "refused (429); this cannot be changed, make another bucket"
            },
        ),
        (
            info(retention="interest"),
            {
                "not_retained": "retention interest: consumers decide how long a value is kept, "
                "and it can be gone as soon as it is stored; make another bucket, with retention "
                "limits"
            },
        ),
        (
            info(no_ack=True),
            {
                "no_ack": "no_ack: the server acknowledges no write, so the outcome of each is "
                "unknown (504); set no_ack of the stream KV_b to false"
            },
        ),
    ],
    ids=lambda value: ", ".join(value) if "config" not in value else "",
)
def test_a_warning_says_what_it_means_and_what_to_do(
    found: dict[str, Any], expected: dict[str, str]
) -> None:
    assert {warning.code: warning.message for warning in warnings_of(found)} == expected


@pytest.mark.parametrize(
    "found",
    [
        info(),
        info(ALONE),
        info(CLUSTER, num_replicas=3),
        info(CLUSTER, num_replicas=5),
        info(
            max_age=60 * SECOND,
            duplicate_window=60 * SECOND,
            allow_msg_ttl=True,
            subject_delete_marker_ttl=60 * SECOND,
        ),
        info(allow_msg_ttl=True, subject_delete_marker_ttl=60 * SECOND),
        info(discard="old"),
        info(discard="new", max_bytes=1000, max_msgs=5, max_consumers=-1),
        info(no_ack=False, persist_mode="default"),
    ],
    ids=str,
)
def test_a_bucket_that_keeps_what_it_acknowledges_has_no_warning(found: dict[str, Any]) -> None:
    assert warnings_of(found) == ()


def test_warnings_come_in_a_fixed_order() -> None:
    worst = info(
        CLUSTER,
        storage="memory",
        persist_mode="async",
        duplicate_window=SECOND,
        discard="old",
        max_bytes=1,
        max_consumers=1,
        allow_msg_ttl=True,
        retention="workqueue",
        no_ack=True,
    )
    assert [warning.code for warning in warnings_of(worst)] == [
        "single_replica",
        "memory_storage",
        "async_persistence",
        "short_duplicate_window",
        "evicts_oldest",
        "silent_expiry",
        "limited_consumers",
        "not_retained",
        "no_ack",
    ]


@pytest.mark.parametrize(
    ("cluster", "name"), [(None, ""), ({}, ""), (ALONE, ""), (CLUSTER, "test")], ids=str
)
def test_a_server_that_stands_alone_is_no_cluster(
    cluster: dict[str, Any] | None, name: str
) -> None:
    assert cluster_of(info(cluster)) == name


@pytest.mark.parametrize("client", [Client, AsyncClient])
def test_the_sdk_gives_up_within_the_retry_horizon(client: type) -> None:
    assert inspect.signature(client).parameters["timeout"].default < RETRY_HORIZON
