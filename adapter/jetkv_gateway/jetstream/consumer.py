"""One ephemeral pull consumer: its name, its creation, requests for messages, its removal.

Listings and watches use it. It acknowledges nothing. The server removes it after a while without
requests, so a consumer whose removal failed does no harm.
"""

import secrets
from collections.abc import Callable, Iterable
from typing import Any

import orjson

from jetkv_gateway.jetstream.client import JetStream
from jetkv_gateway.jetstream.errors import request_error
from jetkv_gateway.jetstream.names import BucketNames
from jetkv_gateway.jetstream.requests import Multiplexer, RequestFailed
from jetkv_gateway.kv.errors import GatewayError

__all__ = ["Consumer"]

_SECOND = 1_000_000_000


class Consumer:
    """A consumer of one bucket; call `create` first.

    Args:
        mux: of the connection that the consumer lives on.
        kind: its purpose, as a part of its name.
    """

    def __init__(self, js: JetStream, mux: Multiplexer, names: BucketNames, kind: str) -> None:
        self._js = js
        self._mux = mux
        self._stream = names.stream
        self._name = f"jetkv-{kind}-{secrets.token_hex(8)}"
        self._any_next = f"{js.naming.api}CONSUMER.MSG.NEXT.{names.stream}."
        self._next = self._any_next + self._name

    async def create(
        self,
        subjects: Iterable[str],
        *,
        inactive_seconds: float,
        timeout: float | None = None,
        **config: Any,
    ) -> dict[str, Any]:
        """Create the consumer and return the server's reply.

        The server chooses the number of replicas: one, or as many as the stream has if the stream
        requires that.

        Args:
            subjects: filters, of which no two overlap.
            inactive_seconds: seconds without requests after which the server removes the consumer;
                see `BucketCache.inactive_seconds`.
            timeout: seconds; None for the default of all calls.
            config: where it starts, and its other settings.

        Raises:
            GatewayError: it was not created. Without an answer it may exist anyway: call `remove`.
        """
        body = {
            "stream_name": self._stream,
            "config": {
                "name": self._name,
                "ack_policy": "none",
                "replay_policy": "instant",
                "filter_subjects": list(subjects),
                "mem_storage": True,
                "inactive_threshold": int(inactive_seconds * _SECOND),
                **config,
            },
        }
        return await self._js.call(
            f"CONSUMER.CREATE.{self._stream}.{self._name}", orjson.dumps(body), timeout=timeout
        )

    async def pull(self, inbox: str, batch: int, expires: float, **more: int) -> None:
        """Request the next messages, to be delivered to an inbox.

        Args:
            batch: the number of messages, at most.
            expires: seconds after which the server drops the rest of the request.
            more: further fields of the request.

        Raises:
            GatewayError: nothing was sent.
        """
        body = {"batch": batch, "expires": int(expires * _SECOND), **more}
        try:
            await self._mux.send(self._next, orjson.dumps(body), inbox)
        except RequestFailed as failed:
            raise request_error(failed, None) from failed

    def on_denied(self, denied: Callable[[], None] | None) -> None:
        """Call `denied` when NATS does not permit the request; None ends that.

        The server sends no reply to such a request; it only reports an error on the connection.
        """
        self._mux.on_denied(self._next, denied)

    @property
    def denied(self) -> GatewayError:
        """The error to raise after `on_denied`."""
        return request_error(self._mux.not_permitted(self._any_next + "*"), None)

    async def remove(self, timeout: float) -> None:
        """Remove the consumer.

        Raises:
            GatewayError: it is gone already, or could not be removed.
        """
        await self._js.call(f"CONSUMER.DELETE.{self._stream}.{self._name}", timeout=timeout)
