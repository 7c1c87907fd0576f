"""Both clients, given values that cannot be stored, or stored bytes that do not fit."""

import math
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pydantic
import pytest

from jetkv import (
    InvalidArgumentError,
    ValueDecodeError,
)
from tests.sdk.calls import (
    ONCE,
    Call,
    refused,
    take,
)
from tests.support.http import Bucket, Http


class Session(pydantic.BaseModel):
    user: str
    seen: int = 0


# --- values


CYCLE: list[Any] = []
CYCLE.append(CYCLE)
DEEP: list[Any] = []
for _ in range(100_000):
    DEEP = [DEEP]

UNSTORABLE = {
    "an object": (object(), "object"),
    "a set": ({1}, "set"),
    "bytes": (b"v", "bytes"),
    "no number": (math.nan, "JSON compliant"),
    "infinity": (math.inf, "JSON compliant"),
    "half a character": ("\ud800", "surrogates not allowed"),
    "a list of itself": (CYCLE, "Circular"),
    "a key that is no text": ({(1, 2): 3}, "tuple"),
    "a model": (Session(user="ada"), "Session"),
    "a date": (timedelta(1), "timedelta"),
}


@pytest.mark.parametrize(("value", "said"), UNSTORABLE.values(), ids=UNSTORABLE)
async def test_a_value_that_is_no_json_is_refused_before_it_is_sent(
    make, nobody: str, value: Any, said: str
) -> None:
    async with make(nobody, retry=ONCE) as client:
        call = client.kv().bucket("b").put("k", value)
        await refused(call, InvalidArgumentError, "'k'", "'b'", said)


WITH_A_VALUE: dict[str, Callable[[Any, Any], Any]] = {
    "put": lambda bucket, value: bucket.put("k", value),
    "create": lambda bucket, value: bucket.create("k", value),
    "update": lambda bucket, value: bucket.update("k", value, 1),
    "modify": lambda bucket, value: bucket.modify("k", lambda found: value),
    "get_or_compute": lambda bucket, value: bucket.get_or_compute("other", lambda: value),
}


@pytest.mark.parametrize("write", WITH_A_VALUE.values(), ids=WITH_A_VALUE)
async def test_every_write_of_a_value_that_is_no_json_is_refused_and_changes_nothing(
    make, http: Http, bucket: Bucket, write: Callable[[Any, Any], Any]
) -> None:
    bucket.put("k", b"1")
    async with make(http.url) as client:
        call = write(client.kv().bucket(bucket.name), object())
        await refused(call, InvalidArgumentError, "object")
    assert bucket.keys() == ["k"]
    assert bucket.get("k").value == b"1"


async def test_a_value_nested_too_deeply_is_refused(make, nobody: str) -> None:
    async with make(nobody, retry=ONCE) as client:
        await refused(client.kv().bucket("b").put("k", DEEP), InvalidArgumentError, "nested")


MISFITS = {
    "a dict for a model": (Session, {"user": "ada"}, "Session"),
    "a model that breaks its own rules": (Session, Session.model_construct(user=5), "str"),
    "text for a number": (int, "5", "int"),
    "a number too many types away": (list[int], [1, "x"], "int"),
    "text for bytes": (bytes, "text", "a bytes bucket takes bytes, not str"),
    "bytes for text": (str, b"bytes", "a str bucket takes str, not bytes"),
    "half a character": (str, "\ud800", "surrogates not allowed"),
    "a list of itself": (list[Any], CYCLE, "Circular"),
    "an object": (list[Any], [object()], "object"),
}


@pytest.mark.parametrize(("kind", "value", "said"), MISFITS.values(), ids=MISFITS)
async def test_a_value_that_does_not_fit_the_type_is_refused_before_it_is_sent(
    make, nobody: str, kind: Any, value: Any, said: str
) -> None:
    async with make(nobody, retry=ONCE) as client:
        call = client.kv().bucket("b", kind).put("k", value)
        await refused(call, InvalidArgumentError, "'k'", "'b'", said)


MISREAD = {
    "a model with a field missing": (Session, b'{"seen":1}', "user"),
    "a model with a field of another type": (Session, b'{"user":"a","seen":"x"}', "seen"),
    "no JSON for a model": (Session, b"hello", "JSON"),
    "no JSON": (None, b"hello", "Expecting value"),
    "NaN": (None, b"NaN", "NaN is not JSON"),
    "nothing at all": (None, b"", "Expecting value"),
    "no UTF-8 for JSON": (None, b'"\xff"', "utf-8"),
    "no UTF-8 for text": (str, b"\xff", "utf-8"),
    "JSON nested too deeply": (None, b"[" * 100_000, "nested too deeply"),
}
misread = pytest.mark.parametrize(("kind", "raw", "said"), MISREAD.values(), ids=MISREAD)


@misread
async def test_stored_bytes_that_do_not_fit_are_said_where_they_are_read(
    make, http: Http, bucket: Bucket, kind: Any, raw: bytes, said: str
) -> None:
    bucket.put("k", raw)
    async with make(http.url) as client:
        call = client.kv().bucket(bucket.name, kind).get("k")
        error = await refused(call, ValueDecodeError, "'k'", repr(bucket.name), said)
    assert error.raw == raw


@pytest.mark.parametrize(
    "read",
    [
        lambda bucket: bucket.get_or_none("k"),
        lambda bucket: bucket.modify("k", lambda value: value),
        lambda bucket: bucket.get_or_compute("k", lambda: Session(user="new")),
    ],
    ids=["get_or_none", "modify", "get_or_compute"],
)
async def test_what_reads_before_it_acts_says_the_same_and_changes_nothing(
    make, http: Http, bucket: Bucket, read: Call
) -> None:
    bucket.put("k", b"hello")
    async with make(http.url) as client:
        call = read(client.kv().bucket(bucket.name, Session))
        assert (await refused(call, ValueDecodeError, "'k'")).raw == b"hello"
    assert bucket.get("k").value == b"hello"


async def test_a_history_shows_each_value_that_fits(make, http: Http, bucket: Bucket) -> None:
    bucket.put("k", b"hello")
    async with make(http.url) as client:
        (entry,) = await client.kv().bucket(bucket.name, Session).history("k")
        with pytest.raises(ValueDecodeError, match="'k'"):
            _ = entry.value
    assert entry.raw == b"hello"


async def test_a_watch_goes_on_after_a_value_that_does_not_fit(
    make, http: Http, bucket: Bucket
) -> None:
    async with (
        make(http.url) as client,
        client.kv().bucket(bucket.name, Session).watch() as watch,
    ):
        bucket.put("bad", b"hello")
        bucket.put("good", b'{"user":"ada"}')
        bad, good = await take(watch, 2)
    with pytest.raises(ValueDecodeError, match="'bad'"):
        _ = bad.value
    assert good.value == Session(user="ada")


@pytest.mark.parametrize(
    "kind", [5, "Session", Session(user="a"), object()], ids=["5", "a name", "a value", "an object"]
)
async def test_a_bucket_of_something_that_is_no_type_is_refused_at_once(
    make, nobody: str, kind: Any
) -> None:
    async with make(nobody) as client:
        with pytest.raises(InvalidArgumentError, match="pydantic cannot validate"):
            client.kv().bucket("b", kind)
