"""What a row of the table of routes is, and how a path is found in it.

A template has segments of text, `{bucket}`, and at its end `{key...}`, which takes every byte that
is left, slashes included. Paths are matched as they were sent, still percent-encoded, so an encoded
slash in a bucket's name cannot reach another route.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from jetkv_gateway.kv.access import Verb

__all__ = ["JSON_BASE", "Answer", "Match", "Parameter", "Resource", "Route", "Router"]

_LONGEST_KEPT = 1024
"""Bytes of a path that is kept with what it was found to be."""

JSON_BASE = b"/json/"
"""The base URL whose GETs answer with ready values by default (docs/http-api.md)."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """A query parameter or a header, as it is described; a string unless its schema differs.

    Attributes:
        where: `query`, `header` or `path`.
        repeated: whether a query parameter may come more than once.
    """

    name: str
    description: str
    schema: Mapping[str, Any] = field(default_factory=dict)
    where: str = "query"
    repeated: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """What a row answers where nothing goes wrong.

    Attributes:
        content: by media type, the name of a schema, or a schema.
        headers: schemas of the headers that matter to callers.
    """

    description: str
    content: Mapping[str, str | Mapping[str, Any]] = field(default_factory=dict)
    headers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Route:
    """One row: a method on a path.

    Attributes:
        name: of the operation, for generated clients and for its handler.
        template: of the path.
        verb: what a caller has to be allowed; None makes the row public.
        parameters: query parameters and headers; a query parameter that is not listed is refused.
        limited: whether it counts among the requests in flight. Watches and listings have limits of
            their own, and to wait for those would fill this one.
        documents_head: whether HEAD, which every GET has, is of use on its own, and described.
        websocket: whether it is a WebSocket, too, and as an answer has no end.
        scans: whether it takes long for NATS, and is not to be made for nobody.
        streamed: whether its answer goes out in parts, and can break off.
        repeatable: whether it honours `Idempotency-Key`.
        page: whether it is for people, who may follow a link to it.
        steps: whether its handler mostly waits for one reply of NATS, and needs no Task for that.
        answers: by status.
        error_statuses: of its errors, besides 400 and 403, and besides 401 unless it is public.
        body: what the request's body is, by media type, as in an answer.
    """

    name: str
    method: str
    template: str
    verb: Verb | None
    summary: str
    tag: str
    parameters: tuple[Parameter, ...] = ()
    limited: bool = True
    documents_head: bool = False
    websocket: bool = False
    scans: bool = False
    streamed: bool = False
    repeatable: bool = False
    page: bool = False
    steps: bool = False
    answers: Mapping[int, Answer] = field(default_factory=dict)
    error_statuses: tuple[int, ...] = ()
    body: Mapping[str, str | Mapping[str, Any]] = field(default_factory=dict)

    @property
    def public(self) -> bool:
        return self.verb is None

    @property
    def query(self) -> frozenset[str]:
        """The names of its query parameters."""
        return frozenset(one.name for one in self.parameters if one.where == "query")

    @property
    def repeated(self) -> frozenset[str]:
        """The names of those that may come more than once."""
        return frozenset(one.name for one in self.parameters if one.repeated)


class Resource:
    """A path template with its rows.

    Attributes:
        template: the `route` label of metrics.
        routes: by method; HEAD is the row of GET (RFC 9110 §9.3.2).
        allow: the value of an `Allow` header.
        public: whether none of its rows needs a credential.
        unlimited: the methods that do not count among the requests in flight; one it lacks does.
        streamed: whether a row's answer goes out in parts, and needs to be told how to end.
        parameters: the names of the template's parameters, in order.
    """

    __slots__ = ("allow", "parameters", "public", "routes", "streamed", "template", "unlimited")

    def __init__(self, template: str, routes: Iterable[Route]) -> None:
        self.template = template
        self.routes: dict[str, Route] = {}
        for route in routes:
            if route.method in self.routes:
                raise ValueError(f"{route.method} {template} stands twice in the table")
            self.routes[route.method] = route
            if route.method == "GET":
                self.routes["HEAD"] = route
        rows = self.routes.items()
        self.public = all(route.public for _, route in rows)
        self.unlimited = {"OPTIONS"} | {method for method, route in rows if not route.limited}
        self.streamed = any(route.websocket or route.streamed for _, route in rows)
        self.allow = _allow(self.routes)
        self.parameters = tuple(re.findall(r"\{(\w+)(?:\.\.\.)?\}", template))


Match = tuple[Resource, tuple[bytes, ...]]
"""A path that the table has, and what its parameters hold, still percent-encoded."""


class Router:
    """Finds a path in a table of routes.

    Attributes:
        names: of all rows.
        allow: the value of an `Allow` header for the server as a whole.
    """

    def __init__(self, routes: Iterable[Route]) -> None:
        rows: dict[str, list[Route]] = {}
        for route in routes:
            rows.setdefault(route.template, []).append(route)
        self.names = {route.name for some in rows.values() for route in some}
        self.resources = [Resource(template, some) for template, some in rows.items()]
        self.allow = _allow({method for one in self.resources for method in one.routes})
        self._fixed = {
            one.template.encode(): (one, ()) for one in self.resources if not one.parameters
        }
        # Single keys first: they are asked for most, and no other template takes their paths.
        open_ended = sorted(
            (one for one in self.resources if one.parameters),
            key=lambda one: one.parameters != ("bucket", "key"),
        )
        # One expression for all, so that a path is gone through once; a group for each template.
        self._match = re.compile(
            b"|".join(b"(%s)" % _expression(one.template) for one in open_ended), re.DOTALL
        ).fullmatch
        self._groups: dict[int, tuple[Resource, tuple[int, ...]]] = {}
        group = 1
        for one in open_ended:
            count = len(one.parameters)
            self._groups[group] = one, tuple(range(group + 1, group + 1 + count))
            group += 1 + count
        self._known = lru_cache(maxsize=2048)(self._look_up)

    def find(self, path: bytes) -> Match | None:
        """Return the resource of a path as it was sent, with or without the JSON base."""
        return self._known(path) if len(path) <= _LONGEST_KEPT else self._look_up(path)

    def _look_up(self, path: bytes) -> Match | None:
        if path.startswith(JSON_BASE):
            path = path[len(JSON_BASE) - 1 :]
        fixed = self._fixed.get(path)
        if fixed is not None:
            return fixed
        found = self._match(path)
        if found is None:
            return None
        # The group of the whole template closes last.
        resource, groups = self._groups[found.lastindex or 0]
        if len(groups) == 1:
            return resource, (found[groups[0]],)
        return resource, found.group(*groups)


def _allow(methods: Iterable[str]) -> str:
    order = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]
    return ", ".join([*sorted(methods, key=order.index), "OPTIONS"])


def _expression(template: str) -> bytes:
    """Return a regular expression for a template; `{key...}` may be empty: a bad key, not a 404."""
    pattern = re.escape(template).replace(r"\{bucket\}", "([^/]+)")
    return pattern.replace(r"\{key\.\.\.\}", "(.*)").encode()
