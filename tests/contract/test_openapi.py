"""The OpenAPI document: what it lists, that its page is harmless, and that it is true."""

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.checks import load_all_checks
from schemathesis.schemas import APIOperation, BaseSchema
from schemathesis.specs.openapi.checks import positive_data_acceptance

from jetkv_gateway.embedded import NatsServer
from jetkv_gateway.http.schema import READ
from tests.support.flags import FLAGS
from tests.support.gateway import running_gateway
from tests.support.http import BUCKETS, Bucket, Http
from tests.support.tokens import new_token, token_line

DOCUMENT = "/api/v1/openapi.json"
BATCH = f"{BUCKETS}/{{bucket}}/batch"
KEY = f"{BUCKETS}/{{bucket}}/keys/{{key}}"


@pytest.fixture(scope="module")
def document(http: Http) -> dict[str, Any]:
    answer = http.get(DOCUMENT)
    assert answer.status == 200
    found: dict[str, Any] = answer.json
    return found


# --- what it lists


@pytest.mark.parametrize(
    ("method", "path", "statuses"),
    [
        ("get", BUCKETS, "200 400 401 403 503 504"),
        ("post", BUCKETS, "201 400 401 403 409 413 429 501 503 504 507"),
        ("get", f"{BUCKETS}/{{bucket}}", "200 400 401 403 404 409 503 504"),
        ("delete", f"{BUCKETS}/{{bucket}}", "204 400 401 403 404 409 503 504"),
        ("get", f"{BUCKETS}/{{bucket}}/keys", "200 400 401 403 404 409 410 429 503 504"),
        ("delete", f"{BUCKETS}/{{bucket}}/keys", "200 400 401 403 404 409 429 503 504 507"),
        (
            "post",
            f"{BUCKETS}/{{bucket}}/compact",
            "200 400 401 403 404 409 413 429 501 503 504",
        ),
        ("get", KEY, "200 304 400 401 403 404 409 412 429 503 504"),
        ("head", KEY, "200 304 400 401 403 404 409 412 429 503 504"),
        ("put", KEY, "200 400 401 403 404 409 412 413 429 501 503 504 507"),
        ("delete", KEY, "204 400 401 403 404 409 412 429 503 504 507"),
        ("get", f"{BUCKETS}/{{bucket}}/history/{{key}}", "200 400 401 403 404 409 429 503 504"),
        (
            "post",
            f"{BUCKETS}/{{bucket}}/batch",
            "200 400 401 403 404 409 412 413 429 501 503 504 507",
        ),
        ("get", "/health", "200 400 403"),
        ("get", "/ready", "200 400 403 503"),
        ("get", "/api/v1/capabilities", "200 400 403"),
        ("get", DOCUMENT, "200 400 401 403"),
        ("get", "/docs", "200 400 401 403"),
        ("get", "/console", "200 304 400 403 404"),
        ("get", "/console/{file}", "200 304 400 403 404"),
        ("post", FLAGS, "200 304 400 401 403 409 413 429 501 503 504"),
        ("post", f"{FLAGS}/{{key}}", "200 400 401 403 404 409 413 429 501 503 504"),
        ("get", "/ofrep/v1/events", "200 400 401 403 409 429 503 504"),
    ],
)
def test_a_route_is_listed_with_every_status_it_answers(
    document: dict[str, Any], method: str, path: str, statuses: str
) -> None:
    responses = document["paths"][path][method]["responses"]
    assert " ".join(sorted(responses)) == statuses
    for status, response in responses.items():
        if status >= "400" and path != "/ready":
            schema = response["content"]["application/json"]["schema"]
            assert schema == {"$ref": "#/components/schemas/Error"}


@pytest.mark.parametrize(
    ("method", "names"),
    [
        ("get", {"values", "consistency", "revision", "If-Match", "If-None-Match"}),
        ("head", {"values", "consistency", "revision", "If-Match", "If-None-Match"}),
        ("put", {"If-Match", "If-None-Match", "Content-Encoding", "JetKV-TTL-Seconds"}),
        ("delete", {"purge", "If-Match"}),
    ],
)
def test_a_key_route_is_listed_with_its_parameters(
    document: dict[str, Any], method: str, names: set[str]
) -> None:
    item = document["paths"][KEY]
    assert {parameter["name"] for parameter in item["parameters"]} == {"bucket", "key"}
    assert {parameter["name"] for parameter in item[method]["parameters"]} == names


def test_operations_have_short_names_for_generated_clients(document: dict[str, Any]) -> None:
    names = [
        operation["operationId"]
        for item in document["paths"].values()
        for method, operation in item.items()
        if method != "parameters"
    ]
    assert {"create_bucket", "list_keys", "get_entry", "put_entry", "get_history"} <= set(names)
    assert len(names) == len(set(names))
    assert all(re.fullmatch("[a-z_]{4,20}", name) for name in names)


REQUESTS = {model.__name__ for model in READ}


def test_no_answer_is_described_as_null(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    answers = {name: schema for name, schema in schemas.items() if name not in REQUESTS}
    assert "null" not in str(answers).replace("None", "null").lower()


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    references = set(re.findall(r"'\$ref': '#/components/schemas/(\w+)'", str(document)))
    assert references == document["components"]["schemas"].keys()


def test_with_auth_off_no_security_is_described(document: dict[str, Any]) -> None:
    assert "security" not in document


def test_with_tokens_all_but_the_public_routes_want_one(nats: NatsServer, tmp_path: Path) -> None:
    token = new_token()
    file = tmp_path / "tokens"
    file.write_text(token_line("alice", token))
    with running_gateway(nats.url, auth="tokens", auth_tokens=file) as http:
        document = http.get(DOCUMENT, Authorization=f"Bearer {token}").json
    assert document["security"] == [{"token": []}]
    assert document["components"]["securitySchemes"] == {
        "token": {"type": "http", "scheme": "bearer"}
    }
    open_to_all = {
        path
        for path, item in document["paths"].items()
        for operation in item.values()
        if "security" in operation and operation["security"] == []
    }
    assert open_to_all == {
        "/health",
        "/ready",
        "/api/v1/capabilities",
        "/console",
        "/console/",
        "/console/{file}",
    }


# --- its page


class Page(HTMLParser):
    """Collects what a browser would run or fetch."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def page(http: Http) -> Page:
    answer = http.get("/docs")
    assert (answer.status, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    return Page(answer.body.decode())


def test_the_page_runs_no_script_and_fetches_nothing(page: Page) -> None:
    assert not page.tags & {"script", "link", "img", "iframe", "object", "embed", "form", "base"}
    assert not [name for name, _ in page.attributes if name.startswith("on") or name == "src"]
    links = [value for name, value in page.attributes if name == "href"]
    assert links == [DOCUMENT]
    assert "http://" not in page.text
    assert "https://" not in page.text
    assert "@import" not in page.text
    assert "url(" not in page.text


def test_the_page_shows_every_route(page: Page, document: dict[str, Any]) -> None:
    for path, item in document["paths"].items():
        assert path in page.text
        for parameter in item.get("parameters", []):
            assert parameter["description"] in page.text


# --- that it is true


load_all_checks()

OPERATIONS = [
    ("POST", BUCKETS),
    ("GET", BUCKETS),
    ("GET", f"{BUCKETS}/{{bucket}}"),
    ("DELETE", f"{BUCKETS}/{{bucket}}"),
    ("GET", f"{BUCKETS}/{{bucket}}/keys"),
    ("DELETE", f"{BUCKETS}/{{bucket}}/keys"),
    ("POST", f"{BUCKETS}/{{bucket}}/compact"),
    ("GET", KEY),
    ("HEAD", KEY),
    ("PUT", KEY),
    ("DELETE", KEY),
    ("GET", f"{BUCKETS}/{{bucket}}/history/{{key}}"),
    ("POST", BATCH),
    ("GET", "/health"),
    ("GET", "/ready"),
    ("GET", "/api/v1/capabilities"),
    ("GET", "/docs"),
    ("GET", "/console"),
    ("GET", "/console/"),
    ("GET", "/console/{file}"),
    ("POST", FLAGS),
    ("POST", f"{FLAGS}/{{key}}"),
]
WITH_PARAMETERS = [route for route in OPERATIONS if "{" in route[1] or route[0] == "POST"]

# A condition that is well formed may still not hold, JSON Schema calls 36.0 an integer, and one
# parameter of a list may exclude another.
MAY_REFUSE_WHAT_IS_VALID = {
    ("POST", BUCKETS),
    ("GET", f"{BUCKETS}/{{bucket}}/keys"),
    ("DELETE", f"{BUCKETS}/{{bucket}}/keys"),
    ("POST", f"{BUCKETS}/{{bucket}}/compact"),
    ("POST", BATCH),
    *(route for route in OPERATIONS if route[1] == KEY),
}


@pytest.fixture(scope="module")
def schema(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BaseSchema]:
    """The document of a gateway with a nats-server of its own, where anything may be deleted."""
    with (
        NatsServer(tmp_path_factory.mktemp("openapi")) as nats,
        running_gateway(nats.url) as http,
    ):
        assert http.post(BUCKETS, {"name": "b", "history": 5}).status == 201
        assert Bucket(http, "b").put("k", "v").status == 200
        schema = schemathesis.openapi.from_url(http.url + DOCUMENT)
        # A full bucket is no fault of the server, and 507 is what the document says of it.
        schema.config.checks.not_a_server_error.expected_statuses = ["2xx", "3xx", "4xx", "507"]
        yield schema


def cases(operation: APIOperation, mode: GenerationMode) -> st.SearchStrategy[Case]:
    """Requests by the document (or against it); of those of a key, many to one that exists."""
    anything = operation.as_strategy(generation_mode=mode)
    bucket = {"bucket": "b"}
    if "{key}" in operation.path:
        return st.one_of(
            operation.as_strategy(generation_mode=mode, path_parameters=bucket | {"key": "k"}),
            operation.as_strategy(generation_mode=mode, path_parameters=bucket),
            anything,
        )
    if operation.path.endswith(("/keys", "/batch")):
        return operation.as_strategy(generation_mode=mode, path_parameters=bucket) | anything
    return anything


@pytest.mark.parametrize(
    ("route", "mode"),
    [(route, GenerationMode.POSITIVE) for route in OPERATIONS]
    + [(route, GenerationMode.NEGATIVE) for route in WITH_PARAMETERS],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else value.value,
)
def test_what_the_gateway_answers_is_what_the_document_says(
    schema: BaseSchema, route: tuple[str, str], mode: GenerationMode
) -> None:
    method, path = route
    excluded = [positive_data_acceptance] if route in MAY_REFUSE_WHAT_IS_VALID else []

    @settings(
        max_examples=40,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=cases(schema[path][method], mode))
    def every_answer_is_described(case: Case) -> None:
        case.call_and_validate(excluded_checks=excluded)

    every_answer_is_described()
