"""The JSON that answers a request to NATS. Another program may have sent it."""

from typing import Any

import pytest

from jetkv_gateway.jetstream.answers import read_ack, read_answer
from jetkv_gateway.jetstream.request_errors import Unreadable

ERROR = b'{"error":{"code":400,"err_code":10071,"description":"d"},"stream":"KV_b","seq":0}'


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b'{"stream":"KV_b", "seq":12}', {"stream": "KV_b", "seq": 12}),
        (b'{"seq":12,"duplicate":true}', {"seq": 12, "duplicate": True}),
        (b'{"seq":0,"domain":"hub"}', {"seq": 0, "domain": "hub"}),
    ],
)
def test_an_acknowledgement_has_a_sequence(data: bytes, expected: dict[str, Any]) -> None:
    assert read_ack(data, "KV_b") == expected


def test_an_error_is_one_with_a_sequence_beside_it_too() -> None:
    assert read_ack(ERROR, "KV_b")["error"]["err_code"] == 10071
    assert read_answer(ERROR, "KV_b")["error"]["err_code"] == 10071


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"+OK", b"null", b"12", b'"seq"', b"[12]", b'["seq"]', b"{}", b"\xff"),
        *(b'{"seq":"12"}', b'{"seq":true}', b'{"seq":1.0}', b'{"seq":null}', b'{"stream":"KV_b"}'),
        *(b'{"seq":12,"error":null}', b'{"seq":12,"error":"no"}', b'{"seq":12'),
    ],
)
def test_anything_else_acknowledges_nothing(data: bytes) -> None:
    with pytest.raises(Unreadable):
        read_ack(data, "KV_b")
