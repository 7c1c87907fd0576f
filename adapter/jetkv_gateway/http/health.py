"""`/health`, `/ready`, `/api/v1/capabilities` (contract 1.6), `/metrics` (2.11).

All but the last need no credential.
"""

from datetime import UTC, datetime
from typing import Literal, Protocol

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from jetkv_gateway import __version__
from jetkv_gateway.http.exchange import EXCHANGE, STOPS
from jetkv_gateway.http.metrics import CONTENT_TYPE, metrics_text
from jetkv_gateway.http.schema import errors
from jetkv_gateway.kv.access import Verb

__all__ = ["health_routes"]


class HealthStatus(BaseModel):
    status: Literal["ok"]
    version: str
    timestamp: str


class Ready(Protocol):
    """Tells whether the gateway can serve, in words that everybody may see."""

    async def issues(self) -> dict[str, str]:
        """Return what keeps it from serving, by part; empty when it is ready."""
        ...

    def warnings(self) -> dict[str, str]:
        """Return what is not as it should be, by part."""
        ...


class Readiness(BaseModel):
    status: Literal["ready", "not ready"]
    issues: dict[str, str]
    warnings: dict[str, str]


class Capabilities(BaseModel):
    transports: list[str]
    features: list[str]
    version: str
    auth_required: bool


def health_routes(ready: Ready, *, auth_required: bool) -> APIRouter:
    """Return the routes."""
    router = APIRouter(tags=["Health"])

    @router.head("/health", include_in_schema=False)
    @router.get("/health", response_model=HealthStatus, responses=errors(400, 403))
    async def liveness(request: Request) -> HealthStatus:
        """200 while the process lives."""
        request.scope[EXCHANGE].parameters()
        return HealthStatus(
            status="ok", version=__version__, timestamp=datetime.now(UTC).isoformat()
        )

    @router.head("/ready", include_in_schema=False)
    @router.get(
        "/ready",
        response_model=Readiness,
        responses={**errors(400, 403), 503: {"model": Readiness, "description": "Not ready"}},
    )
    async def readiness(request: Request, response: Response) -> Readiness:
        """200 while JetStream answers, else 503 with what is amiss; 503 too before it stops."""
        request.scope[EXCHANGE].parameters()
        if STOPS in request.scope.get("state", {}):
            issues = {"gateway": "it stops; others go on"}
        else:
            issues = await ready.issues()
        response.status_code = 503 if issues else 200
        return Readiness(
            status="not ready" if issues else "ready", issues=issues, warnings=ready.warnings()
        )

    @router.get("/api/v1/capabilities", response_model=Capabilities, responses=errors(400, 403))
    async def capabilities(request: Request) -> Capabilities:
        """What this server can do."""
        request.scope[EXCHANGE].parameters()
        return Capabilities(
            transports=["http", "websocket", "sse"],
            features=["kv", "watch", "idempotency"],
            version=__version__,
            auth_required=auth_required,
        )

    @router.get(
        "/metrics",
        response_class=Response,
        responses={
            **errors(400, 401, 403),
            200: {"content": {"text/plain": {"schema": {"type": "string"}}}},
        },
    )
    async def metrics(request: Request) -> Response:
        """What this gateway counts, all workers together, in Prometheus's text format."""
        exchange = request.scope[EXCHANGE]
        exchange.require(Verb.METRICS)
        exchange.parameters()
        return Response(metrics_text(), media_type=CONTENT_TYPE)

    return router
