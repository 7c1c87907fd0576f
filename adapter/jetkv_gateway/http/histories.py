"""The answer with the history of a key, sent while it is read.

A small one is an answer like any other. Of a larger one each part goes out before the next one is
read, so no more than a revision of it is here at a time, whatever it has and however slowly it is
read. What goes wrong after the first part ends the connection: a short document never looks whole.
"""

import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing

from jetkv_gateway.http.call import JSON_LINE, Call, ClientGone
from jetkv_gateway.http.views import View, entry_json
from jetkv_gateway.kv.errors import GatewayError
from jetkv_gateway.kv.model import Entry

__all__ = ["HistoryAnswer"]

_log = logging.getLogger("jetkv.http")

_PIECE = 64 * 1024


class HistoryAnswer:
    """`{"entries":[KVEntry…]}`, oldest first."""

    def __init__(self, call: Call, entries: AsyncGenerator[Entry, None], view: View) -> None:
        self._call = call
        self._entries = entries
        self._view = view
        self._unsent = bytearray(b'{"entries":[')
        self._started = False

    async def send(self) -> None:
        """Send it.

        Raises:
            GatewayError: nothing was sent.
            ClientGone: the client left, or its connection was cut.
        """
        await self._call.run_while_connected(self._answer())

    async def _answer(self) -> None:
        try:
            comma = b""
            async with aclosing(self._entries) as entries:
                async for entry in entries:
                    self._unsent += comma + entry_json(entry, self._view)
                    comma = b","
                    del entry
                    await self._send_part()
            self._unsent += b"]}"
            await self._finish()
        except GatewayError as error:
            if not self._started:
                raise
            _log.warning(
                "request %s: a history was cut off: %s",
                self._call.request_id.decode("ascii"),
                error.message,
            )
            raise ClientGone from None  # the gateway cuts what it has of the answer
        except ConnectionError:
            raise ClientGone from None

    async def _send_part(self) -> None:
        """Send all but what is too small to be worth it."""
        if len(self._unsent) < _PIECE:
            return
        if not self._started:
            self._started = True
            await self._call.begin(200, JSON_LINE)
        # It returns once there is room for more; what the client has not taken in is counted there.
        part, self._unsent = bytes(self._unsent), bytearray()
        await self._call.request.send(part)

    async def _finish(self) -> None:
        body = bytes(self._unsent)
        if not self._started:
            self._started = True
            self._call.answer_json(200, body)
            return
        await self._call.request.send(body)
        await self._call.request.end()
