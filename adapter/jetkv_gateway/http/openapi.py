"""The OpenAPI document, and a page that shows it.

FastAPI describes its own routes; those of single keys, which stand in front of it, are described
here, so that one document lists them all.
"""

from html import escape
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.openapi.utils import get_openapi
from fastapi.responses import HTMLResponse, JSONResponse

from jetkv_gateway import __version__
from jetkv_gateway.http.exchange import EXCHANGE
from jetkv_gateway.http.paths import PUBLIC
from jetkv_gateway.http.schema import BucketCreate, EntryOut, Error, errors, parameter
from jetkv_gateway.kv.access import Verb
from jetkv_gateway.kv.keys import MAX_KEY_BYTES

__all__ = ["openapi_document", "openapi_routes"]

_KEY_PATH = "/api/v1/kv/buckets/{bucket}/keys/{key}"
_REF = "#/components/schemas/"
_ETAG = {"ETag": {"schema": {"type": "string"}, "description": 'The revision, such as "7"'}}
_READ_HEADERS = {
    **_ETAG,
    "Last-Modified": {"schema": {"type": "string"}},
    "JetKV-Consistency": {"schema": {"type": "string", "enum": ["strong", "eventual"]}},
}
_ENCODING = {
    "Content-Encoding": {
        "schema": {"type": "string"},
        "description": "Of the PUT, where the answer is the value itself",
    }
}


_BUCKET = parameter("bucket", "path", "Bucket name", pattern="^[A-Za-z0-9_-]{1,200}$")
_KEY = parameter(
    "key",
    "path",
    f"1 to {MAX_KEY_BYTES} bytes of UTF-8 without control characters; slashes may be sent as they "
    "are or as %2F",
    pattern=r"^[^\x00-\x1f\x7f]+$",
    maxLength=MAX_KEY_BYTES,
)
_NAMES = {"bucket": _BUCKET, "key": _KEY}
_IF_MATCH = parameter(
    "If-Match",
    "header",
    'One revision, `7` or `"7"`',
    pattern='^([1-9][0-9]{0,18}|"[1-9][0-9]{0,18}")$',
)
_IF_NONE_MATCH = parameter(
    "If-None-Match",
    "header",
    'Revisions known already, such as `"7"`; answers 304',
    pattern=r'^(\*|(W/)?"[0-9]*"(, (W/)?"[0-9]*")*)$',
)


def _failures(*statuses: int) -> dict[str, Any]:
    return {
        str(status): {
            "description": row["description"],
            "content": {"application/json": {"schema": {"$ref": f"{_REF}Error"}}},
        }
        for status, row in errors(*statuses).items()
    }


def _read(operation: str, summary: str) -> dict[str, Any]:
    return {
        "tags": ["Keys"],
        "operationId": operation,
        "summary": summary,
        "parameters": [
            parameter("values", "query", "How the value is shown", enum=["base64", "json", "raw"]),
            parameter("consistency", "query", "Who may answer", enum=["strong", "eventual"]),
            parameter("revision", "query", "An older revision", pattern="^[1-9][0-9]{0,18}$"),
            _IF_MATCH,
            _IF_NONE_MATCH,
        ],
        "responses": {
            "200": {
                "description": "The entry, or its bytes",
                "headers": {**_READ_HEADERS, **_ENCODING},
                "content": {
                    "application/json": {"schema": {"$ref": f"{_REF}EntryOut"}},
                    "*/*": {"schema": {"type": "string", "format": "binary"}},
                },
            },
            "304": {"description": "Not modified", "headers": _READ_HEADERS},
            **_failures(400, 401, 403, 404, 409, 412, 429, 503, 504),
        },
    }


def _key_operations() -> dict[str, Any]:
    return {
        "parameters": [_BUCKET, _KEY],
        "get": _read("get_entry", "Read a key"),
        "head": _read("head_entry", "Read a key's headers"),
        "put": {
            "tags": ["Keys"],
            "operationId": "put_entry",
            "summary": "Store a value, byte for byte; create or compare-and-set by condition",
            "parameters": [
                _IF_MATCH,
                parameter("If-None-Match", "header", "`*` creates the key", enum=["*"]),
                parameter(
                    "Content-Encoding", "header", "How the value is coded, such as gzip: it is kept"
                ),
            ],
            "requestBody": {
                "content": {
                    "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
                    "application/json": {"schema": {}},
                    "*/*": {"schema": {"type": "string", "format": "binary"}},
                }
            },
            "responses": {
                "200": {
                    "description": "Stored",
                    "headers": _ETAG,
                    "content": {
                        "application/json": {
                            "schema": {
                                "type": "object",
                                "properties": {"revision": {"type": "integer"}},
                                "required": ["revision"],
                            }
                        }
                    },
                },
                **_failures(400, 401, 403, 404, 409, 412, 413, 429, 501, 503, 504, 507),
            },
        },
        "delete": {
            "tags": ["Keys"],
            "operationId": "delete_entry",
            "summary": "Delete a key; with purge its history, too",
            "parameters": [
                parameter("purge", "query", "Drop the history", enum=["true", "false"]),
                _IF_MATCH,
            ],
            "responses": {
                "204": {"description": "There is no live value under the key now"},
                **_failures(400, 401, 403, 404, 409, 412, 429, 503, 504, 507),
            },
        },
    }


def openapi_document(app: FastAPI, *, auth_required: bool) -> dict[str, Any]:
    """Return the document of all routes."""
    document = get_openapi(
        title="jetkv",
        version=__version__,
        description=(
            "Key-value buckets on NATS JetStream; compatible with the Ironflow KV API. The same "
            "API stands under `/json`, where values are shown ready to use by default."
        ),
        routes=app.routes,
    )
    for path, item in document["paths"].items():
        for operation in item.values():
            # Nothing here answers 422; FastAPI documents it for every parameter.
            operation["responses"].pop("422", None)
            if "parameters" in operation:
                operation["parameters"] = [
                    _NAMES.get(parameter["name"], parameter)
                    for parameter in operation["parameters"]
                ]
            if auth_required and path.encode() in PUBLIC:
                operation["security"] = []
    document["paths"][_KEY_PATH] = _key_operations()
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    for model in (BucketCreate, EntryOut, Error):
        schemas[model.__name__] = model.model_json_schema(ref_template=_REF + "{model}")
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    if auth_required:
        document["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"token": []}]
    return document


def openapi_routes(app: FastAPI, *, auth_required: bool) -> APIRouter:
    """Return `/api/v1/openapi.json` and `/docs`."""
    router = APIRouter(tags=["API description"])
    built: dict[str, Any] = {}

    def document() -> dict[str, Any]:
        if not built:
            built.update(openapi_document(app, auth_required=auth_required))
        return built

    @router.get("/api/v1/openapi.json", responses=errors(400, 401, 403))
    async def openapi(request: Request) -> JSONResponse:
        """This document."""
        _admit(request)
        return JSONResponse(document())

    html = {"description": "The page", "content": {"text/html": {"schema": {"type": "string"}}}}

    # With HTMLResponse as its class, the errors would be described as HTML, too.
    @router.get("/docs", response_class=Response, responses={200: html, **errors(400, 401, 403)})
    async def docs(request: Request) -> Response:
        """The same as a page."""
        _admit(request)
        return HTMLResponse(_page(document()))

    return router


def _admit(request: Request) -> None:
    exchange = request.scope[EXCHANGE]
    exchange.require(Verb.API_DESCRIPTION)
    exchange.parameters()


_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:56rem;margin:2rem auto;padding:0 1rem}"
    "code{background:#8881;padding:.1em .3em;border-radius:.2em}"
    "summary{cursor:pointer;padding:.3rem 0}b{display:inline-block;width:5rem}"
    "table{border-collapse:collapse;margin:.5rem 0 1rem 1rem}"
    "td{padding:.15rem .8rem;vertical-align:top;border-top:1px solid #8883}"
)


def _page(document: dict[str, Any]) -> str:
    """Return a page that needs no script and nothing from another host."""
    operations = "".join(
        _operation(method, path, operation, item.get("parameters", []))
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if method != "parameters"
    )
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>jetkv API</title>"
        f"<style>{_STYLE}</style><h1>jetkv {escape(document['info']['version'])}</h1>"
        f"<p>{escape(document['info']['description'])}"
        f"<p>As JSON: <a href=/api/v1/openapi.json>/api/v1/openapi.json</a>{operations}</html>"
    )


def _operation(
    method: str, path: str, operation: dict[str, Any], shared: list[dict[str, Any]]
) -> str:
    rows = [
        (f"<code>{escape(item['name'])}</code> {escape(item['in'])}", item.get("description", ""))
        for item in [*shared, *operation.get("parameters", [])]
    ] + [
        (f"<code>{escape(status)}</code>", answer["description"])
        for status, answer in operation["responses"].items()
    ]
    table = "".join(f"<tr><td>{left}<td>{escape(right)}" for left, right in rows)
    text = operation.get("description") or operation.get("summary", "")
    return (
        f"<details><summary><b>{method.upper()}</b> <code>{escape(path)}</code> {escape(text)}"
        f"</summary><table>{table}</table></details>"
    )
