"""The routes that create and withdraw tokens, and give out tickets."""

from jetkv_gateway.http.route_parts import AUTH, TEXT, json_answer
from jetkv_gateway.http.router import Answer, Parameter, Route
from jetkv_gateway.kv.access import Verb

__all__ = ["TICKET", "TOKEN_NAME", "TOKEN_ROUTES"]

TOKEN_NAME = Parameter("name", "The name of a token", TEXT, where="path")
TICKET = Parameter(
    "ticket",
    "A ticket for this URL, of `POST /api/v1/auth/tickets`, for a page that cannot send a header",
    {"maxLength": 8192},
)

TOKEN_ROUTES: tuple[Route, ...] = (
    Route(
        "create_token",
        "POST",
        f"{AUTH}/tokens",
        Verb.TOKENS,
        "Create a token. Only this answer has it.",
        "Access",
        answers={201: json_answer("The token", "TokenCreated")},
        error_statuses=(409, 413, 429, 503, 504, 507),
        body={"application/json": "TokenCreate"},
    ),
    Route(
        "list_tokens",
        "GET",
        f"{AUTH}/tokens",
        Verb.TOKENS,
        "List all tokens without their secrets, sorted by name",
        "Access",
        answers={200: json_answer("The tokens", "TokenList")},
        error_statuses=(503, 504),
    ),
    Route(
        "delete_token",
        "DELETE",
        f"{AUTH}/tokens/{{name}}",
        Verb.TOKENS,
        "Withdraw a token, in all gateways",
        "Access",
        answers={204: Answer("No request with this token is answered any more")},
        error_statuses=(404, 409, 503, 504),
    ),
    Route(
        "create_ticket",
        "POST",
        f"{AUTH}/tickets",
        Verb.IDENTITY,
        "Get a ticket that opens one URL as long as your token is valid, for an `EventSource`",
        "Access",
        answers={201: json_answer("The ticket", "TicketOut")},
        error_statuses=(413, 503),
        body={"application/json": "TicketCreate"},
    ),
)
