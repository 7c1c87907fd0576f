"""Parses the JSON that NATS answers. Another program may have sent it."""

from typing import Any

import orjson

from jetkv_gateway.jetstream.request_errors import Unreadable
from jetkv_gateway.kv.unreadable import report_unreadable

__all__ = ["read_ack", "read_answer"]


def read_ack(data: bytes, stream: str) -> dict[str, Any]:
    """Parse the answer to a publish: an acknowledgement or an `error` object.

    Raises:
        Unreadable: it is neither.
    """
    try:
        answer: dict[str, Any] = orjson.loads(data)
        if type(answer["seq"]) is int and "error" not in answer:
            return answer
    except (orjson.JSONDecodeError, LookupError, TypeError):
        pass
    answer = read_answer(data, stream)
    if "error" not in answer:
        raise Unreadable(stream)
    return answer


def read_answer(data: bytes, where: str) -> dict[str, Any]:
    """Parse a reply of the API. Another program may have sent it.

    Raises:
        Unreadable: it is not a reply of JetStream.
    """
    try:
        answer = orjson.loads(data)
    except orjson.JSONDecodeError:
        answer = None
    if isinstance(answer, dict) and isinstance(answer.get("error", {}), dict):
        return answer
    report_unreadable("answer", where, "the outcome of the request is unknown")
    raise Unreadable(where)
