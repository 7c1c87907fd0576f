"""The URLs that tickets open, in a form that is the same however a client writes them. Pure."""

import json

from jetkv_gateway.http.paths import bucket_name, parse_query
from jetkv_gateway.http.router import JSON_BASE, Match, Resource, Route
from jetkv_gateway.kv.errors import InvalidArgument

__all__ = ["TICKET_PARAMETER", "split_url", "takes_tickets", "ticket_url"]

TICKET_PARAMETER = "ticket"


def takes_tickets(resource: Resource) -> bool:
    """Return whether a ticket may open a path."""
    route = resource.routes.get("GET")
    return route is not None and TICKET_PARAMETER in route.query


def split_url(url: str) -> tuple[bytes, bytes]:
    """Return path and query of a URL, with or without scheme and host.

    Raises:
        InvalidArgument: it has no path.
    """
    rest = url.partition("#")[0]
    scheme, found, behind = rest.partition("://")
    if found and scheme.isalpha():
        _, slash, path = behind.partition("/")
        rest = slash + path
    if not rest.startswith("/"):
        raise InvalidArgument("invalid url: it must have a path, such as /api/v1/kv/watch?watch=b")
    path, _, query = rest.partition("?")
    return path.encode(), query.encode()


def ticket_url(path: bytes, match: Match, route: Route, query: bytes) -> tuple[bytes, str | None]:
    """Return a URL in its canonical form, and the ticket that it has.

    Raises:
        InvalidBucketName, InvalidArgument: the query or the bucket breaks a rule.
    """
    resource, raw, _ = match
    parameters = parse_query(query, route.query, route.repeated)
    ticket = parameters.pop(TICKET_PARAMETER, [None])[0]
    form = [
        path.startswith(JSON_BASE),
        resource.template,
        [bucket_name(one) for one in raw],
        sorted(parameters.items()),
    ]
    return json.dumps(form).encode(), ticket
