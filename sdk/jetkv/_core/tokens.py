"""Requests and answers of calls about tokens and tickets (docs/access.md#routes-for-tokens)."""

import json
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

from jetkv._access_models import NewToken, TokenInfo
from jetkv._core import fields
from jetkv._core.answers import expiry_of, read_document
from jetkv._core.messages import Answer, Kind, Request
from jetkv._core.requests import checked_text
from jetkv.errors import InvalidArgumentError
from jetkv.models import parse_time

__all__ = [
    "LIST_TOKENS",
    "create_ticket",
    "create_token",
    "delete_token",
    "read_new_token",
    "read_ticket",
    "read_tokens",
]

_TOKENS = "/api/v1/auth/tokens"
_JSON = {"Content-Type": "application/json"}

LIST_TOKENS = Request("GET", _TOKENS, Kind.READ, "list of tokens", large=True)


def create_token(
    name: str,
    allow: Iterable[str],
    *,
    expires_in: timedelta | None,
    requests_per_second: int | None,
    max_buckets: int | None,
    max_stored_bytes: int | None,
) -> Request:
    """Return the request that creates a token.

    Raises:
        InvalidArgumentError: an argument has the wrong type, or the time is not whole seconds.
    """
    if isinstance(allow, str):
        raise InvalidArgumentError("allow must be a list of scopes, not a text")
    document: dict[str, Any] = {
        "name": checked_text(name, "name"),
        "allow": [checked_text(scope, "scope") for scope in allow],
    }
    if expires_in is not None:
        seconds = expires_in / timedelta(seconds=1)
        if seconds != int(seconds):
            raise InvalidArgumentError("expires_in must be whole seconds")
        document["expires_in_seconds"] = int(seconds)
    limits = {
        "requests_per_second": requests_per_second,
        "max_buckets": max_buckets,
        "max_stored_bytes": max_stored_bytes,
    }
    document |= {name: limit for name, limit in limits.items() if limit is not None}
    return Request(
        "POST",
        _TOKENS,
        Kind.WRITE,
        f"creation of token {name!r}",
        _JSON,
        json.dumps(document).encode(),
        how_to_check="call tokens(); if the token is there, nobody knows it: delete it",
    )


def delete_token(name: str) -> Request:
    """Return the request that withdraws a token.

    Raises:
        InvalidArgumentError: the name is no text or empty.
    """
    path = f"{_TOKENS}/{quote(checked_text(name, 'name'), safe='')}"
    return Request(
        "DELETE", path, Kind.WRITE, f"deletion of token {name!r}", how_to_check="call tokens()"
    )


def create_ticket(url: str) -> Request:
    """Return the request for a ticket.

    Raises:
        InvalidArgumentError: the URL is no text or empty.
    """
    body = json.dumps({"url": checked_text(url, "url")}).encode()
    # Nothing is stored, so it may be sent twice.
    return Request("POST", "/api/v1/auth/tickets", Kind.READ, "creation of a ticket", _JSON, body)


def read_new_token(answer: Answer, request: Request) -> NewToken:
    return read_document(
        answer,
        request,
        lambda document: NewToken(fields.string(document, "token"), _token(document)),
        status=201,
    )


def read_tokens(answer: Answer, request: Request) -> list[TokenInfo]:
    return read_document(
        answer,
        request,
        lambda document: [_token(one) for one in fields.array(document, "tokens")],
    )


def read_ticket(answer: Answer, request: Request) -> str:
    return read_document(
        answer, request, lambda document: fields.string(document, "ticket"), status=201
    )


def _token(document: Any) -> TokenInfo:
    if not isinstance(document, dict):
        raise fields.FieldError("a token must be a JSON object")
    return TokenInfo(
        fields.string(document, "name"),
        tuple(fields.strings(document, "scopes")),
        fields.string(document, "source"),
        document.get("expired") is True,
        _time(document, "created_at"),
        expiry_of(document),
        _number(document, "requests_per_second"),
        _number(document, "max_buckets"),
        _number(document, "max_stored_bytes"),
        _time(document, "last_used_at"),
    )


def _number(document: dict[str, Any], name: str) -> int | None:
    found = document.get(name)
    return found if type(found) is int else None


def _time(document: dict[str, Any], name: str) -> datetime | None:
    return parse_time(fields.string(document, name)) if name in document else None
