# Made from sdk/jetkv/_async/client.py by `make format`. Edit that file.
"""The client: its settings, and the handles that it makes."""

import ssl
from typing import Self

from jetkv._core.address import Address
from jetkv._core.messages import MAX_ANSWER_BYTES
from jetkv._core.process import ProcessBound
from jetkv._core.retry import Retry
from jetkv._sync.endpoint import Endpoint
from jetkv._sync.kv import KV
from jetkv.errors import InvalidArgumentError

__all__ = ["Client"]

_MAX_TIMEOUT = 86_400.0


class Client(ProcessBound):
    """A client of a jetkv gateway.

    It keeps its connections open and reuses them. Make one client for the whole program and close
    it at the end, best with `with`. Any number of threads may share a sync client, and a forked
    child may go on using it. An async client belongs to the event loop that first uses it.

    Args:
        url: the gateway's address, such as `https://kv.example.org`.
        token: for a gateway that runs with `--auth tokens`. It is never logged.
        timeout: seconds for a whole call, retries included; above 0, at most a day.
        retry: how often the client resends a request where that is safe.
        proxy: a proxy's URL. None uses `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` of the
            environment; an empty text uses no proxy.
        ssl_context: for https. None trusts the certificate authorities of this system.
        max_connections: how many calls may run at once. Each watch has one more connection.
        max_response_bytes: the largest entry, list, history or watch event that the client reads,
            in bytes after decompression. If an answer is larger, the client stops reading and
            raises `UnexpectedAnswerError`. Other answers may have 1 MiB. A history of 64 values of
            1 MiB has 86 MiB.

    Raises:
        InvalidArgumentError: one of the arguments is invalid.
    """

    def __init__(
        self,
        url: str = "http://localhost:9123",
        *,
        token: str | None = None,
        timeout: float = 10.0,
        retry: Retry | None = None,
        proxy: str | None = None,
        ssl_context: ssl.SSLContext | None = None,
        max_connections: int = 100,
        max_response_bytes: int = MAX_ANSWER_BYTES,
    ) -> None:
        # Imported here: a program that uses one client does not load the other's HTTP library.
        from jetkv._sync.transport import Transport

        if isinstance(timeout, bool) or not isinstance(timeout, int | float):
            raise InvalidArgumentError(f"timeout must be a number of seconds, not {timeout!r}")
        if not 0 < timeout <= _MAX_TIMEOUT:
            raise InvalidArgumentError(f"timeout must be above 0 and at most a day: {timeout!r}")
        for name, count in (
            ("max_connections", max_connections),
            ("max_response_bytes", max_response_bytes),
        ):
            if isinstance(count, bool) or not isinstance(count, int) or count < 1:
                raise InvalidArgumentError(f"{name} must be a whole number from 1, not {count!r}")
        if not isinstance(retry, Retry | None):
            raise InvalidArgumentError(
                f"retry must be a Retry, not {retry!r}", hint="Retry(attempts=3)"
            )
        address = Address.parse(url, token=token, proxy=proxy, ssl_context=ssl_context)
        self._endpoint = Endpoint(
            Transport(address, max_connections=max_connections, max_bytes=max_response_bytes),
            address,
            timeout=timeout,
            retry=retry or Retry(),
            max_answer_bytes=max_response_bytes,
        )

    def kv(self) -> KV:
        """Return the gateway's buckets."""
        return KV(self._endpoint)

    def close(self) -> None:
        """Close all connections. Every watch that is open raises `ClientClosedError`."""
        self._endpoint.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Client {self._endpoint.address}>"
