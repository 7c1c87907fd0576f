"""The OpenAPI document of every release that is supported is still served.

To end something on purpose, follow docs/stability.md#deprecation. The file of a version that is no
longer supported, or was not released yet, may change: see CONTRIBUTING.md.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from jetkv.testing import LocalNats
from jetkv_gateway.http.openapi import openapi_document
from tests.support.compatibility import breaks
from tests.support.gateway import running_gateway
from tests.support.tokens import new_token, token_line

RELEASED = sorted((Path(__file__).parent / "released").glob("openapi-*.json"))
Json = Any
KEY = "/api/v1/kv/buckets/{bucket}/keys/{key}"


@pytest.fixture(scope="module")
def served(nats: LocalNats, tmp_path_factory: pytest.TempPathFactory) -> Json:
    """The document of a gateway that wants tokens: it says which routes need one."""
    token = new_token()
    file = tmp_path_factory.mktemp("released") / "tokens"
    file.write_text(token_line("alice", token) + "\n")
    with running_gateway(nats.url, auth="tokens", auth_tokens=file) as http:
        return http.get("/api/v1/openapi.json", Authorization=f"Bearer {token}").json


def test_there_is_a_released_document() -> None:
    assert RELEASED


@pytest.mark.parametrize("file", RELEASED, ids=lambda file: file.stem)
def test_clients_of_a_release_can_use_this_gateway(served: Json, file: Path) -> None:
    assert breaks(json.loads(file.read_text()), served) == []


# --- that no break is missed

DOCUMENT = openapi_document(auth_required=True)
SERVED = orjson.dumps(DOCUMENT)

Break = tuple[str, Callable[[Json], object], str]


def at(node: Json, *path: str | int) -> Json:
    for step in path:
        node = node[step]
    return node


def schema_of(document: Json, name: str) -> Json:
    return document["components"]["schemas"][name]


def removals() -> Iterator[Break]:
    """Each path, method, parameter, status, header, body and field, removed on its own."""
    for path, item in DOCUMENT["paths"].items():
        yield path, lambda d, p=path: d["paths"].pop(p), "the path is gone"
        for index, parameter in enumerate(item.get("parameters", [])):
            yield (
                f"{path} {parameter['name']}",
                lambda d, p=path, i=index: d["paths"][p]["parameters"].pop(i),
                f"the parameter {parameter['name']}",
            )
        for method, operation in item.items():
            if method != "parameters":
                yield from removals_of(path, method, operation)
    for name, schema in DOCUMENT["components"]["schemas"].items():
        for field in schema.get("properties", {}):
            yield (
                f"{name}.{field}",
                lambda d, n=name, f=field: schema_of(d, n)["properties"].pop(f),
                f"the field {field} is gone",
            )


def removals_of(path: str, method: str, operation: Json) -> Iterator[Break]:
    here = f"{method} {path}"

    def removed(*steps: str | int) -> Callable[[Json], object]:
        *before, last = steps
        return lambda d: at(d, "paths", path, method, *before).pop(last)

    yield here, lambda d: d["paths"][path].pop(method), "the method is gone"
    for index, parameter in enumerate(operation["parameters"]):
        what = f"the parameter {parameter['name']}"
        yield f"{here} {parameter['name']}", removed("parameters", index), what
        for value in parameter["schema"].get("enum", []):
            yield (
                f"{here} {parameter['name']}={value}",
                lambda d, i=index, v=value: at(
                    d, "paths", path, method, "parameters", i, "schema", "enum"
                ).remove(v),
                f"{value} is no longer taken",
            )
    if "requestBody" in operation:
        yield f"{here} body", removed("requestBody"), "the body is gone"
        for media in operation["requestBody"]["content"]:
            steps = ("requestBody", "content", media)
            yield f"{here} body {media}", removed(*steps), "is no longer taken"
    for status, answer in operation["responses"].items():
        yield f"{here} {status}", removed("responses", status), f"status {status} is gone"
        for header in answer.get("headers", {}):
            steps = ("responses", status, "headers", header)
            yield f"{here} {status} {header}", removed(*steps), f"the header {header} is gone"
        for media in answer.get("content", {}):
            steps = ("responses", status, "content", media)
            yield f"{here} {status} {media}", removed(*steps), f"an answer of {media} is gone"


def parameter_of(document: Json, name: str) -> Json:
    (found,) = [one for one in document["paths"][KEY]["get"]["parameters"] if one["name"] == name]
    return found


OTHER: list[Break] = [
    (
        "a parameter becomes required",
        lambda d: parameter_of(d, "values").update(required=True),
        "the parameter values (query) is required now",
    ),
    (
        "a new parameter is required",
        lambda d: d["paths"][KEY]["put"]["parameters"].append(
            {"name": "why", "in": "query", "required": True, "schema": {"type": "string"}}
        ),
        "the new parameter why (query) is required",
    ),
    (
        "a parameter has another type",
        lambda d: parameter_of(d, "revision")["schema"].update(type="integer"),
        "string is no longer taken, but integer",
    ),
    (
        "a parameter has another pattern",
        lambda d: parameter_of(d, "revision")["schema"].update(pattern="^[1-9]$"),
        "the pattern is ^[1-9]$ now",
    ),
    (
        "a parameter takes some values only",
        lambda d: parameter_of(d, "If-Match")["schema"].update(enum=["7"]),
        "other values is no longer taken",
    ),
    (
        "a key may be no longer so long",
        lambda d: d["paths"][KEY]["parameters"][1]["schema"].update(maxLength=511),
        "maxLength is 511 now",
    ),
    (
        "a field of a body takes less",
        lambda d: schema_of(d, "BucketCreate")["properties"]["history"]["anyOf"][0].update(
            maximum=63
        ),
        "history: maximum is 63 now",
    ),
    (
        "a field of a body takes no small numbers",
        lambda d: schema_of(d, "BucketCreate")["properties"]["ttl_seconds"]["anyOf"][0].update(
            minimum=1
        ),
        "ttl_seconds: minimum is 1 now",
    ),
    (
        "a field of a body may no longer be null",
        lambda d: schema_of(d, "BucketCreate")["properties"]["history"]["anyOf"].pop(),
        "null is no longer taken",
    ),
    (
        "a field of a body becomes required",
        lambda d: schema_of(d, "BucketCreate")["required"].append("history"),
        "the field history is required now",
    ),
    (
        "a body becomes required",
        lambda d: d["paths"][KEY]["put"]["requestBody"].update(required=True),
        "a body is required now",
    ),
    (
        "a field of an answer may be missing",
        lambda d: schema_of(d, "EntryOut")["required"].remove("revision"),
        "the field revision may be missing now",
    ),
    (
        "a field of an answer has another type",
        lambda d: schema_of(d, "EntryOut")["properties"]["revision"].update(type="string"),
        "it may be string now, not only integer",
    ),
    (
        "a field of an answer may be null",
        lambda d: schema_of(d, "EntryOut")["properties"].update(
            revision={"anyOf": [{"type": "integer"}, {"type": "null"}]}
        ),
        "it may be null now",
    ),
    (
        "a field of an answer has another value",
        lambda d: schema_of(d, "EntryOut")["properties"]["operation"]["enum"].append("new value"),
        "it may be new value now",
    ),
    (
        "a field of an answer has any value",
        lambda d: schema_of(d, "EntryOut")["properties"]["operation"].pop("enum"),
        "it may be any value now",
    ),
    (
        "a list of an answer has other items",
        lambda d: schema_of(d, "KeyList")["properties"]["keys"].update(items={"type": "object"}),
        "it may be object now, not only string",
    ),
    (
        "an open route needs a credential",
        lambda d: d["paths"]["/health"]["get"].pop("security"),
        "it needs a credential now",
    ),
    (
        "an operation has another name",
        lambda d: d["paths"][KEY]["get"].update(operationId="read_entry"),
        "the operation is called read_entry now",
    ),
]

ALL = [*removals(), *OTHER]


def test_every_part_of_the_document_is_removed_once() -> None:
    assert len(list(removals())) > 300


@pytest.mark.parametrize(("change", "said"), [one[1:] for one in ALL], ids=[one[0] for one in ALL])
def test_a_break_is_found_and_named(change: Callable[[Json], object], said: str) -> None:
    changed = orjson.loads(SERVED)
    change(changed)
    found = breaks(DOCUMENT, changed)
    assert found
    assert all(said in text for text in found), found


GROWTH: list[tuple[str, Callable[[Json], object]]] = [
    ("a path", lambda d: d["paths"].update({"/new": {"get": {"responses": {}}}})),
    ("a method", lambda d: d["paths"][KEY].update(patch=d["paths"][KEY]["put"])),
    (
        "an optional parameter",
        lambda d: d["paths"][KEY]["get"]["parameters"].append(
            {"name": "why", "in": "query", "schema": {"type": "string"}}
        ),
    ),
    ("a value of a parameter", lambda d: parameter_of(d, "values")["schema"]["enum"].append("hex")),
    ("any value of a parameter", lambda d: parameter_of(d, "values")["schema"].pop("enum")),
    ("a longer key", lambda d: d["paths"][KEY]["parameters"][1]["schema"].update(maxLength=1024)),
    (
        "an optional field of a body",
        lambda d: schema_of(d, "BucketCreate")["properties"].update(
            anything_new={"type": "string"}
        ),
    ),
    (
        "a field of a body that takes more",
        lambda d: schema_of(d, "BucketCreate")["properties"]["history"]["anyOf"].append(
            {"type": "string"}
        ),
    ),
    (
        "a field of an answer",
        lambda d: schema_of(d, "EntryOut")["properties"].update(new_field={"type": "integer"}),
    ),
    ("a field that always comes", lambda d: schema_of(d, "Error")["required"].append("hint")),
    (
        "a status",
        lambda d: d["paths"][KEY]["get"]["responses"].update({"410": {"description": "gone"}}),
    ),
    ("a description", lambda d: d["paths"][KEY]["get"].update(summary="Get a key")),
]


@pytest.mark.parametrize("change", [one[1] for one in GROWTH], ids=[one[0] for one in GROWTH])
def test_what_is_new_breaks_nothing(change: Callable[[Json], object]) -> None:
    changed = orjson.loads(SERVED)
    change(changed)
    assert breaks(DOCUMENT, changed) == []
