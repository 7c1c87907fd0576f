"""Handshakes of watches, by hand."""

import base64

from tests.support.http import Answer, Http
from tests.support.raw import Wire
from tests.support.watching import UPGRADE, watch_path


def handshake(
    http: Http, bucket: str, query: str = "", *lines: str, upgrade: tuple[str, ...] = UPGRADE
) -> Answer:
    """The answer to a handshake; what is sent after a 101 is not read."""
    with Wire(http) as wire:
        return wire.request("GET", http.base + watch_path(bucket, query), *upgrade, *lines)


def without(name: str) -> tuple[str, ...]:
    return tuple(line for line in UPGRADE if not line.startswith(f"{name}:"))


def offering(*subprotocols: str) -> str:
    return f"Sec-WebSocket-Protocol: {', '.join(subprotocols)}"


def bearer(token: str) -> str:
    encoded = base64.urlsafe_b64encode(token.encode()).decode().rstrip("=")
    return f"ironflow.auth.bearer.{encoded}"


def assert_refused(answer: Answer, status: int, code: str) -> None:
    assert answer.status == status, answer
    assert answer.headers["content-type"] == "application/json"
    assert answer.json["code"] == code
    assert answer.headers["x-request-id"] == answer.json["request_id"]
