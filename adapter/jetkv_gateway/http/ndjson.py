"""Answers of JSON lines, sent while they are generated (docs/http-api.md#json-lines).

The last line is `{"type":"end",…}`, or `{"type":"error",…}` if an error occurred after the answer
started. An answer without such a line is incomplete.
"""

import logging
from collections.abc import Awaitable, Callable

from jetkv_gateway.http.call import Call, ClientGone
from jetkv_gateway.http.failures import failure_line
from jetkv_gateway.http.views import prefers
from jetkv_gateway.kv.errors import GatewayError

__all__ = ["NDJSON", "Lines", "answer_lines", "wants_lines"]

_log = logging.getLogger("jetkv.http")

NDJSON = "application/x-ndjson"
_LINES = b"content-type: application/x-ndjson\r\ncache-control: no-cache\r\nvary: Accept\r\n"


def wants_lines(call: Call) -> bool:
    """Return whether a request asks for JSON lines."""
    accept = call.headers.get(b"accept", b"")
    return b"x-ndjson" in accept.lower() and prefers(accept, NDJSON)


class Lines:
    """An answer of lines. Its head is sent with the first line."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._denial: GatewayError | None = None

    def deny(self, error: GatewayError) -> None:
        """Let the next `send` raise an error, since the caller may not see the lines any more."""
        self._denial = error

    async def send(self, lines: bytes) -> None:
        """Send complete lines, then wait until the connection can take more.

        Raises:
            ConnectionError: the client is gone.
            GatewayError: the caller may not see the lines any more.
        """
        if self._denial is not None:
            raise self._denial
        if not self._call.started:
            await self._call.begin(200, _LINES)
        await self._call.request.send(lines)

    async def finish(self, line: bytes) -> None:
        """Send the last line."""
        if not self._call.started:
            self._call.answer(200, _LINES, line + b"\n")
            return
        await self._call.request.send(line + b"\n")
        await self._call.end()


async def answer_lines(call: Call, make: Callable[[Lines], Awaitable[bytes]]) -> None:
    """Answer with the lines that `make` sends, and the last line that it returns.

    Raises:
        GatewayError: an error occurred before the first line.
        ClientGone: the client left.
    """
    if call.method == "HEAD":
        call.answer(200, _LINES, b"")
        return
    await call.run_while_connected(_answer(call, make))


async def _answer(call: Call, make: Callable[[Lines], Awaitable[bytes]]) -> None:
    lines = Lines(call)
    hold = None if call.standing is None else call.standing.hold(call, lines.deny)
    try:
        try:
            last = await make(lines)
        except GatewayError as error:
            if not call.started:
                raise
            _log.warning(
                "request %s: lines broke off: %s", call.request_id.decode("ascii"), error.message
            )
            last = failure_line(error)
        await lines.finish(last)
    except ConnectionError:
        raise ClientGone from None
    finally:
        if hold is not None:
            hold.release()
