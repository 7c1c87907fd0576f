"""What happens in the gateway, said once for all listeners. Pure.

Code that does something reports it here, and knows no listener:

    retried = EVENTS.retried
    if retried is not None:
        retried(1)

An event without a listener is None, so it costs one look-up. With one listener, the event is the
listener's own method, so it costs one call.

The events are those of a process, as a worker is a process. A listener hears all of
them. A few events ask their listener for something, so they can have one listener only.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

__all__ = ["EVENTS", "Events", "NatsCallEvent", "RequestEvent", "StartOfRequest"]

_ASKS = ("request_began", "request_continued", "nats_call_began", "write_context")

RequestEvent = Callable[[str, str | None, int, float, bytes, str | None, tuple[str, ...]], None]
NatsCallEvent = Callable[[str, float, str | None], None]
StartOfRequest = Callable[[], RequestEvent | None]


class Events:
    """The events, each with the arguments that its listeners get.

    Attributes:
        request_began: asks for header lines of the answer, and for a function or None. It is called
            at once, in the context that the whole request runs in, and returns what is called with
            the arguments of `request_ended` at the end, or None.
        request_continued: the same for a request with a `traceparent`: its headers.
        request_ended: an HTTP request was answered: method, route's template or None, status,
            seconds since its head was complete, request id, the reason of an error or None, and
            the names in its path, such as bucket and key. A watch ends here when its answer
            begins. The status is 499 if the client left first.
        request_failed: the answer is an error: the arguments of `request_ended`, which comes too.
            It is not for answers that only report a state, such as a 503 of `/ready`.
        request_refused: a request was refused: the reason, such as `unauthenticated`.
        login_failed: a credential was refused: whether the answer is slowed down.
        handshake_failed: a TLS handshake of a client failed: `protocol`, `timeout`, `gone` (the
            client left), or `no_room` (it ended for the sake of others).
        audited: a request that needs a permission was answered, or a watch ended: `request`,
            `watch_open` or `watch_end`; the caller's name and how it proved that, both None if it
            did not; the caller's address; what it is about (see `http.auditing.Subject`); status;
            request id.
        audit_dropped: records of the audit log were lost: `queue_full` or `write_failed`, and how
            many.
        audit_write_failed: a write of the audit log failed, and is tried again.
        nats_call_began: asks for what is called with the arguments of `nats_call_ended` at the
            end, or None.
        nats_call_ended: a request to NATS got its reply, or failed: operation, seconds, and the
            kind of the failure or None.
        nats_failed: a request to NATS failed before it was sent, or got an error as its reply: the
            kind.
        nats_reconnected: there is a connection to NATS again.
        retried: requests to NATS were tried again: how many times.
        outcome_unknown: a caller was told that the outcome of a write is unknown.
        conflicted: a condition of a write did not hold: the kind.
        unreadable: NATS delivered data that cannot be parsed: the part.
        watch_opened: a watch was opened: its transport, `websocket` or `sse`.
        watch_closed: a watch that was opened ended: its transport.
        frames_sent: changes were sent to a watcher: the transport, and how many.
        change_sent: a change that names the span of its write was sent to a watcher: the
            transport, and the `traceparent` of its message.
        write_context: asks for the `traceparent` that goes into the message of a write, or None.
        watch_too_slow: a watch ended because its reader is too slow.
        feed_rebuilt: the feed of a watched bucket was opened again.
    """

    __slots__ = (
        "_listeners",
        "audit_dropped",
        "audit_write_failed",
        "audited",
        "change_sent",
        "conflicted",
        "feed_rebuilt",
        "frames_sent",
        "handshake_failed",
        "login_failed",
        "nats_call_began",
        "nats_call_ended",
        "nats_failed",
        "nats_reconnected",
        "outcome_unknown",
        "request_began",
        "request_continued",
        "request_ended",
        "request_failed",
        "request_refused",
        "retried",
        "unreadable",
        "watch_closed",
        "watch_opened",
        "watch_too_slow",
        "write_context",
    )

    request_began: Callable[[], tuple[bytes, StartOfRequest | None]] | None
    request_continued: Callable[[Mapping[bytes, bytes]], tuple[bytes, StartOfRequest | None]] | None
    request_ended: RequestEvent | None
    request_failed: RequestEvent | None
    request_refused: Callable[[str], None] | None
    audited: Callable[..., None] | None
    audit_dropped: Callable[[str, int], None] | None
    audit_write_failed: Callable[[], None] | None
    login_failed: Callable[[bool], None] | None
    handshake_failed: Callable[[str], None] | None
    nats_call_began: Callable[[], NatsCallEvent | None] | None
    nats_call_ended: NatsCallEvent | None
    nats_failed: Callable[[str], None] | None
    nats_reconnected: Callable[[], None] | None
    retried: Callable[[int], None] | None
    outcome_unknown: Callable[[], None] | None
    conflicted: Callable[[str], None] | None
    unreadable: Callable[[str], None] | None
    watch_opened: Callable[[str], None] | None
    watch_closed: Callable[[str], None] | None
    frames_sent: Callable[[str, int], None] | None
    change_sent: Callable[[str, bytes], None] | None
    write_context: Callable[[], bytes | None] | None
    watch_too_slow: Callable[[], None] | None
    feed_rebuilt: Callable[[], None] | None

    def __init__(self) -> None:
        self._listeners: list[object] = []
        self._connect()

    def add(self, listener: object) -> None:
        """Report to a listener from now on, by its methods with the names of events.

        The methods must neither raise nor wait. Add a listener as often as you remove it.

        Raises:
            ValueError: another listener hears an event that asks for something.
        """
        others = [one for one in self._listeners if one is not listener]
        for name in _ASKS:
            if hasattr(listener, name) and any(hasattr(one, name) for one in others):
                raise ValueError(f"{name} has a listener already")
        self._listeners.append(listener)
        self._connect()

    def remove(self, listener: object) -> None:
        """Stop reporting to a listener, once for each time it was added."""
        self._listeners.remove(listener)
        self._connect()

    def _connect(self) -> None:
        listeners = list(dict.fromkeys(self._listeners))
        for name in self.__slots__:
            if name.startswith("_"):
                continue
            methods = [method for one in listeners if (method := getattr(one, name, None))]
            event = None
            if len(methods) == 1:
                event = methods[0]
            elif methods:
                event = partial(_tell_all, methods)
            setattr(self, name, event)


def _tell_all(methods: list[Callable[..., None]], *arguments: Any) -> None:
    for method in methods:
        method(*arguments)


EVENTS = Events()
"""The events of this process."""
