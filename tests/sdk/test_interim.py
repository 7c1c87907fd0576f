"""Both clients, where more comes than one answer, or another one than was asked for."""

import pytest

from jetkv import UnexpectedAnswerError
from tests.sdk.calls import INFO, ONCE, take
from tests.sdk.test_retry import GET, PUT
from tests.sdk.test_watch_place import stream, updates
from tests.support.scripted import http, scripted

OTHER = http(
    200,
    '{"key":"j","value":"Mg==","revision":2,"created_at":"2026-11-25T10:00:00Z","operation":"put"}',
)
INTERIM = {
    "100": b"HTTP/1.1 100 Continue\r\n\r\n",
    "102": b"HTTP/1.1 102 Processing\r\n\r\n",
    "103": b"HTTP/1.1 103 Early Hints\r\nLink: </style>\r\n\r\n",
    "103 twice": b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 2,
}

every_interim = pytest.mark.parametrize("interim", INTERIM.values(), ids=INTERIM)


@every_interim
async def test_an_interim_answer_is_not_the_answer(make, interim: bytes) -> None:
    with scripted(interim + GET) as server:
        async with make(server.url, retry=ONCE, timeout=5) as client:
            assert (await client.kv().bucket("b").get("k")).key == "k"


@every_interim
async def test_after_an_interim_answer_each_call_gets_its_own(make, interim: bytes) -> None:
    with scripted(interim + GET, OTHER, interim + GET) as server:
        async with make(server.url, retry=ONCE, timeout=5) as client:
            bucket = client.kv().bucket("b")
            assert [(await bucket.get(key)).key for key in "kjk"] == ["k", "j", "k"]


@every_interim
async def test_a_write_with_an_interim_answer_is_sent_once(make, interim: bytes) -> None:
    with scripted(interim + PUT) as server:
        async with make(server.url, timeout=5) as client:
            assert await client.kv().bucket("b").put("k", 1) == 7
    assert len(server.asked) == 1


async def test_a_watch_begins_after_an_interim_answer(make) -> None:
    early = INTERIM["103"]
    with scripted(early + INFO, early + stream(updates(1))) as server:
        async with (
            make(server.url, retry=ONCE, timeout=5) as client,
            client.kv().bucket("b").watch(resume_after=0) as watch,
        ):
            assert [update.key for update in await take(watch, 1)] == ["k1"]


async def test_an_entry_of_another_key_is_no_answer(make) -> None:
    with scripted(OTHER) as server:
        async with make(server.url, retry=ONCE, timeout=5) as client:
            with pytest.raises(UnexpectedAnswerError, match="'k'"):
                await client.kv().bucket("b").get("k")
