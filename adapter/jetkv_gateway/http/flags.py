"""Handlers of the routes that evaluate feature flags (docs/flags.md)."""

import asyncio
from contextlib import aclosing
from dataclasses import dataclass
from hashlib import sha256
from time import perf_counter, time

import orjson

from jetkv_gateway.auth.tickets import Tickets
from jetkv_gateway.flags.changes import FlagChanges, flag_changes
from jetkv_gateway.flags.follower import FlagFollower
from jetkv_gateway.flags.table import FlagTable, Place, place_of
from jetkv_gateway.http.auditing import note_subjects
from jetkv_gateway.http.call import JSON_LINE, Call
from jetkv_gateway.http.failures import flag_failure
from jetkv_gateway.http.flag_context import (
    BODY_LIMIT,
    context_digest_input,
    read_context,
    still_matches,
)
from jetkv_gateway.http.flag_routes import FLAG_EVENTS
from jetkv_gateway.http.routes import ROUTER
from jetkv_gateway.http.sinks import EventSink
from jetkv_gateway.http.ticket_urls import TICKET_PARAMETER, ticket_url
from jetkv_gateway.http.watch import read_revision, serve_watch, wait_turn
from jetkv_gateway.kv.access import Verb, denial
from jetkv_gateway.kv.errors import (
    EvaluationFailed,
    FlagNotFound,
    GatewayError,
    Unavailable,
)
from jetkv_gateway.kv.filters import EVERYTHING
from jetkv_gateway.kv.scopes import FULL, ScopeVerb
from jetkv_gateway.telemetry.events import EVENTS
from jetkv_gateway.watch.hub import Hub
from jetkv_gateway.watch.pacing import TurnPacer

__all__ = ["BODY_LIMIT", "FlagHandlers", "FlagOptions"]

_SEEN_SECONDS = 2.0
_INACTIVITY_SECONDS = 120
_TURN_SECONDS = 0.005
_EVENT = b'id: %d\ndata: {"type":"refetchEvaluation","etag":"%s"}\n\n'
_STALE_LINE = b"jetkv-stale: true\r\n"
_READ = ScopeVerb.READ


@dataclass(frozen=True, slots=True)
class FlagOptions:
    """How flags are evaluated.

    Attributes:
        bucket: the bucket that has the flags.
        tickets: opens event streams for callers that need a credential; None if nobody can have
            tickets.
        required: whether callers need a credential.
    """

    bucket: str
    tickets: Tickets | None = None
    required: bool = False


class FlagHandlers:
    """Answers evaluations by the flags of one bucket."""

    def __init__(
        self, flags: FlagFollower, hub: Hub, pacer: TurnPacer, options: FlagOptions
    ) -> None:
        self._flags = flags
        self._bucket = options.bucket
        self._hub = hub
        self._pacer = pacer
        self._options = options

    async def evaluate_flag(self, call: Call, key: str) -> None:
        """Answer with the evaluation of one flag. This is a hot path: it asks NATS nothing.

        Raises:
            EvaluationFailed, FlagNotFound
            GatewayError: the flags are not known.
        """
        flags = self._flags
        grants = call.principal.grants
        if EVENTS.audited is not None:
            verb = Verb.EVALUATE.value
            note_subjects(call, [(verb, self._bucket, "key", key, None)])
        if grants is not FULL and not grants.allows(_READ, self._bucket, key):
            raise denial(Verb.EVALUATE, self._bucket)
        context = read_context(call.request.body)
        flags.asked = True
        table = flags.current
        if table is None:
            table = await flags.read()
        found = table.find(key, time())
        if found is None:
            raise FlagNotFound
        answer = found.answer
        if answer is None:
            answer = found.evaluate(context)
        call.answer(200, JSON_LINE + _STALE_LINE if flags.stale else JSON_LINE, answer)

    async def evaluate_flags(self, call: Call) -> None:
        """Answer with the evaluations of all flags that the caller may read.

        Raises:
            EvaluationFailed: the body has no context that can be used.
            GatewayError: the flags are not known.
        """
        note_subjects(call, [(Verb.EVALUATE.value, self._bucket, "filter", None, None)])
        filters = call.narrow(Verb.EVALUATE, self._bucket, (EVERYTHING,))
        context = read_context(call.request.body)
        self._flags.asked = True
        table = await self._read(place_of(call.parameter("flagConfigEtag")))
        place = table.place
        evaluations = []
        began = perf_counter()
        for flag in table.all(time()):
            if filters[0] is not EVERYTHING and not any(f.matches(flag.name) for f in filters):
                continue
            try:
                evaluations.append(flag.evaluate(context))
            except EvaluationFailed as error:
                evaluations.append(orjson.dumps(flag_failure(error, flag.name)))
            if perf_counter() - began > _TURN_SECONDS:
                await asyncio.sleep(0)
                began = perf_counter()
        found = b",".join(evaluations)
        etag = sha256(found + b"\0" + context_digest_input(context)).hexdigest()[:32].encode()
        lines = b'etag: "%s"\r\ncache-control: no-cache\r\n' % etag
        if self._flags.stale:
            lines += _STALE_LINE
        if still_matches(call.headers.get(b"if-none-match", b""), etag):
            call.answer(304, lines, b"")
            return
        streams = self._streams(call, place)
        body = b'{"flags":[%b]%b}' % (found, b"" if not streams else b',"eventStreams":' + streams)
        call.answer(200, JSON_LINE + lines, body)

    async def flag_events(self, call: Call) -> None:
        """Send an event for each change of a flag that the caller may read.

        Raises:
            GatewayError: before the answer has begun.
        """
        await wait_turn(call, self._pacer)
        note_subjects(call, [(Verb.EVALUATE.value, self._bucket, "filter", None, None)])
        last = call.headers.get(b"last-event-id", b"").decode("latin-1")
        opening = flag_changes(
            self._hub,
            self._flags,
            call.narrow(Verb.EVALUATE, self._bucket, (EVERYTHING,)),
            place_of(call.parameter("after")),
            read_revision(last or None, "header Last-Event-ID"),
            address=call.request.client,
            token=call.principal.identity,
        )
        sink = _FlagSink(call)

        async def send_all(changes: FlagChanges) -> None:
            async with aclosing(changes.places()) as parts:
                async for places in parts:
                    await sink.send_places(places)

        await serve_watch(call, sink, opening, send_all)

    async def _read(self, wanted: Place | None) -> FlagTable:
        """Return the flags.

        Args:
            wanted: what an event has told the provider, maybe one of another worker or gateway.

        Raises:
            Unavailable: the flags are older than that.
        """
        table = self._flags.current
        if table is None:
            table = await self._flags.read()
        if wanted is not None and table.place < wanted:
            if not await self._flags.reached(wanted, _SEEN_SECONDS):
                # An older answer would stay with the provider until the next change.
                raise Unavailable("the change of the event is not known here yet")
            table = await self._flags.read()
        return table

    def _streams(self, call: Call, place: Place) -> bytes:
        """Return where the caller hears of changes after a place. Empty if it cannot."""
        query = f"after={place.text}"
        options = self._options
        if options.required:
            path = FLAG_EVENTS.encode()
            match = ROUTER.find(path)
            assert match is not None, "it is in the table"
            url, _ = ticket_url(path, match, match[0].routes["GET"], query.encode())
            try:
                if options.tickets is None:
                    return b""
                ticket = options.tickets.issue(call.principal, url)
            except GatewayError:
                # Such a credential has no tickets, or their key is not known. The provider polls.
                return b""
            query += f"&{TICKET_PARAMETER}={ticket}"
        # Providers join it with the origin that they call, which the gateway may not know.
        endpoint = {"requestUri": f"{FLAG_EVENTS}?{query}"}
        stream = {
            "type": "sse",
            "endpoint": endpoint,
            "inactivityDelaySec": _INACTIVITY_SECONDS,
        }
        return orjson.dumps([stream])


class _FlagSink(EventSink):
    """An event stream about flags."""

    async def send_places(self, places: list[Place]) -> None:
        if EVENTS.frames_sent is not None:
            EVENTS.frames_sent("sse", len(places))
        await self._chunk(b"".join([_EVENT % (one.revision, one.text.encode()) for one in places]))
