"""The answer with the history of a key, sent while it is read.

A small one is an answer like any other. Of a larger one each part goes out before the next one is
read, so no more than a revision of it is here at a time, whatever it has and however slowly it is
read. What goes wrong after the first part ends the connection: a short document never looks whole.
"""

import asyncio
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
_STUCK_SECONDS = 15.0
"""A client that takes in no piece for so long holds what others wait for."""


class HistoryAnswer:
    """`{"entries":[KVEntry…]}`, oldest first."""

    def __init__(self, call: Call, found: AsyncGenerator[Entry, None], view: View) -> None:
        self._call = call
        self._found = found
        self._view = view
        self._unsent = bytearray(b'{"entries":[')
        self._started = False

    async def send(self) -> None:
        """Send it.

        Raises:
            GatewayError: nothing was sent.
            ClientGone: the client left, or its connection was cut.
        """
        await self._call.while_there(self._answer())

    async def _answer(self) -> None:
        try:
            comma = b""
            async with aclosing(self._found) as found:
                async for entry in found:
                    self._unsent += comma + entry_json(entry, self._view)
                    comma = b","
                    del entry
                    await self._send_pieces()
            self._unsent += b"]}"
            await self._finish()
        except (GatewayError, TimeoutError) as error:
            if not self._started:
                raise
            _log.warning(
                "request %s: a history was cut off: %s",
                self._call.request_id.decode("ascii"),
                error.message if isinstance(error, GatewayError) else "its client reads nothing",
            )
            raise ClientGone from None  # the gateway cuts what it has of the answer

    async def _send_pieces(self) -> None:
        """Send all but what is too small to be worth it."""
        if len(self._unsent) < _PIECE:
            return
        if not self._started:
            self._started = True
            await self._call.begin(200, JSON_LINE)
        whole, self._unsent = bytes(self._unsent), bytearray()
        for start in range(0, len(whole), _PIECE):
            await self._send_piece(whole[start : start + _PIECE])

    async def _send_piece(self, piece: bytes) -> None:
        # It returns once there is room for more, not when it has arrived.
        async with asyncio.timeout(_STUCK_SECONDS):
            await self._call.link.send(piece)

    async def _finish(self) -> None:
        body = bytes(self._unsent)
        if not self._started:
            self._started = True
            self._call.answer_json(200, body)
            return
        await self._send_piece(body)
        await self._call.link.end()
