"""WebSockets as uvicorn speaks them, for readers: what is sent is made once for all.

A watch sends the same frames to many. They come here framed already and are written as they are;
no frame is compressed, which would be work for each reader. What a client sends is of no interest
and dropped when it arrives; over a size it closes the connection (1009), as does text that is not
UTF-8 (1007). A connection that was closed ends, also where its peer reads nothing any more.
"""

import asyncio
import codecs
import http
import logging
from typing import Any, cast

from uvicorn.config import Config
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState
from websockets.datastructures import Headers
from websockets.exceptions import InvalidState
from websockets.frames import Frame, Opcode
from websockets.http11 import Request, Response
from websockets.server import ServerProtocol

from jetkv_gateway.http.call import SOCKET, new_request_id
from jetkv_gateway.http.failures import failure
from jetkv_gateway.kv.errors import GatewayError, InternalError, InvalidArgument, Unavailable

__all__ = ["WatchProtocol"]

_CLOSE_SECONDS = 5.0
_GOING_AWAY = 1001


class _Handshake(ServerProtocol):
    """A handshake that breaks a rule gets the JSON body of every other error."""

    def reject(self, status: http.HTTPStatus | int, text: str) -> Response:
        if status == http.HTTPStatus.INTERNAL_SERVER_ERROR:
            return super().reject(status, text)
        rule = text.partition("\n")[0].removeprefix("Failed to open a WebSocket connection: ")
        response = _answer(InvalidArgument(f"invalid WebSocket handshake: {rule}"))
        response.headers["Sec-WebSocket-Version"] = "13"  # RFC 6455 §4.2.2
        return response


class WatchProtocol(WebSocketsSansIOProtocol):
    """One connection; `scope[SOCKET]` is it, an `http.watch.Socket`."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.conn = _Handshake(
            extensions=[], max_size=config.ws_max_size, logger=logging.getLogger("uvicorn.error")
        )
        self._utf8 = codecs.getincrementaldecoder("utf-8")()

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        if self.response.status_code == http.HTTPStatus.SWITCHING_PROTOCOLS:
            # The app's task is made by now, and runs later.
            cast(dict[str, Any], self.scope)[SOCKET] = self

    async def send(self, message: Any) -> None:
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and not message.get("more_body"):
            # uvicorn forgets it here, and would log that nothing was answered.
            self.handshake_complete = True

    async def write(self, frames: bytes) -> None:
        """Write whole frames, then wait until there is room for more.

        Raises:
            ConnectionError: the connection is closed, or being closed.
        """
        if self.close_sent or self.disconnected or self.transport.is_closing():
            raise ConnectionError
        self.transport.write(frames)
        if not self.writable.is_set():
            await self.writable.wait()

    def finish(self, frames: bytes, code: int, reason: str) -> None:
        """Write last frames and close, without waiting for a reader who may not read."""
        if self.close_sent or self.disconnected or self.transport.is_closing():
            return
        self.transport.write(frames)
        self.stop_keepalive()
        try:
            self.conn.send_close(code, reason)
        except InvalidState:
            return
        self.close_sent = True
        self.transport.write(b"".join(self.conn.data_to_send()))
        self._end_soon()

    def shutdown(self) -> None:
        if self.handshake_complete and not self.close_sent:
            self.finish(b"", _GOING_AWAY, "")
            self.queue.put_nowait({"type": "websocket.disconnect", "code": _GOING_AWAY})
        else:
            self._refuse(Unavailable("the gateway stops"))
            super().shutdown()

    def expire(self) -> None:
        """End a connection that a stop cannot wait for any longer."""
        self.transport.abort()

    def send_500_response(self) -> None:
        self._refuse(InternalError(hint="report it with the request id"))

    def _refuse(self, error: GatewayError) -> None:
        """Answer a handshake that the app has not answered, and will not."""
        if self.initial_response is not None or self.handshake_complete:
            return
        self.conn.send_response(_answer(error))
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.handshake_complete = self.close_sent = self.disconnected = True
        self.queue.put_nowait({"type": "websocket.disconnect", "code": 1006})
        self.transport.close()

    def keepalive_timeout(self) -> None:
        super().keepalive_timeout()
        # Nobody is there to read the last frames, so nothing would ever end it.
        self.transport.abort()

    def handle_close(self, event: Frame) -> None:
        super().handle_close(event)
        self._end_soon()

    def handle_parser_exception(self) -> None:
        super().handle_parser_exception()
        self._end_soon()

    def handle_text(self, event: Frame) -> None:
        self._utf8.reset()
        self.curr_msg_data_type = "text"
        self._drop(event)

    def handle_bytes(self, event: Frame) -> None:
        self.curr_msg_data_type = "bytes"
        self._drop(event)

    def handle_cont(self, event: Frame) -> None:
        self._drop(event)

    def _drop(self, event: Frame) -> None:
        if self.curr_msg_data_type == "text" and event.opcode is not Opcode.BINARY:
            try:
                self._utf8.decode(event.data, event.fin)
            except UnicodeDecodeError:
                self.queue.put_nowait({"type": "websocket.disconnect", "code": 1007})
                self.finish(b"", 1007, "text has to be UTF-8")

    def _end_soon(self) -> None:
        if self.close_timer is not None:
            self.close_timer.cancel()
        self.close_timer = self.loop.call_later(_CLOSE_SECONDS, self.transport.abort)


def _answer(error: GatewayError) -> Response:
    """Return an error as the answer to a handshake."""
    request_id = new_request_id()
    status, lines, body = failure(error, request_id)
    headers = Headers([(name.decode().title(), value.decode()) for name, value in lines])
    headers["X-Request-Id"] = request_id.decode("ascii")
    headers.update({"Content-Length": str(len(body)), "Connection": "close"})
    return Response(status, http.HTTPStatus(status).phrase, headers, body)
