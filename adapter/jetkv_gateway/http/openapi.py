"""The OpenAPI document, built from the table of routes, and a page that shows it."""

from base64 import b64encode
from collections.abc import Iterable, Mapping
from hashlib import sha256
from html import escape
from typing import Any

import orjson
from pydantic.json_schema import models_json_schema

from jetkv_gateway import __version__
from jetkv_gateway.http.call import Call
from jetkv_gateway.http.origins import isolation_headers
from jetkv_gateway.http.router import Parameter, Resource, Route
from jetkv_gateway.http.routes import PATH_PARAMETERS, ROUTER
from jetkv_gateway.http.schema import ERROR_DESCRIPTIONS, MODELS, READ

__all__ = ["ApiHandlers", "openapi_document"]

_REF = "#/components/schemas/"
_ERROR = {"application/json": {"schema": {"$ref": f"{_REF}Error"}}}
_DESCRIPTION = (
    "Key-value buckets on NATS JetStream, compatible with the Ironflow KV API. The base URL "
    "`/json` has the same API, with decoded values by default."
)


class ApiHandlers:
    """The handlers of the routes that describe the API."""

    def __init__(self, *, auth_required: bool) -> None:
        self._auth_required = auth_required
        self._built: dict[str, Any] = {}

    async def openapi(self, call: Call) -> None:
        call.answer_json(200, orjson.dumps(self._document()))

    async def docs(self, call: Call) -> None:
        page = _html_page(self._document()).encode()
        call.answer(200, _HTML_LINE + isolation_headers(call, _POLICY), page)

    def _document(self) -> dict[str, Any]:
        if not self._built:
            self._built.update(openapi_document(auth_required=self._auth_required))
        return self._built


def openapi_document(*, auth_required: bool) -> dict[str, Any]:
    """Return the document of all routes."""
    _, models = models_json_schema(
        [(model, "validation" if model in READ else "serialization") for model in MODELS],
        ref_template=_REF + "{model}",
    )
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": "jetkv", "description": _DESCRIPTION, "version": __version__},
        "paths": {
            resource.template.replace("...}", "}"): _path_item(resource, auth_required)
            for resource in ROUTER.resources
        },
        "components": {"schemas": dict(sorted(models["$defs"].items()))},
    }
    if auth_required:
        document["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"token": []}]
    return document


def _path_item(resource: Resource, auth_required: bool) -> dict[str, Any]:
    item: dict[str, Any] = {}
    if resource.parameters:
        item["parameters"] = [
            _parameter_object(PATH_PARAMETERS[name]) for name in resource.parameters
        ]
    for method, route in resource.routes.items():
        if method == "HEAD" and not route.documents_head:
            continue  # its description is that of GET
        operation = _operation_object(route, method)
        if auth_required and route.public:
            operation["security"] = []
        item[method.lower()] = operation
    return item


def _operation_object(route: Route, method: str) -> dict[str, Any]:
    name = route.name if method == route.method else f"head_{route.name.removeprefix('get_')}"
    operation: dict[str, Any] = {
        "tags": [route.tag],
        "operationId": name,
        "summary": route.summary,
        "parameters": [_parameter_object(one) for one in route.parameters],
        "responses": {
            str(status): {
                "description": answer.description,
                **({"headers": answer.headers} if answer.headers else {}),
                **({"content": _content(answer.content)} if answer.content else {}),
            }
            for status, answer in route.answers.items()
        },
    }
    if route.body:
        # A body of any type may be empty, since an empty value is allowed.
        required = "*/*" not in route.body
        operation["requestBody"] = {"required": required, "content": _content(route.body)}
    for status in _error_statuses(route):
        operation["responses"].setdefault(
            str(status), {"description": ERROR_DESCRIPTIONS[status], "content": _ERROR}
        )
    return operation


def _error_statuses(route: Route) -> Iterable[int]:
    return 400, *(() if route.public else (401,)), 403, *route.error_statuses


def _content(content: Mapping[str, str | Mapping[str, Any]]) -> dict[str, Any]:
    return {
        media: {"schema": {"$ref": f"{_REF}{schema}"} if isinstance(schema, str) else schema}
        for media, schema in content.items()
    }


def _parameter_object(parameter: Parameter) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "in": parameter.where,
        "required": parameter.required or parameter.where == "path",
        "description": parameter.description,
        "schema": {"type": "string", **parameter.schema},
    }


_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:56rem;margin:2rem auto;padding:0 1rem}"
    "code{background:#8881;padding:.1em .3em;border-radius:.2em}"
    "summary{cursor:pointer;padding:.3rem 0}b{display:inline-block;width:5rem}"
    "table{border-collapse:collapse;margin:.5rem 0 1rem 1rem}"
    "td{padding:.15rem .8rem;vertical-align:top;border-top:1px solid #8883}"
)
_POLICY = (
    "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    f"style-src 'sha256-{b64encode(sha256(_STYLE.encode()).digest()).decode()}'"
).encode()
_HTML_LINE = b"content-type: text/html; charset=utf-8\r\n"


def _html_page(document: dict[str, Any]) -> str:
    """Return a page without scripts and without resources of other hosts."""
    operations = "".join(
        _operation_html(method, path, operation, item.get("parameters", []))
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


def _operation_html(
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
