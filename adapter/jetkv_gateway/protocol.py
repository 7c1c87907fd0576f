"""HTTP/1.1 as uvicorn speaks it, with two things of our own.

Broken HTTP gets the JSON body of every other error, and a URL ends. And an answer that is there
in full is written in one piece: uvicorn's `send` looks at each header with two regular
expressions, and is called and writes to the socket twice, which was a quarter of the time of a
small request. Where the app finds no `ANSWER` in its scope (another server or protocol), it sends
as ASGI says.
"""

from functools import partial
from typing import Any, cast

import orjson
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from jetkv_gateway.http.exchange import ANSWER

__all__ = ["GatewayProtocol"]

_MAX_URL = 64 * 1024


class GatewayProtocol(HttpToolsProtocol):
    """One connection."""

    def on_url(self, url: bytes) -> None:
        self.url += url
        if len(self.url) > _MAX_URL:
            raise ValueError("URL too long")

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        cycle = self.cycle
        # The app's task is made by now, and runs later.
        if cycle is not None and cycle.scope is self.scope:
            cast(dict[str, Any], self.scope)[ANSWER] = partial(_answer, cycle)

    def send_400_response(self, msg: str) -> None:
        body = orjson.dumps(
            {
                "error": f"invalid HTTP request: {msg}",
                "code": "invalid_argument",
                "retryable": False,
                "request_id": "none",
                "hint": "percent-encode the path; a URL has at most 64 KiB",
            }
        )
        self.transport.write(
            STATUS_LINE[400] + b"content-type: application/json\r\nx-request-id: none\r\n"
            b"connection: close\r\ncontent-length: %d\r\n\r\n" % len(body) + body
        )
        self.transport.close()


def _answer(
    cycle: RequestResponseCycle, status: int, headers: list[tuple[bytes, bytes]], body: bytes
) -> bool:
    """Write an answer in one piece; the steps are those of `RequestResponseCycle.send`."""
    if cycle.response_started or cycle.disconnected or cycle.flow.write_paused:
        return False
    lines = [b"%s: %s\r\n" % header for header in (*cycle.default_headers, *headers)]
    if not cycle.keep_alive:
        lines.append(b"connection: close\r\n")
    head = b"".join(lines)
    if head.count(b"\n") != len(lines):
        return False  # uvicorn refuses it, and says which header it is
    cycle.response_started = True
    cycle.waiting_for_100_continue = False
    if cycle.scope["method"] == "HEAD":
        body = b""
    cycle.transport.write(b"%s%s\r\n%s" % (STATUS_LINE[status], head, body))
    cycle.response_complete = True
    cycle.message_event.set()
    if not cycle.keep_alive:
        cycle.transport.close()
    cycle.on_response()
    return True
