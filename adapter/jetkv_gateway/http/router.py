"""The rows of the table of routes, and how a path is looked up in it.

A template consists of fixed segments, segments such as `{bucket}`, and at its end `{key...}`, which
takes all remaining bytes, including slashes. Paths are matched as sent, percent-encoded, so an
encoded slash in a bucket name cannot reach another route.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from jetkv_gateway.http.paths import decode_names, key_name
from jetkv_gateway.http.views import View
from jetkv_gateway.kv.access import Verb
from jetkv_gateway.kv.errors import GatewayError
from jetkv_gateway.kv.kept import make_room

__all__ = ["JSON_BASE", "Answer", "Match", "Parameter", "Resource", "Route", "Router", "Target"]

_KEYS = b"/keys/"
_KEY_TEMPLATE = "/buckets/{bucket}/keys/{key...}"
_MOST_KEPT = 1024
_LONGEST_KEPT = 1024
"""Paths in front of a key that are kept with what they are, and the bytes of each."""

# Looked up once: of an enum, that takes as long as a call before Python 3.12.
_BASE64 = View.BASE64

JSON_BASE = b"/json/"
"""The base URL whose GETs return decoded values by default (docs/http-api.md)."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """The description of a query parameter or header. It is a string unless `schema` differs.

    Attributes:
        where: `query`, `header` or `path`.
        repeated: whether a query parameter may occur several times.
        required: whether a request needs it. The handler checks that.
    """

    name: str
    description: str
    schema: Mapping[str, Any] = field(default_factory=dict)
    where: str = "query"
    repeated: bool = False
    required: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer of a route if there is no error.

    Attributes:
        content: a schema or the name of one, by media type.
        headers: schemas of the headers that callers use.
    """

    description: str
    content: Mapping[str, str | Mapping[str, Any]] = field(default_factory=dict)
    headers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Route:
    """One route: a method on a path.

    Attributes:
        name: of the operation, for generated clients, and of its handler.
        template: of the path, such as `/api/v1/kv/buckets/{bucket}`.
        verb: the permission that a caller needs. None makes the route public.
        parameters: query parameters and headers. Other query parameters are refused.
        limited: whether it counts as a request in flight. Watches and listings have their own
            limits; waiting for those must not fill this limit.
        documents_head: whether HEAD is documented. Every GET route answers HEAD.
        endless: whether its answer has no end.
        websocket: whether it also accepts a WebSocket.
        scans: whether it is slow in NATS, and stops when the client leaves.
        streamed: whether its answer is sent in parts, and can break off.
        repeatable: whether it honours `Idempotency-Key`.
        page: whether it is a page for people, who may follow links to it.
        steps: whether its handler usually waits for one reply of NATS only, and runs without a
            Task.
        counts_items: whether each item of its body counts as a request for the caller's rate.
        evaluates: whether it is about the evaluation of flags, and its errors have the fields of
            OFREP, too.
        answers: by status.
        error_statuses: of its errors, besides 400 and 403, and besides 401 unless it is public.
        body: schemas of the request's body, by media type, as in an answer.
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
    endless: bool = False
    websocket: bool = False
    scans: bool = False
    streamed: bool = False
    repeatable: bool = False
    page: bool = False
    steps: bool = False
    counts_items: bool = False
    evaluates: bool = False
    answers: Mapping[int, Answer] = field(default_factory=dict)
    error_statuses: tuple[int, ...] = ()
    body: Mapping[str, str | Mapping[str, Any]] = field(default_factory=dict)

    @property
    def public(self) -> bool:
        return self.verb is None

    @property
    def query(self) -> frozenset[str]:
        """The names of the query parameters."""
        return frozenset(one.name for one in self.parameters if one.where == "query")

    @property
    def repeated(self) -> frozenset[str]:
        """The names of the query parameters that may occur several times."""
        return frozenset(one.name for one in self.parameters if one.repeated)


class Resource:
    """A path template with its routes.

    Attributes:
        template: the `route` label of metrics.
        routes: by method. HEAD has the route of GET (RFC 9110 §9.3.2).
        allow: the value of an `Allow` header.
        public: whether all its routes are public.
        unlimited: the methods that do not count as requests in flight.
        streamed: whether a route's answer is sent in parts, and the connection must detect that
            nobody reads it.
        parameters: the names of the template's parameters, in order.
        of_bucket: whether the first of them is a bucket.
        evaluates: whether its routes evaluate flags.
    """

    __slots__ = (
        "allow",
        "evaluates",
        "of_bucket",
        "parameters",
        "public",
        "routes",
        "streamed",
        "template",
        "unlimited",
    )

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
        self.streamed = any(route.endless or route.streamed for _, route in rows)
        self.evaluates = any(route.evaluates for _, route in rows)
        self.allow = _allow(self.routes)
        self.of_bucket = "{bucket}" in template
        self.parameters = tuple(re.findall(r"\{(\w+)(?:\.\.\.)?\}", template))


Match = tuple[Resource, tuple[bytes, ...], tuple[str, ...] | None]
"""The resource of a path, the values of its parameters, percent-encoded, and the same decoded.

The last one is None if a name breaks its rule: then `paths.decode_names` raises the error.
"""


@dataclass(slots=True)
class Target:
    """What a request asks for: its method, path and query, and what the table of routes has for it.

    Requests with the same line share one, so what follows from the line is found out once. Change
    nothing but `command`. It is not frozen, since making a frozen one takes three times as long.

    Attributes:
        method: as sent; a WebSocket handshake is a GET (RFC 6455 §4.1).
        sent_path: as sent, percent-encoded, the `/json` base included.
        path: the same without that base.
        view: how values are shown, unless the request says otherwise: the base decides.
        query: the part after the first question mark, empty without one.
        match: the resource, None if the path is unknown.
        route: that answers the request; None if there is none, or if a name breaks its rule.
        names: in the path, decoded; empty if `route` is None.
        template: of the resource, None if the path is unknown.
        command: what the handler has made of it, if that follows from the target alone.
    """

    method: str
    sent_path: bytes
    path: bytes
    view: View
    query: bytes
    match: Match | None
    route: Route | None
    names: tuple[str, ...]
    template: str | None
    command: Any = None

    def without_query(self) -> "Target":
        """Return the same target without its query, which may be long."""
        return replace(self, query=b"")


class Router:
    """Looks up paths in a table of routes.

    Attributes:
        names: of all routes.
        allow: the value of an `Allow` header for the server as a whole.
    """

    def __init__(self, routes: Iterable[Route]) -> None:
        rows: dict[str, list[Route]] = {}
        for route in routes:
            rows.setdefault(route.template, []).append(route)
        self._before_keys: dict[bytes, tuple[Resource, bytes, str]] = {}
        self.names = {route.name for some in rows.values() for route in some}
        self.resources = [Resource(template, some) for template, some in rows.items()]
        self.allow = _allow({method for one in self.resources for method in one.routes})
        self._fixed: dict[bytes, Match] = {
            one.template.encode(): (one, (), ()) for one in self.resources if not one.parameters
        }
        # Single keys come first, since they are requested most, and no other template matches their
        # paths.
        open_ended = sorted(
            (one for one in self.resources if one.parameters),
            key=lambda one: one.parameters != ("bucket", "key"),
        )
        # One expression with a group for each template scans a path only once.
        self._match = re.compile(
            b"|".join(b"(%s)" % _expression(one.template) for one in open_ended), re.DOTALL
        ).fullmatch
        self._groups: dict[int, tuple[Resource, tuple[int, ...]]] = {}
        group = 1
        for one in open_ended:
            count = len(one.parameters)
            self._groups[group] = one, tuple(range(group + 1, group + 1 + count))
            group += 1 + count

    def target(self, method: str, path: bytes, query: bytes | None) -> Target:
        """Return what a request asks for.

        Args:
            path: as sent.
            query: None without a question mark, if the server can tell.
        """
        match, shown, view = self.find(path), path, _BASE64
        if path.startswith(JSON_BASE):
            shown, view = path[len(JSON_BASE) - 1 :], View.JSON
        if match is None:
            return Target(method, path, shown, view, query or b"", None, None, (), None)
        resource, _, names = match
        if query is None:
            query = b""
        elif not query and "key" in resource.parameters:
            # Without the question mark, the path would be another key. As a parameter, it is
            # refused.
            query = b"?"
        route = None if names is None else resource.routes.get(method)
        if names is None or route is None:
            names = ()
        return Target(method, path, shown, view, query, match, route, names, resource.template)

    def find(self, path: bytes) -> Match | None:
        """Return the resource of a path as sent, with or without the JSON base."""
        before, keys, raw_key = path.partition(_KEYS)
        known = self._before_keys.get(before)
        if known is None or not keys:
            return self._look_up(path)
        resource, raw_bucket, bucket = known
        try:
            return resource, (raw_bucket, raw_key), (bucket, key_name(raw_key))
        except GatewayError:
            # The caller has to be checked before it is told that a name is wrong.
            return resource, (raw_bucket, raw_key), None

    def _look_up(self, path: bytes) -> Match | None:
        shown = path[len(JSON_BASE) - 1 :] if path.startswith(JSON_BASE) else path
        fixed = self._fixed.get(shown)
        if fixed is not None:
            return fixed
        found = self._match(shown)
        if found is None:
            return None
        # The group of the whole template is the last one to close.
        resource, groups = self._groups[found.lastindex or 0]
        raw = (found[groups[0]],) if len(groups) == 1 else found.group(*groups)
        try:
            names = decode_names(resource.parameters, raw)
        except GatewayError:
            return resource, raw, None  # as in `find`
        if resource.template.endswith(_KEY_TEMPLATE):
            # Whatever key follows, other paths that begin like this have the same resource, unless
            # the bucket itself is called "keys": then `find` would cut them in front of its name.
            before, _, raw_key = path.partition(_KEYS)
            if raw_key == raw[1] and len(before) <= _LONGEST_KEPT:
                make_room(self._before_keys, _MOST_KEPT)
                self._before_keys[before] = resource, raw[0], names[0]
        return resource, raw, names


def _allow(methods: Iterable[str]) -> str:
    order = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]
    return ", ".join([*sorted(methods, key=order.index), "OPTIONS"])


def _expression(template: str) -> bytes:
    """Return a regular expression for a template. An empty `{key...}` is a bad key, not a 404."""
    pattern = re.sub(r"\\\{\w+\\\}", "([^/]+)", re.escape(template))
    return pattern.replace(r"\{key\.\.\.\}", "(.*)").encode()
