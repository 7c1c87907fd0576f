"""Waits until a gateway is ready."""

import http.client
import json
import time
from collections.abc import Callable
from urllib.parse import urlsplit

from jetkv.testing.handles import ServerDidNotStart

__all__ = ["wait_until_ready"]

_INTERVAL_SECONDS = 0.01
_REQUEST_SECONDS = 2.0


def wait_until_ready(
    url: str, *, seconds: float, ended: Callable[[], str | None] = lambda: None
) -> None:
    """Return once the gateway's `/ready` answers 200.

    Args:
        url: the gateway's base URL.
        seconds: how long to wait for that.
        ended: returns why the gateway has ended, or None while it is running.

    Raises:
        ServerDidNotStart: the gateway has ended, or is not ready in time.
    """
    deadline = time.monotonic() + seconds
    while True:
        reason = _why_not_ready(url)
        if reason is None:
            return
        if (end := ended()) is not None:
            raise ServerDidNotStart(end)
        if time.monotonic() > deadline:
            raise ServerDidNotStart(
                f"the gateway at {url} is not ready after {seconds:g} s: {reason}"
            )
        time.sleep(_INTERVAL_SECONDS)


def _why_not_ready(url: str) -> str | None:
    parts = urlsplit(url)
    assert parts.hostname is not None
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=_REQUEST_SECONDS)
    try:
        connection.request("GET", "/ready")
        answer = connection.getresponse()
        body = answer.read()
    except (OSError, http.client.HTTPException) as error:
        return f"{type(error).__name__}: {error}"
    finally:
        connection.close()
    return None if answer.status == 200 else _issues(body)


def _issues(body: bytes) -> str:
    try:
        return "; ".join(f"{part}: {text}" for part, text in json.loads(body)["issues"].items())
    except (ValueError, LookupError, AttributeError, TypeError):
        return body[:200].decode(errors="replace")
