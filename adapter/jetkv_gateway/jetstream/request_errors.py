"""Why a request to NATS got no reply. These errors never leave the package. Pure."""

from jetkv_gateway.telemetry.events import EVENTS

__all__ = [
    "ConnectionLost",
    "LoginNotPermitted",
    "NoResponders",
    "NotConnected",
    "NotPermitted",
    "PayloadTooLarge",
    "RequestFailed",
    "RequestTimeout",
    "Unreadable",
    "unsent",
]


class RequestFailed(Exception):
    """The reason why a request got no reply. It never leaves this package.

    Attributes:
        kind: the label `kind` of metrics.
    """

    kind = "other"


class NotConnected(RequestFailed):
    """Nothing was sent. The argument is the reason if there is a connection."""

    kind = "not_connected"


class PayloadTooLarge(RequestFailed):
    """Nothing was sent. The argument is the limit in bytes if the payload exceeds it."""

    kind = "too_large"


class NoResponders(RequestFailed):
    """Nobody listens on the subject: no such stream, no leader, or no JetStream. Not applied."""

    kind = "no_responders"


class NotPermitted(RequestFailed):
    """The server refused the publish. Not applied."""

    kind = "not_permitted"


class LoginNotPermitted(NotPermitted):
    """As above, on the connection of a caller with a login of NATS."""


class RequestTimeout(RequestFailed):
    """Sent, but without a reply in time. It may be applied, now or later."""

    kind = "timeout"


class Unreadable(RequestFailed):
    """A reply came that is not from JetStream. The request may be applied."""

    kind = "unreadable"


class ConnectionLost(RequestFailed):
    """Sent, but the connection broke before the reply. It may be applied, now or later."""

    kind = "connection_lost"


def unsent(kind: type[RequestFailed], *args: object) -> RequestFailed:
    """Report that a request was not sent, and return the error to raise."""
    if EVENTS.nats_failed is not None:
        EVENTS.nats_failed(kind.kind)
    return kind(*args)
