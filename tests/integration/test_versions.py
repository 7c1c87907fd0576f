"""What a bucket can do is up to the server that holds it, not to the one beside the gateway.

The gateway is connected to a leaf node; the buckets are at its hub, and the two differ in version.
"""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import pytest

from jetkv_gateway.embedded import NatsServer
from tests.servers import fetch
from tests.support.gateway import running_gateway
from tests.support.http import BUCKETS, Answer, Bucket, Http
from tests.support.native import Native, native_client
from tests.support.ports import free_ports
from tests.support.waiting import until
from tests.support.watching import watching
from tests.support.writes import KINDS, writes_of

OLD = "2.10.25"


class Layout(NamedTuple):
    """How JetStream is laid out.

    Attributes:
        hub: its JetStream settings.
        leaf: those of the leaf node; None where it has no JetStream of its own.
        domain: the gateway's `nats_domain`.
        both: of the configuration of both.
    """

    hub: str
    leaf: str | None
    domain: str
    both: str = ""


LAYOUTS = {
    "a domain each": Layout("domain: hub", "domain: leaf", "hub"),
    "a domain at the hub": Layout("domain: hub", None, "hub"),
    # Without these words servers keep `$KV.>` to themselves where neither has a domain.
    "no domain": Layout("", None, "", 'default_js_domain: {"$G": ""}'),
}


@dataclass(frozen=True)
class Network:
    """A leaf node and its hub.

    Attributes:
        http: a gateway that is connected to the leaf node.
        hub: whose version decides.
        two_domains: whether the leaf node has JetStream of its own.
    """

    http: Http
    hub: NatsServer
    leaf: NatsServer
    two_domains: bool


def _servers(
    folder: Path, layout: str, hub: Path | None, leaf: Path | None
) -> tuple[NatsServer, NatsServer]:
    """Return hub and leaf node, of these binaries, the newest where it is None."""
    at = LAYOUTS[layout]
    port = free_ports(1)[0]
    off = "" if at.leaf is not None else "jetstream: disabled"
    return (
        NatsServer(
            folder / "hub",
            jetstream=at.hub,
            config=f'server_name: hub\n{at.both}\nleafnodes {{ listen: "127.0.0.1:{port}" }}',
            binary=hub,
        ),
        NatsServer(
            folder / "leaf",
            jetstream=at.leaf or "",
            config=f"server_name: leaf\n{off}\n{at.both}\n"
            f'leafnodes {{ remotes: [{{ url: "nats://127.0.0.1:{port}" }}] }}',
            binary=leaf,
        ),
    )


@pytest.fixture(
    scope="module",
    params=[(layout, is_old) for layout in LAYOUTS for is_old in (True, False)],
    ids=lambda param: f"{param[0]}, {'old hub' if param[1] else 'old leaf node'}",
)
def network(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Network]:
    layout, hub_is_old = request.param
    binaries = (fetch(OLD), None) if hub_is_old else (None, fetch(OLD))
    hub, leaf = _servers(tmp_path_factory.mktemp("network"), layout, *binaries)
    domain = LAYOUTS[layout].domain
    with hub, leaf, running_gateway(leaf.url, nats_domain=domain) as http:
        until(lambda: http.get(BUCKETS).status == 200, "the leaf node has reached its hub")
        yield Network(http, hub, leaf, LAYOUTS[layout].leaf is not None)


@pytest.fixture(scope="module")
def http(network: Network) -> Http:
    return network.http


@pytest.fixture
async def at_hub(network: Network) -> AsyncIterator[Native]:
    """A NATS client at the hub, where the buckets are."""
    async with native_client(network.hub.url) as native:
        yield native


async def _stored(at_hub: Native, bucket: Bucket) -> tuple[int, int]:
    """Return how many messages a bucket holds, and how many it was ever sent."""
    state = await at_hub.state(bucket.name)
    return state["messages"], state["last_seq"]


def _name() -> str:
    return f"t-{uuid.uuid4().hex[:12]}"


async def test_hub_and_leaf_node_differ(network: Network, at_hub: Native) -> None:
    async with native_client(network.leaf.url) as at_leaf:
        versions = at_hub.version, at_leaf.version
    assert (2, 10) in versions


async def test_expiry_markers_are_on_where_the_hub_can_do_them(make_bucket, at_hub: Native) -> None:
    able = at_hub.version >= (2, 11)
    bucket = make_bucket(ttl_seconds=60)
    assert bucket.info()["expiry_markers"] is able
    config = (await at_hub.api(f"STREAM.INFO.KV_{bucket.name}"))["config"]
    assert bool(config.get("allow_msg_ttl")) is able
    assert config.get("subject_delete_marker_ttl", 0) == (60_000_000_000 if able else 0)


async def test_expiry_markers_that_are_asked_for_are_refused_where_the_hub_cannot(
    http: Http, at_hub: Native
) -> None:
    spec = {"name": _name(), "ttl_seconds": 60, "expiry_markers": True}
    answer = http.post(BUCKETS, spec)
    if at_hub.version >= (2, 11):
        assert (answer.status, answer.json["expiry_markers"]) == (201, True)
        assert http.delete(f"{BUCKETS}/{spec['name']}").status == 204
        return
    assert answer.status == 409
    assert answer.error == "expiry_markers need nats-server 2.11 or newer"
    assert http.get(f"{BUCKETS}/{spec['name']}").status == 404


def test_expiry_markers_that_are_not_wanted_are_off_on_each(make_bucket) -> None:
    bucket = make_bucket(ttl_seconds=60, expiry_markers=False)
    assert bucket.info()["expiry_markers"] is False


async def test_what_a_bucket_can_is_up_to_the_hub_in_a_change_too(
    http: Http, make_bucket, at_hub: Native
) -> None:
    off = {"expiry_markers": False, "key_ttl": False, "batches": False}
    able = at_hub.version >= (2, 12)
    assert make_bucket().info()["batches"] is able
    bucket = make_bucket(**off)
    for setting in off:
        answer = http.request("PATCH", bucket.path, json.dumps({setting: True}))
        assert answer.status == (200 if able else 409), answer
        assert bucket.info()[setting] is able


async def test_a_value_has_a_ttl_of_its_own_where_the_hub_can_do_it(
    bucket: Bucket, at_hub: Native
) -> None:
    answer = bucket.put("k", "v", JetKV_TTL_Seconds="60")
    bucket.put("plain", "v")
    touched = bucket.http.request("POST", f"{bucket.path}/touch/plain", JetKV_TTL_Seconds="1")
    if at_hub.version < (2, 11):
        assert [answer.status, touched.status] == [409, 409]
        assert "nats-server 2.11" in answer.error
        assert bucket.keys() == ["plain"]
        return
    assert [answer.status, touched.status] == [200, 200]
    entry = bucket.get("k").json
    ends, began = (datetime.fromisoformat(entry[name]) for name in ("expires_at", "created_at"))
    assert ends - began == timedelta(seconds=60)
    until(lambda: bucket.get("plain").status == 404, "the value expires")
    assert bucket.keys() == ["k"]


async def test_an_atomic_batch_is_all_or_nothing_where_the_hub_can_do_it(
    bucket: Bucket, at_hub: Native
) -> None:
    first = bucket.put("a", "v").json["revision"]

    def batch(revision: int) -> Answer:
        ops = [
            {"op": "update", "key": "a", "text": "w", "revision": revision},
            {"op": "create", "key": "b", "text": "w"},
        ]
        return bucket.http.post(f"{bucket.path}/batch", {"ops": ops})

    if at_hub.version < (2, 12):
        answer = batch(first)
        assert (answer.status, bucket.keys()) == (409, ["a"])
        assert "nats-server 2.12" in answer.error
        return
    assert batch(first + 7).status == 412
    assert bucket.keys() == ["a"]
    assert batch(first).json == {"results": [{"revision": 2}, {"revision": 3}], "revision": 3}
    assert bucket.get("a").value == b"w"


def test_a_batch_get_and_a_batch_of_single_writes_work_on_each(bucket: Bucket) -> None:
    ops = [{"op": "put", "key": key, "text": key} for key in ("a", "b")]
    answer = bucket.http.post(f"{bucket.path}/batch", {"ops": ops, "atomic": False})
    assert [one["status"] for one in answer.json["results"]] == [200, 200]
    got = bucket.http.post(f"{bucket.path}/batch?values=json", {"get": ["a", "none", "b"]}).json
    assert [one and one["value"] for one in got["entries"]] == ["a", None, "b"]
    assert got["revision"] == 2


async def test_one_watch_over_several_buckets_works_on_each_and_shows_an_expiry_where_it_can(
    http: Http, make_bucket, at_hub: Native
) -> None:
    able = at_hub.version >= (2, 11)
    a, b = make_bucket(ttl_seconds=1), make_bucket()
    await asyncio.to_thread(b.put, "before", "v")
    asked = f"?watch={a.name}&watch={b.name}&snapshot=true"
    async with watching(http, "", asked) as watcher:
        frames = await watcher.until(lambda frame: frame["type"] == "kv_snapshot_end")
        assert [frame["key"] for frame in frames[:-1]] == ["before"]
        assert frames[-1]["revisions"] == {a.name: 0, b.name: 1}
        await asyncio.to_thread(a.put, "k", "v")
        put = await watcher.next()
        assert (put["bucket"], put["key"], "expires_at" in put) == (a.name, "k", True)
        if able:
            gone = await watcher.next()
            assert (gone["bucket"], gone["reason"]) == (a.name, "expired")
    async with watching(http, "", f"{asked}&resume={put['bookmark']}") as watcher:
        await asyncio.to_thread(b.put, "after", "v")
        frames = await watcher.until(lambda frame: frame.get("key") == "after")
    assert {frame["bucket"] for frame in frames if frame["type"] == "kv_update"} <= {a.name, b.name}
    assert "before" not in [frame.get("key") for frame in frames]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_retry_gets_the_first_answer_and_stores_nothing(
    make_bucket, at_hub: Native, kind: str
) -> None:
    bucket = make_bucket(history=5)
    write = writes_of(bucket)[kind]
    first = write(Idempotency_Key="retry")
    stored = await _stored(at_hub, bucket)
    assert first.status in (200, 204)
    for _ in range(2):
        again = write(Idempotency_Key="retry")
        assert (again.status, again.body) == (first.status, first.body)
    assert await _stored(at_hub, bucket) == stored


@pytest.mark.parametrize("kind", KINDS)
async def test_a_retry_of_what_was_written_over_gets_the_first_answer_and_stores_nothing(
    make_bucket, at_hub: Native, kind: str
) -> None:
    bucket = make_bucket(history=5)
    write = writes_of(bucket)[kind]
    first = write(Idempotency_Key="late")
    newer = bucket.put(kind, "newer").json["revision"]
    stored = await _stored(at_hub, bucket)
    for _ in range(2):
        again = write(Idempotency_Key="late")
        assert (again.status, again.body) == (first.status, first.body)
    assert await _stored(at_hub, bucket) == stored
    assert bucket.get(kind).json["revision"] == newer


async def test_a_condition_that_never_held_is_412_each_time_and_stores_nothing(
    make_bucket, at_hub: Native
) -> None:
    """Here, too, the server is asked whether it knows the id, and it does not."""
    bucket = make_bucket(history=5)
    bucket.put("k", "v")
    stored = await _stored(at_hub, bucket)
    for _ in range(2):
        answers = [
            bucket.put("k", "w", If_Match='"7"', Idempotency_Key="stale"),
            bucket.put("k", "w", If_None_Match="*", Idempotency_Key="taken"),
            bucket.delete("k", If_Match='"7"', Idempotency_Key="stale"),
        ]
        assert [answer.status for answer in answers] == [412] * 3
    assert await _stored(at_hub, bucket) == stored
    assert bucket.get("k").value == b"v"


async def test_a_bucket_of_the_same_name_in_the_leaf_nodes_own_domain_stays_as_it_is(
    network: Network, bucket: Bucket
) -> None:
    async with native_client(network.leaf.url) as at_leaf:
        if network.two_domains:
            await at_leaf.make_bucket(bucket.name)
        first = bucket.put("k", "v", If_None_Match="*", Idempotency_Key="one")
        bucket.put("k", "newer")
        again = bucket.put("k", "v", If_None_Match="*", Idempotency_Key="one")
        assert (again.status, again.body) == (first.status, first.body)
        if network.two_domains:
            assert (await at_leaf.state(bucket.name))["last_seq"] == 0
