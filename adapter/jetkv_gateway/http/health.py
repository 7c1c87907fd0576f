"""`/health`, `/ready`, `/api/v1/capabilities` and `/metrics`."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol

from jetkv_gateway import __version__
from jetkv_gateway.http.call import Call
from jetkv_gateway.http.origins import isolation_headers
from jetkv_gateway.http.schema import Capabilities, HealthStatus, Readiness
from jetkv_gateway.kv.errors import NotFound

__all__ = ["HealthHandlers", "ReadinessCheck"]

WriteMetrics = Callable[[str], tuple[bytes, str]]
"""Takes an `Accept` header, and returns the metrics and their content type."""


class ReadinessCheck(Protocol):
    """Tells whether the gateway can serve. Everybody may see the texts."""

    async def issues(self) -> dict[str, str]:
        """Return the problems that prevent serving, by part. It is empty if there are none."""
        ...

    def warnings(self) -> dict[str, str]:
        """Return problems that do not prevent serving, by part."""
        ...


class HealthHandlers:
    """The handlers of the routes about the gateway's health."""

    def __init__(
        self, ready: ReadinessCheck, metrics: WriteMetrics | None, *, auth_required: bool
    ) -> None:
        self._ready = ready
        self._metrics = metrics
        self._auth_required = auth_required

    async def liveness(self, call: Call) -> None:
        now = datetime.now(UTC).isoformat()
        status = HealthStatus(status="ok", version=__version__, timestamp=now)
        call.answer_json(200, status.json_bytes())

    async def readiness(self, call: Call) -> None:
        if call.request.draining:
            issues = {"gateway": "it is stopping; use another one"}
        else:
            issues = await self._ready.issues()
        readiness = Readiness(
            status="not ready" if issues else "ready",
            issues=issues,
            warnings=self._ready.warnings(),
        )
        call.answer_json(503 if issues else 200, readiness.json_bytes())

    async def capabilities(self, call: Call) -> None:
        capabilities = Capabilities(
            transports=["http", "websocket", "sse"],
            features=["kv", "watch", "idempotency", "ofrep"],
            version=__version__,
            auth_required=self._auth_required,
        )
        call.answer_json(200, capabilities.json_bytes())

    async def metrics(self, call: Call) -> None:
        if self._metrics is None:
            raise NotFound(hint="metrics are off by the setting metrics")
        body, content_type = self._metrics(call.headers.get(b"accept", b"").decode("latin-1"))
        line = b"content-type: %s\r\nvary: Accept\r\n" % content_type.encode("ascii")
        call.answer(200, line + isolation_headers(call), body)
