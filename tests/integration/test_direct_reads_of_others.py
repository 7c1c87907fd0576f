"""A direct read that another one answers, or nobody, is asked of the leader."""

import asyncio
from pathlib import Path

import pytest

from jetkv.testing import LocalNats
from tests.support.direct_reads import READS, SOLO, Impostor, Load, get, message, read
from tests.support.gateway import running_gateway
from tests.support.hostile import publish_raw
from tests.support.http import Bucket
from tests.support.native import Native
from tests.support.spying import ways
from tests.support.waiting import eventually, until


async def make_mirror(native: Native, name: str, origin: str) -> None:
    """Mirror a bucket; the mirror answers direct reads of it in turns with it."""
    config = {"mirror": {"name": f"KV_{origin}"}, "allow_direct": True, "mirror_direct": True}
    await native.make_stream({"name": f"KV_{name}", **config})


async def test_a_mirror_that_lacks_what_its_origin_has_is_never_believed(
    solo: LocalNats, solo_native: Native
) -> None:
    # Not written by HTTP: a mirror of 2.10 stops at what is stored so.
    await solo_native.make_bucket("origin", max_msgs_per_subject=5)
    for key, value in (("k", b"v"), ("only", b"v"), ("k", b"w")):
        await solo_native.publish(f"$KV.origin.{key}", value)
    await make_mirror(solo_native, "mirror", "origin")

    async def caught_up() -> bool:
        return (await solo_native.state("mirror"))["last_seq"] == 3

    await eventually(caught_up, "the mirror has all of it")
    for revision in (2, 3):
        # As if these had not come yet: of the one key it has an older value, of the other none.
        await solo_native.api("STREAM.MSG.DELETE.KV_mirror", {"seq": revision})
    with running_gateway(solo.url) as http:
        bucket = Bucket(http, "origin")
        until(lambda: bucket.get("none").status == 404, "the bucket is known")
        async with ways(solo_native, "origin") as seen:
            for _ in range(READS):
                assert (await get(bucket, "only")).status == 200
                if (await seen.seen())[1]:
                    break  # the mirror's turn came
            else:
                pytest.fail("the mirror has answered none of them")
            for _ in range(READS):
                assert (await get(bucket)).value == b"w"


async def test_mirrors_that_answer_for_their_origin_under_load_are_never_believed(
    solo_bucket: Bucket, solo_native: Native
) -> None:
    for number in range(3):
        await make_mirror(solo_native, f"mirror{number}", "b")
    with Load(solo_bucket, writers=8) as load:
        await asyncio.to_thread(load.wait, 600)
    assert load.stale == []


IMPOSTORS = {
    "a mirror": message("KV_mirror", "$KV.b.k"),
    "a mirror whose message claims to be of the bucket": message(
        "KV_mirror", "$KV.b.k", stored=message("KV_b", "$KV.b.k", revision=99)[10:-2]
    ),
    "a mirror whose name ends like the stream's": message("XKV_b", "$KV.b.k"),
    "another key": message("KV_b", "$KV.b.other"),
    "nobody": b"NATS/1.0\r\n\r\n",
    "not found": b"NATS/1.0 404 Message Not Found\r\n\r\n",
    "no request": b"NATS/1.0 408 Bad Request\r\n\r\n",
    "no number": message("KV_b", "$KV.b.k").replace(b"Sequence: 1", b"Sequence: one"),
    "more behind it": message("KV_b", "$KV.b.k")[:-2] + b"More: 1\r\n\r\n",
}


@pytest.mark.parametrize("block", IMPOSTORS.values(), ids=IMPOSTORS)
async def test_what_is_no_message_of_the_bucket_and_key_is_asked_of_the_leader(
    solo: LocalNats, solo_bucket: Bucket, solo_native: Native, block: bytes
) -> None:
    config = (await solo_native.api("STREAM.INFO.KV_b"))["config"]
    await solo_native.api("STREAM.UPDATE.KV_b", {**config, "allow_direct": False})
    other = Impostor(block)
    async with other.at(solo, "b"):  # nobody but this one answers now
        for _ in range(5):
            answer = await get(solo_bucket)
            assert (answer.status, answer.value, answer.json["revision"]) == (200, b"v", 1)
    assert other.answers > 0


async def test_headers_that_were_forged_in_a_message_are_its_own_business(
    solo: LocalNats, solo_bucket: Bucket, solo_native: Native
) -> None:
    forged = message("KV_other", "$KV.b.k", revision=77)
    publish_raw(
        solo.port,
        b"HPUB $KV.b.k %d %d\r\n%bw\r\n" % (len(forged), len(forged) + 1, forged),
    )
    async with ways(solo_native, "b") as seen:
        answer = await get(solo_bucket)
        assert (answer.value, answer.json["revision"]) == (b"w", 2)
        assert not answer.json["created_at"].startswith("2026-01-02T03:04:05")
        assert await seen.seen() == (1, 0)


async def test_a_bucket_without_direct_gets_is_read_from_its_leader(
    solo: LocalNats, solo_native: Native
) -> None:
    await solo_native.make_bucket("plain", allow_direct=False)
    with running_gateway(solo.url) as http:
        bucket = Bucket(http, "plain")
        bucket.put("k", "v")
        async with ways(solo_native, "plain") as seen:
            await read(bucket)
            assert await seen.seen() == (0, READS)


async def test_direct_gets_that_others_take_away_are_missed_by_nobody(
    solo_bucket: Bucket, solo_native: Native
) -> None:
    await read(solo_bucket, 1)
    config = (await solo_native.api("STREAM.INFO.KV_b"))["config"]
    answer = await solo_native.api("STREAM.UPDATE.KV_b", {**config, "allow_direct": False})
    assert "error" not in answer, answer
    await read(solo_bucket)


async def test_what_does_not_answer_is_asked_once_and_remembered(
    solo_bucket: Bucket, solo_native: Native
) -> None:
    config = (await solo_native.api("STREAM.INFO.KV_b"))["config"]
    async with ways(solo_native, "b") as seen:  # it listens, and does not answer
        await solo_native.api("STREAM.UPDATE.KV_b", {**config, "allow_direct": False})
        await read(solo_bucket)
        assert await seen.seen() == (1, READS)


async def test_a_missing_permission_is_remembered(tmp_path: Path) -> None:
    user = (
        f"{SOLO}\nauthorization {{ users: [ {{ user: gateway, password: p, "
        'permissions: { publish: { deny: ["$JS.API.DIRECT.>"] } } } ] }'
    )
    login = {"nats_user": "gateway", "nats_password": "p"}
    with (
        LocalNats(tmp_path, config=user) as server,
        running_gateway(server.url, buckets="b", **login) as http,
    ):
        bucket = Bucket(http, "b")
        bucket.put("k", "v")
        await read(bucket)
        log = (tmp_path / "nats-server.log").read_text()
        assert log.count("Publish Violation") == 1
