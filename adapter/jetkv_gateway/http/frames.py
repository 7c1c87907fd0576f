"""What a watcher is sent: JSON, as WebSocket frames or as events (docs/watch.md#frames).

A frame is made once for all who want the same form of it, and kept with its change.
"""

from base64 import b64encode
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import orjson

from jetkv_gateway.kv.model import Change, Operation
from jetkv_gateway.watch.session import Item, SnapshotEnd

__all__ = ["Form", "as_event", "as_frame", "as_json", "last_id", "text_frame", "texts"]


@dataclass(frozen=True, slots=True)
class Form:
    """How changes are shown.

    Attributes:
        text: `value` is the stored text (base URL `/json`) instead of base64.
        meta_only: the value is left out, and its size is there.
    """

    bucket: str
    text: bool = False
    meta_only: bool = False

    def update(self, change: Change) -> bytes:
        """Return a change as JSON; it has no line breaks."""
        fields: dict[str, Any] = {"type": "kv_update", "bucket": self.bucket, "key": change.key}
        encoding = None
        if self.meta_only:
            fields["size"] = len(change.value)
        elif self.text and change.live:
            encoding, fields["value"] = _text(change)
        else:
            fields["value"] = b64encode(change.value).decode("ascii")
        fields["revision"] = change.revision
        fields["operation"] = (Operation.PUT if change.live else Operation.DELETE).value
        if change.expired:
            fields["reason"] = "expired"
        elif change.operation is Operation.PURGE:
            fields["reason"] = "purge"
        if encoding is not None:
            fields["encoding"] = encoding
            if change.content_encoding is not None:
                fields["content_encoding"] = change.content_encoding
        return orjson.dumps(fields)


def _text(change: Change) -> tuple[str, str]:
    if change.content_encoding is None:
        with suppress(UnicodeDecodeError):
            return "text", change.value.decode()
    return "base64", b64encode(change.value).decode("ascii")


def as_json(item: Item, form: Form) -> bytes:
    """Return an item as JSON without line breaks."""
    if isinstance(item, SnapshotEnd):
        return orjson.dumps({"type": "kv_snapshot_end", "revision": item.revision})
    return form.update(item)


def as_frame(item: Item, form: Form) -> bytes:
    """Return an item as a WebSocket text frame (RFC 6455 §5.2), unmasked, as a server sends it."""
    if isinstance(item, SnapshotEnd):
        return text_frame(as_json(item, form))
    made = item.shown.get(form)
    if made is None:
        made = item.shown[form] = text_frame(as_json(item, form))
    return made


def as_event(item: Item, form: Form) -> bytes:
    """Return an item as a server-sent event whose id is the revision to resume after."""
    shown = item.shown if isinstance(item, Change) else {}
    made = shown.get((form, "event"))
    if made is None:
        made = b"id: %d\ndata: %s\n\n" % (item.revision, as_json(item, form))
        shown[form, "event"] = made
    return made


def last_id(revision: int) -> bytes:
    """Return what tells an `EventSource` where to resume, and nothing else to anybody."""
    return b"id: %d\n\n" % revision


def text_frame(payload: bytes) -> bytes:
    """Return a WebSocket text frame."""
    size = len(payload)
    if size < 126:
        head = bytes((0x81, size))
    elif size < 65536:
        head = b"\x81\x7e" + size.to_bytes(2, "big")
    else:
        head = b"\x81\x7f" + size.to_bytes(8, "big")
    return head + payload


def texts(frames: bytes) -> Iterator[str]:
    """Yield the texts of frames that `text_frame` made."""
    at = 0
    while at < len(frames):
        size, at = frames[at + 1], at + 2
        if size > 125:
            width = 2 if size == 126 else 8
            size, at = int.from_bytes(frames[at : at + width], "big"), at + width
        yield frames[at : at + size].decode()
        at += size
