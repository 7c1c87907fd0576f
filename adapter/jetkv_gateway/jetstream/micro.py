"""Shows the gateway as a NATS micro service: `nats micro ls`, `info`, `stats` and `ping`.

Source of subjects and answers: ADR-32. The service answers questions about itself and nothing else.
Its endpoints stand for the HTTP API: nobody subscribes to their subjects, so no NATS request
reaches data.

An answer is published with the gateway's permissions to a subject that the asker chooses. So it
goes to inboxes only, which begin with `_`: else anybody who may ask could write into a bucket.
"""

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from secrets import token_hex
from typing import Any

import orjson

from jetkv_gateway.jetstream.protocol import NatsProtocol

__all__ = ["MicroService", "semantic_version"]

_log = logging.getLogger("jetkv.nats")

_NAME = "jetkv"
_DESCRIPTION = "Key-value buckets over HTTP"
_VERBS = ("PING", "INFO", "STATS")
_READS = ("GET", "HEAD")
_BILLION = 1_000_000_000

_RELEASE = re.compile(r"(\d+)\.(\d+)(?:\.(\d+))?(.*)")


def semantic_version(version: str) -> str:
    """Return a version of Python's form as semver: `1.2.0rc1` becomes `1.2.0-rc1`."""
    found = _RELEASE.fullmatch(version)
    if found is None:
        return "0.0.0"
    rest = re.sub(r"[^0-9A-Za-z]+", "-", found[4]).strip("-")
    return f"{found[1]}.{found[2]}.{found[3] or 0}" + (f"-{rest}" if rest else "")


@dataclass(slots=True)
class _Endpoint:
    """A part of the HTTP API, and what has happened there."""

    name: str
    methods: str
    requests: int = 0
    errors: int = 0
    seconds: float = 0.0
    last_error: str = ""

    @property
    def described(self) -> dict[str, Any]:
        return {"name": self.name, "subject": f"{_NAME}.http.{self.name}", "queue_group": ""}


@dataclass(slots=True, eq=False)
class MicroService:
    """One instance of the service: a worker.

    It is a listener of `telemetry.events`, too, and counts the requests of the API. Answers of 500
    and more are errors.

    Attributes:
        version: a semantic version.
        metadata: what tells this instance from others.
        counted: requests of paths that begin so are counted.
    """

    version: str
    metadata: Mapping[str, str]
    counted: str
    id: str = field(default_factory=lambda: token_hex(11).upper())
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    _reads: _Endpoint = field(default_factory=lambda: _Endpoint("read", "GET, HEAD"))
    _writes: _Endpoint = field(
        default_factory=lambda: _Endpoint("write", "PUT, POST, PATCH, DELETE")
    )
    _protocol: NatsProtocol | None = None
    _sids: list[bytes] = field(default_factory=list)
    _refused: bool = False

    def request_ended(
        self,
        method: str,
        route: str | None,
        status: int,
        seconds: float,
        _request_id: bytes,
        reason: str | None,
        _bucket: str | None,
    ) -> None:
        """Count a request."""
        if route is None or not route.startswith(self.counted):
            return
        endpoint = self._reads if method in _READS else self._writes
        endpoint.requests += 1
        endpoint.seconds += seconds
        if status >= 500:
            endpoint.errors += 1
            endpoint.last_error = f"{method} {route}: {status} {reason or ''}".rstrip()

    def connected(self, protocol: NatsProtocol) -> None:
        """Answer on this connection from now on, and no longer on the one before."""
        self.disconnect()
        self._protocol, self._refused = protocol, False
        for verb in _VERBS:
            for rest in ("", f".{_NAME}", f".{_NAME}.{self.id}"):
                subject = f"$SRV.{verb}{rest}".encode()
                self._sids.append(protocol.subscribe(subject, self._answer))

    def disconnect(self) -> None:
        """Answer no longer."""
        if self._protocol is not None:
            for sid in self._sids:
                self._protocol.unsubscribe(sid)
        self._protocol = None
        self._sids.clear()

    def refused(self, subject: str) -> bool:
        """Handle that the server refused a subscription. Return whether it is one of these."""
        if not subject.startswith("$SRV."):
            return False
        if not self._refused:
            self._refused = True
            _log.warning(
                "the gateway's NATS user may not subscribe to %s: `nats micro` does not show this "
                "gateway; grant $SRV.>, or turn nats_service off",
                subject,
            )
        return True

    def _answer(self, subject: bytes, reply: bytes, _headers: bytes, _data: bytes) -> None:
        protocol = self._protocol
        if protocol is None or not protocol.connected or protocol.full:
            return
        if not reply.startswith(b"_"):
            return
        verb = subject.split(b".", 2)[1].decode()
        protocol.publish(reply, b"", b"", orjson.dumps(self._document(verb)))

    def _document(self, verb: str) -> dict[str, Any]:
        document: dict[str, Any] = {
            "type": f"io.nats.micro.v1.{verb.lower()}_response",
            "name": _NAME,
            "id": self.id,
            "version": self.version,
            "metadata": dict(self.metadata),
        }
        endpoints = (self._reads, self._writes)
        if verb == "INFO":
            document["description"] = _DESCRIPTION
            document["endpoints"] = [
                {**one.described, "metadata": {"transport": "http", "methods": one.methods}}
                for one in endpoints
            ]
        elif verb == "STATS":
            document["started"] = self.started.isoformat(timespec="milliseconds").replace(
                "+00:00", "Z"
            )
            document["endpoints"] = [{**one.described, **_figures(one)} for one in endpoints]
        return document


def _figures(endpoint: _Endpoint) -> dict[str, Any]:
    nanoseconds = int(endpoint.seconds * _BILLION)
    return {
        "num_requests": endpoint.requests,
        "num_errors": endpoint.errors,
        "last_error": endpoint.last_error,
        "data": {},  # nats-py expects it
        "processing_time": nanoseconds,
        "average_processing_time": nanoseconds // endpoint.requests if endpoint.requests else 0,
    }
