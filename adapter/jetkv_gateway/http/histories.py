"""Sends the history of a key while reading it.

A small history is an ordinary answer. Each part of a larger one is sent before the next part is
read, so memory holds at most one revision, however many there are and however slowly the client
reads. An error after the first part ends the connection, so that an incomplete document never looks
complete.
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
        self._denial: GatewayError | None = None

    def _deny(self, error: GatewayError) -> None:
        """Let the next part raise an error, since the caller may not see it any more."""
        self._denial = error

    async def send(self) -> None:
        """Send the history.

        Raises:
            GatewayError: it failed before anything was sent.
            ClientGone: the client left, or its connection was cut.
        """
        standing = self._call.standing
        hold = None if standing is None else standing.hold(self._call, self._deny)
        try:
            await self._call.run_while_connected(self._answer())
        finally:
            if hold is not None:
                hold.release()

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
            raise ClientGone from None  # the gateway then cuts the connection
        except ConnectionError:
            raise ClientGone from None

    async def _send_part(self) -> None:
        """Send the buffered part if it is large enough."""
        if len(self._unsent) < _PIECE:
            return
        if self._denial is not None:
            raise self._denial
        if not self._started:
            self._started = True
            await self._call.begin(200, JSON_LINE)
        # It returns when the connection can take more. The server limits the bytes that are not
        # sent.
        part, self._unsent = bytes(self._unsent), bytearray()
        await self._call.request.send(part)

    async def _finish(self) -> None:
        body = bytes(self._unsent)
        if not self._started:
            self._started = True
            self._call.answer_json(200, body)
            return
        await self._call.request.send(body)
        await self._call.end()
