"""The watch over several buckets (docs/watch.md#several-buckets)."""

from collections.abc import Iterator
from dataclasses import dataclass

from jetkv_gateway.http.auditing import note_subjects
from jetkv_gateway.http.call import Call
from jetkv_gateway.http.frames import FrameFormat, as_shared_json
from jetkv_gateway.http.sinks import report_changes
from jetkv_gateway.http.views import View
from jetkv_gateway.http.watch import MAX_FILTERS, make_sink, serve_watch, wait_turn, wants_events
from jetkv_gateway.kv.access import Verb
from jetkv_gateway.kv.errors import InvalidArgument
from jetkv_gateway.kv.filters import EVERYTHING, Filter, compile_filter
from jetkv_gateway.kv.keys import check_bucket
from jetkv_gateway.telemetry.events import EVENTS
from jetkv_gateway.watch.bookmarks import read_bookmark
from jetkv_gateway.watch.catch_up import WatchRequest
from jetkv_gateway.watch.hub import Hub
from jetkv_gateway.watch.merged import Marked, MergedWatch, merged_request, watch_buckets
from jetkv_gateway.watch.pacing import TurnPacer

__all__ = ["MergedWatchHandlers"]


@dataclass(frozen=True, slots=True)
class _WatchQuery:
    """The parameters of one watch: by bucket, in the order of the URL."""

    requests: dict[str, WatchRequest]
    forms: list[FrameFormat]


class MergedWatchHandlers:
    """Answers watches over several buckets, over WebSockets and event streams."""

    def __init__(self, hub: Hub, pacer: TurnPacer) -> None:
        self._hub = hub
        self._pacer = pacer

    async def watch_buckets(self, call: Call) -> None:
        """Send frames or events until either side ends the watch.

        Raises:
            UpgradeRequired: it asks for neither kind of watch.
            GatewayError: before the upgrade, or before the answer has begun.
        """
        await wait_turn(call, self._pacer)
        verb, given = Verb.WATCH.value, call.parameters.get("watch", [])
        parts = (one.partition("/") for one in given if one)
        note_subjects(call, ((verb, part[0], "filter", part[2] or None, None) for part in parts))
        query = _read(call)
        sink = make_sink(call)
        forms = query.forms

        def shown(marked: Iterator[Marked]) -> Iterator[tuple[bytes, str]]:
            for number, item, bookmark in marked:
                if EVENTS.change_sent is not None:
                    report_changes(sink.transport, (item,))
                yield as_shared_json(item, forms[number]), bookmark

        async def send(marked: Iterator[Marked]) -> None:
            await sink.send_marked(shown(marked))

        async def send_all(watch: MergedWatch) -> None:
            await watch.send_all(send)

        address, token = call.request.client, call.principal.identity
        opening = watch_buckets(self._hub, query.requests, address=address, token=token)
        await serve_watch(call, sink, opening, send_all)


def _read(call: Call) -> _WatchQuery:
    """Read the parameters of a watch.

    Raises:
        InvalidArgument: a filter or parameter breaks a rule (docs/watch.md#several-buckets).
        PermissionDenied: of one of the buckets, the caller may read no key.
    """
    filters = _filters(call.parameters.get("watch", []))
    snapshot = call.flag("snapshot")
    resume, part = call.parameter("resume"), "query parameter 'resume'"
    last_event = call.headers.get(b"last-event-id", b"").decode("latin-1")
    repeated = bool(last_event) and wants_events(call)
    if repeated:
        # A browser that reconnects repeats its URL, so this bookmark is the newer one.
        resume, part = last_event, "header Last-Event-ID"
    places = {} if resume is None else read_bookmark(resume, filters, part)
    text, meta_only = call.view is View.JSON, call.flag("meta_only")
    request = WatchRequest(
        snapshot=snapshot,
        ignore_deletes=call.flag("ignore_deletes"),
        # A browser that reconnects and is refused gives up for good.
        wait_for_nats=repeated,
    )
    return _WatchQuery(
        requests={
            # The path names no bucket, so the permission for each one is checked here.
            bucket: merged_request(
                request, call.narrow(Verb.WATCH, bucket, tuple(wanted)), places.get(bucket)
            )
            for bucket, wanted in filters.items()
        },
        forms=[FrameFormat(bucket, text=text, meta_only=meta_only) for bucket in filters],
    )


def _filters(given: list[str]) -> dict[str, list[Filter]]:
    """Return the filters by bucket.

    Raises:
        InvalidArgument: there are none or too many, or one breaks a rule.
    """
    given = list(dict.fromkeys(one for one in given if one))
    if not given:
        raise InvalidArgument(
            "query parameter 'watch' is missing", hint="name a bucket: watch=BUCKET/FILTER"
        )
    if len(given) > MAX_FILTERS:
        raise InvalidArgument(f"query parameter 'watch' is given over {MAX_FILTERS} times")
    found: dict[str, list[Filter]] = {}
    for one in given:
        bucket, _, text = one.partition("/")
        wanted = found.setdefault(check_bucket(bucket), [])
        wanted.append(compile_filter(text) if text else EVERYTHING)
    return found
