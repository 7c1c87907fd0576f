"""The JSON of a batch: what it becomes, and what is refused, naming the item and the rule."""

import base64
import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from jetkv_gateway.kv.batches import BatchGet, BatchWrite, Check, read_batch
from jetkv_gateway.kv.commands import Delete, Put
from jetkv_gateway.kv.errors import InvalidArgument
from jetkv_gateway.kv.ttl import NEVER


def read(document: Any, name: str | None = None) -> BatchGet | BatchWrite:
    return read_batch(json.dumps(document).encode(), "b", name)


def read_one(**op: Any) -> Any:
    batch = read({"ops": [op]})
    assert isinstance(batch, BatchWrite)
    return batch.ops[0]


PUT = {"op": "put", "key": "k", "text": "v"}


@pytest.mark.parametrize(
    ("document", "text"),
    [
        ([], "invalid batch: must be a JSON object with 'get' or 'ops'"),
        ({}, "invalid batch: must have exactly one of 'get' and 'ops'"),
        ({"get": ["a"], "ops": [PUT]}, "invalid batch: must have exactly one of 'get' and 'ops'"),
        ({"get": ["a"], "atomic": True}, "batch: unknown field 'atomic'"),
        ({"get": ["a"], "values": "raw"}, "batch: unknown field 'values'"),
        ({"ops": [PUT], "atomc": True}, "batch: unknown field 'atomc'"),
        ({"ops": [PUT], "atomic": 1}, "invalid atomic: must be true or false"),
        ({"ops": [PUT], "atomic": None}, "invalid atomic: must be true or false"),
        ({"get": "a"}, "invalid get: must be an array"),
        ({"get": []}, "invalid get: must have 1 to 1000 items"),
        ({"get": ["a"] * 1001}, "invalid get: must have 1 to 1000 items"),
        ({"get": ["a", 1]}, "get[1]: must be a string"),
        ({"get": ["a", None]}, "get[1]: must be a string"),
        ({"get": ["a", ""]}, "get[1]: invalid key: empty"),
        ({"get": ["a\n"]}, "get[0]: invalid key: control characters are not allowed"),
        ({"get": ["a" * 513]}, "get[0]: invalid key: 513 bytes, the limit is 512"),
        ({"ops": {}}, "invalid ops: must be an array"),
        ({"ops": []}, "invalid ops: must have 1 to 1000 items"),
        (
            {"ops": [{**PUT, "key": str(n)} for n in range(1001)]},
            "invalid ops: must have 1 to 1000 items",
        ),
        ({"ops": [PUT, "put"]}, "ops[1]: must be an object"),
        (
            {"ops": [{"key": "k"}]},
            "ops[0].op: must be one of put, create, update, delete, purge, check",
        ),
        (
            {"ops": [{**PUT, "op": "get"}]},
            "ops[0].op: must be one of put, create, update, delete, purge, check",
        ),
        (
            {"ops": [{**PUT, "op": ["put"]}]},
            "ops[0].op: must be one of put, create, update, delete, purge, check",
        ),
        ({"ops": [{"op": "put", "text": "v"}]}, "ops[0].key: is missing"),
        ({"ops": [{**PUT, "key": 7}]}, "ops[0].key: must be a string"),
        ({"ops": [{**PUT, "key": "\x7f"}]}, "ops[0].key: invalid key: control characters are not"),
        ({"ops": [{**PUT, "vale": "x"}]}, "ops[0]: unknown field 'vale'"),
        ({"ops": [{**PUT, "revision": 1}]}, "ops[0]: unknown field 'revision'"),
        ({"ops": [{**PUT, "op": "create", "revision": 0}]}, "ops[0]: unknown"),
        (
            {"ops": [{"op": "put", "key": "k"}]},
            "ops[0]: must have exactly one of 'value', 'text' and 'json'",
        ),
        (
            {"ops": [{**PUT, "json": None}]},
            "ops[0]: must have exactly one of 'value', 'text' and 'json'",
        ),
        ({"ops": [{**PUT, "text": 1}]}, "ops[0].text: must be a string"),
        ({"ops": [{**PUT, "text": None}]}, "ops[0].text: must be a string"),
        (
            {"ops": [{"op": "put", "key": "k", "value": "YQ"}]},
            "ops[0].value: must be standard base64 with padding",
        ),
        (
            {"ops": [{"op": "put", "key": "k", "value": "YQ==\n"}]},
            "ops[0].value: must be standard base64 with padding",
        ),
        (
            {"ops": [{"op": "put", "key": "k", "value": "_-8="}]},
            "ops[0].value: must be standard base64 with padding",
        ),
        (
            {"ops": [{"op": "put", "key": "k", "value": "ä==="}]},
            "ops[0].value: must be standard base64 with padding",
        ),
        ({"ops": [{**PUT, "content_type": 1}]}, "ops[0].content_type: must be a string"),
        ({"ops": [{**PUT, "op": "update"}]}, "ops[0].revision: is missing"),
        (
            {"ops": [{**PUT, "op": "update", "revision": 0}]},
            "ops[0].revision: must be an integer from 1 to 2^63 - 1",
        ),
        (
            {"ops": [{**PUT, "op": "update", "revision": 2**63}]},
            "ops[0].revision: must be an integer from 1 to 2^63 - 1",
        ),
        (
            {"ops": [{**PUT, "op": "update", "revision": True}]},
            "ops[0].revision: must be an integer from 1 to 2^63 - 1",
        ),
        (
            {"ops": [{**PUT, "op": "update", "revision": 1.0}]},
            "ops[0].revision: must be an integer from 1 to 2^63 - 1",
        ),
        (
            {"ops": [{**PUT, "op": "update", "revision": "1"}]},
            "ops[0].revision: must be an integer from 1 to 2^63 - 1",
        ),
        ({"ops": [{"op": "delete", "key": "k", "text": "v"}]}, "ops[0]: unknown field 'text'"),
        (
            {"ops": [{"op": "delete", "key": "k", "revision": 0}]},
            "ops[0].revision: must be an integer from 1 to 2^63 - 1",
        ),
        (
            {"ops": [{"op": "purge", "key": "k", "revision": None}]},
            "ops[0].revision: must be an integer from 1 to 2^63 - 1",
        ),
        ({"ops": [{"op": "check", "key": "k"}]}, "ops[0].revision: is missing"),
        (
            {"ops": [{"op": "check", "key": "k", "revision": -1}]},
            "ops[0].revision: must be an integer from 0 to 2^63 - 1",
        ),
        ({"ops": [PUT, {**PUT, "op": "create"}]}, "ops[1].key: is the key of ops[0], too"),
        (
            {"ops": [{"op": "check", "key": "k", "revision": 0}], "atomic": False},
            "ops[0].op: check has no meaning where atomic is false",
        ),
        *(
            (
                {"ops": [{**PUT, "ttl_seconds": ttl}]},
                "ops[0].ttl_seconds: must be an integer from 1 to 3153600000, or 'never'",
            )
            for ttl in (0, -1, 1.5, 2.0, True, "1", None, 3_153_600_001, 2**63, [])
        ),
    ],
    ids=lambda value: None if isinstance(value, str) else json.dumps(value)[:60],
)
def test_what_breaks_a_rule_is_refused_naming_item_and_rule(document: Any, text: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        read(document)
    assert refused.value.message.startswith(text)


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"\xff", b'{"get":["a"]', b'{"ops":[{"op":"put","key":"k","json":NaN}]}', b"null "],
)
def test_what_is_no_json_object_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidArgument):
        read_batch(body, "b", None)


@pytest.mark.parametrize(("given", "ttl"), [(5, 5), ("never", NEVER)])
def test_an_item_can_have_a_ttl(given: object, ttl: int) -> None:
    op = read_one(**PUT, ttl_seconds=given)
    assert isinstance(op, Put)
    assert op.ttl == ttl


def test_a_thousand_items_are_read() -> None:
    batch = read({"get": [str(number) for number in range(1000)]})
    assert isinstance(batch, BatchGet)
    assert len(batch.keys) == 1000
    writes = read({"ops": [{**PUT, "key": str(number)} for number in range(1000)]})
    assert isinstance(writes, BatchWrite)
    assert len(writes.ops) == 1000


def test_a_key_may_be_read_twice() -> None:
    assert read({"get": ["a:b", "a:b"]}) == BatchGet("b", ("a:b", "a:b"), ("a=3Ab", "a=3Ab"))


def test_a_key_may_come_twice_where_each_op_stands_for_itself() -> None:
    batch = read({"ops": [PUT, PUT], "atomic": False})
    assert isinstance(batch, BatchWrite)
    assert not batch.atomic
    assert len(batch.ops) == 2


@pytest.mark.parametrize(
    ("content", "value", "media"),
    [
        ({"value": "AP8="}, b"\x00\xff", None),
        ({"value": ""}, b"", None),
        ({"text": "ä"}, "ä".encode(), "text/plain; charset=utf-8"),
        ({"text": ""}, b"", "text/plain; charset=utf-8"),
        ({"json": None}, b"null", "application/json"),
        ({"json": {"a": [1, 2.5, "x"]}}, b'{"a":[1,2.5,"x"]}', "application/json"),
        ({"json": 1, "content_type": "application/hal+json"}, b"1", "application/hal+json"),
        ({"value": "AA==", "content_type": "image/png"}, b"\x00", "image/png"),
        ({"text": "x", "content_type": "ä"}, b"x", None),
        ({"text": "x", "content_type": ""}, b"x", None),
    ],
)
def test_a_value_is_what_its_field_says(
    content: dict[str, Any], value: bytes, media: str | None
) -> None:
    op = read_one(op="put", key="k", **content)
    assert (op.value, op.content_type) == (value, media)


@pytest.mark.parametrize(
    ("op", "expected"),
    [
        ({**PUT, "op": "put"}, Put.of("b", "k", b"v", content_type="text/plain; charset=utf-8")),
        (
            {**PUT, "op": "create"},
            Put.of("b", "k", b"v", content_type="text/plain; charset=utf-8", expected=0),
        ),
        (
            {**PUT, "op": "update", "revision": 2**63 - 1},
            Put.of("b", "k", b"v", content_type="text/plain; charset=utf-8", expected=2**63 - 1),
        ),
        ({"op": "delete", "key": "k"}, Delete.of("b", "k")),
        ({"op": "purge", "key": "k", "revision": 4}, Delete.of("b", "k", purge=True, expected=4)),
        ({"op": "check", "key": "k:", "revision": 0}, Check("b", "k:", "k=3A", 0)),
    ],
)
def test_an_op_is_the_command_of_a_single_write(op: dict[str, Any], expected: Any) -> None:
    assert read_one(**op) == expected


@given(
    number=st.one_of(
        st.decimals(-(10**200), 10**200, allow_nan=False).map(str),
        st.integers(-(10**40), 10**40).map(str),
    ),
    space=st.sampled_from(["", " ", "\n\t"]),
    other=st.text(),
)
@example(number="1E-400", space="", other="ops")
@example(number="0.1234567890123456789", space=" ", other='"json":1')
def test_no_number_of_a_json_value_loses_a_digit(number: str, space: str, other: str) -> None:
    text = json.dumps(other)
    body = (
        f'{{"atomic":{space}true,{space}"ops":[{{"op":"put","key":{json.dumps("k")},{space}'
        f'"json"{space}:{space}{{"n":[{text},{number}]}}{space}}},'
        f'{{"op":"put","key":"j","text":{text}}}]}}'
    )
    batch = read_batch(body.encode(), "b", None)
    assert isinstance(batch, BatchWrite)
    stored = json.loads(batch.ops[0].value, parse_int=Decimal, parse_float=Decimal)  # type: ignore[union-attr] # a put
    assert stored == {"n": [other, Decimal(number)]}
    assert batch.ops[1].value == other.encode()  # type: ignore[union-attr] # a put


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
_fields = st.dictionaries(
    st.sampled_from(
        ["op", "key", "value", "text", "json", "content_type", "ttl_seconds", "revision", "other"]
    ),
    st.sampled_from(["put", "update", "delete", "check", "k", "YQ==", 0, 1, True, None, "never"])
    | _json,
)


@given(
    document=_json
    | st.fixed_dictionaries(
        {},
        optional={
            "get": _json | st.lists(st.text()),
            "ops": _json | st.lists(_fields),
            "atomic": _json,
        },
    )
)
def test_whatever_comes_is_read_or_refused(document: Any) -> None:
    try:
        batch = read(document, "name")
    except InvalidArgument:
        return
    items = batch.keys if isinstance(batch, BatchGet) else batch.ops
    assert 1 <= len(items) <= 1000


@given(value=st.binary(), data=st.data())
def test_base64_is_the_standard_form_or_refused(value: bytes, data: st.DataObject) -> None:
    text = base64.b64encode(value).decode()
    assert read_one(op="put", key="k", value=text).value == value
    place = data.draw(st.integers(0, len(text)))
    spoiled = text[:place] + data.draw(st.sampled_from(["\n", "-", "=", " ", "é"])) + text[place:]
    with pytest.raises(InvalidArgument):
        read_one(op="put", key="k", value=spoiled)


def test_the_same_batch_has_the_same_identity_and_another_one_another_content() -> None:
    def identity(document: dict[str, Any]) -> Any:
        batch = read(document, "id")
        assert isinstance(batch, BatchWrite)
        return batch.identity

    first = identity({"ops": [PUT, {"op": "check", "key": "c", "revision": 1}]})
    same = identity({"atomic": True, "ops": [{**PUT}, {"revision": 1, "op": "check", "key": "c"}]})
    assert first == same
    others = [
        {"ops": [PUT]},
        {"ops": [{**PUT, "text": "w"}, {"op": "check", "key": "c", "revision": 1}]},
        {"ops": [{**PUT, "content_type": "x/y"}, {"op": "check", "key": "c", "revision": 1}]},
        {"ops": [PUT, {"op": "check", "key": "c", "revision": 2}]},
        {"ops": [{"op": "check", "key": "c", "revision": 1}, PUT]},
        {"ops": [PUT, {"op": "delete", "key": "c", "revision": 1}]},
    ]
    contents = {identity(other).content for other in others}
    assert len(contents | {first.content}) == len(others) + 1
    assert {identity(other).scope for other in others} == {first.scope}


def test_ops_that_stand_for_themselves_have_an_identity_each() -> None:
    batch = read({"ops": [PUT, PUT], "atomic": False}, "id")
    assert isinstance(batch, BatchWrite)
    assert batch.identity is None
    identities = [op.identity for op in batch.ops if not isinstance(op, Check)]
    assert len({one.scope for one in identities if one is not None}) == 2
