"""The table of routes: what each row has, and that no path stands beside it."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import jetkv_gateway
from jetkv_gateway.http.router import Answer, Route, Router
from jetkv_gateway.http.routes import PATH_PARAMETERS, ROUTER, ROUTES
from jetkv_gateway.http.schema import ERROR_DESCRIPTIONS, MODELS
from jetkv_gateway.kv.access import Verb

SOURCES = Path(jetkv_gateway.__file__).parent
PUBLIC = {
    "/health",
    "/ready",
    "/api/v1/capabilities",
    "/console",
    "/console/",
    "/console/{file}",
}

rows = pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)


@rows
def test_every_row_has_a_verb_but_those_that_everybody_may_ask(route: Route) -> None:
    assert route.public == (route.template in PUBLIC)


@rows
def test_every_row_says_what_it_answers(route: Route) -> None:
    assert route.answers
    assert all(status < 400 or status == 503 for status in route.answers)
    assert set(route.error_statuses) <= ERROR_DESCRIPTIONS.keys()
    names = {model.__name__ for model in MODELS}
    bodies = [route.body, *(answer.content for answer in route.answers.values())]
    named = {schema for body in bodies for schema in body.values() if isinstance(schema, str)}
    assert named <= names


@rows
def test_every_row_finds_itself(route: Route) -> None:
    path = route.template.replace("{bucket}", "b").replace("{key...}", "k").encode()
    for base in (b"", b"/json"):
        match = ROUTER.find(base + path)
        assert match is not None
        assert match[0].routes[route.method] is route
        assert len(match[1]) == len(match[0].parameters)


def test_names_are_unique_and_so_are_method_and_path() -> None:
    assert len({route.name for route in ROUTES}) == len(ROUTES)
    assert len({(route.method, route.template) for route in ROUTES}) == len(ROUTES)


def test_a_row_that_stands_twice_is_refused() -> None:
    row = Route("one", "GET", "/one", Verb.READ, "", "", answers={200: Answer("")})
    with pytest.raises(ValueError, match="GET /one stands twice"):
        Router([row, row])


def test_allow_names_all_methods_of_a_path_and_options() -> None:
    match = ROUTER.find(b"/api/v1/kv/buckets/b/keys/k")
    assert match is not None
    assert match[0].allow == "GET, HEAD, PUT, DELETE, OPTIONS"


@given(
    st.lists(
        st.tuples(
            st.sampled_from([b"", b"/json"]),
            st.sampled_from([b"b", b"c", b"keys", b"b%2Fc", b"a.b", b"b/keys/k/keys"]),
            st.sampled_from([b"", b"/keys", b"/keys/", b"/touch/", b"/history/", b"/keysx/"]),
            st.sampled_from([b"", b"k", b"k/keys/l", b"%2F", b"%FF", b"../keys/k"]),
        ),
        max_size=6,
    )
)
def test_a_path_is_found_the_same_whatever_was_looked_up_before(
    paths: list[tuple[bytes, bytes, bytes, bytes]],
) -> None:
    router = Router(ROUTES)
    for base, bucket, between, key in paths:
        path = b"%b/api/v1/kv/buckets/%b%b%b" % (base, bucket, between, key)
        found, fresh = router.find(path), Router(ROUTES).find(path)
        assert (found is None) == (fresh is None)
        if found is not None and fresh is not None:
            assert found[0].template == fresh[0].template
            assert found[1:] == fresh[1:]


@given(st.binary(max_size=80))
def test_whatever_a_path_is_it_is_found_or_it_is_not(path: bytes) -> None:
    for start in (b"", b"/", b"/api/v1/kv/buckets/", b"/api/v1/kv/buckets/b/keys/"):
        match = ROUTER.find(start + path)
        assert match is None or len(match[1]) == len(match[0].parameters)


@given(st.binary(min_size=1, max_size=40).filter(lambda name: b"/" not in name), st.binary())
def test_a_key_is_every_byte_behind_its_bucket(bucket: bytes, key: bytes) -> None:
    match = ROUTER.find(b"/api/v1/kv/buckets/%s/keys/%s" % (bucket, key))
    assert match is not None
    assert match[1] == (bucket, key)


def test_every_parameter_of_a_template_is_described() -> None:
    used = {name for resource in ROUTER.resources for name in resource.parameters}
    assert used == PATH_PARAMETERS.keys()


def test_no_path_stands_outside_the_table() -> None:
    """A path that code compares with by itself is a route without verb, limit or description."""
    literal = re.compile(
        r"""["'](/(?:api|json|health|ready|metrics|docs|console|keys|watch|history)\b.*?)["']"""
    )
    found = {
        f"{path.relative_to(SOURCES)}: {text}"
        for path in SOURCES.rglob("*.py")
        if path.name not in ("routes.py", "route_parts.py", "router.py")
        for line in path.read_text().splitlines()
        for text in literal.findall(line)
    }
    assert found == set()
