"""Handlers of the routes for tokens and tickets (docs/access.md)."""

from time import time

from jetkv_gateway.auth.tickets import Tickets
from jetkv_gateway.auth.token_admin import TokenAdmin
from jetkv_gateway.http.auditing import note_subjects
from jetkv_gateway.http.call import Call
from jetkv_gateway.http.router import Router
from jetkv_gateway.http.ticket_urls import split_url, takes_tickets, ticket_url
from jetkv_gateway.http.token_schema import (
    TicketCreate,
    TicketOut,
    TokenCreate,
    TokenCreated,
    TokenList,
    TokenOut,
)
from jetkv_gateway.kv.access import Verb
from jetkv_gateway.kv.errors import InvalidArgument, PermissionDenied, TokenKept

__all__ = ["BODY_LIMIT", "TokenHandlers"]

BODY_LIMIT = 256 * 1024
"""The largest JSON body, in bytes."""

_OFF = "permission denied: manage tokens"
_OFF_HINT = "this gateway runs with --auth off; `jetkv token create --nats-url …` creates tokens"
_NO_BUCKET = "this gateway keeps no tokens of its own (token_bucket is off)"


class TokenHandlers:
    """The handlers of the routes for tokens and tickets.

    Args:
        router: knows the URLs that tickets may open.
        tokens: None if the gateway has no bucket of tokens.
        tickets: None as above.
        required: whether callers need a credential.
    """

    def __init__(
        self, router: Router, tokens: TokenAdmin | None, tickets: Tickets | None, *, required: bool
    ) -> None:
        self._router = router
        self._tokens = tokens
        self._tickets = tickets
        self._required = required

    async def create_token(self, call: Call) -> None:
        tokens = self._admin()
        body = TokenCreate.read(call.request.body)
        note_subjects(call, [(Verb.TOKENS.value, None, "token", body.name, None)])
        secret, known = await tokens.create(
            body.name,
            body.allow,
            body.expires_in_seconds,
            body.requests_per_second,
            body.quota,
        )
        call.answer_json(201, TokenCreated.of_new(secret, known, time()).json_bytes())

    async def list_tokens(self, call: Call) -> None:
        now = time()
        found = [TokenOut.of(one, now) for one in self._admin().tokens()]
        call.answer_json(200, TokenList(tokens=found, count=len(found)).json_bytes())

    async def delete_token(self, call: Call, name: str) -> None:
        await self._admin().withdraw(name)
        call.answer(204, b"", b"")

    async def create_ticket(self, call: Call) -> None:
        path, query = split_url(TicketCreate.read(call.request.body).url)
        match = self._router.find(path)
        if match is None or not takes_tickets(match[0]):
            raise InvalidArgument("invalid url: tickets are for watches and event streams")
        route = match[0].routes["GET"]
        url, ticket = ticket_url(path, match, route, query)
        if ticket is not None:
            raise InvalidArgument("invalid url: it has a ticket already")
        assert route.verb is not None, "a public route needs no ticket"
        bucket = None if not match[1] else match[1][0].decode("ascii", "replace")
        call.require(route.verb, bucket)
        if not self._required:
            # A page works the same with --auth off: the gateway ignores the ticket.
            call.answer_json(201, TicketOut(ticket="off").json_bytes())
            return
        if self._tickets is None:
            raise TokenKept(_NO_BUCKET)
        ticket = self._tickets.issue(call.principal, url)
        call.answer_json(201, TicketOut(ticket=ticket).json_bytes())

    def _admin(self) -> TokenAdmin:
        if not self._required:
            raise PermissionDenied(_OFF, hint=_OFF_HINT)
        if self._tokens is None:
            raise TokenKept(_NO_BUCKET)
        return self._tokens
